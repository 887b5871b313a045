"""A dead letter of a punch that was corrected since is recognised, wherever its version of the punch stands."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from memory_log import MemoryLog, StoredRecord
from msgspec import structs
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter, Headers
from attendance.records.dead_letter_action import LetterId
from attendance.records.raw_event import RawEvent, Source
from operations.superseded import Versions

START = datetime(2026, 3, 2, tzinfo=UTC)
LETTER = LetterId(0, 0)


def record(offset: int, value: bytes | None, headers: Headers = (), partition: int = 3) -> StoredRecord:
    """A raw record, made at the millisecond of its offset."""
    return StoredRecord("t.raw.v1", partition, offset, offset, b"D1", value, headers)


def event(hour: int, supersedes: int | None = None, document: str | None = None) -> RawEvent:
    time = START + timedelta(hours=hour)
    punch = RawEvent("D1", "s", "1", "IN", time, None, "UTC", START, Source("push", "json"))
    if supersedes is None:
        return punch
    return structs.replace(punch, supersedes=event(supersedes).event_id, superseded_document=document)


def correction(offset: int, hour: int, of: int, document: str = "C1", **fields: Any) -> StoredRecord:
    return record(offset, event(hour, of, document).encode(), **fields)


def checkin_letter(punch: RawEvent, raw_record: bytes | None, timestamp: int = 0) -> DeadLetter:
    """What the sink writes of a check-in that was made from that raw record."""
    assert punch.event_time is not None
    checkin = Checkin(
        *(punch.event_id, "E1", punch.event_time, "IN", "D1", "1", "s", "UTC"),
        supersedes=punch.supersedes,
        superseded_document=punch.superseded_document,
    )
    headers = [] if raw_record is None else [("x-raw-record", raw_record)]
    of = StoredRecord("t.checkins.v1", 0, 1000, timestamp or 1000, b"E1", checkin.encode(), headers)
    return DeadLetter.of(of, "sink", InvalidRecord(Reason.TARGET_REJECTED, "no"), START)


def raw_letter(offset: int, punch: RawEvent) -> DeadLetter:
    return DeadLetter.of(record(offset, punch.encode()), "stream", InvalidRecord(Reason.INTERNAL_ERROR, "no"), START)


def found(log: MemoryLog, *letters: DeadLetter) -> dict[LetterId, str]:
    versions = Versions()
    for number, letter in enumerate(letters):
        versions.add(LetterId(0, number), letter, log.topics)
    return asyncio.run(versions.superseded(log))


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


BY = {LETTER: "t.raw.v1 3:9"}


@pytest.mark.parametrize(
    ("letter", "later", "expected"),
    [
        pytest.param(checkin_letter(event(8), b"3:5"), correction(9, 5, 8), BY, id="its own event_id"),
        pytest.param(checkin_letter(event(8), b"3:5"), correction(9, 8, 8), BY, id="only the employee"),
        pytest.param(checkin_letter(event(8), b"3:5"), correction(9, 5, 7), {}, id="another punch"),
        pytest.param(checkin_letter(event(8), b"3:12"), correction(9, 5, 8), {}, id="of before the punch"),
        pytest.param(checkin_letter(event(8), b"3:5"), correction(9, 5, 8, partition=2), {}, id="another partition"),
        pytest.param(
            checkin_letter(event(8), b"3:5"), correction(9, 5, 8, headers=[("x-replay-of", b"3:2")]), {}, id="a copy"
        ),
        pytest.param(raw_letter(5, event(8)), correction(9, 5, 8), BY, id="a raw record that also got through"),
        pytest.param(raw_letter(12, event(8)), correction(9, 5, 8), {}, id="a raw record that came later"),
        pytest.param(checkin_letter(event(5, 8, "C1"), b"3:7"), correction(9, 4, 5), BY, id="a correction corrected"),
        pytest.param(checkin_letter(event(5, 8, "C1"), b"3:7"), correction(9, 6, 8), BY, id="the same corrected again"),
        pytest.param(checkin_letter(event(5, 8, "C1"), b"3:7"), correction(9, 5, 8), BY, id="the same sent again"),
        pytest.param(
            checkin_letter(event(5, 8, "C1"), b"3:7"), correction(9, 7, 8, "C2"), {}, id="another document of that id"
        ),
        pytest.param(checkin_letter(event(5, 8, "C1"), b"3:9"), correction(9, 5, 8), {}, id="itself"),
        pytest.param(checkin_letter(event(8, 8, "C1"), b"3:7"), correction(9, 8, 8), BY, id="the employee once more"),
        pytest.param(checkin_letter(event(8, 8, "C1"), b"3:9"), correction(9, 8, 8), {}, id="the employee, itself"),
    ],
)
def test_a_later_correction_of_the_same_punch_or_document_supersedes_a_letter(
    log: MemoryLog, letter: DeadLetter, later: StoredRecord, expected: dict[LetterId, str]
) -> None:
    log.put("raw", later)

    assert found(log, letter) == expected


def test_the_raw_topic_is_read_from_the_first_of_their_records_on_in_their_partitions_only(log: MemoryLog) -> None:
    found(log, checkin_letter(event(8), b"3:5"), checkin_letter(event(9), b"3:2"), raw_letter(7, event(1)))
    assert log.begins["raw"] == {3: 2}


def test_without_a_letter_of_a_punch_the_raw_topic_is_not_read(log: MemoryLog) -> None:
    poison = replace(raw_letter(5, event(8)), value=b"\xff")

    assert found(log, poison) == {}
    assert "raw" not in log.begins


@pytest.mark.parametrize(("made_at", "expected"), [(8, BY), (9, {}), (10, {})])
def test_a_check_in_that_does_not_name_its_raw_record_is_judged_by_its_time(
    log: MemoryLog, made_at: int, expected: dict[LetterId, str]
) -> None:
    log.put("raw", record(1, b"poison"), correction(9, 5, 8))

    assert found(log, checkin_letter(event(8), None, made_at)) == expected
    assert log.begins["raw"] is None
