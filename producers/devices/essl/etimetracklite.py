"""eSSL eTimeTrackLite: its SQL Server database, `etimetracklite1` unless it was named otherwise.

Punches stand in a table for each month, `DeviceLogs_<M>_<YYYY>` without a leading zero, those that are downloaded late
in the table of the month of the punch. Written from descriptions of the database in the field; eSSL has published none.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import String, column, select, table

from attendance.records.raw_event import EventType
from producers.devices.common.sql.adapter import Columns
from producers.devices.common.sql.database import Database
from producers.devices.common.sql.tables import TableAdapter

_MONTH_TABLE: Final = re.compile(r"DeviceLogs_(1[0-2]|[1-9])_(\d{4})", re.ASCII)
_OPTIONAL: Final = ("AttDirection", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "DownloadDate", "WorkCode")
_MOST_TERMINALS: Final = 100_000


class ETimeTrackLite(TableAdapter):
    """The adapter.

    Every month's table is looked at, not only the newest: a terminal whose clock was wrong fills one of another year. A
    terminal's `serial` in the fleet file is its serial number or, where eTimeTrackLite has none, its `DeviceId`.
    """

    name: Final = "etimetracklite"
    version: Final = "1"

    @property
    def columns(self) -> Columns:
        """See `TableAdapter.columns`."""
        optional = [name for name in _OPTIONAL if name in self._payload_fields]
        return Columns("UserId", "LogDate", "Direction", "DeviceLogId", "DeviceId", optional)

    async def tables(self, database: Database, since: datetime | None) -> Sequence[str]:
        """See `TableAdapter.tables`."""
        found = (_MONTH_TABLE.fullmatch(name) for name in await database.table_names())
        months = sorted((int(match[2]), int(match[1]), match[0]) for match in found if match)
        first = (0, 0) if since is None else (since.year, since.month)
        return [name for year, month, name in months if (year, month) >= first]

    async def serials(self, database: Database) -> Mapping[str, str]:
        """See `TableAdapter.serials`."""
        query = select(column("DeviceId", String()), column("SerialNumber", String())).select_from(table("Devices"))
        rows = await database.rows(query, {}, _MOST_TERMINALS)
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
