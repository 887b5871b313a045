"""Punches, the newest first: those of an employee, a device, a site, a time, or of one outcome. A page at a time."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, get_args

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    column,
    exists,
    func,
    select,
    table,
    tuple_,
    union,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from attendance.times import from_milliseconds
from ledger.database import Database
from ledger.reading import LedgerReader
from ledger.tables import CHECKINS, NOT_DELIVERED, RAW_RECORDS, WAITING
from operations.fact_reading import milliseconds
from operations.facts import OF_PUNCHES
from operations.journeys import Outcome
from operations.paging import Page, page_key, page_token

LOOKED_AT: Final = 10_000
"""So many raw records one page looks at, at most, where no index has those that are wanted."""
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
_KEY: Final = "event_time", "kafka_partition", "kafka_offset"
_IS_THESE: Final = "p.kafka_partition = these.kafka_partition and p.kafka_offset = these.kafka_offset"
BEFORE: Final = -1, -1
"""A place before that of any raw record."""
Key = tuple[int, int, int]
"""Time of the punch, and place of its raw record: by these the list is in order."""


@dataclass(frozen=True, slots=True)
class WhichPunches:
    """Which punches: None is any.

    Attributes:
        employee: Whose.
        device: Its device_id.
        device_user: The device_user_id, exactly as the device has it.
        site: At which site.
        sites: At one of these sites.
        outcome: One of `OUTCOMES`.
        first: From this time of the punch on.
        last: Before this time of the punch.
    """

    employee: str | None = None
    device: str | None = None
    device_user: str | None = field(default=None, kw_only=True)
    site: str | None = field(default=None, kw_only=True)
    sites: frozenset[str] | None = field(default=None, kw_only=True)
    outcome: str | None = field(default=None, kw_only=True)
    first: datetime | None = field(default=None, kw_only=True)
    last: datetime | None = field(default=None, kw_only=True)

    @property
    def said(self) -> Mapping[str, frozenset[str]]:
        """What the view has to say of a punch, by column one of these values; for what no index finds."""
        one = {
            "site": self.site,
            "outcome": self.outcome,
            "employee": self.employee,
            "device_user_id": self.device_user,
        }
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

    Employee, device, time, one site, and what was not delivered are found by an index, at any depth. What is asked
    beside the first of these that is given is not, nor are several sites: a page looks at `LOOKED_AT` raw records at
    most. So it may have fewer rows than were asked for, or none, and go on all the same.

    Args:
        connection: In a transaction.
        which: Of which punches.
        most: At most so many rows, at least one.
        after: The token of the page before; None for the first.

    Raises:
        InvalidPageToken: `after` is of no such list.
    """
    begin = _begin(after)
    if which.employee is not None:
        return _of_employee(connection, which, which.employee, most, begin)
    is_other = which.outcome not in (None, "delivered") and which.device is None
    of = NOT_DELIVERED if is_other else RAW_RECORDS
    keys = _keys(of, which, begin)
    if of is NOT_DELIVERED:
        keys = keys.where(NOT_DELIVERED.c.outcome == which.outcome)
    elif which.device is not None:
        keys = keys.where(RAW_RECORDS.c.device_id == which.device)
    elif len(sites := which.said.get("site", ())) == 1:
        # Of several sites, the index by site has no order by time.
        keys = keys.where(RAW_RECORDS.c.site == next(iter(sites)))
    at_once = max(LOOKED_AT, most)
    these = keys.limit(at_once).subquery()
    narrowed = _narrowed(these, which, by_outcome=of is RAW_RECORDS)
    if not narrowed:
        found = _found(connection, keys.limit(most))
    else:
        key = [these.c[name] for name in _KEY]
        wanted = select(*key).where(*narrowed).order_by(*(each.desc() for each in key))
        found = _found(connection, wanted.limit(most))
    last = found[-1:] if len(found) == most else _found(connection, keys.offset(at_once - 1).limit(1))
    rows = _rows(connection, found)
    return Page([rows[key] for key in found], page_token(*last[0]) if last else None)


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
    keys, place = _every_key(which, _begin(after)), [RAW_RECORDS.c[name] for name in _KEY]
    # Found first, so that what is stored meanwhile is counted by this count or by the next, and not by both.
    last = _found(connection, keys.offset(COUNTED - 1).limit(1))
    these = (keys.where(tuple_(*place) >= last[0]) if last else keys).subquery()
    # The site is that of `these`: by one of the view, SQLite would begin with every record of the site.
    among = (
        (these.c.site if name == "site" else PUNCHES.c[name]).in_(sorted(values)) for name, values in which.said.items()
    )
    query = select(PUNCHES.c.outcome, func.count()).join_from(these, PUNCHES, _is(these.c)).where(*among)
    outcomes = {row.outcome: row[1] for row in connection.execute(query.group_by(PUNCHES.c.outcome))}
    return Count(outcomes, page_token(*last[0]) if last else None)


def _begin(after: str | None) -> Key | None:
    return None if after is None else page_key(after, int, int, int)


def _keys(of: FromClause, which: WhichPunches, begin: Key | None) -> Select[Any]:
    """Keys and sites of a time, the newest first."""
    key, at = [of.c[name] for name in _KEY], of.c.event_time
    query = select(*key, of.c.site).where(at.is_not(None)).order_by(*(each.desc() for each in key))
    if begin is not None:
        # The time alone too: SQLite finds by it where to begin in an index that has the site behind it.
        query = query.where(tuple_(*key) < begin, at <= begin[0])
    if which.first is not None:
        query = query.where(at >= milliseconds(which.first))
    if which.last is not None:
        query = query.where(at < milliseconds(which.last))
    return query


def _narrowed(of: FromClause, which: WhichPunches, *, by_outcome: bool) -> list[ColumnElement[bool]]:
    """What is wanted of raw records that were found by something else."""
    sites = which.said.get("site")
    conditions: list[ColumnElement[bool]] = [] if sites is None else [of.c.site.in_(sorted(sites))]
    if by_outcome and which.outcome is not None:
        other = NOT_DELIVERED.c
        its = other.kafka_partition == of.c.kafka_partition, other.kafka_offset == of.c.kafka_offset
        is_other = exists().where(*its)
        conditions.append(~is_other if which.outcome == "delivered" else is_other.where(other.outcome == which.outcome))
    if which.device_user is not None:
        raw = RAW_RECORDS.alias().c
        its = raw.kafka_partition == of.c.kafka_partition, raw.kafka_offset == of.c.kafka_offset
        conditions.append(exists().where(*its, raw.device_user_id == which.device_user))
    return conditions


def _of_employee(
    connection: Connection, which: WhichPunches, employee: str, most: int, begin: Key | None
) -> Page[PunchRow]:
    """A page of the punches of somebody: of so many of their newest check-ins, and of what waits."""
    at = CHECKINS.c.event_time
    theirs = select(CHECKINS.c.event_id).where(CHECKINS.c.employee == employee)
    if begin is not None:
        # A page whose check-ins came to an end goes on before their time, and any other one may have more of it.
        theirs = theirs.where(at < begin[0] if begin[1:] == BEFORE else at <= begin[0])
    if which.first is not None:
        theirs = theirs.where(at >= milliseconds(which.first))
    if which.last is not None:
        theirs = theirs.where(at < milliseconds(which.last))
    # A check-in has the time of its raw record. So all that is newer than one of them is found without the older ones.
    oldest = connection.execute(theirs.with_only_columns(at).order_by(at.desc()).offset(most - 1).limit(1)).scalar()
    if oldest is not None:
        theirs = theirs.where(at >= oldest)
    ids = union(theirs, select(WAITING.c.event_id).where(WAITING.c.employee == employee)).subquery()
    keys = _keys(RAW_RECORDS, which, begin).join_from(ids, RAW_RECORDS, RAW_RECORDS.c.event_id == ids.c.event_id)
    if oldest is not None:
        keys = keys.where(RAW_RECORDS.c.event_time >= oldest)
    looked_at = _found(connection, keys.limit(most))
    rows = _rows(connection, looked_at)
    wanted = {**which.said, **({} if which.device is None else {"device_id": frozenset((which.device,))})}
    found = [rows[key] for key in looked_at if all(getattr(rows[key], name) in each for name, each in wanted.items())]
    if len(looked_at) == most:
        return Page(found, page_token(*looked_at[-1]))
    return Page(found, None if oldest is None else page_token(oldest, *BEFORE))


def _every_key(which: WhichPunches, begin: Key | None) -> Select[Any]:
    """The keys and sites of an employee, a device and a time, whatever their site and outcome are."""
    keys = _keys(RAW_RECORDS, which, begin)
    if which.device is not None:
        keys = keys.where(RAW_RECORDS.c.device_id == which.device)
    if which.employee is not None:
        theirs = (select(each.c.event_id).where(each.c.employee == which.employee) for each in (CHECKINS, WAITING))
        ids = union(*theirs).subquery()
        keys = keys.join_from(ids, RAW_RECORDS, RAW_RECORDS.c.event_id == ids.c.event_id)
    return keys


def _is(of: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[bool]:
    """That a row of the view is of the raw record of another row."""
    return and_(_PLACE[0] == of.kafka_partition, _PLACE[1] == of.kafka_offset)


def _found(connection: Connection, keys: Select[Any]) -> list[Key]:
    return [(row.event_time, row.kafka_partition, row.kafka_offset) for row in connection.execute(keys)]


def _rows(connection: Connection, keys: Sequence[Key]) -> dict[Key, PunchRow]:
    if not keys:
        return {}
    # One query whose text depends on their number alone: to prepare the view takes longer than to ask it. It is the
    # driver's own: to have SQLAlchemy make it of so many values takes a fifth of the time of a page.
    place = "(?, ?)" if connection.dialect.name == "sqlite" else "(%s::bigint, %s::bigint)"
    these = f"with these (kafka_partition, kafka_offset) as (values {', '.join([place] * len(keys))})"
    query = f"{these} select {', '.join(f'p.{name}' for name in _COLUMNS)} from these join punches p on {_IS_THESE}"  # noqa: S608 - only our words
    rows = connection.exec_driver_sql(query, tuple(part for key in keys for part in key[1:]))
    return {(row.event_time, row.kafka_partition, row.kafka_offset): _punch(row) for row in rows}


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
