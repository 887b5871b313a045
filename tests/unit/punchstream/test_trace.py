"""`punchstream trace`: what it prints, and what it does not take."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from ledger_story import Story, event, kept_ledger
from memory_log import MemoryLog
from typer.testing import CliRunner

from attendance.errors import ConfigurationError, Reason
from punchstream.cli import app

ID = event("1", 8).event_id


@pytest.fixture
def story(log: MemoryLog) -> Story:
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 8)), "EMP-1"), "CHK-1")
    story.drop(story.raw(event("1", 8)), ID)
    story.fail(story.raw(event("1", 12)), Reason.CLOCK_SKEW)
    for (name, _), records in story.log.items():
        log.put(name, *records)
    return story


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["trace", *arguments], env={"COLUMNS": "20"})


def test_each_punch_is_shown_with_its_steps_and_no_identifier_is_cut(story: Story) -> None:
    said = run("--employee", "EMP-1", "--day", "2026-03-02")
    assert said.exit_code == 0
    lines = said.output.splitlines()
    assert lines[0] == "2026-03-02 08:00:00 (UTC)  IN  D1  user 1  delivered"
    assert lines[1] == f"  event      {ID}"
    assert lines[2] == "  received   2026-03-02T08:00:00.000Z"
    assert lines[4] == "  decided    2026-03-02T00:00:02.000Z  1 s later: kept for EMP-1"
    assert lines[5] == "  delivered  2026-03-02T00:00:02.000Z  0 s later: CHK-1"
    assert f": dropped duplicate of {ID} for EMP-1" in said.output
    assert "failed clock_skew" in said.output
    assert lines[-1] == "3 records of employee EMP-1 on 2026-03-02, from the topics"


def test_json_and_csv_have_every_field(story: Story) -> None:
    [first, second, _] = json.loads(run("--device", "D1", "--user", "1", "--json").stdout)
    assert (first["event_id"], first["outcome"], first["document"], first["decided_after"]) == (
        ID,
        "delivered",
        "CHK-1",
        1,
    )
    assert (second["outcome"], second["kept_event_id"], second["delivered_at"]) == ("dropped", ID, None)
    [row, _] = csv.DictReader(io.StringIO(run("--event-id", ID, "--csv").stdout))
    assert {name: row[name] for name in ("event_id", "outcome", "delivered_at")} == {
        "event_id": ID,
        "outcome": "delivered",
        "delivered_at": "2026-03-02T00:00:02.000Z",
    }
    assert row.keys() == first.keys()


def test_the_ledger_is_asked_where_there_is_one(story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/ledger.sqlite")
    asked = "--employee", "EMP-1", "--day", "2026-03-02"
    with pytest.raises(ConfigurationError, match="is not there"):
        CliRunner().invoke(app, ["trace", *asked], catch_exceptions=False)
    kept_ledger(f"sqlite:///{tmp_path}/ledger.sqlite", story)

    said = run(*asked)
    assert said.stdout.endswith("from the ledger, as of 2026-03-02T00:00:00.000Z\n")
    topics = run(*asked, "--from-topics")
    assert topics.stdout.endswith("from the topics\n")
    assert said.stdout.splitlines()[:-1] == topics.stdout.splitlines()[:-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--employee EMP-9 --day 2026-03-02", "There is no employee EMP-9"),
        ("--device D9 --user 1", "There is no user 1 of device D9"),
        (f"--event-id {'0' * 32}", f"There is no event {'0' * 32}"),
    ],
)
def test_whoever_is_not_there_is_an_error(story: Story, arguments: str, said: str) -> None:
    result = run(*arguments.split())
    assert result.exit_code == 1
    assert said in result.output


def test_a_day_without_punches_of_somebody_who_is_there_is_none(story: Story) -> None:
    result = run("--device", "D1", "--user", "1", "--day", "2026-03-09")
    assert (result.exit_code, result.output) == (0, "0 records of user 1 of device D1 on 2026-03-09, from the topics\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "give one of"),
        ("--employee E --event-id 1", "give one of"),
        ("--employee E", "--employee needs --day"),
        ("--device D1", "need each other"),
        ("--event-id 1 --day 2026-03-02", "needs no --day"),
        ("--employee E --day yesterday", "no date such as"),
    ],
)
def test_what_is_not_to_be_answered_is_said(story: Story, arguments: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        CliRunner().invoke(app, ["trace", *arguments.split()], catch_exceptions=False)
