"""ZKBioTime, BioTime 8 and EasyTime Pro: the table `iclock_transaction`, for those without a licence for the API.

Written from the tables of installations in the field; ZKTeco has published none.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attendance.records.raw_event import EventType
from producers.devices.common.attendance_states import direction_of_state
from producers.devices.common.sql.adapter import Columns
from producers.devices.common.sql.database import Database
from producers.devices.common.sql.tables import TableAdapter

_OPTIONAL: Final = ("area_alias", "upload_time", "work_code")


class BioTimeSql(TableAdapter):
    """The adapter. A punch that a terminal sends late has an old time and a new number, and is found by that."""

    name: Final = "biotime_sql"
    version: Final = "1"

    @property
    def columns(self) -> Columns:
        """See `TableAdapter.columns`."""
        optional = [name for name in _OPTIONAL if name in self._payload_fields]
        kept = ("punch_state", "verify_type", *optional)
        return Columns("emp_code", "punch_time", "punch_state", "id", "terminal_sn", kept)

    async def tables(self, database: Database, since: datetime | None) -> Sequence[str]:  # noqa: ARG002 - always one
        """See `TableAdapter.tables`."""
        return ("iclock_transaction",)

    def direction(self, value: object) -> EventType:
        """The attendance state of ZKTeco's terminals."""
        return direction_of_state(value)
