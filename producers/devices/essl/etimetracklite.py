"""eSSL eTimeTrackLite: its SQL Server database, `etimetracklite1` unless it was named otherwise.

Punches stand in a table for each month, those that are downloaded late in the table of the month of the punch. It is
`DeviceLogs_<M>_<YYYY>`, in some databases with a leading zero, in lower case or with the year first. Written from
descriptions of the database in the field; eSSL has published none.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog
from msgspec.structs import replace
from sqlalchemy import String, column, select, table

from attendance.errors import UnreadableAnswer
from attendance.fleet import Device
from attendance.records.raw_event import EventType
from producers.devices.common.punch import MAX_TEXT
from producers.devices.common.sql.adapter import Columns
from producers.devices.common.sql.database import Database
from producers.devices.common.sql.tables import TableAdapter
from producers.devices.contract import Probed, Tools

log = structlog.get_logger(__name__)

_LOGS: Final = re.compile(r"DeviceLogs[ _-]?(?P<rest>.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
_MONTH_FIRST: Final = re.compile(r"(?P<month>1[0-2]|0?[1-9])[ _-]?(?P<year>\d{4})", re.ASCII)
_YEAR_FIRST: Final = re.compile(r"(?P<year>\d{4})[ _-]?(?P<month>1[0-2]|0?[1-9])", re.ASCII)
_COPY: Final = "processed"
"""What the table is called into which eTimeTrackLite copies what it has made use of."""
_OPTIONAL: Final = ("AttDirection", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "DownloadDate", "WorkCode")
_MOST_TERMINALS: Final = 100_000
_MOST_BYTES: Final = 32 * 1024 * 1024


class ETimeTrackLite(TableAdapter):
    """The adapter.

    Every month's table is looked at, not only the newest: a terminal whose clock was wrong fills one of another year. A
    terminal's `serial` in the fleet file is its serial number or, where eTimeTrackLite has none, its `DeviceId`.
    """

    name: Final = "etimetracklite"
    version: Final = "1"

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools)
        self._named: set[str] = set()

    @property
    def columns(self) -> Columns:
        """See `TableAdapter.columns`."""
        optional = [name for name in _OPTIONAL if name in self._payload_fields]
        return Columns("UserId", "LogDate", "Direction", "DeviceLogId", "DeviceId", optional)

    async def tables(self, database: Database, since: datetime | None) -> Sequence[str]:
        """See `TableAdapter.tables`."""
        names = await database.table_names()
        for name in set(_of_no_month(names)) - self._named:
            self._named.add(name)
            log.warning("A table of punches is not read: its name has no month.", table=name)
        months = sorted((*month, name) for name in names if (month := _month(name)))
        first = (0, 0) if since is None else (since.year, since.month)
        return [name for year, month, name in months if (year, month) >= first]

    async def probe(self, source: Device) -> Probed:
        """How many tables are read, and which are not. See `PullAdapter.probe`."""
        probed = await super().probe(source)
        others = _of_no_month(await self.database(source).table_names())
        if not others:
            return probed
        details = {**probed.report.details, "tables_not_read": ", ".join(others)[:MAX_TEXT]}
        return Probed(probed.serial, replace(probed.report, details=details))

    async def serials(self, database: Database) -> Mapping[str, str]:
        """See `TableAdapter.serials`."""
        query = select(column("DeviceId", String()), column("SerialNumber", String())).select_from(table("Devices"))
        rows, has_more, _ = await database.rows(query, {}, _MOST_TERMINALS + 1, _MOST_BYTES)
        if has_more:
            # The punches of those that are left out would count for the server.
            raise UnreadableAnswer(f"Devices has more than {_MOST_TERMINALS} terminals, or {_MOST_BYTES} bytes of them")
        return {str(row["DeviceId"]): str(row["SerialNumber"]).strip() for row in rows if row["SerialNumber"]}

    def direction(self, value: object) -> EventType:
        """`in`, `out` or nothing."""
        match str(value).strip().lower():
            case "in":
                return "IN"
            case "out":
                return "OUT"
            case _:
                return "UNKNOWN"


def _month(name: str) -> tuple[int, int] | None:
    """The year and the month of a table of punches; None where it is none, or has no month."""
    logs = _LOGS.fullmatch(name)
    found = logs and (_MONTH_FIRST.fullmatch(logs["rest"]) or _YEAR_FIRST.fullmatch(logs["rest"]))
    return (int(found["year"]), int(found["month"])) if found else None


def _of_no_month(names: Sequence[str]) -> Sequence[str]:
    """The tables that are named as those of punches are, but for no month."""
    logs = ((name, _LOGS.fullmatch(name)) for name in sorted(names))
    return [name for name, found in logs if found and found["rest"].lower() != _COPY and _month(name) is None]
