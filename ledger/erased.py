"""Who was erased, as digests, and which facts are theirs.

A digest names an employee, a device user or a punch. A fact of an erased employee or device user makes its punch erased
too, whatever is read first. So a row is there or not by all that was read, not by when.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select

from attendance.records.user_map import digest_of_name, digest_of_user
from attendance.wire import Place
from ledger.database import parts_of
from ledger.tables import (
    CHECKINS,
    DEAD_LETTERS,
    DELIVERIES,
    DISCARDS,
    DROPPED,
    ERASED,
    FACTS,
    NOT_DELIVERED,
    RAW_RECORDS,
    WAITING,
)
from operations.facts import Fact
from operations.trace import RAW_SUFFIX

FOR_EVER: Final = 2**62
_OF_EVENTS: Final = (RAW_RECORDS, DROPPED, CHECKINS, DELIVERIES, WAITING, DISCARDS, DEAD_LETTERS)
_TIMES: Final = {
    "raw_records": ("event_time", "stored_at"),
    "dropped": ("event_time",),
    "checkins": ("event_time",),
    "deliveries": ("delivered_at",),
    "waiting": ("event_time", "waiting_since"),
    "dead_letters": ("failed_at",),
}
"""By which time of its row a fact is from before an erasing or after it: the first that is known."""

_TABLES: Final = {kind: table.name for kind, table in FACTS.items()}

_name_digest: Final = lru_cache(100_000)(digest_of_name)
_user_digest: Final = lru_cache(100_000)(digest_of_user)


class ErasedPeople:
    """Everybody who was erased, by the digests of the table `erased`."""

    def __init__(self, rows: Iterable[tuple[str, int]] = ()) -> None:
        """Take in what the table has.

        Args:
            rows: Digest, and until when what has it is erased.
        """
        self._until = dict(rows)
        self._loosened: set[Place] = set()

    def take_loosened(self) -> set[Place]:
        """The places of raw records that letters named which are gone since this was last asked for.

        The raw record there may be of another punch, whose outcome is to be concluded again.
        """
        loosened, self._loosened = self._loosened, set()
        return loosened

    def add(self, connection: Connection, people: Sequence[tuple[str, int]]) -> None:
        """Erase people: their rows go, and none comes again.

        Args:
            connection: In a transaction.
            people: Digest of each, and until when what they did is erased.
        """
        new = {digest: until for digest, until in people if until > self._until.get(digest, -1)}
        if new:
            self._keep(connection, new)
            self._remove(connection, set(self._events_of(connection, new)))

    def without_theirs(self, connection: Connection, facts: Sequence[Fact]) -> Sequence[Fact]:
        """The facts that are nobody's who was erased.

        Args:
            connection: In a transaction. What is there already of the same punches goes.
            facts: Any.
        """
        if not self._until:
            return facts
        theirs = {id_ for each in facts if (id_ := self._event_of(each)) is not None}
        self._remove(connection, {id_ for id_ in theirs if id_ not in self._until})
        return [each for each in facts if getattr(each, "event_id", None) not in self._until]

    def _keep(self, connection: Connection, new: dict[str, int]) -> None:
        self._until |= new
        connection.execute(delete(ERASED).where(ERASED.c.digest == bindparam("of")), [{"of": each} for each in new])
        connection.execute(insert(ERASED), [{"digest": digest, "until": until} for digest, until in new.items()])

    def _remove(self, connection: Connection, events: set[str]) -> None:
        if not events:
            return
        self._keep(connection, dict.fromkeys(events, FOR_EVER))
        self._loosened |= _named_by_letters(connection, sorted(events))
        for table in (*_OF_EVENTS, NOT_DELIVERED):
            these = delete(table).where(table.c.event_id == bindparam("of"))
            connection.execute(these, [{"of": each} for each in events])

    def _event_of(self, fact: Fact) -> str | None:
        """The punch of a fact that names somebody who was erased; None of any other."""
        times = (getattr(fact, name) for name in _TIMES.get(_TABLES.get(type(fact), ""), ()))
        at = next((time for time in times if time is not None), None)
        if at is None:
            return None
        user = getattr(fact, "device_id", None), getattr(fact, "device_user_id", None)
        is_theirs = self._is_named(getattr(fact, "employee", None), at) or self._is_users(*user, at)
        id_: str | None = getattr(fact, "event_id", None)
        return id_ if is_theirs else None

    def _is_named(self, employee: str | None, at: int) -> bool:
        return employee is not None and at <= self._until.get(_name_digest(employee), -1)

    def _is_users(self, device_id: str | None, user: str | None, at: int) -> bool:
        if device_id is None or user is None:
            return False
        return at <= self._until.get(_user_digest(device_id, user), -1)

    def _events_of(self, connection: Connection, new: dict[str, int]) -> Iterator[str]:
        """The punches of which there is a row that names somebody of these."""
        for table in _OF_EVENTS:
            if table.name not in _TIMES:
                continue
            if "employee" in table.c:
                for (name,) in connection.execute(select(table.c.employee).distinct()).fetchall():
                    if name is not None and (until := new.get(digest_of_name(name))) is not None:
                        yield from _ids(connection, table, until, employee=name)
            if "device_user_id" in table.c:
                pairs = connection.execute(select(table.c.device_id, table.c.device_user_id).distinct()).fetchall()
                for device_id, user in pairs:
                    known = device_id is not None and user is not None
                    if known and (until := new.get(digest_of_user(device_id, user))) is not None:
                        yield from _ids(connection, table, until, device_id=device_id, device_user_id=user)


def _named_by_letters(connection: Connection, events: Sequence[str]) -> set[Place]:
    letters, found = DEAD_LETTERS.c, set[Place]()
    named = select(letters.failed_partition, letters.failed_offset).where(letters.failed_topic == RAW_SUFFIX)
    for part in parts_of(events):
        rows = connection.execute(named.where(letters.event_id.in_(part)))
        found |= {(partition, offset) for partition, offset in rows}
    return found


def _ids(connection: Connection, table: Table, until: int, **whose: str) -> Iterator[str]:
    times = [table.c[name] for name in _TIMES[table.name]]
    time = func.coalesce(*times) if len(times) > 1 else times[0]
    theirs = [table.c[name] == value for name, value in whose.items()]
    query = select(table.c.event_id).where(*theirs, time <= until, table.c.event_id.is_not(None))
    yield from (id_ for (id_,) in connection.execute(query).fetchall())
