"""Replays: raw records once more through the stream.

A replay changes nothing that is right: the stream emits the outcome of a punch that it kept again, and ERPNext has it
already.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from attendance.errors import Reason
from attendance.kafka.records import OutRecord, Record
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Dropped
from attendance.records.raw_event import RawEvent, is_replay_copy
from operations.audit_accounts import read_moves
from operations.log import Log, Skipped, decoded
from operations.origin import copy_of
from operations.pace import Pace

AT_ONCE: Final = 100  # records that wait for one acknowledgement
LONGEST_PART: Final = 1.0  # seconds until records are sent that wait for others

_SCHEMA: Final = """
create table event (event_id primary key, partition, offset, value) without rowid;
create table superseded (event_id, document, partition, offset, primary key (event_id, document)) without rowid;
create table repeat (partition, offset, primary key (partition, offset)) without rowid;
create table checkin (event_id, value, primary key (event_id, value)) without rowid;
"""


@dataclass(frozen=True, slots=True)
class Range:
    """Which raw records: those that arrived from `since` on and before `until`, of these devices, or of all."""

    since: datetime
    until: datetime | None = None
    devices: Collection[str] = ()

    def includes(self, record: Record) -> bool:
        """Whether a record that is not older than `since` is in the range."""
        if self.until is not None and record.timestamp >= self.until.timestamp() * 1000:
            return False
        return not self.devices or (record.key or b"").decode(errors="replace") in self.devices


class RangeTables:
    """The events of a range that stand. Memory is bounded: it is a temporary SQLite file."""

    def __init__(self) -> None:
        self.db = sqlite3.connect("")  # a file of SQLite's own, gone when it is closed
        # So nothing needs to survive a crash.
        self.db.executescript("pragma journal_mode = off; pragma synchronous = off;" + _SCHEMA)
        self.records = 0
        """Raw records that a replay would send."""
        self.skipped = Skipped()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    async def fill(self, log: Log, wanted: Range) -> None:
        """Read the raw topic from the begin of the range to its end: a correction may be younger than the range.

        Args:
            log: The topics.
            wanted: The range.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        moves, raw = await read_moves(log), log.topics["raw"]
        async with aclosing(log.read("dropped", since=wanted.since)) as batches:
            async for batch in batches:
                dropped = decoded(batch, lambda record: Dropped.decode(record.value), self.skipped)
                repeats = ((record, each) for record, each in dropped if each.reason is Reason.REPEAT)
                places = (moves.now(raw, (each.partition, each.offset), record) for record, each in repeats)
                rows = (place for place in places if place is not None)
                self.db.executemany("insert or ignore into repeat values (?, ?)", rows)
        async with aclosing(log.read("checkins", since=wanted.since)) as batches:
            async for batch in batches:
                checkins = decoded(batch, lambda record: Checkin.decode(record.value), self.skipped)
                values = ((checkin.event_id, record.value) for record, checkin in checkins)
                self.db.executemany("insert or ignore into checkin values (?, ?)", values)
        async with aclosing(_raw(log, wanted.since, self.skipped)) as records:
            async for record, event in records:
                if event.supersedes not in (None, event.event_id) and not is_replay_copy(record.headers):
                    correction = (event.supersedes, event.superseded_document or "", record.partition, record.offset)
                    self.db.execute("insert or replace into superseded values (?, ?, ?, ?)", correction)
                if wanted.includes(record):
                    row = (event.event_id, record.partition, record.offset, record.value)
                    self.db.execute("insert or replace into event values (?, ?, ?, ?)", row)
                    self.records += not (is_replay_copy(record.headers) or self.was_repeat(record))
                else:
                    # The id of a wrong time may have become that of another punch since.
                    self.db.execute("update event set value = ? where event_id = ?", (record.value, event.event_id))

    def events(self, at_once: int) -> Iterator[dict[str, bytes]]:
        """The values of the events by event_id, so many at a time."""
        cursor = self.db.execute("select event_id, value from event")
        while events := dict(cursor.fetchmany(at_once)):
            yield events

    def checkins(self, event_id: str) -> list[Checkin]:
        """Every check-in that was ever made of an event."""
        rows = self.db.execute("select value from checkin where event_id = ?", (event_id,))
        return [Checkin.decode(value) for (value,) in rows]

    def was_repeat(self, record: Record) -> bool:
        """Whether the record was dropped as the repeat of another punch: it would be once more."""
        query = "select 1 from repeat where (partition, offset) = (?, ?)"
        return self.db.execute(query, (record.partition, record.offset)).fetchone() is not None

    def stands(self, record: Record, event: RawEvent) -> bool:
        """Whether nothing later on the topic supersedes this record, or corrects again what it was to correct.

        Args:
            record: A raw record of the range.
            event: What it holds.
        """
        query = (
            "select 1 from superseded where (event_id = ? or (event_id, document) = (?, ?))"
            " and partition = ? and offset > ?"
        )
        same = (event.supersedes, event.superseded_document or "")
        return not self.db.execute(query, (event.event_id, *same, record.partition, record.offset)).fetchone()


async def replay(
    log: Log, wanted: Range, tables: RangeTables, per_second: float, sent: Callable[[int], object]
) -> None:
    """Send the raw records of the range again, but for replay copies, repeats and what is superseded.

    Args:
        log: The topics.
        wanted: The range that the tables were filled with.
        tables: What stands in it.
        per_second: At most so many records in a second.
        sent: Called with the number of records of each part, once Kafka has them.

    Raises:
        KafkaUnavailable: Kafka does not answer; it does no harm to begin anew.
    """

    async def copies() -> AsyncGenerator[OutRecord, None]:
        async with aclosing(_raw(log, wanted.since, Skipped())) as records:
            async for record, event in records:
                again = is_replay_copy(record.headers) or tables.was_repeat(record)
                if wanted.includes(record) and not again and tables.stands(record, event):
                    yield copy_of(record)

    await send_slowly(log, copies(), per_second, sent)


async def send_slowly(
    log: Log, records: AsyncGenerator[OutRecord, None], per_second: float, sent: Callable[[int], object]
) -> None:
    """Send records at a steady pace.

    Args:
        log: Where to.
        records: Are closed at the end.
        per_second: At most so many in a second.
        sent: Called with the number of records of each part, once Kafka has them.

    Raises:
        KafkaUnavailable: Kafka does not answer; what `sent` was called for is there.
    """
    pace = Pace(per_second)
    part: list[OutRecord] = []
    async with log.sending() as send, aclosing(records):
        async for record in records:
            part.append(record)
            delay = pace.delay()
            if len(part) == AT_ONCE or delay >= LONGEST_PART:
                await asyncio.sleep(delay)
                await send(*part)
                sent(len(part))
                part.clear()
        await send(*part)
        sent(len(part))


async def _raw(log: Log, since: datetime, skipped: Skipped) -> AsyncGenerator[tuple[Record, RawEvent], None]:
    """The raw records from a time on that are events. The others were dead-lettered and are replayed as such."""
    async with aclosing(log.read("raw", since=since)) as batches:
        async for batch in batches:
            for each in decoded(batch, lambda record: RawEvent.decode(record.value), skipped):
                yield each
