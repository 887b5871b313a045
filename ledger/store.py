"""Store: rows and positions of a ledger, both in one transaction.

A row is a fact of one record, and a position says up to where records have become rows. So after any interruption the
ledger has exactly the rows of the records before its positions.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import ValidationError
from sqlalchemy import ColumnElement, Connection, Table, bindparam, delete, func, insert, select, update

from attendance.accounts import fingerprint
from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.records.account import Fingerprint
from attendance.records.user_map import ErasedEmployee, ErasedKey, decode, decode_key
from attendance.times import from_milliseconds
from attendance.topics import DAY_MS, TABLE, Name
from ledger.database import Database, LedgerTakenOver
from ledger.derived import Derived
from ledger.erased import ErasedPeople
from ledger.tables import (
    CAUGHT_UP,
    DEAD_LETTER_ACTIONS,
    DEAD_LETTERS,
    DEVICE_STATUS,
    DISCARDS,
    ERASED,
    FACTS,
    POSITIONS,
    RECONCILED_DEVICES,
    RECONCILIATIONS,
    STORED_AT,
    UNREADABLE,
    WAITING,
)
from operations.device_statuses import merged
from operations.fact_reading import FactReader, milliseconds
from operations.facts import FACT_TOPICS, Fact, StatusFact, WaitingEnded, WaitingFact

LEDGER_TOPICS: Final[tuple[Name, ...]] = (*FACT_TOPICS, "user_map")
"""What the ledger reads. Of the user map it takes only who was erased."""

Partition = tuple[Name, int]
Batch = Mapping[Partition, Sequence[Record]]

_NAMES: Final = {TABLE[name].suffix: name for name in LEDGER_TOPICS}


class Position(NamedTuple):
    """Up to where the records of a partition are in the ledger.

    Attributes:
        next_offset: That of the record that comes next.
        read_at: When the partition was last read, in milliseconds since the epoch.
        last: By what the last record is known again; None where none was read.
    """

    next_offset: int
    read_at: int
    last: Fingerprint | None = None


class Store:
    """The rows and positions of one ledger, which one process writes."""

    def __init__(self, database: Database) -> None:
        """Nothing is read yet.

        Args:
            database: Prepared.
        """
        self._database = database
        self._erased = ErasedPeople()
        values = ("next_offset", "read_at", "last_offset", "last_stored_at", "last_digest")
        key = ("topic", "kafka_partition", "next_offset")
        of, to = (
            between.join(f"{each} = {database.parameter}" for each in names)
            for names, between in ((key, " and "), (values, ", "))
        )
        self._update_position = f"update positions set {to} where {of}"  # noqa: S608 - only our words
        self._inserts = {kind: self._insert(table, kind._fields) for kind, table in FACTS.items()}
        self._derived = Derived(database)
        which = f"kafka_partition = {database.parameter} and {database.among('wait_key')}"
        self._select_waiting = f"select event_id from waiting where {which}"  # noqa: S608 - only our words

    def load(self) -> dict[Partition, Position]:
        """The positions, and who was erased.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        with self._database.transaction() as connection:
            self._erased = ErasedPeople([(each.digest, each.until) for each in connection.execute(select(ERASED))])
            return positions(connection)

    def apply(
        self, facts: FactReader, batch: Batch, before: Mapping[Partition, Position], read_at: int
    ) -> dict[Partition, Position]:
        """Take records in, all of them or none.

        Args:
            facts: Makes facts of records.
            batch: By partition the records that come next in it.
            before: The positions as they were.
            read_at: The time, in milliseconds since the epoch.

        Returns:
            The positions of these partitions now.

        Raises:
            LedgerUnavailable: the database does not answer. Nothing was taken in, or all of it: `load` says which.
            LedgerTakenOver: another process has taken something in.
        """
        people: list[tuple[str, int]] = []
        found: list[Fact] = []
        for (name, _), records in batch.items():
            for record in records:
                if name == "user_map":
                    people += _erased(record)
                else:
                    found += facts.of(name, record)
        ends = {partition: records[-1] for partition, records in batch.items()}
        after = {partition: Position(last.offset + 1, read_at, fingerprint(last)) for partition, last in ends.items()}
        try:
            with self._database.transaction() as connection:
                self._move(connection, before, after)
                self._erased.add(connection, people)
                self._write(connection, self._erased.without_theirs(connection, found))
                self._derived.conclude_places(connection, self._erased.take_loosened())
        except BaseException:
            # What was erased meanwhile may not be there.
            self._erased = ErasedPeople()
            raise
        return after

    def begin_anew(self, partition: Partition, read_at: int) -> None:
        """Forget what waits in a partition of the topic of what waits, and read it from the first record on.

        Args:
            partition: Of `unmapped`.
            read_at: The time, in milliseconds since the epoch.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        name, number = partition
        with self._database.transaction() as connection:
            for table in (WAITING, DISCARDS):
                connection.execute(delete(table).where(table.c.kafka_partition == number))
            here = UNREADABLE.c.topic == TABLE[name].suffix, UNREADABLE.c.kafka_partition == number
            connection.execute(delete(UNREADABLE).where(*here))
            self._derived.forget_waiting(connection)
            connection.execute(delete(POSITIONS).where(*_at(partition)))
            self._move(connection, {}, {partition: Position(0, read_at)})

    def note_read(self, partitions: Sequence[Partition], read_at: int) -> None:
        """Note that everything was read that the topics had at a time.

        Args:
            partitions: Those with a position.
            read_at: The time, in milliseconds since the epoch.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        this = POSITIONS.c.topic == bindparam("of"), POSITIONS.c.kafka_partition == bindparam("number")
        rows = [{"of": TABLE[name].suffix, "number": number} for name, number in partitions]
        with self._database.transaction() as connection:
            if rows:
                connection.execute(update(POSITIONS).where(*this).values(read_at=read_at), rows)
            connection.execute(delete(CAUGHT_UP))
            connection.execute(insert(CAUGHT_UP), [{"topic": suffix, "as_of": read_at} for suffix in _NAMES])

    def prune(self, days: int, letters: Mapping[int, int]) -> int:
        """Let go of rows that are too old by the newest record, from the beginning of a day.

        Dead letters about which nothing was done are never too old. They go when the topic has let go of them.

        Args:
            days: How many days of rows stay.
            letters: By partition the first offset that the topic of dead letters has.

        Returns:
            Before when everything is gone, in milliseconds since the epoch.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        with self._database.transaction() as connection:
            before = kept_from(connection, days)
            loosened = self._derived.find_loosened(connection, before)
            for table in FACTS.values():
                if table.name in STORED_AT:
                    connection.execute(
                        delete(table).where(table.c[STORED_AT[table.name]] < before, *_unless_open(table, before))
                    )
            gone = (
                DEAD_LETTERS.c.kafka_partition == bindparam("number"),
                DEAD_LETTERS.c.kafka_offset < bindparam("first"),
            )
            firsts = [{"number": number, "first": first} for number, first in letters.items()]
            if firsts:
                connection.execute(delete(DEAD_LETTERS).where(*gone), firsts)
            self._derived.forget_old(connection, loosened)
            first = from_milliseconds(before).date().isoformat()
            for table in (RECONCILIATIONS, RECONCILED_DEVICES):
                connection.execute(delete(table).where(table.c.day < first))
            return before

    def _insert(self, table: Table, columns: Sequence[str]) -> str:
        names = ", ".join(f'"{name}"' for name in columns)
        places = ", ".join([self._database.parameter] * len(columns))
        return f"insert into {table.name} ({names}) values ({places})"  # noqa: S608 - only our words

    def _move(
        self, connection: Connection, before: Mapping[Partition, Position], after: Mapping[Partition, Position]
    ) -> None:
        """Write positions. Raises LedgerTakenOver where they are not what they were."""
        moved, new = [], []
        for at, position in after.items():
            name, number = at
            said = (position.next_offset, position.read_at, *(position.last or (None, None, None)))
            place = TABLE[name].suffix, number
            if at in before:
                moved.append((*said, *place, before[at].next_offset))
            else:
                new.append((*place, *said))
        if new:
            connection.exec_driver_sql(self._insert(POSITIONS, POSITIONS.c.keys()), new)
        if moved and connection.exec_driver_sql(self._update_position, moved).rowcount != len(moved):
            raise LedgerTakenOver("another process writes this ledger: its positions are not where they were")

    def _write(self, connection: Connection, facts: Sequence[Fact]) -> None:
        rows: dict[type[Fact], list[Fact]] = defaultdict(list)
        statuses: dict[tuple[int, str], StatusFact] = {}
        waiting: dict[tuple[int, str], WaitingFact | None] = {}
        for each in facts:
            if isinstance(each, WaitingFact | WaitingEnded):
                waiting[each.kafka_partition, each.wait_key] = each if isinstance(each, WaitingFact) else None
            elif isinstance(each, StatusFact):
                about = each.kafka_partition, each.device_id
                statuses[about] = merged(statuses.get(about), each)
            else:
                rows[type(each)].append(each)
        if statuses:
            rows[StatusFact] = _with_what_was_said_before(connection, statuses)
        ended = self._waiting_of(connection, waiting)
        if waiting:
            this = WAITING.c.kafka_partition == bindparam("number"), WAITING.c.wait_key == bindparam("key")
            keys = [{"number": number, "key": key} for number, key in waiting]
            connection.execute(delete(WAITING).where(*this), keys)
            rows[WaitingFact] = [each for each in waiting.values() if each is not None]
        for kind, of_kind in rows.items():
            if of_kind:
                # The driver's own statement: SQLAlchemy's takes three times as long for each row.
                connection.exec_driver_sql(self._inserts[kind], of_kind)
        self._derived.follow(connection, rows, ended)

    def _waiting_of(self, connection: Connection, keys: Iterable[tuple[int, str]]) -> set[str]:
        """The punches that wait under some keys."""
        of_partition: dict[int, list[str]] = defaultdict(list)
        for number, key in keys:
            of_partition[number].append(key)
        found: set[str] = set()
        for number, wait_keys in of_partition.items():
            rows = connection.exec_driver_sql(self._select_waiting, (number, self._database.listed(wait_keys)))
            found.update(rows.scalars())
        return found


def _unless_open(table: Table, before: int) -> list[ColumnElement[bool]]:
    """Of a dead letter, that something was done about it, and that before then; of an action, that none is left."""
    of_letter = (
        DEAD_LETTER_ACTIONS.c.letter_partition == DEAD_LETTERS.c.kafka_partition,
        DEAD_LETTER_ACTIONS.c.letter_offset == DEAD_LETTERS.c.kafka_offset,
    )
    if table is DEAD_LETTERS:
        done = select(DEAD_LETTER_ACTIONS.c.action).where(*of_letter)
        return [done.exists(), ~done.where(DEAD_LETTER_ACTIONS.c.done_at >= before).exists()]
    if table is DEAD_LETTER_ACTIONS:
        return [~select(DEAD_LETTERS.c.stage).where(*of_letter).exists()]
    return []


def _with_what_was_said_before(connection: Connection, statuses: Mapping[tuple[int, str], StatusFact]) -> list[Fact]:
    """The rows of these devices, in the place of those that are there."""
    this = DEVICE_STATUS.c.kafka_partition == bindparam("number"), DEVICE_STATUS.c.device_id == bindparam("device")
    rows: list[Fact] = []
    for (number, device), status in statuses.items():
        before = connection.execute(select(DEVICE_STATUS).where(*this), {"number": number, "device": device}).first()
        rows.append(merged(None if before is None else StatusFact(*before), status))
    connection.execute(delete(DEVICE_STATUS).where(*this), [{"number": n, "device": of} for n, of in statuses])
    return rows


def kept_from(connection: Connection, days: int) -> int:
    """From when on rows stay, by the newest record, in milliseconds since the epoch.

    Args:
        connection: In a transaction.
        days: How many days of rows stay.
    """
    newest = connection.execute(select(func.max(POSITIONS.c.last_stored_at))).scalar() or 0
    return int(newest) // DAY_MS * DAY_MS - days * DAY_MS


def positions(connection: Connection) -> dict[Partition, Position]:
    """Up to where the records of each partition are in the ledger.

    Args:
        connection: In a transaction.
    """
    found = {}
    for row in connection.execute(select(POSITIONS)):
        is_known = row.last_digest is not None
        last = Fingerprint(row.last_offset, row.last_stored_at, row.last_digest) if is_known else None
        if row.topic in _NAMES:
            found[_NAMES[row.topic], row.kafka_partition] = Position(row.next_offset, row.read_at, last)
    return found


def _at(partition: Partition) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    name, number = partition
    return POSITIONS.c.topic == TABLE[name].suffix, POSITIONS.c.kafka_partition == number


def _erased(record: Record) -> list[tuple[str, int]]:
    """Digest of who was erased, and until when. What is no such record says nobody."""
    try:
        key = decode_key(record.key)
        if isinstance(key, ErasedKey) and record.value is not None:
            erased = decode(key, record.value)
            if isinstance(erased, ErasedEmployee):
                return [(erased.digest, milliseconds(erased.at))]
    except (InvalidRecord, ValidationError):
        return []
    return []
