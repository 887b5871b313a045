"""What a replay sends."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from memory_log import MemoryLog
from msgspec.structs import replace
from punches import AT, START, event, raw_record, record

from attendance.errors import Reason
from attendance.kafka.records import OutRecord
from attendance.records.outcomes import Dropped
from operations.replay import Range, RangeTables, replay

EVERYTHING = Range(START)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def tables() -> Iterator[RangeTables]:
    with RangeTables() as tables:
        yield tables


def replayed(log: MemoryLog, tables: RangeTables, wanted: Range) -> list[OutRecord]:
    async def run() -> None:
        await tables.fill(log, wanted)
        await replay(log, wanted, tables, 1e9, lambda _: None)

    asyncio.run(run())
    return log.sent


def test_a_copy_has_the_bytes_of_its_original_and_names_it(log: MemoryLog, tables: RangeTables) -> None:
    original = record(7, event(8), [("ce_id", b"x")])
    log.put("raw", original)

    [copy] = replayed(log, tables, EVERYTHING)

    assert (copy.topic, copy.key, copy.value) == ("t.raw.v1", b"D1", original.value)
    assert list(copy.headers) == [("ce_id", b"x"), ("x-replay-of", b"0:7")]


def test_copies_poison_and_what_is_superseded_later_are_not_sent_and_a_later_genuine_one_is(
    log: MemoryLog, tables: RangeTables
) -> None:
    log.put(
        "raw",
        record(0, event(8)),
        record(1, event(9), [("x-replay-of", b"0:0")]),
        raw_record(2, b"poison"),
        record(3, replace(event(5), supersedes=event(8).event_id)),
        record(4, event(8)),
    )

    assert [copy.headers[-1][1] for copy in replayed(log, tables, EVERYTHING)] == [b"0:3", b"0:4"]


def test_of_two_corrections_of_one_document_only_the_later_is_sent(log: MemoryLog, tables: RangeTables) -> None:
    wrong = event(8)
    log.put(
        "raw",
        record(0, wrong),
        record(1, replace(event(5), supersedes=wrong.event_id, superseded_document="C0")),
        record(2, replace(event(6), supersedes=wrong.event_id, superseded_document="C0")),
        record(3, replace(event(4), supersedes=wrong.event_id, superseded_document="C1")),
    )

    assert [copy.headers[-1][1] for copy in replayed(log, tables, EVERYTHING)] == [b"0:2", b"0:3"]


def test_the_copy_of_a_correction_supersedes_nothing_that_came_after_its_original(
    log: MemoryLog, tables: RangeTables
) -> None:
    correction = replace(event(5), supersedes=event(8).event_id)
    log.put(
        "raw",
        record(0, event(8)),
        record(1, correction),
        record(2, event(8)),
        record(3, correction, [("x-replay-of", b"0:1")]),
    )

    assert [copy.headers[-1][1] for copy in replayed(log, tables, EVERYTHING)] == [b"0:1", b"0:2"]


def test_only_the_range_and_its_devices_are_sent(log: MemoryLog, tables: RangeTables) -> None:
    log.put("raw", record(0, event(8)), record(1, replace(event(9), device_id="D2")))
    late = record(2, event(10))
    late.timestamp += 3_600_000
    log.put("raw", late)

    wanted = Range(START, START + timedelta(hours=1), {"D1"})
    assert [copy.headers[-1][1] for copy in replayed(log, tables, wanted)] == [b"0:0"]


def test_what_was_dropped_as_a_repeat_is_not_sent_because_it_might_not_be_known_as_one_any_more(
    log: MemoryLog, tables: RangeTables
) -> None:
    kept, tap = event(8), replace(event(8), event_time=START + timedelta(hours=8, seconds=20))
    log.put("raw", record(0, kept), record(1, tap), record(2, kept))
    for offset, reason in ((1, Reason.REPEAT), (2, Reason.DUPLICATE)):
        dropped = Dropped(tap.event_id, kept.event_id, reason, "D1", "1", START, 0, offset)
        log.add("dropped", dropped.key, dropped.encode(), timestamp=AT)

    assert [copy.headers[-1][1] for copy in replayed(log, tables, EVERYTHING)] == [b"0:0", b"0:2"]
    assert tables.records == 2
