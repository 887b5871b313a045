"""A trace says the same of a punch as the ledger's view, whether the ledger or the topics are asked."""

import asyncio
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from ledger_story import START, START_MS, TOPICS, Log, Story, event, prepared, stories
from memory_log import MemoryLog
from msgspec.structs import replace
from postgres import Postgres
from sqlalchemy import text

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import Reason
from attendance.records.raw_event import RawEvent
from attendance.records.user_map import Employee, UserMapping
from ledger.database import Database
from ledger.store import Store
from ledger.trace import LedgerTrace
from operations.day_punches import day_punches
from operations.fact_reading import FactReader
from operations.facts import ActionFact, Fact, RawFact, WaitingEnded
from operations.journeys import Journey, journeys
from operations.log import Skipped
from operations.trace import Asked, TopicsSource

DAY = START.date()


def memory_log(log: Log) -> MemoryLog:
    memory = MemoryLog()
    for (name, _), records in log.items():
        memory.put(name, *records)
    return memory


def made(log: Log, directory: str) -> Database:
    database = Database(prepared(Path(directory, "ledger.sqlite")))
    take(database, log)
    return database


def take(database: Database, log: Log) -> None:
    store = Store(database)
    store.note_read(list(store.apply(FactReader(TOPICS, NOTHING_MOVED), log, {}, START_MS)), START_MS)


def without_the_erased(log: Log) -> Log:
    return {partition: records for partition, records in log.items() if partition[0] != "user_map"}


def shown(journey: Journey) -> dict[str, Any]:
    raw = journey.raw
    names = ("outcome", "reason", "kept_event_id", "employee", "decided_at", "delivered_at", "document")
    of_raw = ("kafka_partition", "kafka_offset", "event_id", "device_id", "device_user_id", "event_time", "stored_at")
    return {name: getattr(journey, name) for name in names} | {name: getattr(raw, name) for name in of_raw}


def facts(log: Log) -> list[Fact]:
    reader = FactReader(TOPICS, NOTHING_MOVED)
    found = [fact for (name, _), records in log.items() for each in records for fact in reader.of(name, each)]
    # What waits is what the topic has last.
    waiting: dict[Any, Fact] = {}
    for fact in found:
        if isinstance(fact, WaitingEnded):
            waiting.pop((fact.kafka_partition, fact.wait_key), None)
        elif hasattr(fact, "wait_key"):
            waiting[fact.kafka_partition, fact.wait_key] = fact
    return [each for each in found if not hasattr(each, "wait_key")] + [*waiting.values()]


@given(log=stories())
@settings(max_examples=40)
def test_journeys_are_what_the_view_of_the_ledger_says(log: Log) -> None:
    log = without_the_erased(log)
    with TemporaryDirectory() as directory:
        database = made(log, directory)
        with database.transaction() as connection:
            rows = [dict(row) for row in connection.execute(text("select * from punches")).mappings()]
        database.close()
    found = [shown(each) for each in journeys(facts(log))]
    assert sorted(found, key=repr) == sorted(({name: row[name] for name in found[0]} for row in rows), key=repr)


def ask(source: Any, asked: Asked) -> list[Journey]:
    return journeys(asyncio.run(source.facts(asked)))


@given(log=stories())
@settings(max_examples=25)
def test_the_ledger_and_the_topics_say_the_same(log: Log) -> None:
    log = without_the_erased(log)
    memory = memory_log(log)
    with TemporaryDirectory() as directory:
        database = made(log, directory)
        ledger, topics = LedgerTrace(database), TopicsSource(memory, Skipped())
        some = next(each for each in facts(log) if isinstance(each, RawFact))
        for asked in (
            Asked(event_id=some.event_id),
            Asked(device=some.device_id, user=some.device_user_id),
            Asked(device=some.device_id, user=some.device_user_id, day=DAY),
        ):
            assert ask(ledger, asked) == ask(topics, asked)
            assert ask(ledger, asked)
        database.close()


@given(log=stories())
@settings(max_examples=40)
def test_the_ledger_and_the_topics_say_the_same_of_the_day_of_devices(log: Log) -> None:
    log = without_the_erased(log)
    memory = memory_log(log)
    with TemporaryDirectory() as directory:
        database = made(log, directory)
        ledger, topics = LedgerTrace(database), TopicsSource(memory, Skipped())
        for zones in ({"D1": "UTC"}, {"D1": "Asia/Riyadh", "D2": "America/New_York"}):
            for day in (DAY, DAY - timedelta(days=1)):
                asked = Asked(day=day, zones=zones)
                of_ledger, of_topics = (asyncio.run(source.facts(asked)) for source in (ledger, topics))
                assert day_punches(of_ledger, asked) == day_punches(of_topics, asked)
                assert sorted(map(repr, of_ledger)) == sorted(map(repr, of_topics))
        database.close()


def test_the_day_of_a_device_is_the_same_from_both_databases(story: Story, postgres: Postgres, tmp_path: Path) -> None:
    story.garbage("raw")
    story.reject("D1")
    story.act(story.reject("D1"))
    wrong = story.raw(event("2", 3))
    story.deliver(story.checkin(wrong, "EMP-2"), "CHK-5")
    story.deliver(story.checkin(story.raw(event("2", 30)), "EMP-2", event("2", 3).event_id), "CHK-5")
    server = Database(postgres.new_database())
    server.prepare()
    take(server, dict(story.log))
    asked = Asked(day=DAY, zones={"D1": "UTC"})
    lite, topics = both(story, tmp_path)
    found = [asyncio.run(source.facts(asked)) for source in (LedgerTrace(server), lite, topics)]
    assert sorted(map(repr, found[0])) == sorted(map(repr, found[1])) == sorted(map(repr, found[2]))
    punches = day_punches(found[0], asked)["D1"]
    assert (len(punches.rejected), punches.settled) == (1, 1)
    assert punches.that("superseded") == [event("2", 3).event_id]
    server.close()


@pytest.fixture
def story() -> Story:
    """A day of one employee, with a punch before, one of somebody else, and one of somebody with the same number."""
    story = Story()
    kept = story.raw(event("1", 8))
    story.deliver(story.checkin(kept, "EMP-1"), "CHK-1")
    story.drop(story.raw(event("1", 8)), RawEvent.decode(kept.value).event_id)
    story.act(story.fail(story.raw(event("1", 12)), Reason.CLOCK_SKEW))
    story.deliver(story.checkin(story.raw(event("1", 30)), "EMP-1"), "CHK-2")
    story.deliver(story.checkin(story.raw(event("2", 9)), "EMP-2"), "CHK-3")
    story.deliver(story.checkin(story.raw(event("1", 10)), "EMP-2"), "CHK-4")
    return story


def both(story: Story, directory: Path) -> list[Any]:
    log = dict(story.log)
    memory = memory_log(log)
    for entry in (UserMapping("*", "1", "EMP-1", "erpnext"), Employee("EMP-1", "Active"), Employee("EMP-3", "Active")):
        memory.add("user_map", entry.key, entry.encode())
    return [LedgerTrace(made(log, str(directory))), TopicsSource(memory, Skipped())]


def test_the_day_of_an_employee_has_what_was_dropped_and_what_failed_and_nothing_of_others(
    story: Story, tmp_path: Path
) -> None:
    for source in both(story, tmp_path):
        found = ask(source, Asked(employee="EMP-1", day=DAY))
        assert [(each.outcome, each.reason, each.document) for each in found] == [
            ("delivered", None, "CHK-1"),
            ("dropped", "duplicate", None),
            ("dead_lettered", "clock_skew", None),
        ]
        assert [each.name for each in found[0].milestones] == ["received", "stored", "decided", "delivered"]
        assert [each.after for each in found[0].milestones][1:] == [-28_799.0, 1.0, 0.0]
        assert any(isinstance(each, ActionFact) for each in asyncio.run(source.facts(Asked(employee="EMP-1", day=DAY))))


def test_a_day_is_that_of_the_devices_clock(tmp_path: Path) -> None:
    story = Story()
    late = RawEvent.decode(event("1", 22).encode())

    story.raw(replace(late, device_timezone="Asia/Riyadh"))
    for source in both(story, tmp_path):
        asked = Asked(device="D1", user="1", day=date(2026, 3, 3))
        assert [each.outcome for each in ask(source, asked)] == ["undecided"]
        assert not ask(source, Asked(device="D1", user="1", day=DAY))
        assert asyncio.run(source.is_known(Asked(device="D1", user="1", day=DAY)))


def test_whoever_nobody_has_heard_of_is_not_known(story: Story, tmp_path: Path) -> None:
    ledger, topics = both(story, tmp_path)
    for source in (ledger, topics):
        for asked in (
            Asked(employee="EMP-9", day=DAY),
            Asked(device="D9", user="1", day=DAY),
            Asked(device="D1", user="9"),
            Asked(event_id="0" * 32),
        ):
            assert not ask(source, asked)
            assert not asyncio.run(source.is_known(asked))
        assert asyncio.run(source.is_known(Asked(employee="EMP-1", day=date(2027, 1, 1))))
    assert asyncio.run(topics.is_known(Asked(employee="EMP-3", day=DAY))), "the user map has them"
    assert ledger.name.startswith("the ledger, as of 2026-")
