"""The field of Attendance directly at the site, and its days compared with what ERPNext has of them."""

import asyncio
from datetime import UTC, date, datetime
from typing import Any

import pytest
from attendance_site import SHIFT, FakeSite
from memory_log import MemoryLog
from msgspec.structs import replace

from attendance.fleet import Shift
from attendance.records.attendance_day import AttendanceDay
from attendance.settings import ErpnextSettings
from operations import attendance_days
from operations.attendance_days import compared
from operations.log import Skipped

SETTINGS = ErpnextSettings(url="http://erp.test", api_key="k", api_secret="s", _env_file=None)  # type: ignore[arg-type]

ENTRY = Shift.model_validate({"shift_type": SHIFT, "attendance": "direct"})


def record(employee: str, **fields: Any) -> AttendanceDay:
    given = {"outcome": "written", "zone": "Asia/Riyadh", **fields}
    return AttendanceDay(employee, SHIFT, date(2026, 3, 2), decided_at=datetime(2026, 3, 3, tzinfo=UTC), **given)


def states(site: FakeSite, *records: AttendanceDay) -> dict[str, tuple[str | None, str | None]]:
    """What ERPNext has of each employee's day: the state and the reason."""
    found = compared(site, records, {SHIFT: ENTRY})  # type: ignore[arg-type]
    return {day.record.employee: (day.state, day.reason) for day in found}


@pytest.fixture
def site() -> FakeSite:
    """Two punches, and an Attendance of ours that says so, for each of six employees."""
    site = FakeSite()
    for name in ("kept", "deleted", "late", "changed", "cancelled", "leave"):
        site.employee(name)
        for time in ("08:00:00", "17:00:00"):
            site.punch(name, f"2026-03-02 {time}")
        if name != "leave":
            ours = {"employee": name, "shift": SHIFT, "docstatus": 1, "punchstream_day": f"{name}|{SHIFT}|2026-03-02"}
            ours |= {"attendance_date": "2026-03-02", "in_time": "2026-03-02 08:00:00"}
            site.create(ours | {"out_time": "2026-03-02 17:00:00", "status": "Present"})
    return site


def test_each_day_is_compared_with_what_erpnext_has_of_it_now(site: FakeSite) -> None:
    rows = {row["employee"]: row for row in site.tables["Attendance"]}
    site.tables["Attendance"].remove(rows["deleted"])
    site.punch("late", "2026-03-02 18:00:00")
    site.change(rows["changed"], status="Work From Home")
    site.change(rows["cancelled"], docstatus=2)
    refused = record("leave", outcome="refused", reason="leave")
    names = ("kept", "deleted", "late", "changed", "cancelled")
    written = len(site.tables["Attendance"])

    assert states(site, *map(record, names), refused) == {
        "kept": ("as it should be", None),
        "deleted": ("gone", None),
        "late": ("differs", None),
        "changed": ("refused", "changed"),
        "cancelled": ("refused", "cancelled"),
        "leave": ("not written", "leave"),  # the leave was withdrawn
    }
    assert len(site.tables["Attendance"]) == written


def test_the_day_of_an_employee_who_was_renamed_is_that_of_who_they_are_now(site: FakeSite) -> None:
    document = next(row["name"] for row in site.tables["Attendance"] if row["employee"] == "kept")
    for table, field in (("Employee", "name"), ("Employee Checkin", "employee"), ("Attendance", "employee")):
        for row in site.tables[table]:
            row[field] = "renamed" if row[field] == "kept" else row[field]
    assert states(site, record("kept", document=document)) == {"kept": ("as it should be", None)}


def test_an_attendance_whose_check_ins_went_to_somebody_else_needs_a_look(site: FakeSite) -> None:
    for row in site.tables["Employee Checkin"]:
        if row["employee"] == "kept":
            row["employee"] = "leave"
    of_late = [row for row in site.tables["Employee Checkin"] if row["employee"] == "late"]
    site.tables["Employee Checkin"].remove(of_late[1])

    found = states(site, record("kept"), record("late"))
    assert found == {"kept": ("differs", "no_punch"), "late": ("differs", "one_punch")}


def test_days_of_a_shift_that_no_longer_asks_are_not_compared(site: FakeSite) -> None:
    (day,) = compared(site, [record("kept")], {})  # type: ignore[arg-type]
    assert day.state == "not compared"


def test_the_newest_record_of_a_day_counts() -> None:
    log = MemoryLog()
    days = [
        record("E1", outcome="refused", reason="one_punch"),
        replace(record("E1"), decided_at=datetime(2026, 3, 4, tzinfo=UTC)),
    ]
    for day in days:
        log.add("attendance_days", day.key, day.encode())
    assert asyncio.run(attendance_days.attendance_days(log, Skipped())) == days[1:]
