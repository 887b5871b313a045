"""A command that is asked about what is not there says so, and ends with status 1."""

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from example_records import EVENT
from memory_log import MemoryLog
from msgspec.structs import replace
from typer.testing import CliRunner

from attendance.errors import Reason
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from punchstream.cli import app

AT = datetime(2026, 3, 2, 5, tzinfo=UTC)
FLEET = """
- {device_id: quiet, site: s, timezone: UTC, mode: file, adapter: csv}
- {device_id: adms, site: s, timezone: UTC, mode: push, adapter: zkteco_adms, serial: "1"}
"""
COMMANDS = (
    "audit",
    "audit --late",
    "replay --since 2026-03-01",
    "dead-letters list",
    "dead-letters replay --all",
    "dead-letters discard --reason unmapped_user --note x",
)


@pytest.fixture
def log(log: MemoryLog, fleet_file: Path) -> MemoryLog:
    """A raw event, a check-in and a dead letter, each of another device, and a fleet of two devices that are quiet."""
    fleet_file.write_text(FLEET)
    at = int(AT.timestamp() * 1000)
    event = replace(EVENT, device_id="raw", received_at=AT)
    log.add("raw", event.key, event.encode(), timestamp=at)
    checkin = Checkin("e" * 32, "E1", AT, "IN", "mapped", "1", "s", "UTC")
    log.add("checkins", checkin.key, checkin.encode(), timestamp=at)
    letter = DeadLetter("push", Reason.UNREADABLE_TIME, "no", AT, b"failed", b"{}", where="http:/v1/events")
    log.add("dead_letters", letter.key, letter.value, letter.encode_headers(), timestamp=at)
    return log


def run(command: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, command.split())
    return result.exit_code, f"{result.output} {result.exception or ''}"


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_device_that_nothing_names_is_said_not_to_be_there(command: str) -> None:
    status, said = run(f"{command} --device nosuch")
    assert status == 1
    assert "There is no device nosuch: the fleet file does not have it, and no record" in said.replace("\n", " ")
    assert "Balanced" not in said


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("device", ["raw", "quiet"])
def test_a_device_of_the_fleet_or_of_a_record_is_there_also_when_it_is_quiet(command: str, device: str) -> None:
    _, said = run(f"{command} --device {device}")
    assert "There is no device" not in said


@pytest.mark.usefixtures("log")
def test_a_device_in_the_fleet_that_has_sent_nothing_yet_is_balanced_and_that_is_said() -> None:
    assert run("audit --device quiet") == (
        0,
        "Nothing of quiet arrived.\n0 raw = 0 delivered + 0 dropped + 0 waiting + 0 dead-lettered\nBalanced.\n ",
    )


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    "command", ["audit --device mapped", "audit --device failed", "dead-letters list --device failed"]
)
def test_a_device_that_only_a_check_in_or_a_dead_letter_names_is_there(command: str) -> None:
    assert "There is no device" not in run(command)[1]


def test_a_fleet_file_that_cannot_be_read_is_said_and_has_no_device(log: MemoryLog, fleet_file: Path) -> None:
    fleet_file.write_text("- nonsense")
    status, said = run("audit --device quiet")
    assert status == 1
    assert "devices.yaml" in said
    assert "There is no device quiet" in said
    assert "There is no device" not in run("audit --device raw")[1]


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    "command",
    [
        "audit --since 2999-01-01",
        "audit --since 2026-03-03",
        "audit --since 2026-03-03 --device quiet",
        "audit --late --since 2999-01-01",
        "audit --attendance --since 2999-01-01",
        "replay --since 2999-01-01",
        "replay --since 2020-01-01 --until 2021-01-01",
        "replay --since 2026-03-03 --until 2026-03-01",
    ],
)
def test_a_time_in_which_nothing_arrived_is_said_to_be_empty(log: MemoryLog, command: str) -> None:
    status, said = run(command)
    assert status == 1
    assert "Nothing arrived" in said
    assert ("in the future" in said) == ("2999" in command)
    assert "Balanced" not in said
    assert log.sent == []


@pytest.mark.usefixtures("log")
def test_programs_are_told_so_too() -> None:
    result = CliRunner().invoke(app, ["audit", "--device", "nosuch", "--json"])
    found = orjson.loads(result.stdout)
    assert (result.exit_code, found["balanced"], found["raw"]) == (1, False, 0)
    assert found["not_there"] == ["There is no device nosuch: the fleet file does not have it, and no record names it."]


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("command", ["backfill", "verify"])
def test_a_terminal_is_not_asked_for_what_is_still_to_come(log: MemoryLog, command: str) -> None:
    status, said = run(f"devices {command} adms --since 2999-01-01 --until 2999-01-02")
    assert status != 0
    assert "--since: 2999-01-01 00:00:00 is in the future" in said
    assert log.sent == []


@pytest.mark.usefixtures("log")
def test_days_of_attendance_are_of_no_device() -> None:
    assert run("audit --attendance --device raw")[0] == 2
