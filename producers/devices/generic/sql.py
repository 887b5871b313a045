"""Any database that holds punches, by a query in the fleet file.

    options:
      read_database: true
      query: >
        SELECT id AS sequence, badge AS "user", at AS "time", way AS direction, door AS serial
        FROM punches WHERE id > :cursor AND at >= :since ORDER BY id

`user` and `time` are needed; `direction`, `serial` (of the terminal) and `sequence` (the record number) are optional.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, time, timedelta
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field
from sqlalchemy import TextClause, bindparam, text

from attendance.errors import DeviceRefused, UnreadableAnswer
from attendance.fleet import Device
from attendance.records.raw_event import EventType
from attendance.times import to_wall_clock
from producers.devices.common.options import read_options, words
from producers.devices.common.sql import read_only as read_only_sql
from producers.devices.common.sql.adapter import (
    PAGE_ROWS,
    Columns,
    DatabaseOptions,
    Position,
    SqlAdapter,
    any_zone,
    numbers_of,
    row_of,
)
from producers.devices.common.sql.database import SLICE_BYTES, TIME, Database, Slice
from producers.devices.contract import DeviceReport, Fetch, Page, Probed

_OPTIONAL: Final = ("direction", "sequence", "serial")
_BEGINNING: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock's
_MOST_ROWS: Final = 1_000_000
_MOST_BYTES: Final = 64 * 1024 * 1024


def _question(query: str) -> str:
    read_only_sql.check(query, frozenset({"cursor", "since"}), frozenset({"cursor"}))
    return query


def _lower(word: str) -> str:
    return word.strip().lower()


class QueryOptions(DatabaseOptions):
    """The options of an entry with a query.

    `cursor` says what `:cursor` is and in which order the rows come: `sequence`, an integer that grows with each record
    that is stored, or `time`, for tables without one; then each fetch goes back by `overlap` minutes. `directions` says
    what values of the column mean, whatever their case.
    """

    query: Annotated[str, AfterValidator(_question)]
    cursor: Literal["sequence", "time"] = "sequence"
    overlap: int = Field(60, ge=0, le=100_000)
    directions: Annotated[Mapping[str, Literal["IN", "OUT"]], words(_lower)] = {"in": "IN", "out": "OUT"}

    @property
    def statement(self) -> TextClause:
        """The query with its binds."""
        times = ("since", "cursor") if self.cursor == "time" else ("since",)
        return text(self.query).bindparams(*(bindparam(name, type_=TIME) for name in times if f":{name}" in self.query))

    def direction(self, value: object) -> EventType:
        """What the column says."""
        return self.directions.get(_lower(str(value)), "UNKNOWN")


class Sql(SqlAdapter):
    """The adapter. The cursor is the position in the records, or the time up to which they were read."""

    name: Final = "sql"
    version: Final = "1"
    options = QueryOptions

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """The pages since the cursor. See `PullAdapter.fetch`."""
        options = read_options(wanted.source, QueryOptions)
        database = self.database(wanted.source)
        by = self._by_sequence if options.cursor == "sequence" else self._by_time
        async for page in by(wanted, options, database):
            yield page

    def read_again(self, raw: bytes, wanted: Fetch) -> Page:
        """What a row comes to today. See `PullAdapter.read_again`."""
        direction = read_options(wanted.source, QueryOptions).direction
        row, _ = row_of(raw, self._columns)
        return self.page(wanted, {}, self._columns, [row], direction)

    async def probe(self, source: Device) -> Probed:
        """Whether the query runs and has the columns. See `PullAdapter.probe`."""
        options = read_options(source, QueryOptions)
        beginning = 0 if options.cursor == "sequence" else _BEGINNING
        await self._rows(self.database(source), options, beginning, _BEGINNING, 1)
        return Probed(None, DeviceReport())

    async def _by_sequence(self, wanted: Fetch, options: QueryOptions, database: Database) -> AsyncIterator[Page]:
        # The cursor of the entry's other mode, before it was changed, is none of this one.
        known = wanted.cursor if wanted.cursor is not None and "last" in wanted.cursor else None
        reached = Position() if known is None else Position.from_cursor(known, wanted.now)
        since = _since(wanted, first=reached == Position())
        begun = reached
        position = reached if wanted.since is None else Position()
        floor, has_more = position.floor, True
        while has_more:
            rows, has_more, _ = await self._rows(database, options, floor, since, PAGE_ROWS)
            numbers = numbers_of(rows, "sequence")
            if numbers and numbers[0] <= floor:
                raise DeviceRefused("options: query: must give only records whose sequence is above :cursor")
            new = [row for row, number in zip(rows, numbers, strict=True) if position.is_new(number)]
            position = position.after(numbers, wanted.now)
            if wanted.since is None:
                reached = position
            if new:
                yield self.page(wanted, reached.to_cursor(), self._columns, new, options.direction)
            floor = numbers[-1] if numbers else floor
            if has_more and self.ends_here(database, wanted, has_moved=reached != begun):
                return

    async def _by_time(self, wanted: Fetch, options: QueryOptions, database: Database) -> AsyncIterator[Page]:
        known = None if wanted.cursor is None else wanted.cursor.get("time")
        reached = _BEGINNING if known is None else datetime.fromisoformat(known)
        since = _since(wanted, first=reached == _BEGINNING)
        overlap = timedelta(minutes=options.overlap)
        start = since if since > _BEGINNING or reached < _BEGINNING + overlap else reached - overlap
        # A clock that ran ahead must not take the cursor to where nothing is found any more.
        latest = to_wall_clock(wanted.now, wanted.source.timezone)
        begun, limit, most, has_more = start, PAGE_ROWS, SLICE_BYTES, True
        while has_more:
            rows, has_more, is_cut = await self._rows(database, options, start, since, limit, most)
            times = [at for at in (_wall_clock(row["time"]) for row in rows) if at is not None]
            if any(before > after for before, after in pairwise(times)):
                raise UnreadableAnswer("rows are not in the order of time")
            last = times[-1] if times else start
            if wanted.since is None:
                reached = max(reached, min(last, latest))
            if rows:
                cursor = {"time": reached.isoformat(sep=" ")}
                yield self.page(wanted, cursor, self._columns, rows, options.direction)
            if not has_more:
                return
            # What is dated ahead of the server's clock does not move the cursor, which then cannot go on behind it.
            has_moved = last <= latest and reached - overlap > begun
            if self.ends_here(database, wanted, has_moved=has_moved):
                return
            if last > start:
                start, limit, most = last, PAGE_ROWS, SLICE_BYTES
                continue
            # More rows of one time than a page holds: only a longer page gets past them.
            limit, most = (limit, most * 2) if is_cut else (limit * 2, most)
            if limit > _MOST_ROWS or most > _MOST_BYTES:
                raise UnreadableAnswer(f"more than {len(rows)} rows of one time, or of {_MOST_BYTES >> 20} MiB")

    async def _rows(
        self,
        database: Database,
        options: QueryOptions,
        cursor: int | datetime,
        since: datetime,
        limit: int,
        most: int | None = None,
    ) -> Slice:
        """What the query gives, by lower-case names, with every column of the contract.

        Raises:
            DeviceRefused: a column that is needed is not there.
        """
        found = await database.rows(options.statement, {"cursor": cursor, "since": since}, limit, most)
        rows = [dict.fromkeys(_OPTIONAL) | {name.lower(): value for name, value in row.items()} for row in found.rows]
        needed = {"user", "time", *(("sequence",) if options.cursor == "sequence" else ())}
        for row in found.rows[:1]:
            if missing := needed - {name.lower() for name in row}:
                raise DeviceRefused(f"options: query: has no column {min(missing)}")
        return found._replace(rows=rows)

    @property
    def _columns(self) -> Columns:
        return Columns("user", "time", "direction", "sequence", "serial", tuple(self._payload_fields))


def _since(wanted: Fetch, *, first: bool) -> datetime:
    """What `:since` is: nothing dated before it is wanted."""
    if wanted.since is not None:
        return any_zone(wanted.since)
    installed_on = wanted.source.installed_on
    # Later on, a time before that day is a wrong clock's, which is for the stream to say.
    return datetime.combine(installed_on, time.min) if first and installed_on is not None else _BEGINNING


def _wall_clock(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value)).replace(tzinfo=None, microsecond=0)
    except ValueError:
        return None
