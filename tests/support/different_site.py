"""An ERPNext in memory whose check-ins are to be compared with what they would be now."""

from typing import Any

from attendance.erpnext import ErpnextClient
from attendance.records.raw_event import RawEvent


class DifferentSite(ErpnextClient):
    """An ERPNext in UTC that holds these."""

    def __init__(self, *events: RawEvent, employee: str = "E1", attendance: tuple[str, ...] = ()) -> None:
        self.unique = True
        self.zone = "UTC"
        self.rows = [
            {
                "name": f"C{number}",
                "event_id": each.event_id,
                "employee": employee,
                "time": str(each.event_time)[:19],
                "log_type": each.event_type,
                "attendance": "ATT" if f"C{number}" in attendance else None,
            }
            for number, each in enumerate(events)
        ]

    def has_event_id_field(self) -> bool:
        return self.unique

    def get_list(self, _: str, _fields: object, filters: Any = (), **_more: object) -> list[dict[str, Any]]:
        ((field, _, values),) = filters
        return [row for row in self.rows if row[field] in values]

    def site_zone(self) -> str:
        return self.zone

    def close(self) -> None:
        """It is used again."""
