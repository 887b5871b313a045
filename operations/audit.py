"""The audit: every raw record and its outcome, and whether ERPNext holds what was delivered.

Memory is bounded: what the topics say goes into a temporary SQLite file, and the questions are its queries.
"""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Final, Self

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, ErpnextClient
from attendance.errors import InvalidRecord
from attendance.kafka.records import OutRecord, Record
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Delivery, Dropped, Waiting, waiting_event_id
from attendance.records.raw_event import REPLAY_OF, RawEvent
from attendance.settings import ErpnextSettings
from attendance.topics import Name
from attendance.wire import position
from operations.dead_letters import dead_letter
from operations.log import Log, Skipped, decoded

NAMED: Final = 20  # so many ids of each problem are listed
LOOK_UP: Final = 500

_SCHEMA: Final = """
create table raw (partition, offset, event_id, device_id, primary key (partition, offset)) without rowid;
create table dropped (partition, offset, kept_event_id, primary key (partition, offset)) without rowid;
create table dead_record (partition, offset, primary key (partition, offset)) without rowid;
create table dead (event_id primary key) without rowid;
create table waiting (look, key, event_id, primary key (look, key)) without rowid;
create index waiting_events on waiting (event_id);
create table checkin (event_id primary key) without rowid;
create table delivered (event_id, document, primary key (event_id, document)) without rowid;
create table superseded (event_id, document, primary key (event_id, document)) without rowid;
create table sent_again (event_id primary key) without rowid;
create table copy (of_partition, of_offset, partition, offset, primary key (of_partition, of_offset, partition, offset))
without rowid;
create table in_target (event_id primary key) without rowid;
create table document_in_target (event_id, document, primary key (event_id, document)) without rowid;
-- What a correction has left of the deliveries. It took over the document, or removed another one.
create view standing as
select * from delivered d where not exists (
    select 1 from superseded s where s.event_id = d.event_id and (s.document = d.document or not exists (
        select 1 from delivered x where (x.event_id, x.document) = (s.event_id, s.document)
    ))
);
create view outcome as
select raw.*, case
    when exists (select 1 from dropped d where (d.partition, d.offset) = (raw.partition, raw.offset)) then 'dropped'
    when exists (select 1 from delivered d where d.event_id = raw.event_id) then 'delivered'
    when exists (select 1 from dead_record d where (d.partition, d.offset) = (raw.partition, raw.offset))
      then 'dead_lettered'
    when exists (select 1 from waiting w where w.event_id = raw.event_id) then 'waiting'
    when exists (select 1 from dead d where d.event_id = raw.event_id) then 'dead_lettered'
    when exists (select 1 from copy c join dropped d on (d.partition, d.offset) = (c.partition, c.offset)
        where (c.of_partition, c.of_offset) = (raw.partition, raw.offset)) then 'dropped'
    when exists (select 1 from copy c join dead_record d on (d.partition, d.offset) = (c.partition, c.offset)
        where (c.of_partition, c.of_offset) = (raw.partition, raw.offset)) then 'dead_lettered'
    when exists (select 1 from checkin c where c.event_id = raw.event_id) then 'undelivered'
    else 'undecided' end as what
from raw
"""


_MISSING: Final = "select distinct event_id from standing where event_id not in (select event_id from in_target)"


@dataclass(frozen=True, slots=True)
class Report:
    """What the audit found, counted in raw records.

    `raw` = `delivered` + `dropped` + `waiting` + `dead_lettered` + `undelivered` + `undecided`; the last two have no
    outcome yet. `refused` counts dead letters of what never became a raw event. The lists name the first few
    `event_id`s, or all, or `partition:offset` where a record has none. `sent_again` counts, by topic, the records that
    were to repair this; what became of them is not in this report. `skipped` are the records that nobody can read.
    """

    raw: int = 0
    delivered: int = 0
    dropped: int = 0
    waiting: int = 0
    dead_lettered: int = 0
    undelivered: int = 0
    undecided: int = 0
    refused: int = 0
    without_outcome: list[str] = field(default_factory=list)
    delivered_twice: list[str] = field(default_factory=list)
    dropped_for_nothing: list[str] = field(default_factory=list)
    missing_in_target: list[str] | None = None
    sent_again: dict[str, int] | None = None
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def balanced(self) -> bool:
        """Every raw record has its one outcome, and the target, where it was asked, holds what was delivered."""
        problems = (self.without_outcome, self.delivered_twice, self.dropped_for_nothing, self.missing_in_target)
        return not any(problems)

    def to_json(self) -> dict[str, object]:
        """The report for programs."""
        return asdict(self) | {"skipped": self.skipped.counts, "balanced": self.balanced}


class AuditTables:
    """What the topics hold, as far as the audit needs it. Memory is bounded: it is a temporary SQLite file."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")  # a file of SQLite's own, gone when it is closed
        # So nothing needs to survive a crash.
        self._db.executescript("pragma journal_mode = off; pragma synchronous = off;" + _SCHEMA)
        self.skipped = Skipped()
        """Of every topic but the raw one, where also what cannot be read needs an outcome."""
        self._refused = 0
        self._target_was_asked = False
        self._name_at_most = NAMED

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    async def fill(self, log: Log, since: datetime | None, device: str | None) -> None:
        """Read the topics. Raw first: an outcome is younger than its event, so none is missed.

        Args:
            log: Where to read.
            since: Only records of that time on. What waits is read from the beginning.
            device: Only what a raw record or a check-in shows to be that device's; None for all.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        async for batch in log.read("raw", since=since):
            self._raw(batch, device)
        async for batch in log.read("dropped", since=since):
            dropped = decoded(batch, lambda record: Dropped.decode(record.value), self.skipped)
            rows = ((each.partition, each.offset, each.kept_event_id) for _, each in dropped)
            self._many("insert or ignore into dropped values (?, ?, ?)", rows)
        # Compacted: a punch may wait since before `since`, and a later record of its key takes it off again.
        async for batch in log.read("unmapped"):
            self._waiting(batch, 1, self.skipped)
        async for batch in log.read("checkins", since=since):
            self._checkins(batch, device)
        async for batch in log.read("dead_letters", since=since):
            self._dead_letters(batch, log.topics["raw"])
        async for batch in log.read("deliveries", since=since):
            self._deliveries(batch)
        # Meanwhile the sink may have sent a check-in back. What waited at either time has its outcome.
        async for batch in log.read("unmapped"):
            self._waiting(batch, 2, Skipped())
        if device is not None:
            # A delivery does not name its device.
            self._db.execute(
                "delete from delivered where event_id not in (select event_id from checkin)"
                " and event_id not in (select event_id from raw where event_id is not null)"
            )

    def _raw(self, batch: Iterable[Record], device: str | None) -> None:
        rows: list[tuple[int, int, str | None, str]] = []
        for record in batch:
            row: tuple[int, int, str | None, str]
            try:
                event = RawEvent.decode(record.value)
                row = (record.partition, record.offset, event.event_id, event.device_id)
            except InvalidRecord:  # it needs an outcome as any other
                row = (record.partition, record.offset, None, (record.key or b"").decode(errors="replace"))
            if device is None or row[3] == device:
                rows.append(row)
                self._note_copy(record, row[2])
        self._many("insert into raw values (?, ?, ?, ?)", rows)

    def _note_copy(self, record: Record, event_id: str | None) -> None:
        original = _original(record)
        if original is not None:
            offsets = (*original, record.partition, record.offset)
            self._db.execute("insert or ignore into copy values (?, ?, ?, ?)", offsets)
            self._db.execute("insert or ignore into sent_again values (?)", (event_id,))

    def _waiting(self, batch: Iterable[Record], look: int, skipped: Skipped) -> None:
        # As the stream does: whatever comes under a key takes the place of what waited under it.
        for record in batch:
            key = record.key or b""
            self._db.execute("delete from waiting where (look, key) = (?, ?)", (look, key))
            if record.value is not None:
                for _ in decoded([record], lambda record: Waiting.decode(record.value), skipped):
                    self._db.execute("insert into waiting values (?, ?, ?)", (look, key, waiting_event_id(key)))

    def _checkins(self, batch: Iterable[Record], device: str | None) -> None:
        found = decoded(batch, _checkin, self.skipped)
        ours = [(record, checkin) for record, checkin in found if device in (None, checkin.device_id)]
        self._many("insert or ignore into checkin values (?)", ((checkin.event_id,) for _, checkin in ours))
        again = ((checkin.event_id,) for record, checkin in ours if _original(record))
        self._many("insert or ignore into sent_again values (?)", again)

    def _deliveries(self, batch: Iterable[Record]) -> None:
        deliveries = [d for _, d in decoded(batch, lambda record: Delivery.decode(record.value), self.skipped)]
        self._many("insert or ignore into delivered values (?, ?)", ((d.event_id, d.document) for d in deliveries))
        superseded = ((d.supersedes, d.document) for d in deliveries if d.supersedes not in (None, d.event_id))
        self._many("insert or ignore into superseded values (?, ?)", superseded)

    def _dead_letters(self, batch: Iterable[Record], raw_topic: str) -> None:
        for _, letter in decoded(batch, dead_letter, self.skipped):
            if letter.topic == raw_topic:
                offsets = (letter.partition, letter.offset)
                self._db.execute("insert or ignore into dead_record values (?, ?)", offsets)
            elif letter.event_id is not None:
                self._db.execute("insert or ignore into dead values (?)", (letter.event_id,))
            elif letter.topic is None:
                self._refused += 1

    def look_up(self, client: ErpnextClient) -> None:
        """Ask ERPNext which of the delivered events it holds. Raises what `ErpnextClient.call` raises."""
        self._target_was_asked = True
        cursor = self._db.execute(
            "select event_id, document from standing where event_id in"
            " (select event_id from standing group by event_id having count(*) > 1)"
        )
        while pairs := cursor.fetchmany(LOOK_UP):
            rows = client.get_list(CHECKIN, ["name", EVENT_ID_FIELD], [("name", "in", [name for _, name in pairs])])
            holders = {row["name"]: row[EVENT_ID_FIELD] for row in rows}
            # ERPNext gives the name of a deleted check-in again: it may be another event's by now.
            own = ((event_id, name) for event_id, name in pairs if holders.get(name, "") in {event_id, None})
            self._many("insert or ignore into document_in_target values (?, ?)", own)
        cursor = self._db.execute("select event_id, document from standing")
        while batch := dict(cursor.fetchmany(LOOK_UP)):
            rows = client.get_list(CHECKIN, [EVENT_ID_FIELD], [(EVENT_ID_FIELD, "in", list(batch))])
            found = {row[EVENT_ID_FIELD] for row in rows}
            # A check-in that was there before us has no event_id, or that of another punch of the same second.
            others = {document: event_id for event_id, document in batch.items() if event_id not in found}
            if others:
                rows = client.get_list(CHECKIN, ["name"], [("name", "in", list(others))])
                found |= {others[row["name"]] for row in rows}
            self._many("insert or ignore into in_target values (?)", ((event_id,) for event_id in found))

    def report(self, *, whole: bool = True, named: int = NAMED) -> Report:
        """What the contents come to.

        Args:
            whole: Whether the topics were read from their beginning. If not, a duplicate may be one of a punch from
                before, so that its original is not looked for.
            named: How many ids of each problem are listed at most; -1 for all.
        """
        self._name_at_most = named
        # What the target lost is stored under another name when it is sent again.
        not_again = "select event_id from standing where event_id not in (select event_id from sent_again)"
        there = "select event_id from standing where (event_id, document) in (select * from document_in_target)"
        twice = f"{there if self._target_was_asked else not_again} group by event_id having count(*) > 1"
        counts = dict(self._db.execute("select what, count(*) from outcome group by what"))
        # A copy names the event that was kept. Where none of that id was kept, a punch was lost.
        nothing_kept = """
            select distinct d.kept_event_id from outcome o
            join dropped d on (d.partition, d.offset) = (o.partition, o.offset)
            where not exists (select 1 from delivered x where x.event_id = d.kept_event_id)
              and not exists (select 1 from dead x where x.event_id = d.kept_event_id)
              and not exists (select 1 from waiting x where x.event_id = d.kept_event_id)
              and not exists (select 1 from checkin x where x.event_id = d.kept_event_id)"""
        return Report(
            raw=sum(counts.values()),
            refused=self._refused,
            skipped=self.skipped,
            without_outcome=self._named(
                "select coalesce(event_id, partition || ':' || offset) from outcome"
                " where what in ('undelivered', 'undecided')"
            ),
            delivered_twice=self._named(twice),
            dropped_for_nothing=self._named(nothing_kept) if whole else [],
            missing_in_target=self._named(_MISSING) if self._target_was_asked else None,
            **counts,
        )

    def _named(self, query: str) -> list[str]:
        return [row[0] for row in self._db.execute(f"{query} limit {self._name_at_most}")]

    async def repair(self, log: Log, since: datetime | None) -> dict[str, int]:
        """Send again what has no outcome: raw records to the stream, check-ins to the sink. Both know what they have.

        Check-ins of deliveries that the target was asked for and does not hold are among them, if it was asked.

        Args:
            log: Where to read and send.
            since: As it was for `fill`.

        Returns:
            How many records went to each topic.

        Raises:
            KafkaUnavailable: Kafka does not answer; some may have been sent, and may be again.
        """
        self._db.executescript(
            "create table lost_record as select partition, offset from outcome where what = 'undecided';"
            "create index lost_records on lost_record (partition, offset);"
            "create table lost_checkin as select event_id from outcome where what = 'undelivered';"
            "create index lost_checkins on lost_checkin (event_id);"
        )
        if self._target_was_asked:
            self._db.execute(f"insert into lost_checkin {_MISSING}")

        def lost_record(record: Record) -> bool:
            query = "select 1 from lost_record where partition = ? and offset = ?"
            return bool(self._db.execute(query, (record.partition, record.offset)).fetchone())

        def lost_checkin(record: Record) -> bool:
            query = "select 1 from lost_checkin where event_id = ?"
            found = decoded([record], _checkin, Skipped())
            return any(self._db.execute(query, (checkin.event_id,)).fetchone() for _, checkin in found)

        sent: dict[str, int] = {}
        lost: tuple[tuple[Name, Callable[[Record], bool]], ...] = (("raw", lost_record), ("checkins", lost_checkin))
        async with log.sending() as send:
            for topic, is_lost in lost:
                sent[log.topics[topic]] = 0
                async for batch in log.read(topic, since=since):
                    copies = [copy_of(record) for record in batch if is_lost(record)]
                    await send(*copies)
                    sent[log.topics[topic]] += len(copies)
        return sent

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._db.executemany(statement, rows)


def copy_of(record: Record) -> OutRecord:
    """A record for the topic that it stands on, which names the one that it is a copy of."""
    partition, offset = _original(record) or (record.partition, record.offset)
    headers = [(name, data) for name, data in record.headers if name != REPLAY_OF]
    return OutRecord(record.topic, record.key, record.value, [*headers, (REPLAY_OF, f"{partition}:{offset}".encode())])


def _original(record: Record) -> tuple[int, int] | None:
    """Partition and offset of the record that this one is a copy of, if it is one."""
    return position(record.headers, REPLAY_OF)


def _checkin(record: Record) -> Checkin:
    return Checkin.decode(record.value)


async def audit(
    log: Log,
    *,
    since: datetime | None = None,
    device: str | None = None,
    erpnext: ErpnextSettings | None = None,
    repair: bool = False,
    named: int = NAMED,
) -> Report:
    """Compare the raw topic with its outcomes and, where `erpnext` is given, the deliveries with ERPNext.

    Args:
        log: The topics.
        since: Only punches that arrived since then; None for all that are there.
        device: Only this device's punches; None for all.
        erpnext: The site that is asked for what was delivered; None asks none.
        repair: Whether to send again what is missing.
        named: How many ids of each problem are listed at most; -1 for all.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
        TargetUnavailable: ERPNext does not answer.
        AccessDenied: ERPNext does not let us look.
    """
    with AuditTables() as tables:
        await tables.fill(log, since, device)
        if erpnext is not None:
            with closing(ErpnextClient(erpnext)) as client:
                tables.look_up(client)
        report = tables.report(whole=since is None, named=named)
        return replace(report, sent_again=await tables.repair(log, since)) if repair else report
