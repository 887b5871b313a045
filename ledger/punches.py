"""Punches, the newest first: those of an employee, a device, a site, a time, or of one outcome. A page at a time."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, get_args

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, column, func, select, table, tuple_, union
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from attendance.times import from_milliseconds
from ledger.database import Database
from ledger.reading import LedgerReader
from ledger.tables import CHECKINS, RAW_RECORDS, WAITING
from operations.fact_reading import milliseconds
from operations.facts import OF_PUNCHES
from operations.journeys import Outcome
from operations.paging import Page, page_key, page_token

LOOKED_AT: Final = 1_000
"""So many raw records one page looks at, at most."""
COUNTED: Final = 20_000
"""So many raw records one count looks at, at most."""
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
"""What becomes of a raw record."""


@dataclass(frozen=True, slots=True)
class PunchRow:
    """A raw record and what became of it: a row of the view `punches`. Times are UTC."""

    kafka_partition: int
    kafka_offset: int
    event_id: str
    device_id: str
    device_user_id: str
    site: str
    event_type: str
    event_time: datetime
    received_at: datetime
    stored_at: datetime
    outcome: str
    reason: str | None
    kept_event_id: str | None
    employee: str | None
    decided_at: datetime | None
    delivered_at: datetime | None
    document: str | None


_COLUMNS: Final = tuple(PunchRow.__dataclass_fields__)
_TIMES: Final = frozenset({"event_time", "received_at", "stored_at", "decided_at", "delivered_at"})
PUNCHES: Final = table("punches", *map(column, _COLUMNS))
"""The view."""
_PLACE: Final = PUNCHES.c.kafka_partition, PUNCHES.c.kafka_offset
_KEY: Final = RAW_RECORDS.c.event_time, RAW_RECORDS.c.kafka_partition, RAW_RECORDS.c.kafka_offset
Key = tuple[int, int, int]
"""Time of the punch, and place of its raw record: by these the list is in order."""


@dataclass(frozen=True, slots=True)
class WhichPunches:
    """Which punches: None is any.

    Attributes:
        employee: Whose.
        device: Its device_id.
        site: At which site.
        sites: At one of these sites.
        outcome: One of `OUTCOMES`.
        first: From this time of the punch on.
        last: Before this time of the punch.
    """

    employee: str | None = None
    device: str | None = None
    site: str | None = field(default=None, kw_only=True)
    sites: frozenset[str] | None = field(default=None, kw_only=True)
    outcome: str | None = field(default=None, kw_only=True)
    first: datetime | None = field(default=None, kw_only=True)
    last: datetime | None = field(default=None, kw_only=True)

    @property
    def said(self) -> Mapping[str, frozenset[str]]:
        """What the view has to say of a punch, by column one of these values; for what no index finds."""
        one = {"site": self.site, "outcome": self.outcome, "employee": self.employee}
        said = {name: frozenset((value,)) for name, value in one.items() if value is not None}
        if self.sites is not None:
            said["site"] = self.sites if self.site is None else self.sites & said["site"]
        return said


@dataclass(frozen=True, slots=True)
class Count:
    """Punches by what became of them.

    Attributes:
        outcomes: How many of each outcome. One of which there is none is missing.
        next: The token by which the count goes on with older punches; None where it has all.
    """

    outcomes: Mapping[str, int]
    next: str | None = None


class LedgerPunches(LedgerReader):
    """A ledger that is asked for punches."""

    def __init__(self, database: Database) -> None:
        """Nothing is read yet.

        Args:
            database: Prepared.
        """
        super().__init__(database, OF_PUNCHES)

    async def page(self, which: WhichPunches, most: int, after: str | None = None) -> Page[PunchRow]:
        """See `newest_punches`. Raises LedgerUnavailable too."""
        return await asyncio.to_thread(self._page, which, most, after)

    async def count(self, which: WhichPunches, after: str | None = None) -> Count:
        """See `count_punches`. Raises LedgerUnavailable too."""
        return await asyncio.to_thread(self._counted, which, after)

    def _page(self, which: WhichPunches, most: int, after: str | None) -> Page[PunchRow]:
        with self._asking() as connection:
            return newest_punches(connection, which, most, after)

    def _counted(self, which: WhichPunches, after: str | None) -> Count:
        with self._asking() as connection:
            return count_punches(connection, which, after)


def newest_punches(connection: Connection, which: WhichPunches, most: int, after: str | None = None) -> Page[PunchRow]:
    """A page of punches, the newest first. A raw record that cannot be read has no time, and is in none.

    Device and time are found by an index, at any depth. The punches of an employee are all looked up, however few of
    them a page has. Site and outcome have no index: a page looks at `LOOKED_AT` raw records at most. So it may have
    fewer rows than were asked for, or none, and go on all the same.

    Args:
        connection: In a transaction.
        which: Of which punches.
        most: At most so many rows, at least one.
        after: The token of the page before; None for the first.

    Raises:
        InvalidPageToken: `after` is of no such list.
    """
    wanted = which.said
    at_once = max(LOOKED_AT, most) if wanted else most
    keys = _keys(which, _begin(after)).limit(at_once)
    if wanted:
        looked_at, found = _among(connection, keys, wanted)
    else:
        looked_at = found = [(at, number, offset) for at, number, offset in connection.execute(keys)]
    found = found[:most]
    last = found[-1] if len(found) == most else looked_at[-1] if len(looked_at) == at_once else None
    return Page(_rows(connection, found), None if last is None else page_token(*last))


def count_punches(connection: Connection, which: WhichPunches, after: str | None = None) -> Count:
    """Count punches by their outcome, the newest first. One count looks at `COUNTED` raw records at most.

    It costs some lookups by index for each raw record that it looks at.

    Args:
        connection: In a transaction.
        which: Of which punches.
        after: The token of the count before; None for the first. All counts together have every punch once.

    Raises:
        InvalidPageToken: `after` is of no such list.
    """
    keys = _keys(which, _begin(after))
    # Found first, so that what is stored meanwhile is counted by this count or by the next, and not by both.
    beyond = connection.execute(keys.offset(COUNTED - 1).limit(1)).first()
    these = (keys if beyond is None else keys.where(tuple_(*_KEY) >= tuple_(*beyond))).subquery()
    among = (PUNCHES.c[name].in_(sorted(values)) for name, values in which.said.items())
    query = select(PUNCHES.c.outcome, func.count()).join_from(these, PUNCHES, _is(these.c)).where(*among)
    outcomes = {row.outcome: row[1] for row in connection.execute(query.group_by(PUNCHES.c.outcome))}
    return Count(outcomes, None if beyond is None else page_token(*beyond))


def _begin(after: str | None) -> Key | None:
    return None if after is None else page_key(after, int, int, int)


def _keys(which: WhichPunches, begin: Key | None) -> Select[int, int, int]:
    at = RAW_RECORDS.c.event_time
    query = select(*_KEY).where(at.is_not(None)).order_by(*(each.desc() for each in _KEY))
    if begin is not None:
        query = query.where(tuple_(*_KEY) < begin)
    if which.first is not None:
        query = query.where(at >= milliseconds(which.first))
    if which.last is not None:
        query = query.where(at < milliseconds(which.last))
    if which.device is not None:
        query = query.where(RAW_RECORDS.c.device_id == which.device)
    if which.employee is not None:
        theirs = (select(each.c.event_id).where(each.c.employee == which.employee) for each in (CHECKINS, WAITING))
        ids = union(*theirs).subquery()
        query = query.join_from(ids, RAW_RECORDS, RAW_RECORDS.c.event_id == ids.c.event_id)
    return query


def _among(
    connection: Connection, keys: Select[int, int, int], wanted: Mapping[str, frozenset[str]]
) -> tuple[list[Key], list[Key]]:
    """The raw records of a query, and those of them of which the view says what is wanted."""
    these = keys.subquery()
    query = select(*these.c, *(PUNCHES.c[name] for name in wanted)).join_from(these, PUNCHES, _is(these.c))
    said = {_key(row): tuple(row[len(_KEY) :]) for row in connection.execute(query)}
    looked_at = sorted(said, reverse=True)
    allowed = tuple(wanted.values())
    return looked_at, [
        key for key in looked_at if all(value in values for value, values in zip(said[key], allowed, strict=True))
    ]


def _is(of: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[bool]:
    """That a row of the view is of the raw record of another row."""
    return and_(_PLACE[0] == of.kafka_partition, _PLACE[1] == of.kafka_offset)


def _rows(connection: Connection, keys: Sequence[Key]) -> list[PunchRow]:
    offsets: dict[int, list[int]] = defaultdict(list)
    for _, partition, offset in keys:
        offsets[partition].append(offset)
    found: dict[Key, PunchRow] = {}
    # SQLite finds no index for a list of pairs.
    for partition, of_partition in offsets.items():
        query = select(*PUNCHES.c).where(_PLACE[0] == partition, _PLACE[1].in_(of_partition))
        found |= {_key(row): _punch(row) for row in connection.execute(query)}
    return [found[key] for key in keys]


def _key(row: Row[Any]) -> Key:
    return row.event_time, row.kafka_partition, row.kafka_offset


def _punch(row: Row[Any]) -> PunchRow:
    said = row._asdict()
    times = {name: from_milliseconds(said[name]) for name in _TIMES if said[name] is not None}
    return PunchRow(**said | times)


def outcomes_of(database: Database, event_ids: Sequence[str]) -> dict[str, Outcome]:
    """What became of punches. Of several records of one, the one that is no repeat counts.

    Args:
        database: A ledger's, prepared.
        event_ids: Some hundreds at most. What the ledger does not have is left out.

    Raises:
        LedgerUnavailable: the database does not answer.
    """
    if not event_ids:
        return {}
    query = select(PUNCHES.c.event_id, PUNCHES.c.outcome).where(PUNCHES.c.event_id.in_(event_ids))
    found: dict[str, Outcome] = {}
    with database.transaction() as connection:
        for event_id, outcome in connection.execute(query):
            if outcome != "dropped" or event_id not in found:
                found[event_id] = outcome
    return found
