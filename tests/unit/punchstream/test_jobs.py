"""`punchstream jobs`: what it counts, stores, shows and runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from memory_log import MemoryLog
from typer.testing import CliRunner

from attendance.errors import ConfigurationError, Reason
from attendance.records.dead_letter import DeadLetter
from punchstream.cli import app

AT = datetime(2026, 3, 2, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _letters(log: MemoryLog, fleet_file: Path) -> None:
    assert not fleet_file.exists()
    for number in range(3):
        letter = DeadLetter(
            *("stream", Reason.IMPLAUSIBLE_TIME, "no", AT, b"D1", b"{}"),
            topic=log.topics["raw"],
            partition=0,
            offset=number,
        )
        record = letter.to_record(log.topics["dead_letters"])
        log.add("dead_letters", record.key, record.value, record.headers)


def run(*command: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["jobs", *map(str, command)], catch_exceptions=False)
    return result.exit_code, result.stdout


def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(run("list", "--json")[1])
    return found


def test_a_dry_run_counts_and_stores_nothing(log: MemoryLog) -> None:
    assert run("replay", "--all", "--dry-run") == (0, "3 dead letters would be replayed, 0 left alone\n")
    assert not log.records("jobs")


def test_where_there_is_nothing_to_do_no_job_is_stored(log: MemoryLog) -> None:
    assert run("replay", "--reason", "clock_skew") == (0, "0 dead letters would be replayed, 0 left alone\n")
    assert not log.records("jobs")


def test_a_stored_job_is_listed_and_run_and_then_there_is_nothing_to_run(log: MemoryLog) -> None:
    assert "`punchstream jobs run` does it." in run("replay", "--reason", "implausible_time", "--note", "mended")[1]
    (queued,) = rows()
    assert (queued["state"], queued["total"], queued["note"]) == ("queued", None, "mended")
    assert run("run", "--rate", "1000") == (0, f"{queued['job']}: done, 3 of 3 done, 0 left alone, 0 failed\n")
    assert [each.topic for each in log.sent if each.topic == log.topics["raw"]] == [log.topics["raw"]] * 3
    assert [each["state"] for each in rows()] == ["done"]
    assert run("run") == (0, "There is nothing to run.\n")


def test_a_job_that_waits_is_cancelled(log: MemoryLog) -> None:
    run("discard", "--reason", "implausible_time", "--note", "a trial")
    (queued,) = rows()
    assert run("cancel", queued["job"]) == (0, f"{queued['job']} is cancelled.\n")
    assert [each["state"] for each in rows()] == ["cancelled"]
    assert not log.sent


def test_a_discard_says_why_and_a_job_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="note"):
        run("discard", "--reason", "implausible_time", "--note", " ")
    with pytest.raises(ConfigurationError, match="no such job"):
        run("cancel", "5e")
