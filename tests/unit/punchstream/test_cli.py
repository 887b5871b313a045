"""The command itself."""

import tomllib
from pathlib import Path

from typer.testing import CliRunner

from punchstream.cli import app

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_version_is_that_of_the_project() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"punchstream {tomllib.loads(PROJECT.read_text())['project']['version']}\n"
