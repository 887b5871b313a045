"""LedgerTrace: a ledger as a source of `operations.trace`."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, and_, select, true

from ledger.database import Database, parts_of
from ledger.reading import LedgerReader
from ledger.tables import CHECKINS, DEAD_LETTER_ACTIONS, DEAD_LETTERS, FACTS, RAW_RECORDS, WAITING
from operations.fact_reading import milliseconds
from operations.facts import OF_PUNCHES, CheckinFact, Fact, LetterFact, RawFact
from operations.trace import RAW_SUFFIX, Asked

_KINDS: Final = {table.name: kind for kind, table in FACTS.items()}
_OF_EVENTS: Final[Sequence[Table]] = [table for table in FACTS.values() if "event_id" in table.c]
_DAYS: Final = timedelta(days=1), timedelta(days=2)
"""In any zone a day begins and ends within so much of midnight in UTC."""


class LedgerTrace(LedgerReader):
    """A ledger. See `operations.trace.TraceSource`."""

    def __init__(self, database: Database) -> None:
        """Nothing is read yet.

        Args:
            database: Prepared.
        """
        super().__init__(database, OF_PUNCHES)

    async def facts(self, asked: Asked) -> list[Fact]:
        """See `TraceSource.facts`. Raises LedgerUnavailable."""
        return await asyncio.to_thread(self._facts, asked)

    async def is_known(self, asked: Asked) -> bool:
        """See `TraceSource.is_known`. Raises LedgerUnavailable."""
        return await asyncio.to_thread(self._is_known, asked)

    def _facts(self, asked: Asked) -> list[Fact]:
        with self._asking() as connection:
            raw = _of_devices(connection, asked)
            found: list[Fact] = [*raw, *_without_id(connection, asked, raw)]
            tables = [table for table in _OF_EVENTS if not asked.zones or table is not RAW_RECORDS]
            ids_of_devices = {each.event_id for each in raw if each.event_id is not None}
            ids_of_asked = ids_of_devices or _with_corrections(connection, self._ids(connection, asked))
            for ids in parts_of(sorted(ids_of_asked)):
                for table in tables:
                    found += _rows(connection, table, table.c.event_id.in_(ids))
                if asked.zones:
                    found += _rows(connection, CHECKINS, CHECKINS.c.supersedes.in_(ids))
            found = list(dict.fromkeys(found))
            letters = [each for each in found if isinstance(each, LetterFact)]
            for letter in letters:
                of = DEAD_LETTER_ACTIONS.c.letter_partition, DEAD_LETTER_ACTIONS.c.letter_offset
                its = and_(of[0] == letter.kafka_partition, of[1] == letter.kafka_offset)
                found += _rows(connection, DEAD_LETTER_ACTIONS, its)
            return found

    def _ids(self, connection: Connection, asked: Asked) -> set[str]:
        if asked.event_id is not None:
            return {asked.event_id}
        if asked.zones:
            return set()
        if asked.employee is None:
            users = [(asked.device or "", asked.user or "")]
            return _ids_of_users(connection, asked, users)
        named = _rows(
            connection, CHECKINS, CHECKINS.c.employee == asked.employee, _between(CHECKINS.c.event_time, asked)
        )
        ids = {each.event_id for each in named if isinstance(each, CheckinFact) and asked.is_on_day(each)}
        of_users = _ids_of_users(connection, asked, sorted(_users(connection, asked.employee)))
        return ids | (of_users - _of_others(connection, of_users, asked.employee))

    def _is_known(self, asked: Asked) -> bool:
        with self._asking() as connection:
            if asked.employee is not None:
                return bool(_users(connection, asked.employee))
            if asked.event_id is not None:
                return False
            theirs = RAW_RECORDS.c.device_id == asked.device, RAW_RECORDS.c.device_user_id == asked.user
            return connection.execute(select(RAW_RECORDS.c.event_id).where(*theirs).limit(1)).first() is not None


def _of_devices(connection: Connection, asked: Asked) -> list[RawFact]:
    """The raw records of the devices that are asked about, on the day."""
    found: list[RawFact] = []
    for device_id in sorted(asked.zones):
        rows = _raw_around(connection, asked, RAW_RECORDS.c.device_id == device_id)
        found += [each for each in rows if asked.is_on_day(each)]
    return found


def _without_id(connection: Connection, asked: Asked, raw: Sequence[RawFact]) -> Iterator[Fact]:
    """Letters of the devices that are asked about, and of no event: of what cannot be read, and of what was rejected.

    Args:
        connection: In a transaction.
        asked: Which devices.
        raw: Their raw records.
    """
    for each in raw:
        if each.event_id is None:
            of = DEAD_LETTERS.c.failed_topic, DEAD_LETTERS.c.failed_partition, DEAD_LETTERS.c.failed_offset
            failed = RAW_SUFFIX, each.kafka_partition, each.kafka_offset
            yield from _rows(connection, DEAD_LETTERS, *(a == b for a, b in zip(of, failed, strict=True)))
    for devices in parts_of(sorted(asked.zones)):
        of_day = _between(DEAD_LETTERS.c.failed_at, asked)
        theirs = DEAD_LETTERS.c.failed_topic.is_(None), DEAD_LETTERS.c.device_id.in_(devices), of_day
        letters = _rows(connection, DEAD_LETTERS, *theirs)
        yield from (letter for letter in letters if isinstance(letter, LetterFact) and asked.is_rejected(letter))


def _users(connection: Connection, employee: str) -> set[tuple[str, str]]:
    """The device users that were ever an employee."""
    found: set[tuple[str, str]] = set()
    for table in (CHECKINS, WAITING, DEAD_LETTERS):
        pairs = select(table.c.device_id, table.c.device_user_id).where(table.c.employee == employee).distinct()
        found |= {(device, user) for device, user in connection.execute(pairs) if device and user}
    return found


def _ids_of_users(connection: Connection, asked: Asked, users: Sequence[tuple[str, str]]) -> set[str]:
    found: set[str] = set()
    for device_id, user in users:
        theirs = RAW_RECORDS.c.device_id == device_id, RAW_RECORDS.c.device_user_id == user
        on_day = [each for each in _raw_around(connection, asked, *theirs) if asked.is_on_day(each)]
        found |= {each.event_id for each in on_day if each.event_id is not None}
    return found


def _of_others(connection: Connection, ids: Collection[str], employee: str) -> set[str]:
    """The punches of which a check-in names somebody else."""
    found: set[str] = set()
    for part in parts_of(ids):
        query = select(CHECKINS.c.event_id).where(CHECKINS.c.event_id.in_(part), CHECKINS.c.employee != employee)
        found |= set(connection.execute(query).scalars())
    return found


def _with_corrections(connection: Connection, ids: Collection[str]) -> set[str]:
    """The punches, with those that correct one of them, and so on."""
    found, new = set(ids), set(ids)
    while new:
        later: set[str] = set()
        for part in parts_of(sorted(new)):
            query = select(RAW_RECORDS.c.event_id).where(RAW_RECORDS.c.supersedes.in_(part))
            later |= set(connection.execute(query).scalars())
        new = later - found
        found |= new
    return found


def _raw_around(connection: Connection, asked: Asked, *which: ColumnElement[bool]) -> list[RawFact]:
    """Raw records whose time may be of the day that is asked about, in the zone of some device, or is not known."""
    times = [_between(RAW_RECORDS.c.event_time, asked)]
    if asked.day is not None:
        # Each by itself: SQLite would not ask the index by time for the one or the other.
        times.append(RAW_RECORDS.c.event_time.is_(None))
    rows = [row for of_time in times for row in _rows(connection, RAW_RECORDS, *which, of_time)]
    return [each for each in rows if isinstance(each, RawFact)]


def _between(at: ColumnElement[int], asked: Asked) -> ColumnElement[bool]:
    """Times that may be of the day that is asked about, in some zone."""
    if asked.day is None:
        return true()
    midnight = datetime.combine(asked.day, time(), UTC)
    first, last = (milliseconds(each) for each in (midnight - _DAYS[0], midnight + _DAYS[1]))
    return and_(at >= first, at <= last)


def _rows(connection: Connection, table: Table, *which: ColumnElement[bool]) -> list[Fact]:
    kind: Any = _KINDS[table.name]
    columns = [table.c[name] for name in kind._fields]
    return [kind(*row) for row in connection.execute(select(*columns).where(*which))]
