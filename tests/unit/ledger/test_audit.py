"""The audit of a ledger counts what that of the topics counts, and is not balanced unless the ledger has it all."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from ledger_story import START, START_MS, TOPICS, Log, Story, event, prepared, stories
from memory_log import MemoryLog
from postgres import Postgres

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import Reason
from ledger.audit import LedgerAudit
from ledger.database import Database
from ledger.store import Store
from operations.audit_report import Report
from operations.audit_tables import AuditTables
from operations.fact_reading import FactReader
from operations.log import Skipped

COUNTED = (
    *("raw", "delivered", "dropped", "waiting", "dead_lettered", "discarded_waiting", "undelivered", "undecided"),
    *("refused", "read_again", "discarded"),
)
NAMED = ("without_outcome", "unread")


def memory_log(log: Log) -> MemoryLog:
    memory = MemoryLog()
    for (name, _), records in log.items():
        memory.put(name, *records)
    return memory


def filled(url: str, log: Log) -> Database:
    database = Database(url)
    Store(database).apply(FactReader(TOPICS, NOTHING_MOVED), log, {}, START_MS)
    return database


def by_topics(log: MemoryLog, device: str | None = None) -> Report:
    with AuditTables() as tables:
        asyncio.run(tables.fill(log, None, device))
        return tables.report(named=-1)


def by_ledger(database: Database, log: MemoryLog, device: str | None = None) -> Report:
    audit = LedgerAudit(database, Skipped())
    return asyncio.run(audit.report(log, 0, since=None, device=device, named=-1))[0]


def counted(report: Report) -> dict[str, Any]:
    facts = asdict(report)
    return {name: facts[name] for name in COUNTED} | {name: sorted(facts[name]) for name in NAMED}


@given(log=stories())
@settings(max_examples=25)
def test_it_counts_what_the_audit_of_the_topics_counts(log: Log) -> None:
    log = {partition: records for partition, records in log.items() if partition[0] != "user_map"}
    memory = memory_log(log)
    with TemporaryDirectory() as directory:
        database = filled(prepared(Path(directory, "ledger.sqlite")), log)
        found = by_ledger(database, memory)
        database.close()
    assert counted(found) == counted(by_topics(memory))


@pytest.fixture
def story() -> Story:
    """A punch that was delivered, and one that failed."""
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 8)), "EMP-1"), "CHK-1")
    story.act(story.fail(story.raw(event("2", 9, "D2"))))
    return story


def test_a_ledger_that_has_everything_is_balanced_also_for_a_device_and_a_time(story: Story, tmp_path: Path) -> None:
    log = memory_log(dict(story.log))
    database = filled(prepared(tmp_path / "ledger.sqlite"), dict(story.log))
    assert by_ledger(database, log).balanced
    assert (by_ledger(database, log, "D2").raw, by_ledger(database, log, "D2").dead_lettered) == (1, 1)
    audit = LedgerAudit(database, Skipped())
    report, reached = asyncio.run(audit.report(log, 0, since=START, device=None))
    assert (report.raw, reached.behind) == (2, 0)
    assert reached.next_offsets["raw.v1"] == {0: 1, 1: 1}
    database.close()


def test_a_ledger_that_is_behind_is_never_balanced(story: Story, tmp_path: Path) -> None:
    database = filled(prepared(tmp_path / "ledger.sqlite"), dict(story.log))
    story.drop(story.raw(event("1", 8)), event("1", 8).event_id)
    found = by_ledger(database, memory_log(dict(story.log)))
    assert (found.raw, found.balanced) == (2, False)
    assert "The ledger lacks 2 records that the topics have" in found.configuration[0]
    database.close()


def test_a_ledger_of_other_records_is_never_balanced(story: Story, tmp_path: Path) -> None:
    database = filled(prepared(tmp_path / "ledger.sqlite"), dict(story.log))
    other = Story()
    other.deliver(other.checkin(other.raw(event("5", 8)), "EMP-1"), "CHK-1")
    other.act(other.fail(other.raw(event("6", 9, "D2"))))
    found = by_ledger(database, memory_log(dict(other.log)))
    assert not found.balanced
    assert "made anew or cut short" in found.configuration[0]
    assert not by_ledger(database, MemoryLog()).balanced
    database.close()


def test_postgresql_counts_the_same(story: Story, postgres: Postgres) -> None:
    story.fail(story.raw(event("1", 10)), Reason.CLOCK_SKEW)
    story.raw(event("1", 11))
    story.garbage("raw")
    log = memory_log(dict(story.log))
    url = postgres.new_database()
    database = Database(url)
    database.prepare()
    database.close()
    database = filled(url, dict(story.log))
    assert counted(by_ledger(database, log)) == counted(by_topics(log))
    database.close()
