"""LedgerWaiting: a ledger as a source of what waits."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, func, select, tuple_

from attendance.errors import Reason
from ledger.database import Database
from ledger.reading import LedgerReader
from ledger.tables import RAW_RECORDS, WAITING
from operations.log import Skipped
from operations.waiting import WaitingOfDevice, WaitingUser, Which, line_key

AT_ONCE: Final = 1_000
"""Lines of one query."""
_LINE: Final = WAITING.c.site, WAITING.c.device_user_id, WAITING.c.reason
SINCE: Final = func.min(func.coalesce(WAITING.c.event_time, WAITING.c.waiting_since))
"""The oldest of some punches that wait, in milliseconds since the epoch."""

Part = TypeVar("Part")
Key = tuple[str, str, str]
"""Site, device user and reason."""


class LedgerWaiting(LedgerReader):
    """A ledger. See `operations.waiting.WaitingSource`."""

    def __init__(self, database: Database, skipped: Skipped) -> None:
        """Nothing is read yet. Takes what `LedgerReader` takes."""
        super().__init__(database, ["unmapped"], skipped)
        self._open = ExitStack()
        self._connection: Connection

    def __enter__(self) -> Self:
        """Begin to ask. Raises LedgerUnavailable."""
        self._connection = self._open.enter_context(self._asking())
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    async def has_heard_of(self, device: str) -> bool:
        """See `WaitingSource.has_heard_of`."""
        query = select(RAW_RECORDS.c.kafka_offset).where(RAW_RECORDS.c.device_id == device).limit(1)
        return await asyncio.to_thread(lambda: self._connection.execute(query).first() is not None)

    def count(self, which: Which) -> tuple[int, int]:
        """See `WaitingSource.count`."""
        lines = (
            select(func.count().label("punches"))
            .select_from(WAITING)
            .where(WAITING.c.is_newest, *_of(which))
            .group_by(*_LINE)
            .subquery()
        )
        query = select(func.coalesce(func.sum(lines.c.punches), 0), func.count()).select_from(lines)
        punches, users = self._connection.execute(query).one()
        return int(punches), users

    def users(self, which: Which, *, most: int = -1, after: str | None = None) -> Iterator[WaitingUser]:
        """See `WaitingSource.users`. In the order of the database; a page at depth costs what the first does."""
        last: Key | None = None if after is None else line_key(after)
        left = most
        while left:
            size = min(left, AT_ONCE) if left > 0 else AT_ONCE
            page = self._page(which, last, size)
            yield from self._with_details(which, page)
            if len(page) < size:
                return
            last, left = _key(page[-1]), left - size if left > 0 else left

    def _page(self, which: Which, last: Key | None, size: int) -> Sequence[Row[Any]]:
        counted = func.count().label("punches"), SINCE.label("since")
        query = select(*_LINE, *counted).where(WAITING.c.is_newest, *_of(which)).group_by(*_LINE).order_by(*_LINE)
        if last is not None:
            query = query.where(tuple_(*_free(which, _LINE)) > _free(which, last))
        return self._connection.execute(query.limit(size)).all()

    def _with_details(self, which: Which, page: Sequence[Row[Any]]) -> Iterator[WaitingUser]:
        if not page:
            return
        devices: dict[Key, set[str]] = {}
        employees: dict[Key, tuple[int, str]] = {}
        # A line may have a hundred punches of each device: the database says each device once.
        of_device = *_LINE, WAITING.c.device_id, WAITING.c.employee
        line, first, last = tuple_(*_free(which, _LINE)), _free(which, _key(page[0])), _free(which, _key(page[-1]))
        within = line >= first, line <= last
        query = select(*of_device, func.max(WAITING.c.kafka_offset)).where(WAITING.c.is_newest, *_of(which), *within)
        for site, user, reason, device, employee, offset in self._connection.execute(query.group_by(*of_device)):
            devices.setdefault((site, user, reason), set()).add(device)
            if employee is not None:
                # That of the newest record that names one.
                known = employees.get((site, user, reason), (-1, ""))
                employees[site, user, reason] = max(known, (offset, employee))
        for row in page:
            site, user, reason = key = _key(row)
            employee = employees[key][1] if key in employees else None
            names = tuple(sorted(devices[key]))
            yield WaitingUser(site, user, Reason(reason), employee, row.punches, _utc(row.since), names)

    def devices(self, which: Which) -> list[WaitingOfDevice]:
        """See `WaitingSource.devices`."""
        user = WAITING.c.device_id, WAITING.c.site, WAITING.c.device_user_id
        each = (
            select(*user, func.count().label("punches"), SINCE.label("since"))
            .where(WAITING.c.is_newest, *_of(which))
            .group_by(*user)
            .subquery()
        )
        users = func.count().label("users")
        counted = select(each.c.device_id, users, func.sum(each.c.punches), func.min(each.c.since))
        query = counted.group_by(each.c.device_id).order_by(users.desc(), each.c.device_id)
        rows = self._connection.execute(query)
        return [WaitingOfDevice(device, count, int(punches), _utc(since)) for device, count, punches, since in rows]


def _free(which: Which, line: tuple[Part, ...]) -> tuple[Part, ...]:
    """Of a line what is not the same in each that is asked for: of a given site, SQLite would compare every line."""
    return line if which.site is None else line[1:]


def _key(row: Row[Any]) -> Key:
    return row.site, row.device_user_id, row.reason


def _of(which: Which) -> list[ColumnElement[bool]]:
    asked = {"device_id": which.device, "site": which.site, "device_user_id": which.user, "reason": which.reason}
    conditions = [WAITING.c[name] == str(value) for name, value in asked.items() if value is not None]
    return conditions if which.sites is None else [*conditions, WAITING.c.site.in_(sorted(which.sites))]


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC)
