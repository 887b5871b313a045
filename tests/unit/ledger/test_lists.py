"""A list says the same of the same records, whether the ledger or the topics are asked."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from ledger_story import START_MS, TOPICS, Log, Story, prepared, stories
from memory_log import MemoryLog

from attendance.adoptions import NOTHING_MOVED
from ledger.database import Database
from ledger.device_statuses import LedgerStatuses
from ledger.reading import NEVER
from ledger.store import Store
from operations.device_statuses import StatusesOnTopic
from operations.fact_reading import FactReader
from operations.log import Skipped


def memory_log(log: Log) -> MemoryLog:
    memory = MemoryLog()
    for (name, _), records in log.items():
        memory.put(name, *records)
    return memory


def without_the_erased(log: Log) -> Log:
    return {partition: records for partition, records in log.items() if partition[0] != "user_map"}


@contextmanager
def filled(log: Log) -> Iterator[Database]:
    """A ledger that has read a log, which it took in two steps."""
    with TemporaryDirectory() as directory:
        database = Database(prepared(Path(directory, "ledger.sqlite")))
        store, reader = Store(database), FactReader(TOPICS, NOTHING_MOVED)
        halves = {at: (records[: len(records) // 2], records[len(records) // 2 :]) for at, records in log.items()}
        positions: dict[Any, Any] = {}
        for half in (0, 1):
            batch = {at: both[half] for at, both in halves.items() if both[half]}
            positions |= store.apply(reader, batch, positions, START_MS)
        store.note_read(list(positions), START_MS)
        yield database
        database.close()


def unread(skipped: Skipped) -> dict[str, tuple[int, str]]:
    return {topic.removeprefix("t."): (count, skipped.first[topic]) for topic, count in skipped.counts.items()}


@given(log=stories())
@settings(max_examples=40)
def test_devices_have_said_the_same(log: Log) -> None:
    on_topic, in_ledger = Skipped(), Skipped()
    with filled(log) as database:
        ledger = asyncio.run(LedgerStatuses(database, in_ledger).newest())
    assert ledger == asyncio.run(StatusesOnTopic(memory_log(log), on_topic).newest())
    assert unread(in_ledger) == unread(on_topic)


def test_what_a_device_said_of_itself_stands_beside_what_it_says_later() -> None:
    story = Story()
    story.report("D1", 3, serial="S1", firmware="1", faces=2**70)
    story.report("D1", None, firmware="2")
    story.report("D2", 2**40)
    with filled(dict(story.log)) as database:
        source = LedgerStatuses(database, Skipped())
        found = asyncio.run(source.newest())
    assert found["D1"].details == {"serial": "S1", "firmware": "2", "faces": 2**70}
    assert (found["D1"].pending, found["D2"].pending) == (None, 2**40)
    assert source.as_of == datetime.fromtimestamp(START_MS / 1000, UTC)
    assert source.name == "the ledger, as of 2026-03-02T00:00:00.000Z"


def test_a_ledger_that_has_not_read_all_once_says_so(tmp_path: Path) -> None:
    database = Database(prepared(tmp_path / "ledger.sqlite"))
    source = LedgerStatuses(database, Skipped())
    assert asyncio.run(source.newest()) == {}
    assert (source.name, source.as_of) == (NEVER, None)
    database.close()
