"""Attendance, and what hrms' auto attendance makes of check-ins.

Of hrms' rules there are those by which a default shift with alternating check-ins is paid from the first to the last of
them, but not on holidays. Leave, shift assignments, late entries and early exits are left out.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Final

from sandbox.erpnext import attendance, errors, holidays, shifts
from sandbox.erpnext.doctypes import ATTENDANCE, CHECKIN, FIELDS, SUBMITTED
from sandbox.erpnext.query import Row
from sandbox.erpnext.shifts import LAST_SYNC
from sandbox.erpnext.store import Store
from sandbox.erpnext.tables import Change

_SERIES: Final = "HR-ATT-.YYYY.-"


def process(store: Store, shift: Row, owner: str) -> None:
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
    _mark_from_checkins(store, shift, owner)
    _mark_absent(store, shift, owner)


def _mark_from_checkins(store: Store, shift: Row, owner: str) -> None:
    changes: list[Change] = []
    made = 0
    for (name, start), group in groupby(_pending(store, shift), itemgetter("employee", "shift_start")):
        logs = list(group)
        employee, day = store.employee(name), datetime.fromisoformat(start).date()
        if not shift["mark_auto_attendance_on_holidays"] and str(day) in _holidays(store, shift, employee):
            continue
        if employee is None or _refused(store, employee, day, shift):
            changes.extend((CHECKIN, log["name"], log | {"skip_auto_attendance": 1}) for log in logs)
            continue
        row = _new(store, employee, day, shift, owner, ahead=made) | _working_time(shift, logs)
        made += 1
        changes.append((ATTENDANCE, row["name"], row))
        changes.extend((CHECKIN, log["name"], log | {"attendance": row["name"]}) for log in logs)
    store.commit(changes)


def _pending(store: Store, shift: Row) -> list[Row]:
    rows = (store.checkins.rows[name] for name in store.checkins.find("pending", shift["name"]))
    after, until = shift["process_attendance_after"], shift[LAST_SYNC]
    ready = [row for row in rows if row["time"] >= after and row["shift_actual_end"] < until]
    return sorted(ready, key=itemgetter("employee", "time"))


def _mark_absent(store: Store, shift: Row, owner: str) -> None:
    last, today = shifts.last_day_for_absence(shift), store.now().date()
    changes: list[Change] = []
    for employee in store.employees.rows.values():
        if employee["default_shift"] != shift["name"] or employee["status"] == "Inactive":
            continue
        free = _holidays(store, shift, employee)
        for day in _days(shift, employee, last):
            if str(day) in free or _is_marked(store, employee, day, shift):
                continue
            if day > today:
                raise errors.thrown("ValidationError", f"Attendance can not be marked for future dates: {day}")
            row = _new(store, employee, day, shift, owner, ahead=len(changes)) | {"status": "Absent"}
            changes.append((ATTENDANCE, row["name"], row))
    store.commit(changes)


def _holidays(store: Store, shift: Row, employee: Row | None) -> frozenset[str]:
    """The days on which nobody is expected: those of the shift's list, or else of the employee's."""
    return holidays.dates(store, shift["holiday_list"] or holidays.list_of(store, employee))


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


def _refused(store: Store, employee: Row, day: date, shift: Row) -> bool:
    joined = employee["date_of_joining"]
    return (
        employee["status"] == "Inactive"
        or day > store.now().date()
        or bool(joined and day < _date(joined))
        or _is_marked(store, employee, day, shift)
    )


def _is_marked(store: Store, employee: Row, day: date, shift: Row) -> bool:
    """Whether that day has an Attendance, be it of no shift or of another with hours in common."""
    return any(
        not row["shift"] or row["shift"] == shift["name"] or attendance.overlapping(store, row, shift["name"], day)
        for row in attendance.standing(store, employee["name"], day)
    )


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


def _new(store: Store, employee: Row, day: date, shift: Row, owner: str, *, ahead: int) -> Row:
    now = store.stamp()
    return dict.fromkeys(FIELDS[ATTENDANCE]) | {
        "name": store.next_name(ATTENDANCE, ahead),
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
