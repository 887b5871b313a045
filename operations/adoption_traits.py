"""What the topics say of each other: by which traits records are known again, and which of them have an outcome.

Memory is bounded by the largest partition: the rest is in a temporary SQLite file.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Final, Self

from msgspec.structs import replace

from attendance.accounts import digest
from attendance.adoptions import NOTHING_MOVED, Moves
from attendance.errors import ConfigurationError, InvalidRecord
from attendance.kafka.records import Record
from attendance.records.account import Ended
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import is_dead_letter_replay
from attendance.records.dead_letter_action import Action
from attendance.records.discard import DiscardedWaiting, is_discard_key
from attendance.records.outcomes import SENT_BACK, Delivery, Dropped, waiting_event_id
from attendance.records.raw_event import RAW_RECORD, RawEvent, is_replay_copy
from attendance.records.sequences import Sequences
from attendance.topics import Name
from attendance.wire import Place, position
from operations.alignment import Restored, Run, Traits
from operations.audit_accounts import Accounts
from operations.dead_letters import dead_letter
from operations.log import Log, Skipped, decoded
from streams.dedup import ANY_RECORD, Punch
from streams.erased import is_erasure
from streams.state import FLOOR_KEY, NO_OFFSET, is_whole
from streams.state import decode as decode_changelog

ALIGNED: Final[tuple[Name, ...]] = ("raw", "checkins", "dead_letters", "dedup_state")
"""Topics that are named by offset. The audit's accounts of the others begin anew."""
NAMING: Final[tuple[Name, ...]] = (*ALIGNED, "dropped", "unmapped", "dead_letter_actions", "sequences")
"""Topics whose records name others by offset, or are named so."""

_SCHEMA: Final = """
pragma journal_mode = off; pragma synchronous = off;
-- By the offsets of before: what is known of a record, and whether an outcome names it.
create table known (topic, partition, offset, trait, primary key (topic, partition, offset, trait)) without rowid;
create table decided (topic, partition, offset, primary key (topic, partition, offset)) without rowid;
create table outcome (topic, trait, primary key (topic, trait)) without rowid;
-- By the offsets of today. The outcome of the same event is its own, if it is not one of several of it.
create table restored (topic, partition, offset, digest, event, by_event, primary key (topic, partition, offset))
without rowid;
"""
_OF: Final = "topic = ? and partition = ?"


class KnownRecords:
    """Every record that is there of the topics that are named by offset, and all that is known of those of before."""

    def __init__(self, accounts: Accounts) -> None:
        """Nothing is read yet.

        Args:
            accounts: The accounts topic.
        """
        self._accounts = accounts
        self._moves = NOTHING_MOVED
        self.earlier: tuple[tuple[Ended, ...], ...] = ()
        """Where partitions ended at the adoptions before, by the offsets of today."""
        self._db = sqlite3.connect("")  # a file of SQLite's own, gone when it is closed
        self._db.executescript(_SCHEMA)
        self._ends: dict[tuple[Name, int], int] = {}
        self._last: dict[tuple[Name, int], str] = {}
        self._whole: dict[int, int | None] = {}
        self._kept_through: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    async def fill(self, log: Log) -> None:
        """Read the topics.

        Args:
            log: Where to read.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        for name in ALIGNED:
            for account in self._accounts.all_of(log.topics[name]):
                if account.identity is not None:
                    self._know(
                        name, (account.partition, account.identity.offset), b"d" + account.identity.digest.encode()
                    )
        adoptions = [adoption for _, adoption in self._accounts.adoptions]
        if adoptions:
            ends = [*adoptions[-1].earlier, adoptions[-1].ended]
            self.earlier = tuple([tuple([await _find_again(log, each) for each in ended]) for ended in ends])
            self._moves = Moves(
                [*adoptions[:-1], replace(adoptions[-1], ended=self.earlier[-1], earlier=self.earlier[:-1])]
            )
        readers: dict[Name, Callable[[Iterable[Record], Log], None]] = {
            "raw": self._raw,
            "checkins": self._checkins,
            "dropped": self._dropped,
            "unmapped": self._unmapped,
            "deliveries": self._deliveries,
            "dead_letters": self._dead_letters,
            "dead_letter_actions": self._actions,
            "sequences": self._sequences,
            "dedup_state": self._changelog,
        }
        for name, take in readers.items():
            async with aclosing(log.read(name)) as batches:
                async for batch in batches:
                    take(batch, log)
                    for record in batch:
                        self._last[name, record.partition] = digest(record.key, record.value)

    def known(self, name: Name, number: int) -> dict[int, Traits]:
        """By its offset of before, the traits of each record of a partition of which anything is known."""
        found: dict[int, set[bytes]] = {}
        query = f"select offset, trait from known where {_OF}"  # noqa: S608 - only what is written here
        for offset, trait in self._db.execute(query, (name, number)):
            found.setdefault(offset, set()).add(trait)
        return {offset: frozenset(traits) for offset, traits in found.items()}

    def restored(self, name: Name, number: int) -> list[Restored]:
        """The records of a partition that are there, in order."""
        query = f"select offset, digest, event from restored where {_OF} order by offset"  # noqa: S608
        return [
            Restored(offset, frozenset(trait for trait in traits if trait is not None))
            for offset, *traits in self._db.execute(query, (name, number))
        ]

    def last(self, name: Name, number: int) -> str | None:
        """The digest of the last record of a partition; None where there is none."""
        return self._last.get((name, number))

    def end(self, name: Name, number: int) -> int:
        """Up to where a partition had records, as far as other topics say so."""
        return self._ends.get((name, number), 0)

    def changelog_begins(self, name: Name, number: int) -> int:
        """Where the first record of the changelog was written, if with it that was written anew; else 0."""
        return (self._whole.get(number) or 0) if name == "dedup_state" else 0

    def kept_through(self, number: int) -> int:
        """Up to where raw records of a partition were decided whose punches are on the changelog."""
        return self._kept_through.get(number, 0)

    def goes_on(self, name: Name, number: int, runs: Sequence[Run], at: int) -> int:
        """From which offset on of today a stage has something to do in a partition.

        Args:
            name: The topic that it reads.
            number: The partition.
            runs: Where the records of before are.
            at: The offset of today up to which it has accounted for.
        """
        decided = self._decided(name, number, runs)
        if name == "checkins":
            decided |= {offset for offset, has_outcome in self._by_event(name, number, at, None) if has_outcome}
        while at in decided:
            at += 1
        return at

    def undecided(self, number: int, runs: Sequence[Run], before: int) -> tuple[int, int] | None:
        """Which raw records of a partition have no outcome.

        Args:
            number: The partition.
            runs: Where the records of before are.
            before: Only those up to there, by the offsets of today.

        Returns:
            The offset of the first one of today, and how many there are; None where there is none.
        """
        decided = self._decided("raw", number, runs)
        found = [
            offset
            for offset, has_outcome in self._by_event("raw", number, 0, before)
            if not has_outcome and offset not in decided
        ]
        return (found[0], len(found)) if found else None

    def _decided(self, name: Name, number: int, runs: Sequence[Run]) -> set[int]:
        """The offsets of today of records whose outcomes name their places."""
        found: set[int] = set()
        query = f"select offset from decided where {_OF} and offset between ? and ?"  # noqa: S608 - only our words
        for first, through, now in runs:
            rows = self._db.execute(query, (name, number, first, through - 1))
            found.update(now + offset - first for (offset,) in rows)
        return found

    def _by_event(self, name: Name, number: int, first: int, before: int | None) -> Iterator[tuple[int, bool]]:
        """Each record from one offset of today to another, and whether its event has an outcome that is surely its."""
        query = """
            select offset, by_event and exists (
                select 1 from outcome o where o.topic = restored.topic and o.trait = restored.event
            ) from restored where topic = ? and partition = ? and offset >= ? and offset < ? order by offset
        """
        yield from self._db.execute(query, (name, number, first, 1 << 62 if before is None else before))

    def _know(self, name: Name, place: Place | None, *traits: bytes) -> None:
        if place is None:
            return
        partition, offset = place
        self._many(
            "insert or ignore into known values (?, ?, ?, ?)", ((name, partition, offset, trait) for trait in traits)
        )
        self._ends[name, partition] = max(offset + 1, self._ends.get((name, partition), 0))

    def _decide(self, name: Name, place: Place | None, trait: bytes | None) -> None:
        """A record has an outcome: that of a place, and whatever has the trait."""
        if trait is not None:
            self._db.execute("insert or ignore into outcome values (?, ?)", (name, trait))
        if place is not None:
            self._know(name, place, *([] if trait is None else [trait]))
            self._db.execute("insert or ignore into decided values (?, ?, ?)", (name, *place))

    def _raw(self, batch: Iterable[Record], log: Log) -> None:  # noqa: ARG002 - as the others
        for record in batch:
            event_id, by_event = None, False
            try:
                event = RawEvent.decode(record.value)
            except InvalidRecord:
                pass
            else:
                again = is_replay_copy(record.headers) or is_dead_letter_replay(record.headers)
                event_id, by_event = _event(event.event_id), event.supersedes is None and not again
            self._restore("raw", record, event_id, by_event=by_event)

    def _checkins(self, batch: Iterable[Record], log: Log) -> None:
        for record in batch:
            event_id, by_event = None, False
            try:
                checkin = Checkin.decode(record.value)
            except InvalidRecord:
                pass
            else:
                event_id = _event(checkin.event_id)
                raw = log.topics["raw"]
                place = position(self._moves.headers(record.headers, record.topic, raw, record), RAW_RECORD)
                self._decide("raw", place, event_id)
                again = is_replay_copy(record.headers) or is_dead_letter_replay(record.headers)
                by_event = checkin.supersedes is None and not again and SENT_BACK not in dict(record.headers)
            self._restore("checkins", record, event_id, by_event=by_event)

    def _dropped(self, batch: Iterable[Record], log: Log) -> None:
        for record, each in decoded(batch, lambda record: Dropped.decode(record.value), Skipped()):
            place = self._moves.now(log.topics["raw"], (each.partition, each.offset), record)
            self._decide("raw", place, _event(each.event_id))

    def _unmapped(self, batch: Iterable[Record], log: Log) -> None:
        for record in batch:
            if record.value is None:
                continue
            if is_discard_key(record.key):
                for _, each in decoded([record], lambda record: DiscardedWaiting.decode(record.value), Skipped()):
                    for discarded in each.events:
                        self._decide("raw", None, _event(discarded))
                continue
            event_id = _event(waiting_event_id(record.key))
            headers = self._moves.headers(record.headers, record.topic, log.topics["raw"], record)
            self._decide("raw", position(headers, RAW_RECORD), event_id)
            _, _, checkin = (record.key or b"").partition(b":")
            place = position([(SENT_BACK, checkin)], SENT_BACK)
            if place is not None:
                self._decide("checkins", self._moves.now(log.topics["checkins"], place, record), event_id)

    def _deliveries(self, batch: Iterable[Record], log: Log) -> None:  # noqa: ARG002 - as the others
        for _, each in decoded(batch, lambda record: Delivery.decode(record.value), Skipped()):
            self._decide("checkins", None, _event(each.event_id))

    def _dead_letters(self, batch: Iterable[Record], log: Log) -> None:
        names: dict[str, Name] = {log.topics["raw"]: "raw", log.topics["checkins"]: "checkins"}
        for record, letter in decoded(batch, dead_letter, Skipped()):
            self._restore("dead_letters", record, None)
            name = names.get(letter.topic or "")
            if name is None or letter.partition is None or letter.offset is None:
                continue
            place = self._moves.now(log.topics[name], (letter.partition, letter.offset), record)
            self._decide(name, place, None if letter.event_id is None else _event(letter.event_id))
            if letter.value is not None:
                self._know(name, place, _digest(letter.key, letter.value))

    def _actions(self, batch: Iterable[Record], log: Log) -> None:
        letters = log.topics["dead_letters"]
        for record, each in decoded(batch, lambda record: Action.decode(record.key, record.value), Skipped()):
            self._know("dead_letters", self._moves.now(letters, (each.letter.partition, each.letter.offset), record))

    def _sequences(self, batch: Iterable[Record], log: Log) -> None:
        newest = {record.key: record for record in batch if record.value is not None}
        for record, each in decoded(
            newest.values(), lambda record: Sequences.decode(record.key, record.value), Skipped()
        ):
            offset = self._moves.next_now(log.topics["raw"], (each.partition, each.offset), record)
            self._ends["raw", each.partition] = max(offset, self._ends.get(("raw", each.partition), 0))

    def _changelog(self, batch: Iterable[Record], log: Log) -> None:
        for record in batch:
            self._restore("dedup_state", record, None)
            try:
                punches = decode_changelog(record.value)
            except (InvalidRecord, ConfigurationError):  # the stream says so
                continue
            if record.partition not in self._whole:
                self._whole[record.partition] = is_whole(punches)
            for key, entry in punches:
                offset = Punch.unpack(entry).offset
                if key == FLOOR_KEY or is_erasure(key) or offset in (NO_OFFSET, ANY_RECORD):
                    continue
                place = self._moves.now(log.topics["raw"], (record.partition, offset), record)
                if place is not None:
                    number, offset = place
                    self._kept_through[number] = max(offset + 1, self._kept_through.get(number, 0))

    def _restore(self, name: Name, record: Record, event_id: bytes | None, *, by_event: bool = False) -> None:
        row = (name, record.partition, record.offset, _digest(record.key, record.value), event_id, by_event)
        self._db.execute("insert into restored values (?, ?, ?, ?, ?, ?)", row)

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._db.executemany(statement, rows)


async def _find_again(log: Log, ended: Ended) -> Ended:
    """Where a partition had ended that may have been copied since. What is behind it, or lacks it, came later."""
    name = next(name for name in NAMING if log.topics[name] == ended.topic)
    offset = 0
    if ended.last is not None:
        async with aclosing(log.read(name, begin={ended.partition: None})) as batches:
            async for batch in batches:
                for record in batch:
                    if digest(record.key, record.value) == ended.last:
                        offset = record.offset + 1
    return ended._replace(offset=offset)


def _event(event_id: str) -> bytes:
    return b"e" + event_id.encode()


def _digest(key: bytes | None, value: bytes | None) -> bytes:
    return b"d" + digest(key, value).encode()
