"""WaitingTable: the waiting punches of one process, in a temporary SQLite file. Knows no Kafka and no user map.

Whoever sends decides how many punches wait, so memory must not grow with them. SQLite keeps a few megabytes of the
table in memory and the rest in a file of its own, which is gone when the process ends. The topic is the truth: whoever
has its partitions reads them from their beginning.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from heapq import nlargest
from operator import itemgetter
from typing import Final, NamedTuple

from attendance.errors import Reason
from attendance.records.outcomes import waiting_event_id
from attendance.records.raw_event import RawEvent

CACHE_KIB: Final = 16384

_SCHEMA: Final = f"""
pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -{CACHE_KIB};
create table punch (id integer primary key, key blob not null, partition integer, value blob, raw_record blob,
  device text, user text, time integer, reason text,
  due real, -- of what was sent back: from when on the same is tried again, seconds since the epoch
  later real, -- it is assigned again then, whatever the user map says
  news integer not null default 0, -- the user map said something new of its user or employee since it was read
  undecided integer not null default 0, -- it is to be assigned again
  ignored_before blob, -- the id of the entry by which it was ignored before it was sent again
  ignored integer not null default 0, -- nothing is to come of it
  employee text -- who it can be released for
);
create unique index keys on punch (key);
create index users on punch (user, device);
create index undecided on punch (id) where undecided = 1;
create index due on punch (later) where later is not null;
create index ready on punch (employee, time, id) where employee is not null;
create index ignored on punch (id) where ignored = 1;
create table replaced (key blob primary key, partition integer) without rowid;
"""
_COLUMNS: Final = "id, key, partition, value, raw_record, ignored_before, due, news"


class Origin(NamedTuple):
    """Where a waiting punch comes from, by the headers of its record.

    `raw_record` is the place of its raw record, `partition:offset`; None if an older version wrote it. `ignored_before`
    is the id of the entry by which it was ignored before it was sent again, if it was.
    """

    raw_record: bytes | None = None
    ignored_before: bytes | None = None


class WaitingPunch(NamedTuple):
    """A waiting punch as the table has it.

    `value` is that of its waiting record, `key` and `partition` are where that stands. `due` is None where nothing was
    sent back.
    """

    id: int
    key: bytes
    partition: int
    value: bytes
    raw_record: bytes | None
    ignored_before: bytes | None
    due: float | None
    news: int

    @property
    def origin(self) -> Origin:
        """Where it comes from."""
        return Origin(self.raw_record, self.ignored_before)


class OfDevice(NamedTuple):
    """What waits of one device."""

    device_id: str
    users: int
    punches: int


class WaitingTable:
    """The waiting punches, by key, by device user, and by the employee whom they can be released for."""

    def __init__(self) -> None:
        """Nothing waits."""
        self.reasons: Counter[Reason] = Counter()
        """How many punches wait for each reason."""
        self._punches: Counter[str] = Counter()
        self._users: Counter[str] = Counter()
        self._replaced = 0  # since nothing was, at least
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        # A file of SQLite's own. One task at a time uses it, in whichever thread its loop runs.
        db = sqlite3.connect("", check_same_thread=False)
        db.executescript(_SCHEMA)
        return db

    def __len__(self) -> int:
        return self._punches.total()

    def clear(self) -> None:
        """Forget everything."""
        self._db.close()
        self._db = self._open()
        self.reasons.clear()
        self._punches.clear()
        self._users.clear()
        self._replaced = 0

    def add(
        self,
        key: bytes,
        partition: int,
        value: bytes,
        origin: Origin,
        *,
        event: RawEvent,
        reason: Reason,
        due: datetime | None,
        undecided: bool,
    ) -> None:
        """Add a punch. Assumes that nothing waits under its key.

        Args:
            key: That of its waiting record.
            partition: Where that stands.
            value: What it says.
            origin: Where it comes from.
            event: The punch.
            reason: What it waits for.
            due: If it was sent back, from when on the same may be tried again.
            undecided: Whether it is to be assigned again.
        """
        device_id, user = event.device_id, event.device_user_id
        if not self._has_user(device_id, user):
            self._users[device_id] += 1
        self._db.execute(
            "insert into punch (key, partition, value, raw_record, ignored_before, device, user, time, reason, due,"
            " undecided) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                partition,
                value,
                *origin,
                device_id,
                user,
                0 if event.event_time is None else int(event.event_time.timestamp()),
                reason,
                None if due is None else due.timestamp(),
                undecided,
            ),
        )
        self._punches[device_id] += 1
        self.reasons[reason] += 1

    def forget(self, key: bytes) -> None:
        """Remove what waits under a key, if anything does."""
        row = self._db.execute("delete from punch where key = ? returning device, user, reason", (key,)).fetchone()
        if row is None:
            return
        device_id, user, reason = row
        self.reasons[Reason(reason)] -= 1
        _decrease(self._punches, device_id)
        if not self._has_user(device_id, user):
            _decrease(self._users, device_id)

    def _has_user(self, device_id: str, user: str) -> bool:
        found = self._db.execute("select 1 from punch where (user, device) = (?, ?) limit 1", (user, device_id))
        return found.fetchone() is not None

    def of_event(self, event_id: str) -> tuple[bytes, int] | None:
        """Key and partition of what waits for an event; None if nothing does. Of one event, one record waits."""
        first = event_id.encode()
        # All keys of an event begin with its id; `;` is the next character after `:`.
        rows = self._db.execute("select key, partition from punch where key >= ? and key < ?", (first, first + b";"))
        return next(((key, partition) for key, partition in rows if waiting_event_id(key) == event_id), None)

    def add_news(self, device_user_id: str) -> None:
        """The user map says something new of a device user, or of an employee of theirs."""
        self._db.execute("update punch set news = 1, undecided = 1 where user = ?", (device_user_id,))

    def wake(self, now: datetime) -> None:
        """Have everything assigned again that was put off until now."""
        self._db.execute("update punch set undecided = 1, later = null where later <= ?", (now.timestamp(),))

    def undecided(self, most: int) -> list[WaitingPunch]:
        """Some of those that are to be assigned again.

        Args:
            most: At most so many.
        """
        query = f"select {_COLUMNS} from punch where undecided = 1 order by id limit ?"  # noqa: S608 - only our words
        return [WaitingPunch(*row) for row in self._db.execute(query, (most,))]

    def decide(
        self,
        punch: WaitingPunch,
        *,
        employee: str | None = None,
        reason: Reason | None = None,
        later: datetime | None = None,
        ignored: bool = False,
        again: bool = False,
    ) -> None:
        """Note what became of an assignment.

        Args:
            punch: Which punch. If it is gone meanwhile, nothing happens.
            employee: Whom it can be released for; None if it waits on.
            reason: What it waits for now; None if that is as it was.
            later: When it is to be assigned again in any case.
            ignored: Whether nothing is to come of it.
            again: Whether it is to be assigned again the next time.
        """
        if reason is not None:
            row = self._db.execute("select reason from punch where id = ?", (punch.id,)).fetchone()
            if row is None:
                return
            self.reasons[Reason(row[0])] -= 1
            self.reasons[reason] += 1
        self._db.execute(
            "update punch set undecided = ?, employee = ?, reason = coalesce(?, reason), later = ?, ignored = ?"
            " where id = ?",
            (again, employee, reason, None if later is None else later.timestamp(), ignored, punch.id),
        )

    def next_employee(self, after: str) -> str | None:
        """The first employee after one, in the order of their names, for whom something can be released."""
        found = self._db.execute(
            "select min(employee) from punch where employee > ? and undecided = 0", (after,)
        ).fetchone()
        return None if found is None else found[0]

    def ready(self, employee: str, most: int) -> list[WaitingPunch]:
        """What can be released for an employee, the oldest first.

        Args:
            employee: For whom.
            most: At most so many.
        """
        query = f"select {_COLUMNS} from punch where employee = ? and undecided = 0 order by time, id limit ?"  # noqa: S608 - only our words
        return [WaitingPunch(*row) for row in self._db.execute(query, (employee, most))]

    def ignored(self, most: int) -> list[WaitingPunch]:
        """Some of those of which nothing is to come.

        Args:
            most: At most so many.
        """
        query = f"select {_COLUMNS} from punch where ignored = 1 and undecided = 0 order by id limit ?"  # noqa: S608 - only our words
        return [WaitingPunch(*row) for row in self._db.execute(query, (most,))]

    def replace(self, key: bytes, partition: int) -> None:
        """Note a record of an event that has a newer one, and forget what waits under its key."""
        self.forget(key)
        self._db.execute("insert or ignore into replaced values (?, ?)", (key, partition))
        self._replaced += 1

    def not_replaced(self, key: bytes) -> None:
        """Take back what `replace` noted of a key."""
        if self._replaced:
            self._db.execute("delete from replaced where key = ?", (key,))

    def replaced(self, most: int) -> list[tuple[bytes, int]]:
        """Keys and partitions of some records that were replaced."""
        found = (
            self._db.execute("select key, partition from replaced limit ?", (most,)).fetchall()
            if self._replaced
            else []
        )
        if not found:
            self._replaced = 0
        return found

    def of_devices(self, most: int) -> Sequence[OfDevice]:
        """The devices of which most device users wait.

        Args:
            most: At most so many.
        """
        largest = nlargest(most, self._users.items(), key=itemgetter(1))
        return [OfDevice(device_id, users, self._punches[device_id]) for device_id, users in largest]

    def devices_above(self, users: int) -> Iterator[OfDevice]:
        """The devices of which more device users wait than that."""
        for device_id, count in self._users.items():
            if count > users:
                yield OfDevice(device_id, count, self._punches[device_id])


def _decrease(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
