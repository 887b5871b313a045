"""The command itself."""

import subprocess
import sys
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from punchstream.cli import app

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_version_is_that_of_the_project() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"punchstream {tomllib.loads(PROJECT.read_text())['project']['version']}\n"


def test_a_command_loads_its_stage_only_when_it_runs() -> None:
    slow = ("aiokafka", "faust", "requests", "frappeclient", "fastapi", "sqlalchemy")
    program = f"import sys, punchstream.cli; print([name for name in {slow} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
