"""A record of somebody else on any topic ends no command."""

from pathlib import Path

import orjson
import pytest
from foreign_records import REGISTRY, TOOLS, foreign, own, skipped
from memory_log import MemoryLog
from typer.testing import CliRunner

from attendance.kafka.records import OutRecord
from attendance.topics import TABLE, Name
from punchstream.cli import app


@pytest.fixture
def log(log: MemoryLog, fleet_file: Path) -> MemoryLog:
    """A log that each command finds something in, and the fleet file of its device."""
    add(log, *own(log.topics))
    fleet_file.write_text(REGISTRY)
    return log


def add(log: MemoryLog, *records: OutRecord) -> None:
    names: dict[str, Name] = {log.topics[name]: name for name in TABLE}
    for record in records:
        log.add(names[record.topic], record.key, record.value, record.headers, timestamp=1_767_243_602_345)


@pytest.mark.parametrize(("command", "read"), TOOLS)
def test_what_a_command_cannot_read_is_skipped_counted_and_said(
    log: MemoryLog, command: str, read: frozenset[Name]
) -> None:
    before = CliRunner().invoke(app, command.split(), catch_exceptions=False)
    # A raw record is not skipped by the audit: it needs an outcome.
    topics = frozenset(TABLE) - ({"raw"} if command == "audit" else frozenset())
    add(log, *(record for topic in topics for record in foreign(log.topics, topic)))

    result = CliRunner().invoke(app, command.split(), catch_exceptions=False)

    said = [line.split(";")[0] for line in result.stderr.splitlines() if "cannot be read" in line]
    assert set(said) == {f"Skipped {skipped(each)} records of {log.topics[each]} that cannot be read" for each in read}
    assert (result.exit_code, result.stdout) == (before.exit_code, before.stdout)


def test_a_raw_record_that_cannot_be_read_and_has_no_dead_letter_does_not_balance(log: MemoryLog) -> None:
    assert CliRunner().invoke(app, ["audit"]).exit_code == 0
    add(log, *foreign(log.topics, "raw"))
    result = CliRunner().invoke(app, ["audit"])
    assert result.exit_code == 1
    assert "NOT balanced" in result.stdout


@pytest.mark.parametrize("command", ["audit", "replay --since 2020-01-01 --dry-run"])
def test_programs_are_told_how_many_records_were_skipped(log: MemoryLog, command: str) -> None:
    add(log, *foreign(log.topics, "dropped"))
    result = CliRunner().invoke(app, [*command.split(), "--json"])
    assert orjson.loads(result.stdout)["skipped"] == {log.topics["dropped"]: skipped("dropped")}
