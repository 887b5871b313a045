"""The command itself."""

import errno
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from punchstream import cli
from punchstream.cli import COMMANDS, app

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_version_is_that_of_the_project() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"punchstream {tomllib.loads(PROJECT.read_text())['project']['version']}\n"


def test_a_command_loads_no_other_command_and_its_stage_only_when_it_runs() -> None:
    slow = ("aiokafka", "faust", "requests", "frappeclient", "fastapi", "sqlalchemy")
    program = f"""
import sys
from typer.testing import CliRunner
from punchstream.cli import COMMANDS, app

assert CliRunner().invoke(app, ["fleet", "list", "--help"]).exit_code == 0
print([name for name in {slow} if name in sys.modules])
print("punchstream.commands.fleet" in sys.modules, "punchstream.commands.fleet_edit" in sys.modules)
print("punchstream.commands.stages" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["[]", "True False", "False"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EROFS, "Read-only file system", ".punchstream"), ".punchstream: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), "/data: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device", "a"), "a: No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found"), "TMPDIR: No usable temporary"),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line(
    error: OSError, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        raise error

    monkeypatch.setattr(cli, "app", write)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"punchstream: {line}")


@pytest.mark.parametrize(
    "error", [ConnectionResetError(errno.ECONNRESET, "reset"), PermissionError(errno.EACCES, "of a socket")]
)
def test_what_nobody_foresaw_is_raised_with_its_traceback(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        raise error

    monkeypatch.setattr(cli, "app", write)
    with pytest.raises(type(error)):
        cli.main()


def test_a_word_that_is_no_command_is_told_with_the_command_it_resembles() -> None:
    result = CliRunner().invoke(app, ["directori"])
    assert result.exit_code == 2
    assert "Did you mean" in result.output
    assert "directory" in result.output


def test_commands_keep_their_order_whichever_was_loaded_first() -> None:
    root: Any = typer.main.get_command(app)
    assert root.commands["privacy"].name == "privacy"
    assert list(root.commands) == list(COMMANDS)
    topics = root.commands["topics"].commands
    assert topics["adopt"].name == "adopt"
    assert next(iter(topics)) == "create"
    assert list(topics)[-2:] == ["accept-loss", "adopt"]
    with pytest.raises(KeyError):
        topics["nothing"]
