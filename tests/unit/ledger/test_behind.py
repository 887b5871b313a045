"""What the ledger lacks of what the topics had when it was asked."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from ledger_story import START, START_MS, TOPICS, Log, Story, event, prepared
from memory_log import MemoryLog

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import ConfigurationError, KafkaUnavailable
from attendance.topics import Name
from ledger import behind
from ledger.behind import refuse_days_gone, until_reached
from ledger.database import Database
from ledger.store import Store
from operations.fact_reading import FactReader


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(prepared(tmp_path / "ledger.sqlite"))


def take(database: Database, log: Log) -> None:
    store = Store(database)
    store.apply(FactReader(TOPICS, NOTHING_MOVED), log, store.load(), START_MS)


def a_log(story: Story) -> MemoryLog:
    log = MemoryLog()
    for (name, _), records in story.log.items():
        log.put(name, *records)
    return log


@pytest.fixture
def story() -> Story:
    story = Story()
    story.release(story.wait(story.raw(event("1", 8))))
    story.raw(event("1", 9, "D2"))
    return story


def test_a_ledger_that_has_everything_says_up_to_where(database: Database, story: Story) -> None:
    take(database, dict(story.log))
    found = asyncio.run(until_reached(database, a_log(story), 0))
    assert found.behind == 0
    assert found.next_offsets["raw.v1"] == {0: 1, 1: 1}
    assert found.next_offsets["unmapped.v1"] == {0: 2}
    assert found.next_offsets["dropped.v1"] == {0: 0}


def test_records_that_it_lacks_are_counted(database: Database, story: Story) -> None:
    log = a_log(story)
    assert asyncio.run(until_reached(database, log, 0)).behind == 4
    take(database, {("raw", 0): story.log["raw", 0]})
    assert asyncio.run(until_reached(database, log, 0)).behind == 3


def test_what_retention_has_removed_is_not_waited_for(database: Database, story: Story) -> None:
    log = a_log(story)
    log.retain("raw", 1)
    take(database, {partition: records for partition, records in story.log.items() if partition != ("raw", 0)})
    assert asyncio.run(until_reached(database, log, 0)).behind == 0


def test_what_compaction_has_removed_is_not_waited_for(database: Database, story: Story) -> None:
    log = a_log(story)
    take(database, {partition: records for partition, records in story.log.items() if partition[0] != "unmapped"})
    assert asyncio.run(until_reached(database, log, 0)).behind == 2
    log.remove("unmapped", lambda _: True)
    assert asyncio.run(until_reached(database, log, 0)).behind == 0


def test_it_is_waited_for(database: Database, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "LOOK_SECONDS", 0.01)

    async def scenario() -> int:
        waiting = asyncio.create_task(until_reached(database, a_log(story), 60))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await asyncio.to_thread(take, database, dict(story.log))
        return (await waiting).behind

    assert asyncio.run(scenario()) == 0


def test_what_comes_after_it_was_asked_is_not_waited_for(database: Database, story: Story) -> None:
    log = a_log(story)
    take(database, dict(story.log))
    ends = log.extents

    async def extents(topic: Name) -> Mapping[int, tuple[int, int]]:
        found = await ends(topic)
        log.add(topic, b"D1", b"later")
        return found

    log.extents = extents  # type: ignore[assignment,method-assign]
    assert asyncio.run(until_reached(database, log, 0)).behind == 0


def test_a_topic_that_is_missing_is_an_error(database: Database, story: Story) -> None:
    log = a_log(story)

    async def fails(_: Name) -> Mapping[int, tuple[int, int]]:
        raise KafkaUnavailable("no such topic")

    log.extents = fails  # type: ignore[assignment,method-assign]
    with pytest.raises(KafkaUnavailable):
        asyncio.run(until_reached(database, log, 0))


def test_days_that_are_gone_are_refused(database: Database, story: Story) -> None:
    take(database, dict(story.log))
    refuse_days_gone(database, START.date(), 1)
    with pytest.raises(ConfigurationError, match="LEDGER_DAYS"):
        refuse_days_gone(database, START.date(), 0)
