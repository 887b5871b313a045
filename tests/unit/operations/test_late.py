"""What a repair may touch."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from attendance.errors import ServerError
from operations.late import LateDelivery, repair, to_cancel

US = "api@example.com"
SHIFT = "Day Shift"
DAY = date(2026, 3, 2)


def attendance(**fields: object) -> dict[str, Any]:
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


def cancelled(*rows: dict[str, Any], counted: set[str | None] = {None}) -> object:  # noqa: B006 - never changed
    return to_cancel(rows, SHIFT, US, counted)


@pytest.mark.parametrize("made_by", ["Administrator", US])
def test_the_absent_that_auto_attendance_made_is_cancelled(made_by: str) -> None:
    row = attendance(owner=made_by, modified_by=made_by)
    assert cancelled(row) == row
    assert cancelled(attendance(docstatus=2, name="HR-ATT-0"), row) == row


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"status": "Present"}, "the day is Present"),
        ({"status": "On Leave", "leave_application": "LAP-1"}, "the day is On Leave"),
        ({"docstatus": 0}, "the Absent is a draft"),
        ({"owner": "hr@example.com"}, "not made by auto attendance"),
        ({"owner": "hr@example.com", "modified_by": "hr@example.com"}, "not made by auto attendance"),
        ({"modified_by": "hr@example.com"}, "hr@example.com has changed"),
        ({"leave_type": "Unpaid"}, "not made by auto attendance"),
        ({"leave_application": "LAP-1"}, "not made by auto attendance"),
        ({"attendance_request": "ATR-1"}, "not made by auto attendance"),
        ({"shift": "Night Shift"}, "not made by auto attendance of this shift"),
        ({"shift": None}, "not made by auto attendance of this shift"),
    ],
)
def test_what_a_person_made_or_may_have_made_is_left_alone_with_the_reason(fields: dict[str, Any], why: str) -> None:
    assert why in str(cancelled(attendance(**fields)))
    assert isinstance(cancelled(attendance(**fields)), str)


def test_an_absent_with_all_check_ins_counted_is_left_alone() -> None:
    assert cancelled(attendance(), counted={"HR-ATT-1"}) == "the day is Absent with all its check-ins counted"
    assert cancelled(attendance(), counted={"HR-ATT-1", None}) == attendance()


def test_several_attendances_of_a_day_are_left_alone() -> None:
    assert "several" in str(cancelled(attendance(), attendance(name="HR-ATT-2", shift="Night Shift")))


def test_a_day_without_attendance_is_gone_on_with_only_where_a_repair_has_cancelled_it() -> None:
    assert cancelled(attendance(docstatus=2, modified_by=US)) is None
    assert "no attendance" in str(cancelled())
    assert "no attendance" in str(cancelled(attendance(docstatus=2))), "ERPNext's jobs cancel nothing: it was a person"
    assert "no attendance" in str(cancelled(attendance(docstatus=2, modified_by="hr@example.com")))
    assert "no attendance" in str(cancelled(attendance(docstatus=2, modified_by=US, status="Present")))


class Site:
    """Days of one shift, each with one check-in that was set aside."""

    def __init__(self, *employees: str) -> None:
        self.absent = {name: attendance(name=f"ATT-{name}", employee=name) for name in employees}
        self.checkins = {name: self._checkin(name) for name in employees}
        self.made: dict[str, str] = {}
        self.broken: set[str] = set()
        self.again = 0
        self.processed = 0

    def _checkin(self, employee: str) -> dict[str, Any]:
        end = f"{DAY} 18:00:00"
        return {"name": f"C-{employee}", "skip_auto_attendance": 1, "shift_actual_end": end, "attendance": None}

    def logged_user(self) -> str:
        return US

    def get_list(self, doctype: str, _fields: object, filters: Any, **_: object) -> list[dict[str, Any]]:
        if doctype == "Shift Type":
            return [{"name": SHIFT, "last_sync_of_checkin": f"{DAY} 23:00:00"}]
        [employee] = [value for field, _, value in filters if field == "employee"]
        if doctype == "Employee Checkin":
            return [dict(self.checkins[employee])]
        submitted = ("docstatus", "=", 1) in filters
        row = self.absent[employee]
        made = [attendance(status=self.made[employee])] if employee in self.made else []
        return [*([] if submitted and row["docstatus"] != 1 else [row]), *made]

    def update(self, _doctype: str, name: str, fields: dict[str, Any]) -> None:
        employee = name.removeprefix("C-")
        if employee in self.broken:
            raise ServerError("500")
        if self.again:
            self.again -= 1  # ERPNext's job sets it aside once more
        else:
            self.checkins[employee] |= fields

    def cancel(self, _doctype: str, name: str) -> None:
        self.absent[name.removeprefix("ATT-")] |= {"docstatus": 2, "modified_by": US}

    def run_method(self, *_: str) -> None:
        self.processed += 1
        for employee, row in self.absent.items():
            if row["docstatus"] == 2:
                self.made[employee] = "Absent" if self.checkins[employee]["skip_auto_attendance"] else "Present"


def late(*employees: str) -> list[LateDelivery]:
    at = datetime(2026, 3, 4, tzinfo=UTC)
    return [LateDelivery(name, DAY, SHIFT, f"id-{name}", "D1", f"C-{name}", at) for name in employees]


def results(site: Site, *employees: str) -> dict[str, str]:
    return {each.day.employee: each.result for each in repair(site, late(*employees))}  # type: ignore[arg-type]


def test_the_days_of_a_shift_are_opened_together_and_processed_once() -> None:
    site = Site("E1", "E2", "E3")
    assert results(site, "E2", "E1") == {"E1": "repaired", "E2": "repaired"}
    assert site.processed == 1
    assert site.absent["E3"]["docstatus"] == 1, "nobody asked for that day"


def test_a_day_that_erpnext_refuses_does_not_hold_up_the_others() -> None:
    site = Site("E1", "E2")
    site.broken = {"E1"}
    assert results(site, "E1", "E2") == {"E1": "not repaired", "E2": "repaired"}
    assert site.absent["E1"]["docstatus"] == 1


def test_an_absent_stands_while_its_check_ins_are_set_aside_again() -> None:
    site = Site("E1")
    site.again = 1
    assert results(site, "E1") == {"E1": "not repaired"}
    assert site.absent["E1"]["docstatus"] == 1
    assert results(site, "E1") == {"E1": "repaired"}
