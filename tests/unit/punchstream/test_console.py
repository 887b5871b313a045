"""The `console user` commands."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from memory_log import MemoryLog
from passwords import hash_quickly
from typer.testing import CliRunner

from attendance.errors import ConfigurationError
from punchstream.cli import app
from punchstream.commands import console

Run = Callable[..., Result]
PASSWORD = "a long password"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    log = MemoryLog()
    monkeypatch.setattr(console, "kafka_log", lambda _: log)
    hash_quickly(monkeypatch)

    def invoke(*arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, ["console", "user", *arguments], input=typed)

    return invoke


def test_a_password_that_is_made_is_shown_once(run: Run) -> None:
    added = run("add", "fatima")
    assert re.search(r"shown once: \S{20,}", added.output)
    assert "shown once" not in run("list").output


def test_a_password_from_standard_input_is_not_shown(run: Run) -> None:
    added = run("add", "fatima", "--password-stdin", typed=f"{PASSWORD}\n")
    assert added.exit_code == 0
    assert PASSWORD not in added.output


def test_users_are_listed_for_programs_without_their_passwords(run: Run) -> None:
    run("add", "fatima")
    run("disable", "fatima")
    (user,) = json.loads(run("list", "--json").output)
    assert user["name"] == "fatima"
    assert user["disabled"] is True
    assert "password" not in user


def test_somebody_is_let_in_again_given_another_password_and_removed(run: Run) -> None:
    run("add", "fatima")
    for arguments in (("disable", "fatima"), ("enable", "fatima"), ("password", "fatima"), ("remove", "fatima")):
        assert run(*arguments).exit_code == 0, arguments
    assert json.loads(run("list", "--json").output) == []


def test_a_site_that_no_device_is_of_is_said(run: Run, log: MemoryLog, fleet_file: Path) -> None:
    fleet_file.write_text("[{device_id: D1, site: riyadh, timezone: UTC, mode: file, adapter: csv}]")
    run("add", "admin")
    added = run("add", "fatima", "--site", "riyadh", "--site", "ryadh")
    assert added.exit_code == 0
    [line] = added.stderr.splitlines()
    assert line.startswith("No device of the fleet is of site ryadh now")
    assert "site ryadh" in run("role", "fatima", "viewer", "--site", "ryadh").stderr


def test_what_cannot_be_is_one_error(run: Run) -> None:
    assert isinstance(run("remove", "nobody").exception, ConfigurationError)
    assert isinstance(run("add", "fatima", "--password-stdin", typed="short\n").exception, ConfigurationError)
