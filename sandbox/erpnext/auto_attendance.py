"""Attendance, and what hrms' auto attendance makes of check-ins.

Of hrms' rules there are those by which a default shift with alternating check-ins is paid from the first to the last of
them. Holidays, leave, shift assignments, late entries and early exits are left out.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from sandbox.erpnext import errors, shifts
from sandbox.erpnext.checkins import CHECKIN
from sandbox.erpnext.query import Row, collate
from sandbox.erpnext.shifts import LAST_SYNC, ShiftDay
from sandbox.erpnext.tables import Change

if TYPE_CHECKING:
    from sandbox.erpnext.site import Site

ATTENDANCE: Final = "Attendance"
FIELDS: Final = (
    *("name", "owner", "creation", "modified", "modified_by", "docstatus", "idx"),
    *("naming_series", "employee", "employee_name", "working_hours", "status", "leave_type", "leave_application"),
    *("attendance_date", "company", "department", "attendance_request", "half_day_status", "shift"),
    *("in_time", "out_time", "late_entry", "early_exit", "amended_from", "modify_half_day_status"),
)
SUBMITTED: Final = 1
CANCELLED: Final = 2

_SERIES: Final = "HR-ATT-.YYYY.-"


def day_key(row: Row) -> tuple[Any, str]:
    """The employee and the day."""
    return collate(row["employee"]), row["attendance_date"]


def pending_key(checkin: Row) -> str | None:
    """The shift whose auto attendance has yet to look at a check-in."""
    return None if checkin["skip_auto_attendance"] or checkin["attendance"] else checkin["shift"]


def process(site: "Site", shift: Row, owner: str) -> None:
    """Do what `process_auto_attendance` of a Shift Type does, as that user.

    Check-ins of days that closed before `last_sync_of_checkin` make their employee Present, and are linked to that
    Attendance. Where the day has one already, they came late and are skipped from then on; only here, not when they
    are inserted. Everyone else on the shift is Absent on each day that is over. Neither link nor skip changes when a
    check-in was modified.

    Raises:
        FrappeError: a day to come would be over. Check-ins are processed by then, and nobody is Absent.
    """
    if not all(shift[field] for field in ("enable_auto_attendance", "process_attendance_after", LAST_SYNC)):
        return
    _mark_from_checkins(site, shift, owner)
    _mark_absent(site, shift, owner)


def cancel(site: "Site", row: Row, user: str) -> Row:
    """Cancel an Attendance. Its check-ins wait for auto attendance again.

    Raises:
        FrappeError: it is cancelled already.
    """
    if row["docstatus"] == CANCELLED:
        raise errors.thrown("ValidationError", "Cannot edit cancelled document")
    cancelled = row | {"docstatus": CANCELLED, "modified": site.stamp(), "modified_by": user}
    linked = [site.checkins.rows[name] for name in site.checkins.find("linked", row["name"])]
    unlinked: list[Change] = [(CHECKIN, each["name"], each | {"attendance": ""}) for each in linked]
    site.commit([(ATTENDANCE, row["name"], cancelled), *unlinked])
    return cancelled


def _mark_from_checkins(site: "Site", shift: Row, owner: str) -> None:
    changes: list[Change] = []
    made = 0
    for (name, start), group in groupby(_pending(site, shift), itemgetter("employee", "shift_start")):
        logs = list(group)
        employee, day = site.employee(name), datetime.fromisoformat(start).date()
        if employee is None or _refused(site, employee, day, shift):
            changes.extend((CHECKIN, log["name"], log | {"skip_auto_attendance": 1}) for log in logs)
            continue
        row = _new(site, employee, day, shift, owner, ahead=made) | _working_time(shift, logs)
        made += 1
        changes.append((ATTENDANCE, row["name"], row))
        changes.extend((CHECKIN, log["name"], log | {"attendance": row["name"]}) for log in logs)
    site.commit(changes)


def _pending(site: "Site", shift: Row) -> list[Row]:
    rows = (site.checkins.rows[name] for name in site.checkins.find("pending", shift["name"]))
    after, until = shift["process_attendance_after"], shift[LAST_SYNC]
    ready = [row for row in rows if row["time"] >= after and row["shift_actual_end"] < until]
    return sorted(ready, key=itemgetter("employee", "time"))


def _mark_absent(site: "Site", shift: Row, owner: str) -> None:
    last, today = shifts.last_day_for_absence(shift), site.now().date()
    changes: list[Change] = []
    for employee in site.employees.rows.values():
        if employee["default_shift"] != shift["name"] or employee["status"] == "Inactive":
            continue
        for day in _days(shift, employee, last):
            if _is_marked(site, employee, day, shift):
                continue
            if day > today:
                raise errors.thrown("ValidationError", f"Attendance can not be marked for future dates: {day}")
            row = _new(site, employee, day, shift, owner, ahead=len(changes)) | {"status": "Absent"}
            changes.append((ATTENDANCE, row["name"], row))
    site.commit(changes)


def _days(shift: Row, employee: Row, last: date) -> Iterator[date]:
    """The days, up to the last, on which the employee should have come.

    Without a date of joining that begins on the day on which the employee was created.
    """
    joined = employee["date_of_joining"] or employee["creation"]
    day = max(_date(shift["process_attendance_after"]), _date(joined))
    if employee["relieving_date"]:
        last = min(last, _date(employee["relieving_date"]))
    while day <= last:
        yield day
        day += timedelta(days=1)


def _refused(site: "Site", employee: Row, day: date, shift: Row) -> bool:
    joined = employee["date_of_joining"]
    return (
        employee["status"] == "Inactive"
        or day > site.now().date()
        or bool(joined and day < _date(joined))
        or _is_marked(site, employee, day, shift)
    )


def _is_marked(site: "Site", employee: Row, day: date, shift: Row) -> bool:
    """Whether that day has an Attendance, be it of another shift with hours in common."""
    key = day_key({"employee": employee["name"], "attendance_date": str(day)})
    rows = (site.attendances.rows[name] for name in site.attendances.find("day", key))
    marked_for = (site.shift_types.rows[row["shift"]] for row in rows if row["docstatus"] != CANCELLED)
    return any(ShiftDay.of(other, day).overlaps(ShiftDay.of(shift, day)) for other in marked_for)


def _working_time(shift: Row, logs: Sequence[Row]) -> Row:
    """From the first check-in to the last. A single one makes no hours, and is Present where no threshold is set."""
    first, last = logs[0]["time"], logs[-1]["time"]
    hours = round((datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds() / 3600, 2)
    status = "Present"
    if hours < shift["working_hours_threshold_for_absent"]:
        status = "Absent"
    elif hours < shift["working_hours_threshold_for_half_day"]:
        status = "Half Day"
    return {"working_hours": hours, "status": status, "in_time": first, "out_time": last if len(logs) > 1 else None}


def _new(site: "Site", employee: Row, day: date, shift: Row, owner: str, *, ahead: int) -> Row:
    now = site.stamp()
    return dict.fromkeys(FIELDS) | {
        "name": site.attendance_name(ahead),
        "owner": owner,
        "creation": now,
        "modified": now,
        "modified_by": owner,
        "docstatus": SUBMITTED,
        "idx": 0,
        "naming_series": _SERIES,
        "employee": employee["name"],
        "employee_name": employee["employee_name"],
        "working_hours": 0.0,
        "attendance_date": str(day),
        "company": employee["company"],
        "department": employee["department"],
        "shift": shift["name"],
        "late_entry": 0,
        "early_exit": 0,
        "modify_half_day_status": 0,
    }


def _date(text: str) -> date:
    return datetime.fromisoformat(text).date()
