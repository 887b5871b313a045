"""What the topics hold, as far as the audit needs it.

Memory is bounded: it goes into a temporary SQLite file, and the questions are its queries.
"""

import sqlite3
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Self

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import Record
from attendance.records.checkin import Checkin
from attendance.records.dead_letter_action import Action
from attendance.records.discard import DiscardedWaiting, is_discard_key
from attendance.records.outcomes import Delivery, Dropped, Waiting, waiting_event_id
from attendance.records.raw_event import RawEvent
from attendance.topics import Name
from attendance.wire import Place
from operations.audit_accounts import Accounts, Range
from operations.audit_report import NAMED, Report
from operations.audit_schema import FOR_EVER, NO_OUTCOME, NOTHING_KEPT, OLDER, OUTCOMES, SCHEMA, WITHOUT_HOLES
from operations.audit_topics import TopicsLook
from operations.dead_letters import BORN_DISCARDED, dead_letter
from operations.deleted_rows import SCHEMA as DELETED_ROWS
from operations.in_erpnext import MISSING, ErpnextRows, Kind
from operations.in_erpnext import SCHEMA as ROWS
from operations.kept_punches import ids_kept_before
from operations.log import Log, Skipped, decoded
from operations.origin import copy_of, is_for_somebody_else, original_of, raw_copies, raw_place
from operations.users import read_user_map


class AuditTables:
    """What the topics hold, as far as the audit needs it. Memory is bounded: it is a temporary SQLite file."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")  # a file of SQLite's own, gone when it is closed
        # So nothing needs to survive a crash.
        self._db.executescript(
            "pragma journal_mode = off; pragma synchronous = off;" + SCHEMA + ";" + ROWS + DELETED_ROWS
        )
        self.rows = ErpnextRows(self._db)
        """What ERPNext holds."""
        self.skipped = Skipped()
        """Of every topic but the raw one, where also what cannot be read needs an outcome."""
        self._name_at_most = NAMED
        self._first_raw: dict[int, int] = {}  # the first offset of each partition of the raw topic
        self._look = TopicsLook()
        self._moves = NOTHING_MOVED
        self._adopted_at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    async def fill(
        self,
        log: Log,
        since: datetime | None,
        device: str | None,
        look: TopicsLook | None = None,
        accounts: Accounts | None = None,
    ) -> None:
        """Read the topics. Raw first: an outcome is younger than its event, so none is missed.

        Args:
            log: Where to read.
            since: Only records of that time on. What waits is read from the beginning.
            device: Only what a raw record or a check-in shows to be that device's; None for all.
            look: What there was before anything was read; None where nobody looked.
            accounts: What was accounted for before.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        self._look = look or TopicsLook()
        accounts = accounts or Accounts()
        self._moves = accounts.moves
        self._adopted_at = max((round(each.at.timestamp() * 1000) for _, each in accounts.adoptions), default=0)
        self._note_accounted()
        async for batch in self._read(log, "raw", since):
            self._raw(batch, device)
        async for batch in self._read(log, "dropped", since):
            self._dropped(batch, log.topics["raw"])
        # Compacted: a punch may wait since before `since`, and a later record of its key takes it off again.
        async for batch in log.read("unmapped"):
            self._waiting(batch, 1, self.skipped)
        async for batch in self._read(log, "checkins", since):
            self._checkins(batch, device)
        async for batch in self._read(log, "dead_letters", since):
            self._dead_letters(batch, log.topics["raw"], device)
        async for batch in log.read("dead_letter_actions"):
            self._actions(batch, log.topics["dead_letters"])
        async for batch in self._read(log, "deliveries", since):
            self._deliveries(batch)
        # Meanwhile the sink may have sent a check-in back. What waited at either time has its outcome.
        async for batch in log.read("unmapped"):
            self._waiting(batch, 2, Skipped())
        await self._look.end(log, self._holes() if since is None else {})
        if device is not None:
            self._forget_other_deliveries()
        await self._look_for_nothing_kept(log, since)

    async def _look_for_nothing_kept(self, log: Log, since: datetime | None) -> None:
        """Find what was dropped as the copy of an event of which nothing is there. Only if there is any, look further.

        What was kept so long ago that no topic has it any more is on the changelog of the stream, for ever.
        """
        if since is not None:
            return
        self._db.execute(f"insert into kept_for_nothing {NOTHING_KEPT}")
        if self._db.execute("select 1 from kept_for_nothing").fetchone():
            async for batch in log.read("dedup_state"):
                ids = ((id_,) for id_ in ids_kept_before(batch, self._first_raw, log.topics["raw"], self._moves))
                self._many("delete from kept_for_nothing where event_id = ?", ids)

    def _forget_other_deliveries(self) -> None:
        # A delivery does not name its device.
        self._db.execute(
            "delete from delivered where event_id not in (select event_id from checkin)"
            " and event_id not in (select event_id from raw where event_id is not null)"
        )

    def _note_accounted(self) -> None:
        for (name, partition), facts in self._look.partitions.items():
            if facts.audit is not None and not facts.is_anew:
                self._db.execute("insert into accounted values (?, ?, ?)", (name, partition, facts.audit.through))
            if name == "checkins":
                # The sink commits what has an outcome, and nothing behind what has none.
                through = max(facts.committed or 0, facts.stage.through if facts.stage else 0)
                self._db.execute("insert into delivered_by_sink values (?, ?)", (partition, through))

    async def _read(self, log: Log, name: Name, since: datetime | None) -> AsyncGenerator[Sequence[Record], None]:
        """Every record of a topic. Offsets at which none is are noted, and from when on outcomes are there."""
        mine = {number: facts for (of, number), facts in self._look.partitions.items() if of == name}
        at = {number: facts.first for number, facts in mine.items()}
        began: dict[int, int] = {}
        async with aclosing(log.read(name, since=since)) as batches:
            async for batch in batches:
                for record in batch:
                    expected = at.get(record.partition, record.offset)
                    if record.offset > expected:
                        self._many(
                            "insert into hole values (?, ?, ?, ?)", [(name, record.partition, expected, record.offset)]
                        )
                    at[record.partition] = record.offset + 1
                    began.setdefault(record.partition, record.timestamp)
                yield batch
        for number, facts in mine.items():
            if at[number] < facts.end:
                self._many("insert into hole values (?, ?, ?, ?)", [(name, number, at[number], facts.end)])
            if name in OUTCOMES and facts.first and since is None:
                # Where nothing is left, nobody knows until when there was something.
                self._many("insert into gone values (?, ?)", [(name, began.get(number, FOR_EVER))])

    def _holes(self) -> dict[tuple[Name, int], list[Range]]:
        found: dict[tuple[Name, int], list[Range]] = {}
        for name, partition, first, through in self._db.execute("select * from hole order by first"):
            if name in WITHOUT_HOLES:
                found.setdefault((name, partition), []).append((first, through))
        return found

    def _raw(self, batch: Iterable[Record], device: str | None) -> None:
        rows: list[tuple[int, int, str | None, str, int]] = []
        for record in batch:
            self._first_raw.setdefault(record.partition, record.offset)
            row: tuple[int, int, str | None, str, int]
            try:
                event = RawEvent.decode(record.value)
                row = (record.partition, record.offset, event.event_id, event.device_id, record.timestamp)
                if event.given_time is not None:
                    self._many("insert or ignore into moved values (?)", [(event.supersedes,)])
            except InvalidRecord:  # it needs an outcome as any other
                key = (record.key or b"").decode(errors="replace")
                row = (record.partition, record.offset, None, key, record.timestamp)
            if device is None or row[3] == device:
                rows.append(row)
                self._note_copy(record, row[2])
        self._many("insert into raw values (?, ?, ?, ?, ?)", rows)

    def _note_copy(self, record: Record, event_id: str | None) -> None:
        original = original_of(record)
        if original is not None:
            now = self._moves.now(record.topic, original, record)
            if now is not None:
                row = (*now, record.partition, record.offset)
                self._db.execute("insert or ignore into copy values (?, ?, ?, ?)", row)
            self._db.execute("insert or ignore into sent_again values (?)", (event_id,))

    def _dropped(self, batch: Iterable[Record], raw_topic: str) -> None:
        dropped = [*decoded(batch, lambda record: Dropped.decode(record.value), self.skipped)]
        erased = ((each.event_id,) for _, each in dropped if each.reason is Reason.ERASED)
        self._many("insert or ignore into erased values (?)", erased)
        rows = (
            (*place, each.event_id, each.kept_event_id)
            for record, each in dropped
            if (place := self._moves.now(raw_topic, (each.partition, each.offset), record)) is not None
        )
        self._many("insert or ignore into dropped values (?, ?, ?, ?)", rows)

    def _waiting(self, batch: Iterable[Record], look: int, skipped: Skipped) -> None:
        # As the stream does: whatever comes under a key takes the place of what waited under it.
        for record in batch:
            key = record.key or b""
            if is_discard_key(key):
                self._discarded(record, skipped)
                continue
            self._db.execute("delete from waiting where (look, key) = (?, ?)", (look, key))
            if record.value is not None:
                for _ in decoded([record], lambda record: Waiting.decode(record.value), skipped):
                    self._db.execute("insert into waiting values (?, ?, ?)", (look, key, waiting_event_id(key)))

    def _discarded(self, record: Record, skipped: Skipped) -> None:
        for _, discard in decoded([record], lambda record: DiscardedWaiting.decode(record.value), skipped):
            self._note_discarded(discard.events, record)

    def _note_discarded(self, events: Iterable[str], record: Record) -> None:
        # A copy may have given what was discarded a later time than the discard.
        at = self._adopted_at if self._moves.is_before(record) else record.timestamp
        self._many(
            "insert into discarded values (?, ?) on conflict (event_id) do update set at = max(at, excluded.at)",
            ((id_, at) for id_ in events),
        )

    def _checkins(self, batch: Iterable[Record], device: str | None) -> None:
        found = decoded(batch, _checkin, self.skipped)
        ours = [(record, checkin) for record, checkin in found if device in (None, checkin.device_id)]
        rows = ((checkin.event_id, record.partition, record.offset, record.timestamp) for record, checkin in ours)
        self._many("insert or ignore into checkin values (?, ?, ?, ?)", rows)
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
            if letter.reason is BORN_DISCARDED and letter.event_id is not None:
                # It may have been kept before, so that repeats of it were dropped.
                self._note_discarded([letter.event_id], record)
            if letter.topic == raw_topic:
                if letter.partition is not None and letter.offset is not None:
                    place = self._moves.now(raw_topic, (letter.partition, letter.offset), record)
                    # A restored record may have another time than the one that failed.
                    is_same_time = letter.timestamp is not None and not self._moves.is_before(record)
                    if place is not None:
                        row = (*place, letter.timestamp if is_same_time else -1)
                        self._db.execute("insert or ignore into dead_record values (?, ?, ?)", row)
            elif letter.event_id is not None:
                self._db.execute("insert or ignore into dead values (?)", (letter.event_id,))
            elif letter.topic is None and device in (None, (letter.key or b"").decode(errors="replace")):
                refused = (record.partition, record.offset, "unread")
                self._db.execute("insert or ignore into refused values (?, ?, ?)", refused)

    def _actions(self, batch: Iterable[Record], letters: str) -> None:
        # In the order in which they were taken: the last one says what the letter is.
        for record, action in decoded(batch, lambda record: Action.decode(record.key, record.value), self.skipped):
            now = self._moves.now(letters, (action.letter.partition, action.letter.offset), record)
            if now is None:
                continue
            row = (action.action, *now)
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
                " where what in ('undelivered', 'undecided', 'outcome_gone')"
            ),
            older_undelivered=self._named(OLDER) if whole else [],
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

    def done(self) -> dict[tuple[Name, int], tuple[int, int]]:
        """By topic and partition up to where every record is accounted for, and where the partition ended."""
        found: dict[tuple[Name, int], tuple[int, int]] = {}
        lacking = {
            "raw": "select min(offset) from outcome where what in ('undelivered', 'undecided', 'outcome_gone')"
            " and partition = ?",
            "checkins": f"select min(offset) from open_checkin c where {NO_OUTCOME} and partition = ?",  # noqa: S608 - only our words
        }
        for (name, number), facts in self._look.partitions.items():
            if facts.is_anew:
                continue
            stops = [first for first, _ in (*facts.lost_before, *facts.lost_inside)]
            if name in lacking:
                (first,) = self._db.execute(lacking[name], (number,)).fetchone()
                stops += [] if first is None else [first]
            found[name, number] = min([*stops, facts.end]), facts.end
        return found

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
            "create table lost_record as select partition, offset from outcome"
            " where what = 'undecided' or (what = 'outcome_gone' and event_id not in (select event_id from checkin));"
            "create index lost_records on lost_record (partition, offset);"
            "create table lost_checkin as select event_id from outcome where what = 'undelivered'"
            " or (what = 'outcome_gone' and event_id in (select event_id from checkin));"
            "create index lost_checkins on lost_checkin (event_id);"
        )
        if since is None:
            self._db.execute(f"insert into lost_checkin {OLDER}")
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
                copies = [copy_of(record, self._moves) for record in batch if lost_record(record)]
                await send(*copies)
                sent[raw] += len(copies)
            async for batch in log.read("checkins", since=since):
                copies = []
                for record in filter(lost_checkin, batch):
                    place = raw_place(self._moves.headers(record.headers, checkins, raw, record))
                    if place is not None and is_for_somebody_else(_checkin(record), users):
                        begin_at_raw.add(place)
                    else:
                        copies.append(copy_of(record, self._moves, raw))
                await send(*copies)
                sent[checkins] += len(copies)
            anew = await raw_copies(log, begin_at_raw, self._moves)
            await send(*anew.values())
            sent[raw] += len(anew)
        return sent

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._db.executemany(statement, rows)


def _checkin(record: Record) -> Checkin:
    return Checkin.decode(record.value)
