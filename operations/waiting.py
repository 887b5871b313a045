"""What waits: counted by device user and by device, and discarded with a note.

Memory is bounded, however many punches wait: they go into a temporary SQLite file.
"""

import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol, Self

import orjson

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.kafka.records import OutRecord, Record
from attendance.records.discard import MOST_EVENTS, DiscardedWaiting, is_discard_key
from attendance.records.outcomes import Waiting, waiting_event_id
from attendance.times import now
from attendance.user_map import UserMap
from operations.asked import Asked
from operations.log import Log, Skipped, decoded
from operations.paging import Page, page_key, page_token
from operations.sources import FromTopics, Source

# Of several records of one punch the newest counts: the sink gives what it sends back a key of its own.
_FIND_OLDER: Final = """
insert into older select key from (
    select key, row_number() over (partition by event order by partition desc, offset desc) as place
    from record where reason is not null
) where place > 1
"""
_SCHEMA: Final = """
pragma journal_mode = off; pragma synchronous = off;
-- No reason: the record cannot be read.
create table record (key blob primary key, event, partition, offset, site, device, user, reason, employee, time);
create table older (key blob primary key) without rowid;
create view waiting as select * from record where reason is not null and key not in (select key from older);
"""


@dataclass(frozen=True, slots=True)
class WaitingUser:
    """The punches of one device user at one site that wait for one reason. `since` is the oldest punch, UTC."""

    site: str
    device_user_id: str
    reason: Reason
    employee: str | None
    punches: int
    since: datetime
    devices: tuple[str, ...]

    @property
    def token(self) -> str:
        """The token of the lines after this one."""
        return page_token(self.site, self.device_user_id, self.reason.value)


def line_key(token: str) -> tuple[str, str, str]:
    """Site, device user and reason of the line of a token. Raises InvalidPageToken."""
    site, user, reason = page_key(token, str, str, str)
    return site, user, reason


@dataclass(frozen=True, slots=True)
class WaitingOfDevice:
    """What waits of one device. `since` is the oldest punch, UTC."""

    device_id: str
    users: int
    punches: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Discard:
    """The punches of one device that one person discarded at one time, UTC, with the note."""

    at: datetime
    by: str
    device_id: str
    note: str
    event_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Which:
    """Which waiting punches: of a device, of a site, of a device user, for a reason, of some sites; None is any."""

    device: str | None = None
    site: str | None = None
    user: str | None = None
    reason: Reason | None = None
    sites: frozenset[str] | None = None

    def sql(self) -> tuple[str, list[str]]:
        """A condition on `waiting`, and its parameters."""
        asked = {"device": self.device, "site": self.site, "user": self.user, "reason": self.reason}
        given = {name: str(value) for name, value in asked.items() if value is not None}
        conditions, parameters = ["1", *(f"{name} = ?" for name in given)], list(given.values())
        if self.sites is not None:
            conditions.append(f"site in ({', '.join('?' * len(self.sites))})")
            parameters += sorted(self.sites)
        return " and ".join(conditions), parameters


class WaitingSource(Source, Protocol):
    """Where it is known what waits."""

    async def has_heard_of(self, device: str) -> bool:
        """Whether a punch of a device was ever heard of. Raises RetriableError."""

    def count(self, which: Which) -> tuple[int, int]:
        """How many punches wait, and how many lines `users` has of them."""

    def users(self, which: Which, *, most: int = -1, after: str | None = None) -> Iterator[WaitingUser]:
        """The waiting punches counted, by site, user and reason, in that order.

        Args:
            which: Of which punches.
            most: At most so many lines; -1 for all.
            after: The token of the line before them; None for the first.

        Raises:
            InvalidPageToken: `after` is of no such list. It is raised once the first line is asked for.
        """

    def devices(self, which: Which) -> list[WaitingOfDevice]:
        """The waiting punches counted by device, the one with the most users first."""


def page_of_users(source: WaitingSource, which: Which, most: int, after: str | None) -> Page[WaitingUser]:
    """Some lines of `WaitingSource.users`, and how the list goes on after them. Takes what `users` takes."""
    # One more says whether the list goes on.
    rows = [*source.users(which, most=most + 1, after=after)]
    return Page(rows[:most], rows[most - 1].token if len(rows) > most else None)


class WaitingPunches(FromTopics):
    """Every punch that waits, as the topic has it. See `WaitingSource`."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._log: Log | None = None
        self._db = sqlite3.connect("")  # a file of SQLite's own, gone when it is closed
        self._db.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    async def fill(self, log: Log, skipped: Skipped) -> Self:
        """Read what waits.

        Args:
            log: The topics.
            skipped: Where the records are counted that are no waiting punch.

        Raises:
            KafkaUnavailable: Kafka does not answer, or the topic is missing.
        """
        self._log = log
        async for batch in log.read("unmapped"):
            for record in batch:
                self._take(record, skipped)
        self._db.execute(_FIND_OLDER)
        return self

    def _take(self, record: Record, skipped: Skipped) -> None:
        key = record.key or b""
        if record.value is None:
            self._db.execute("delete from record where key = ?", (key,))
            return
        if is_discard_key(key):
            return
        where = (key, waiting_event_id(key).encode(), record.partition, record.offset)
        row: tuple[object, ...] = (None,) * 6
        try:
            waiting = Waiting.decode(record.value)
        except InvalidRecord as error:
            skipped.add(record, error)
        else:
            event = waiting.event
            time = record.timestamp // 1000 if event.event_time is None else int(event.event_time.timestamp())
            row = (event.site, event.device_id, event.device_user_id, waiting.reason, waiting.employee, time)
        self._db.execute("insert or replace into record values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*where, *row))

    async def has_heard_of(self, device: str) -> bool:
        """See `WaitingSource.has_heard_of`. Reads the raw topic until there is one. Raises KafkaUnavailable."""
        assert self._log is not None, "nothing was read"
        return not await Asked(devices=(device,)).not_there(self._log, ("raw",))

    def count(self, which: Which) -> tuple[int, int]:
        """See `WaitingSource.count`."""
        where, given = which.sql()
        groups = f"select count(*) as punches from waiting where {where} group by site, user, reason"  # noqa: S608 - only our words
        rows = self._db.execute(f"select coalesce(sum(punches), 0), count(*) from ({groups})", given)  # noqa: S608 - only our words
        punches, lines = rows.fetchone()
        return punches, lines

    def users(self, which: Which, *, most: int = -1, after: str | None = None) -> Iterator[WaitingUser]:
        """See `WaitingSource.users`."""
        where, given = which.sql()
        key = () if after is None else line_key(after)
        rest = "and (site, user, reason) > (?, ?, ?)" if key else ""
        # The employee is that of the newest record that names one.
        query = f"""select site, user, reason, substr(max(printf('%020d', offset) || employee), 21), count(*),
            min(time), json_group_array(distinct device) from waiting where {where} {rest}
            group by site, user, reason order by site, user, reason limit ?"""  # noqa: S608 - only our words
        for site, user, reason, employee, punches, since, devices in self._db.execute(query, (*given, *key, most)):
            names = tuple(sorted(orjson.loads(devices)))
            yield WaitingUser(site, user, Reason(reason), employee, punches, _utc(since), names)

    def devices(self, which: Which) -> list[WaitingOfDevice]:
        """See `WaitingSource.devices`."""
        where, given = which.sql()
        query = f"""select device, count(distinct site || char(10) || user) as users, count(*), min(time)
            from waiting where {where} group by device order by users desc, device"""  # noqa: S608 - only our words
        rows = self._db.execute(query, given)
        return [WaitingOfDevice(device, users, punches, _utc(since)) for device, users, punches, since in rows]

    def events(self, which: Which) -> Iterator[list[tuple[str, list[tuple[bytes, int]]]]]:
        """Ids of waiting punches, each with keys and partitions of all its records, some at a time."""
        where, given = which.sql()
        rows = self._db.execute(f"select event from waiting where {where}", given)  # noqa: S608 - only our words
        while found := rows.fetchmany(MOST_EVENTS):
            yield [(event.decode(), self._records_of(event)) for (event,) in found]

    def _records_of(self, event: bytes) -> list[tuple[bytes, int]]:
        # All keys of an event begin with its id; `;` is the next character after `:`.
        return self._db.execute(
            "select key, partition from record where key >= ? and key < ? and event = ?", (event, event + b";", event)
        ).fetchall()


async def unknown(source: WaitingSource, which: Which, users: UserMap | None, fleet: Iterable[Device]) -> list[str]:
    """Of a question that nothing waits for, what nobody has heard of, each as a sentence.

    Args:
        source: Which knows what waits.
        which: The question.
        users: The user map, where a user was asked about.
        fleet: Every device.

    Raises:
        RetriableError: the source does not answer.
    """
    devices = list(fleet)
    found = []
    in_fleet = which.device is None or any(each.device_id == which.device for each in devices)
    if which.device is not None and not in_fleet and not await source.has_heard_of(which.device):
        found.append(f"There is no device {which.device}: the fleet does not have it, and no raw record names it.")
    if which.site is not None and all(each.site != which.site for each in devices):
        found.append(f"There is no site {which.site}: no device of the fleet is of it, and nothing of it waits.")
    if users is not None and all(each.device_user_id != which.user for each in users.mappings()):
        found.append(f"There is no user {which.user}: the user map does not have them, and nothing of them waits.")
    return found


async def discard(log: Log, waiting: WaitingPunches, which: Which, *, note: str, by: str) -> int:
    """Discard punches that wait. The record that says so comes first, and then what waited is removed.

    Whoever is interrupted between the two has discarded nothing yet, and does it again.

    Args:
        log: Where they wait.
        waiting: What waits there.
        which: Those to discard, of one device at least.
        note: Why.
        by: Who says so.

    Returns:
        How many punches.

    Raises:
        KafkaUnavailable: Kafka does not answer; some may be discarded.
    """
    assert which.device is not None
    topic = log.topics["unmapped"]
    count, at = 0, now()
    async with log.sending() as send:
        for events in waiting.events(which):
            ids = tuple(id_ for id_, _ in events)
            record = DiscardedWaiting(secrets.token_hex(16), ids, which.device, at, by, note)
            await send(OutRecord(topic, record.key, record.encode()))
            await send(*_removals(topic, events))
            count += len(events)
    return count


async def read_discards(log: Log, skipped: Skipped, device: str | None = None) -> list[Discard]:
    """What was discarded, the oldest first. One that was done again, as after a failure, is there each time.

    Args:
        log: The topics.
        skipped: Where the records are counted that are no discards, though their key says so.
        device: Only punches of this device; None is any.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    found: dict[tuple[datetime, str, str, str], list[str]] = defaultdict(list)
    async with aclosing(log.read("unmapped")) as batches:
        async for batch in batches:
            discards = [record for record in batch if is_discard_key(record.key) and record.value is not None]
            for _, said in decoded(discards, lambda record: DiscardedWaiting.decode(record.value), skipped):
                if device in (None, said.device_id):
                    # Many punches stand in several records.
                    found[said.at, said.by, said.device_id, said.note] += said.events
    return [Discard(*about, tuple(dict.fromkeys(events))) for about, events in sorted(found.items())]


def _removals(topic: str, events: Iterable[tuple[str, Iterable[tuple[bytes, int]]]]) -> list[OutRecord]:
    return [OutRecord(topic, key, None, partition=partition) for _, records in events for key, partition in records]


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
