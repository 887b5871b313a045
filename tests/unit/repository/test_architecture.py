"""The page of the architecture has every folder of the product."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("attendance", "producers", "streams", "sinks", "operations", "punchstream", "sandbox", "zkreader", "bench")


def table(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the page."""
    _, _, rest = PAGE.read_text().partition(f"\n## {heading}\n")
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_package_folder_is_in_the_table_of_folders_and_every_folder_of_the_table_exists() -> None:
    named = [row[0].strip("`") for row in table("Folders")]
    packages = {f"{path.parent.relative_to(ROOT)}/" for top in PACKAGES for path in (ROOT / top).rglob("__init__.py")}

    assert len(named) == len(set(named))
    assert packages <= set(named)
    assert all((ROOT / folder).is_dir() for folder in named)


def test_whoever_wants_to_change_something_is_led_to_files() -> None:
    for what, where in table("Where to change what"):
        assert re.search(r"`[\w/]+(\.py|/)`|\]\(\w+\.md\)", where), what
