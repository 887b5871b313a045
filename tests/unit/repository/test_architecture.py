"""The page of the architecture has every folder of the product, and what each may import."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "architecture.md"
PRODUCT = (
    "attendance",
    "producers",
    "streams",
    "sinks",
    "operations",
    "ledger",
    "console",
    "punchstream",
    "sandbox",
    "zkreader",
)
PACKAGES = (*PRODUCT, "bench")


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


def imports(module: Path) -> Iterator[str]:
    """The modules and folders of the product that a module imports, as paths."""
    for node in ast.walk(ast.parse(module.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name is not None and name.split(".")[0] in PRODUCT:
                path = name.replace(".", "/")
                yield f"{path}/" if (ROOT / path).is_dir() else f"{path}.py"


def test_no_folder_imports_what_its_row_does_not_name() -> None:
    allowed = {row[0].strip("`"): tuple(re.findall(r"`([\w/.]+)`", row[2])) for row in table("Folders")}
    wrong = {
        f"{module.relative_to(ROOT)}: {path}"
        for folder, paths in allowed.items()
        if folder.split("/")[0] in PRODUCT
        for module in (ROOT / folder).glob("*.py")
        for path in imports(module)
        if not path.startswith((folder, *paths))
    }
    assert not wrong


def test_whoever_wants_to_change_something_is_led_to_files() -> None:
    for what, where in table("Where to change what"):
        assert re.search(r"`[\w/]+(\.py|/)`|\]\(\w+\.md\)", where), what
