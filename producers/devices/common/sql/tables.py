"""Tables of punches whose layout is known: read table by table, each by its record number."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, time
from typing import Any

from sqlalchemy import BigInteger, ColumnClause, Executable, bindparam, column, func, literal, select, table, union_all

from attendance.fleet import Device
from attendance.records.raw_event import EventType
from producers.devices.common.sql.adapter import (
    PAGE_ROWS,
    Columns,
    Position,
    SqlAdapter,
    any_zone,
    numbers_of,
    row_of,
)
from producers.devices.common.sql.database import TIME, Database
from producers.devices.contract import Cursor, DeviceReport, Fetch, Page, Probed


class TableAdapter(SqlAdapter):
    """Reads a vendor's tables of punches.

    The cursor holds the position in every table. The first fetch brings all that the tables hold or, where the entry
    has `installed_on`, each table from its first record of that day on. A table whose newest number is behind its
    position was made anew and is read from its beginning.
    """

    @property
    @abstractmethod
    def columns(self) -> Columns:
        """What is read, in the vendor's spelling."""

    @abstractmethod
    def direction(self, value: object) -> EventType:
        """What the direction's column says."""

    @abstractmethod
    async def tables(self, database: Database, since: datetime | None) -> Sequence[str]:
        """The tables that hold punches, oldest first; only those that may hold one dated from `since` on, if given.

        Args:
            database: Where they stand.
            since: A wall clock; None for all tables.
        """

    async def serials(self, database: Database) -> Mapping[str, str]:  # noqa: ARG002 - most tables have the numbers
        """The serial number of each terminal by what the tables call it, where that is something else."""
        return {}

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """The pages since the cursor. See `PullAdapter.fetch`."""
        database = self.database(wanted.source)
        serials = await self.serials(database)
        since = None if wanted.since is None else any_zone(wanted.since)
        if wanted.cursor is None:
            positions = await self._start(database, wanted)
            yield Page(_cursor(positions))
        else:
            positions = {
                name: Position.from_cursor(value, wanted.now) for name, value in wanted.cursor["tables"].items()
            }
        begun = dict(positions)
        names = await self.tables(database, since)
        newest = await self._newest(database, names)
        for name in names:
            position = positions.get(name, Position())
            if since is not None:
                position = Position()
            elif newest[name] < position.last:
                position = positions[name] = Position()
                yield Page(_cursor(positions))
            if newest[name] <= position.floor:
                continue
            floor, has_more = position.floor, True
            while has_more:
                rows, has_more, _ = await database.rows(
                    self.query(name, since), {"floor": floor, "since": since}, PAGE_ROWS
                )
                numbers = numbers_of(rows, self.columns.sequence)
                new = [row for row, number in zip(rows, numbers, strict=True) if position.is_new(number)]
                position = position.after(numbers, wanted.now)
                if since is None:  # a sweep leaves records out, so it tells nothing of how far the table was read
                    positions[name] = position
                if new:
                    yield self.page(wanted, _cursor(positions), self.columns, new, self.direction, serials)
                floor = numbers[-1] if numbers else floor
                if has_more and self.ends_here(database, wanted, has_moved=positions != begun):
                    return

    def read_again(self, raw: bytes, wanted: Fetch) -> Page:
        """What a row comes to today. See `PullAdapter.read_again`."""
        row, serials = row_of(raw, self.columns)
        return self.page(wanted, {}, self.columns, [row], self.direction, serials)

    async def probe(self, source: Device) -> Probed:
        """Whether the tables can be read. See `PullAdapter.probe`."""
        database = self.database(source)
        await self.serials(database)
        names = await self.tables(database, None)
        newest = await self._newest(database, names)
        for name in names[-1:]:
            await database.rows(self.query(name, None), {"floor": newest[name] - 1}, 1)
        return Probed(
            None, DeviceReport(details={"tables": len(names), "newest_record": max(newest.values(), default=0)})
        )

    def query(self, name: str, since: datetime | None) -> Executable:
        """The next page of a table: above the number `floor`, and dated from `since` on, if given.

        Args:
            name: The name of the table.
            since: A wall clock; None for all records.
        """
        columns = self.columns
        number = column(columns.sequence, BigInteger())
        selected: list[ColumnClause[Any]] = [column(kept) for kept in dict.fromkeys(columns.kept)]
        query = (
            select(*selected)
            .select_from(table(name))
            .where(number > bindparam("floor"))
            .order_by(number)
            .limit(PAGE_ROWS)
        )
        return query if since is None else query.where(column(columns.time) >= bindparam("since", type_=TIME))

    async def _newest(self, database: Database, names: Sequence[str]) -> Mapping[str, int]:
        """The greatest record number of each table, 0 where it is empty."""
        if not names:
            return {}
        number = func.max(column(self.columns.sequence, BigInteger())).label("newest")
        query = union_all(*(select(literal(name).label("name"), number).select_from(table(name)) for name in names))
        return {row["name"]: row["newest"] or 0 for row in (await database.rows(query, {}, len(names))).rows}

    async def _start(self, database: Database, wanted: Fetch) -> dict[str, Position]:
        """Where the first fetch begins."""
        installed_on = wanted.source.installed_on
        if installed_on is None:
            return {}
        names = await self.tables(database, None)
        newest = await self._newest(database, names)
        positions = {}
        for name in names:
            number = func.min(column(self.columns.sequence, BigInteger())).label("first")
            query = (
                select(number)
                .select_from(table(name))
                .where(column(self.columns.time) >= bindparam("since", type_=TIME))
            )
            (row,) = (await database.rows(query, {"since": datetime.combine(installed_on, time.min)}, 1)).rows
            positions[name] = Position(newest[name] if row["first"] is None else row["first"] - 1, moved=wanted.now)
        return positions


def _cursor(positions: Mapping[str, Position]) -> Cursor:
    return {"tables": {name: position.to_cursor() for name, position in positions.items()}}
