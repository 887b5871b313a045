"""An ERPNext in memory that has closed a day of some people: each is Absent, with a check-in that came late."""

from datetime import UTC, date, datetime
from typing import Any

from attendance.erpnext import ErpnextClient
from attendance.errors import ServerError
from attendance.records.outcomes import Delivery, Late
from attendance.records.site import SiteZone
from attendance.settings import ErpnextSettings
from attendance.site import site_of
from operations.late import LateDelivery

US = "api@example.com"
SHIFT = "Day Shift"
DAY = date(2026, 3, 2)
AT = datetime(2026, 3, 4, tzinfo=UTC)
"""When the check-ins were delivered."""
ERPNEXT = ErpnextSettings(url="http://127.0.0.1:9", api_key="key", api_secret="secret", _env_file=None)  # type: ignore[call-arg]
ZONE = SiteZone(site_of(ERPNEXT.url), "Asia/Riyadh", "proven", AT, "sink")


def absent(**fields: object) -> dict[str, Any]:
    """An Absent as auto attendance makes it."""
    return {
        "name": "HR-ATT-1",
        "employee": "E1",
        "attendance_date": str(DAY),
        "status": "Absent",
        "docstatus": 1,
        "shift": SHIFT,
        "owner": "Administrator",
        "modified_by": "Administrator",
        "leave_type": None,
        "leave_application": None,
        "attendance_request": None,
    } | fields


def late(*employees: str) -> list[LateDelivery]:
    """What came late of these people, of whom the site has days."""
    return [LateDelivery(name, DAY, SHIFT, f"id-{name}", "D1", f"C-{name}", AT) for name in employees]


def delivery(employee: str, device: str = "D1", at: datetime = AT) -> Delivery:
    """The record of what came late of somebody."""
    return Delivery(
        event_id=f"id-{employee}",
        employee=employee,
        document=f"C-{employee}",
        status="created",
        target="erpnext",
        delivered_at=at,
        late=Late(device, SHIFT, DAY),
    )


class LateSite(ErpnextClient):
    """Days of one shift, each with one check-in that was set aside."""

    def __init__(self, *employees: str) -> None:
        self.absent = {name: absent(name=f"ATT-{name}", employee=name) for name in employees}
        self.checkins = {name: self._checkin(name) for name in employees}
        self.made: dict[str, str] = {}
        self.broken: set[str] = set()
        self.again = 0
        self.processed = 0
        self.zone = "Asia/Riyadh"

    def _checkin(self, employee: str) -> dict[str, Any]:
        end = f"{DAY} 18:00:00"
        place = {"shift": SHIFT, "shift_start": f"{DAY} 08:00:00"}
        return {
            "name": f"C-{employee}",
            "skip_auto_attendance": 1,
            "shift_actual_end": end,
            "attendance": None,
            **place,
        }

    def close(self) -> None:
        """It is used again."""

    def site_zone(self) -> str:
        return self.zone

    def logged_user(self) -> str:
        return US

    def get_list(self, doctype: str, _fields: object, filters: Any = (), **_: object) -> list[dict[str, Any]]:
        if doctype == "Shift Type":
            return [{"name": SHIFT, "last_sync_of_checkin": f"{DAY} 23:00:00"}]
        wanted = {field: [value] if how == "=" else value for field, how, value in filters}
        if "name" in wanted:
            return [dict(row) for row in self.checkins.values() if row["name"] in wanted["name"]]
        if doctype == "Employee Checkin":
            return [dict(self.checkins[name]) for name in wanted["employee"]]
        return [row for name in wanted["employee"] for row in self._days(name, wanted.get("docstatus", (0, 1, 2)))]

    def _days(self, employee: str, states: Any) -> list[dict[str, Any]]:
        row = self.absent[employee]
        made = [absent(status=self.made[employee], employee=employee)] if employee in self.made else []
        return [each for each in (row, *made) if each["docstatus"] in states]

    def update(self, _doctype: str, name: str, fields: Any) -> dict[str, Any]:
        employee = name.removeprefix("C-")
        if employee in self.broken:
            raise ServerError("500")
        if self.again:
            self.again -= 1  # ERPNext's job sets it aside once more
        else:
            self.checkins[employee] |= fields
        return self.checkins[employee]

    def cancel(self, _doctype: str, name: str) -> None:
        self.absent[name.removeprefix("ATT-")] |= {"docstatus": 2, "modified_by": US}

    def run_method(self, *_: str) -> None:
        self.processed += 1
        for employee, row in self.absent.items():
            if row["docstatus"] == 2:
                self.made[employee] = "Absent" if self.checkins[employee]["skip_auto_attendance"] else "Present"
