"""What every file of the repository keeps to."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    if name and (ROOT / name).is_file()
]
PACKAGES = {
    "attendance",
    "bench",
    "console",
    "desk",
    "ledger",
    "operations",
    "producers",
    "punchstream",
    "sandbox",
    "sinks",
    "streams",
    "zkreader",
}
LONGEST = 450

# Folders of people and of tools, as tracebacks and logs of one machine show them.
MACHINE_PATH = re.compile(rb"(?<![\w.])/(?:root|home/\w+|Users/\w+|work|private|var/folders|tmp/[\w-]+)/")


def is_module(path: Path) -> bool:
    return path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES


def machine_paths(content: bytes) -> list[str]:
    return [match.decode() for match in MACHINE_PATH.findall(content)]


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in TRACKED if is_module(path)}
    assert len(lengths) > 100
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST}


def test_all_that_a_command_prints_goes_through_one_door() -> None:
    # The one is the door, and the other writes pages of ours to files.
    others = {"output.py", "reference.py"}
    commands = [path for path in (ROOT / "punchstream").rglob("*.py") if path.name not in others]
    assert len(commands) > 10
    elsewhere = re.compile(r"\btyper\.s?echo\(|(?<![\w.])print\(|\bConsole\(|\bsys\.std(?:out|err)\.write")
    assert not [str(path.relative_to(ROOT)) for path in commands if elsewhere.search(path.read_text())]


def test_no_file_names_a_folder_of_the_machine_that_recorded_it() -> None:
    # This file has examples of them.
    others = [path for path in TRACKED if path != Path(__file__)]
    assert len(others) > 100
    found = {str(path.relative_to(ROOT)): machine_paths(path.read_bytes()) for path in others}
    assert not {name: paths for name, paths in found.items() if paths}


@pytest.mark.parametrize(
    "line",
    [
        'File \\"/root/app/lib/python3.11/json/__init__.py\\", line 346',
        "/home/frappe/frappe-bench/apps",
        "at /tmp/build-1/x",
        '"/work/app/tests"',
    ],
)
def test_a_folder_of_a_machine_is_recognised(line: str) -> None:
    assert machine_paths(line.encode())


def test_an_address_or_a_folder_of_a_system_is_no_folder_of_a_machine() -> None:
    assert not machine_paths(b"https://example.com/home/about/ /usr/lib/python3.11/json /api/work/1 /tmp/x")
