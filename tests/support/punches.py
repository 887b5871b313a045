"""Punches of one terminal on one day, and the raw records that hold them."""

from datetime import UTC, datetime, timedelta
from typing import Final

from memory_log import StoredRecord

from attendance.kafka.records import Headers
from attendance.records.raw_event import RawEvent, Source

START: Final = datetime(2026, 3, 2, tzinfo=UTC)
AT: Final = round(START.timestamp() * 1000)


def event(hour: int, zone: str = "UTC", user: str = "1") -> RawEvent:
    """A punch that the terminal wrote at that hour of 2 March, read in UTC."""
    time = START + timedelta(hours=hour)
    written = f"2026-03-02 {hour:02}:00:00"
    return RawEvent("D1", "s", user, "IN", time, written, zone, START, Source("push", "json"))


def record(offset: int, event: RawEvent, headers: Headers = ()) -> StoredRecord:
    return raw_record(offset, event.encode(), headers, event.key)


def raw_record(offset: int, value: bytes, headers: Headers = (), key: bytes = b"D1") -> StoredRecord:
    return StoredRecord("t.raw.v1", 0, offset, AT, key, value, headers)
