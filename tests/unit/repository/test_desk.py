"""The Frappe app in `desk/` is GPL and stands apart: nothing outside imports it, and no wheel has it."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
APP = "biometric_integration"
FOLDERS = (
    *("attendance", "bench", "console", "ledger", "operations", "producers", "punchstream"),
    *("sandbox", "sinks", "streams", "tests", "zkreader"),
)
OUTSIDE = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if ".venvs" not in path.parts]
INSIDE = list((ROOT / "desk").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
    return found


def may_import(path: Path, names: set[str]) -> bool:
    """Whether an import may have one of the names: to see that takes much less time than to parse the file."""
    lines = r"(?:from|import)\s(?:[^\n]|\\\n)*"
    return re.search(rf"{lines}\b(?:{'|'.join(names)})\b", path.read_text()) is not None


def test_nothing_outside_imports_the_app_or_frappe() -> None:
    not_theirs = {APP, "frappe", "erpnext", "hrms"}
    assert len(OUTSIDE) > 500
    assert not [path for path in OUTSIDE if may_import(path, not_theirs) and imported(path) & not_theirs]


def test_the_app_imports_nothing_of_punchstream() -> None:
    assert len(INSIDE) > 5
    assert any("frappe" in imported(path) for path in INSIDE)
    assert not [path for path in INSIDE if imported(path) & set(FOLDERS)]


def test_what_is_shipped_does_not_contain_the_app() -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["packages"]
    assert targets["sdist"]["include"]
    assert not [each for each in (*targets["wheel"]["packages"], *targets["sdist"]["include"]) if "desk" in each]


def test_the_app_has_its_own_licence() -> None:
    project = tomllib.loads((ROOT / "desk" / "pyproject.toml").read_text())["project"]
    licence = (ROOT / "desk" / project["license"]["file"]).read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in licence
    assert "Version 3, 29 June 2007" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    # The rest of the repository has another one.
    assert "Apache License" in (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("name", ["modules.txt", "patches.txt", "hooks.py", "__init__.py"])
def test_bench_finds_what_it_asks_an_app_for(name: str) -> None:
    assert (ROOT / "desk" / APP / name).read_text().strip()
