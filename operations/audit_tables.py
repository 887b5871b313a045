"""What the topics hold, as far as the audit needs it.

Memory is bounded: it goes into a temporary SQLite file, and the questions are its queries.
"""

import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Self

from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.records.checkin import Checkin
from attendance.records.dead_letter_action import Action
from attendance.records.outcomes import Delivery, Dropped, Waiting, waiting_event_id
from attendance.records.raw_event import RawEvent
from attendance.wire import Place
from operations.audit_report import NAMED, Report
from operations.dead_letters import dead_letter
from operations.deleted_rows import SCHEMA as DELETED_ROWS
from operations.in_erpnext import MISSING, ErpnextRows, Kind
from operations.in_erpnext import SCHEMA as ROWS
from operations.kept_punches import ids_kept_before
from operations.log import Log, Skipped, decoded
from operations.origin import copy_of, is_for_somebody_else, original_of, raw_copies, raw_place
from operations.users import read_user_map

_SCHEMA: Final = """
create table raw (partition, offset, event_id, device_id, primary key (partition, offset)) without rowid;
create table dropped (partition, offset, kept_event_id, primary key (partition, offset)) without rowid;
create table kept_for_nothing (event_id primary key) without rowid;
create table dead_record (partition, offset, primary key (partition, offset)) without rowid;
create table dead (event_id primary key) without rowid;
create table refused (partition, offset, what, primary key (partition, offset)) without rowid;
create table waiting (look, key, event_id, primary key (look, key)) without rowid;
create index waiting_events on waiting (event_id);
create table checkin (event_id primary key) without rowid;
create table delivered (event_id, document, employee, primary key (event_id, document)) without rowid;
create table superseded (event_id, document, primary key (event_id, document)) without rowid;
create table sent_again (event_id primary key) without rowid;
create table copy (of_partition, of_offset, partition, offset, primary key (of_partition, of_offset, partition, offset))
without rowid;
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
from raw;
"""

# A copy names the event that was kept. Where none of that id was kept, a punch was lost.
_NOTHING_KEPT: Final = """
select distinct d.kept_event_id from outcome o
join dropped d on (d.partition, d.offset) = (o.partition, o.offset)
where not exists (select 1 from delivered x where x.event_id = d.kept_event_id)
  and not exists (select 1 from dead x where x.event_id = d.kept_event_id)
  and not exists (select 1 from waiting x where x.event_id = d.kept_event_id)
  and not exists (select 1 from checkin x where x.event_id = d.kept_event_id)
"""


class AuditTables:
    """What the topics hold, as far as the audit needs it. Memory is bounded: it is a temporary SQLite file."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")  # a file of SQLite's own, gone when it is closed
        # So nothing needs to survive a crash.
        self._db.executescript(
            "pragma journal_mode = off; pragma synchronous = off;" + _SCHEMA + ";" + ROWS + DELETED_ROWS
        )
        self.rows = ErpnextRows(self._db)
        """What ERPNext holds."""
        self.skipped = Skipped()
        """Of every topic but the raw one, where also what cannot be read needs an outcome."""
        self._name_at_most = NAMED
        self._first_raw: dict[int, int] = {}  # the first offset of each partition of the raw topic

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
            self._dead_letters(batch, log.topics["raw"], device)
        async for batch in log.read("dead_letter_actions"):
            self._actions(batch)
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
        await self._look_for_nothing_kept(log, since)

    async def _look_for_nothing_kept(self, log: Log, since: datetime | None) -> None:
        """Find what was dropped as the copy of an event of which nothing is there. Only if there is any, look further.

        What was kept so long ago that no topic has it any more is on the changelog of the stream, for ever.
        """
        if since is not None:
            return
        self._db.execute(f"insert into kept_for_nothing {_NOTHING_KEPT}")
        if self._db.execute("select 1 from kept_for_nothing").fetchone():
            async for batch in log.read("dedup_state"):
                ids = ((id_,) for id_ in ids_kept_before(batch, self._first_raw))
                self._many("delete from kept_for_nothing where event_id = ?", ids)

    def _raw(self, batch: Iterable[Record], device: str | None) -> None:
        rows: list[tuple[int, int, str | None, str]] = []
        for record in batch:
            self._first_raw.setdefault(record.partition, record.offset)
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
        original = original_of(record)
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
        self.rows.add_versions(checkin for _, checkin in ours)
        again = ((checkin.event_id,) for record, checkin in ours if original_of(record))
        self._many("insert or ignore into sent_again values (?)", again)

    def _deliveries(self, batch: Iterable[Record]) -> None:
        deliveries = [d for _, d in decoded(batch, lambda record: Delivery.decode(record.value), self.skipped)]
        rows = ((d.event_id, d.document, d.employee) for d in deliveries)
        self._many("insert or replace into delivered values (?, ?, ?)", rows)
        superseded = [(d.supersedes, d.document) for d in deliveries if d.supersedes not in (None, d.event_id)]
        superseded += [(d.event_id, d.removed) for d in deliveries if d.removed is not None]
        self._many("insert or ignore into superseded values (?, ?)", superseded)

    def _dead_letters(self, batch: Iterable[Record], raw_topic: str, device: str | None) -> None:
        for record, letter in decoded(batch, dead_letter, self.skipped):
            if letter.topic == raw_topic:
                offsets = (letter.partition, letter.offset)
                self._db.execute("insert or ignore into dead_record values (?, ?)", offsets)
            elif letter.event_id is not None:
                self._db.execute("insert or ignore into dead values (?)", (letter.event_id,))
            elif letter.topic is None and device in (None, (letter.key or b"").decode(errors="replace")):
                row = (record.partition, record.offset, "unread")
                self._db.execute("insert or ignore into refused values (?, ?, ?)", row)

    def _actions(self, batch: Iterable[Record]) -> None:
        # In the order in which they were taken: the last one says what the letter is.
        for _, action in decoded(batch, lambda record: Action.decode(record.key, record.value), self.skipped):
            row = (action.action, action.letter.partition, action.letter.offset)
            self._db.execute("update refused set what = ? where (partition, offset) = (?, ?)", row)

    def report(self, *, whole: bool = True, named: int = NAMED) -> Report:
        """What the contents come to.

        Args:
            whole: Whether the topics were read from their beginning. If not, a duplicate may be one of a punch from
                before, so that its original is not looked for.
            named: How many ids of each problem are listed at most; -1 for all.
        """
        self._name_at_most = named
        # What the target lost is stored under another name when it is sent again.
        # So is what shared a document with another event, whose correction has taken it along.
        twice = (
            "select event_id from standing d where event_id not in (select event_id from sent_again) and not exists"
            " (select 1 from superseded s where s.document = d.document and s.event_id <> d.event_id)"
            " group by event_id having count(*) > 1"
        )
        if self.rows.asked:
            twice = "select distinct event_id from finding where kind = 'surplus'"
        counts = dict(self._db.execute("select what, count(*) from outcome group by what"))
        refused = dict(self._db.execute("select what, count(*) from refused group by what"))
        return Report(
            raw=sum(counts.values()),
            refused=sum(refused.values()),
            read_again=refused.get("replayed", 0),
            discarded=refused.get("discarded", 0),
            unread=self._named("select partition || ':' || offset from refused where what = 'unread'"),
            skipped=self.skipped,
            without_outcome=self._named(
                "select coalesce(event_id, partition || ':' || offset) from outcome"
                " where what in ('undelivered', 'undecided')"
            ),
            delivered_twice=self._named(twice),
            dropped_for_nothing=self._named("select event_id from kept_for_nothing") if whole else [],
            **(self._of_target() if self.rows.asked else {}),
            **counts,
        )

    def _of_target(self) -> dict[str, Any]:
        kinds: tuple[Kind, ...] = ("surplus", "of_nobody", "different", "off_shift")
        deleted = self._db.execute("select event_id, by from deleted limit ?", (self._name_at_most,))
        return {
            "missing_in_target": self._named(MISSING),
            "deleted_in_target": dict(deleted.fetchall()),
            "found": {kind: self.rows.count(kind) for kind in kinds},
            "times_compared": self.rows.times_compared,
            "deletions_known": self.rows.deletions_known,
            **{kind: self.rows.findings(kind, self._name_at_most) for kind in kinds},
        }

    def _named(self, query: str) -> list[str]:
        return [row[0] for row in self._db.execute(f"{query} limit {self._name_at_most}")]

    async def repair(self, log: Log, since: datetime | None, *, including_deleted: bool = False) -> dict[str, int]:
        """Send again what has no outcome: raw records to the stream, check-ins to the sink. Both know what they have.

        Check-ins of deliveries that the target was asked for and does not hold are among them, if it was asked. Where
        the user map says now that a check-in is for somebody else, its raw record is sent instead.

        Args:
            log: Where to read and send.
            since: As it was for `fill`.
            including_deleted: Whether also what somebody deleted in ERPNext, or may have deleted there.

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
        if including_deleted or (self.rows.asked and self.rows.deletions_known):
            self._db.execute(f"insert into lost_checkin {MISSING}")
        if not including_deleted:
            self._db.execute("delete from lost_checkin where event_id in (select event_id from deleted)")

        def lost_record(record: Record) -> bool:
            query = "select 1 from lost_record where partition = ? and offset = ?"
            return bool(self._db.execute(query, (record.partition, record.offset)).fetchone())

        def lost_checkin(record: Record) -> bool:
            query = "select 1 from lost_checkin where event_id = ?"
            found = decoded([record], _checkin, Skipped())
            return any(self._db.execute(query, (checkin.event_id,)).fetchone() for _, checkin in found)

        raw, checkins = log.topics["raw"], log.topics["checkins"]
        sent = {raw: 0, checkins: 0}
        users = await read_user_map(log, Skipped())
        begin_at_raw: set[Place] = set()
        async with log.sending() as send:
            async for batch in log.read("raw", since=since):
                copies = [copy_of(record) for record in batch if lost_record(record)]
                await send(*copies)
                sent[raw] += len(copies)
            async for batch in log.read("checkins", since=since):
                copies = []
                for record in filter(lost_checkin, batch):
                    place = raw_place(record.headers)
                    if place is not None and is_for_somebody_else(_checkin(record), users):
                        begin_at_raw.add(place)
                    else:
                        copies.append(copy_of(record))
                await send(*copies)
                sent[checkins] += len(copies)
            anew = await raw_copies(log, begin_at_raw)
            await send(*anew.values())
            sent[raw] += len(anew)
        return sent

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._db.executemany(statement, rows)


def _checkin(record: Record) -> Checkin:
    return Checkin.decode(record.value)
