"""`punchstream set-time`: what it prints and sends, and what it refuses."""

import json
from datetime import timedelta
from typing import Any

import pytest
from ledger_story import START, Story, event
from memory_log import MemoryLog
from msgspec.structs import replace
from typer.testing import CliRunner

from attendance.errors import ConfigurationError, Reason
from attendance.records.raw_event import RawEvent
from punchstream.cli import app

WRONG = replace(event("1", 8), device_timezone="Asia/Riyadh", received_at=START + timedelta(hours=12))
GIVEN = ("--time", "2026-03-02 12:30", "--note", "the clock was off")


@pytest.fixture
def story(log: MemoryLog) -> Story:
    story = Story()
    story.fail(story.raw(WRONG), Reason.CLOCK_SKEW)
    for (name, _), records in story.log.items():
        log.put(name, *records)
    return story


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["set-time", *arguments])


@pytest.mark.usefixtures("story")
@pytest.mark.parametrize("named", [WRONG.event_id, "0:0"])
def test_a_punch_is_named_by_its_id_or_by_its_letter(log: MemoryLog, named: str) -> None:
    said = run(named, *GIVEN)

    assert said.exit_code == 0, said.output
    assert "D1, user 1: 2026-03-02 11:00:00 → 2026-03-02 12:30:00 (Asia/Riyadh)" in said.output
    raw, _ = log.sent
    assert RawEvent.decode(raw.value).event_time == START + timedelta(hours=9, minutes=30)


@pytest.mark.usefixtures("story")
def test_a_dry_run_says_what_would_be_done_and_sends_nothing(log: MemoryLog) -> None:
    said = run(WRONG.event_id, *GIVEN, "--dry-run", "--json")

    found = json.loads(said.stdout)
    assert (found["wrong"], found["right"]) == ("2026-03-02T08:00:00Z", "2026-03-02T09:30:00Z")
    assert (found["letters"], found["sent"], found["delivered"]) == (["0:0"], False, False)
    assert log.sent == []


@pytest.mark.usefixtures("story")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0" * 32, *GIVEN), "there is no punch"),
        (("0:9", *GIVEN), "no dead letter of a punch"),
        (("0:x", *GIVEN), "neither an event id nor the id of a dead letter"),
        ((WRONG.event_id, "--time", "yesterday", "--note", "n"), "is no time such as"),
        ((WRONG.event_id, "--time", "2026-03-02 12:30", "--note", " "), "a note must say why"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_sent(
    log: MemoryLog, arguments: tuple[str, ...], message: str
) -> None:
    said = run(*arguments)

    assert isinstance(said.exception, ConfigurationError)
    assert message in str(said.exception)
    assert log.sent == []
