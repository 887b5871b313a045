"""Replays: raw records once more through the stream, and what ERPNext holds that would now be different.

A replay changes nothing that is right: the stream emits the outcome of a punch that it kept again, and ERPNext has it
already. Only a correction replaces documents: it is a raw event that names the one whose place it takes.

Memory is bounded: the events of the range go into a temporary SQLite file, and so do the differences.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from msgspec.structs import replace

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import ConfigurationError, InvalidRecord, Reason
from attendance.kafka.groups import until_through
from attendance.kafka.producer import Producer
from attendance.kafka.readers import read
from attendance.kafka.records import OutRecord, Record
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Dropped
from attendance.records.raw_event import RawEvent, is_replay_copy
from attendance.registry import Device
from attendance.settings import KafkaSettings
from attendance.times import read_device_time
from attendance.user_map import UserMap
from operations.audit import copy_of
from operations.pace import Pace
from sinks.targets.erpnext import StoredPunch, to_document
from streams.mapping import assign

LOOK_UP: Final = 500
AT_ONCE: Final = 100  # records that wait for one acknowledgement
LONGEST_PART: Final = 1.0  # seconds until records are sent that wait for others

_SCHEMA: Final = """
create table event (event_id primary key, partition, offset, value) without rowid;
create table superseded (event_id, document, partition, offset, primary key (event_id, document)) without rowid;
create table repeat (partition, offset, primary key (partition, offset)) without rowid;
create table checkin (event_id, value, primary key (event_id, value)) without rowid;
create table difference (
    event_id primary key, document, attendance, edited, held_employee, held_time, held_log_type,
    employee, time, log_type, event, event_time, moved, corrected_id
) without rowid;
create index corrected on difference (corrected_id);
-- What cannot move, and what would move to where such a one stands.
create view blocked as with recursive stays(event_id) as (
    select event_id from difference where attendance is not null or edited
    union select d.event_id from difference d join stays on d.corrected_id = stays.event_id
) select event_id from stays;
create view correctable as select * from difference where event_id not in (select event_id from blocked);
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


@dataclass(frozen=True, slots=True)
class Difference:
    """A document that would be another by the present user map and registry.

    `attendance` is the Attendance that was made from it, if one was. `edited`: somebody changed it in ERPNext, because
    no check-in of that event ever had this content. Such documents are not replaced.
    """

    event_id: str
    document: str
    attendance: str | None
    edited: bool
    held: StoredPunch
    wanted: StoredPunch

    @property
    def days(self) -> set[tuple[str, str]]:
        """The attendance days that it touches: employee and date, of what is there and of what would be."""
        return {(each.employee, each.time[:10]) for each in (self.held, self.wanted)}


class Plan:
    """The events of a range that stand, and how ERPNext differs from them."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path)
        # The file is thrown away afterwards, so nothing needs to survive a crash.
        self._db.executescript("pragma journal_mode = off; pragma synchronous = off;" + _SCHEMA)
        self.records = 0
        """Raw records that a replay would send."""
        self.unassigned = 0
        """Events in ERPNext whose device user has no employee who may check in now."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    async def fill(self, kafka: KafkaSettings, wanted: Range) -> None:
        """Read the raw topic from the begin of the range to its end: a correction may be younger than the range.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        async with aclosing(read(kafka, kafka.topics["dropped"], _client(kafka), wanted.since)) as batches:
            async for batch in batches:
                dropped = (Dropped.decode(record.value) for record in batch)
                rows = ((each.partition, each.offset) for each in dropped if each.reason is Reason.REPEAT)
                self._db.executemany("insert or ignore into repeat values (?, ?)", rows)
        async with aclosing(read(kafka, kafka.topics["checkins"], _client(kafka), wanted.since)) as batches:
            async for batch in batches:
                for record in batch:
                    self._add_checkin(record.value)
        async with aclosing(_raw(kafka, wanted.since)) as records:
            async for record, event in records:
                if event.supersedes not in (None, event.event_id) and not is_replay_copy(record.headers):
                    correction = (event.supersedes, event.superseded_document or "", record.partition, record.offset)
                    self._db.execute("insert or replace into superseded values (?, ?, ?, ?)", correction)
                if wanted.includes(record):
                    row = (event.event_id, record.partition, record.offset, record.value)
                    self._db.execute("insert or replace into event values (?, ?, ?, ?)", row)
                    self.records += not (is_replay_copy(record.headers) or self.was_repeat(record))
                else:
                    # The id of a wrong time may have become that of another punch since.
                    self._db.execute("update event set value = ? where event_id = ?", (record.value, event.event_id))

    def _add_checkin(self, value: bytes | None) -> None:
        try:
            row = (Checkin.decode(value).event_id, value)
        except InvalidRecord:
            return  # never delivered
        self._db.execute("insert or ignore into checkin values (?, ?)", row)

    def _is_edited(self, event: RawEvent, held: StoredPunch, site_zone: str) -> bool:
        rows = self._db.execute("select value from checkin where event_id = ?", (event.event_id,))
        ours = [StoredPunch.of(to_document(Checkin.decode(value), site_zone, event_id=True)) for (value,) in rows]
        return bool(ours) and held not in ours

    def was_repeat(self, record: Record) -> bool:
        """Whether the record was dropped as the repeat of another punch.

        Beyond the horizon nobody remembers that other one, so the repeat would be taken for a punch of its own.
        """
        query = "select 1 from repeat where (partition, offset) = (?, ?)"
        return self._db.execute(query, (record.partition, record.offset)).fetchone() is not None

    def stands(self, record: Record, event: RawEvent) -> bool:
        """Whether nothing later on the topic supersedes this record, or corrects again what it was to correct."""
        query = (
            "select 1 from superseded where (event_id = ? or (event_id, document) = (?, ?))"
            " and partition = ? and offset > ?"
        )
        same = (event.supersedes, event.superseded_document or "")
        return not self._db.execute(query, (event.event_id, *same, record.partition, record.offset)).fetchone()

    def compare(self, client: ErpnextClient, users: UserMap, device: Callable[[str], Device | None]) -> None:
        """Look for the documents of the events, and keep the differences. Raises what `ErpnextClient.call` raises.

        What waits, was dropped or was dead-lettered has no document, and no difference. What is
        superseded has none either, unless its correction did not get through; then it is as different as it was.

        Raises:
            ConfigurationError: the site's documents have no `event_id` to find them by.
        """
        if not client.has_event_id_field():
            raise ConfigurationError("Employee Checkin has no field event_id; `punchstream erpnext setup` makes it")
        site_zone = client.time_zone()
        cursor = self._db.execute("select event_id, value from event")
        while events := dict(cursor.fetchmany(LOOK_UP)):
            fields = ["name", EVENT_ID_FIELD, "employee", "time", "log_type", "attendance"]
            for row in client.get_list(CHECKIN, fields, [(EVENT_ID_FIELD, "in", list(events))]):
                event = RawEvent.decode(events[row[EVENT_ID_FIELD]])
                self._compare_one(event, row, users, device(event.device_id), site_zone)

    def _compare_one(
        self, event: RawEvent, row: Document, users: UserMap, device: Device | None, site_zone: str
    ) -> None:
        corrected = reread(event, device)
        assert event.event_time is not None
        assert corrected.event_time is not None
        outcome = assign(corrected, users, device)
        if not isinstance(outcome, Checkin):
            self.unassigned += 1
            return
        held, wanted = StoredPunch.of(row), StoredPunch.of(to_document(outcome, site_zone, event_id=True))
        if held == wanted:
            return
        correction = replace(corrected, supersedes=event.event_id, superseded_document=row["name"])
        moved = (corrected.event_time - event.event_time).total_seconds()
        self._db.execute(
            "insert or replace into difference values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(event.event_id, row["name"], row["attendance"] or None, self._is_edited(event, held, site_zone)),
                *(held.employee, held.time, held.log_type),
                *(wanted.employee, wanted.time, wanted.log_type),
                *(correction.encode(), event.event_time.timestamp(), moved, correction.event_id),
            ),
        )

    @property
    def different(self) -> int:
        """How many documents would be different."""
        return self._count("select count(*) from difference")

    @property
    def correctable(self) -> int:
        """How many of them can be replaced."""
        return self._count("select count(*) from correctable")

    def _count(self, query: str) -> int:
        count: int = self._db.execute(query).fetchone()[0]
        return count

    def differences(self) -> Iterator[Difference]:
        """The differences, by document."""
        query = (
            "select event_id, document, attendance, edited, held_employee, held_time, held_log_type,"
            " employee, time, log_type from difference order by document"
        )
        for event_id, document, attendance, edited, *rest in self._db.execute(query):
            held, wanted = StoredPunch(*rest[:3]), StoredPunch(*rest[3:])
            yield Difference(event_id, document, attendance, bool(edited), held, wanted)

    def days(self) -> list[tuple[str, str]]:
        """The attendance days that the differences touch, each once."""
        query = (
            "select held_employee, substr(held_time, 1, 10) from difference"
            " union select employee, substr(time, 1, 10) from difference order by 1, 2"
        )
        return list(self._db.execute(query))

    def corrections(self) -> Iterator[RawEvent]:
        """An event for each difference that can be corrected.

        Times that move forward come newest first, the others oldest first: so none moves to where one stands that is
        still to move away.
        """
        query = (
            "select event from correctable order by moved > 0, case when moved > 0 then -event_time else event_time end"
        )
        for (value,) in self._db.execute(query):
            yield RawEvent.decode(value)


def reread(event: RawEvent, device: Device | None) -> RawEvent:
    """The event as it would be with the device's present zone.

    The time changes only where it can be seen to come from the device's own text and the zone of then.
    """
    if device is None or device.timezone == event.device_timezone or event.device_time is None:
        return event
    if read_device_time(event.device_time, event.device_timezone) != event.event_time:
        return event
    event_time = read_device_time(event.device_time, device.timezone)
    return replace(event, event_time=event_time, device_timezone=device.timezone)


async def replay(
    kafka: KafkaSettings, wanted: Range, plan: Plan, per_second: float, sent: Callable[[int], None]
) -> None:
    """Send the raw records of the range again, but for replays, repeats and what is superseded.

    `sent` is told of each part.

    Raises:
        KafkaUnavailable: Kafka does not answer; it does no harm to begin anew.
    """

    async def copies() -> AsyncGenerator[OutRecord, None]:
        async with aclosing(_raw(kafka, wanted.since)) as records:
            async for record, event in records:
                again = is_replay_copy(record.headers) or plan.was_repeat(record)
                if wanted.includes(record) and not again and plan.stands(record, event):
                    yield copy_of(record)

    await _send(kafka, copies(), per_second, sent)


async def correct(kafka: KafkaSettings, plan: Plan, per_second: float, sent: Callable[[int], None]) -> None:
    """Send an event for each difference that can be corrected. `sent` is told of each part.

    First wait until the sink has committed the check-ins that are there: one that is in ERPNext and not committed may
    come again, and find nothing of itself any more.

    Raises:
        KafkaUnavailable: Kafka does not answer; it does no harm to begin anew.
    """

    async def corrections() -> AsyncGenerator[OutRecord, None]:
        for event in plan.corrections():
            yield OutRecord(kafka.topics["raw"], *event.record())

    await until_through(kafka, kafka.topics["checkins"], kafka.group("sink"), _client(kafka))
    await _send(kafka, corrections(), per_second, sent)


async def _send(
    kafka: KafkaSettings, records: AsyncGenerator[OutRecord, None], per_second: float, sent: Callable[[int], None]
) -> None:
    pace = Pace(per_second)
    producer = Producer(kafka, _client(kafka))
    part: list[OutRecord] = []
    try:
        async with aclosing(records):
            async for record in records:
                part.append(record)
                delay = pace.delay()
                if len(part) == AT_ONCE or delay >= LONGEST_PART:
                    await asyncio.sleep(delay)
                    await producer.send(*part)
                    sent(len(part))
                    part.clear()
            await producer.send(*part)
            sent(len(part))
    finally:
        await producer.stop()


async def _raw(kafka: KafkaSettings, since: datetime) -> AsyncGenerator[tuple[Record, RawEvent], None]:
    """The raw records from a time on that are events. The others were dead-lettered and are replayed as such."""
    async with aclosing(read(kafka, kafka.topics["raw"], _client(kafka), since)) as batches:
        async for batch in batches:
            for record in batch:
                try:
                    event = RawEvent.decode(record.value)
                except InvalidRecord:
                    continue
                yield record, event


def _client(kafka: KafkaSettings) -> str:
    return kafka.client_id("replay")
