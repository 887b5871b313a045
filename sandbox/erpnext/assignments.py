"""Shift Assignment: which shift an employee has on a day, and the days of shifts that a check-in can belong to."""

from datetime import date, datetime, timedelta

from sandbox.erpnext.doctypes import SHIFT_ASSIGNMENT, SUBMITTED
from sandbox.erpnext.query import Row, collate
from sandbox.erpnext.shifts import ShiftDay
from sandbox.erpnext.store import Store

_DAY = timedelta(days=1)


def of(store: Store, employee: str, day: date) -> list[Row]:
    """The assignments of an employee that hold on that day."""
    return [
        row
        for row in store.rows(SHIFT_ASSIGNMENT)
        if collate(row["employee"]) == collate(employee)
        and (row["docstatus"], row["status"]) == (SUBMITTED, "Active")
        and row["start_date"] <= str(day)
        and (not row["end_date"] or str(day) <= row["end_date"])
    ]


def shifts_of(store: Store, employee: Row, day: date) -> list[Row]:
    """The shifts of an employee on that day: those assigned, or else the default one."""
    names = [row["shift_type"] for row in of(store, employee["name"], day)] or [employee["default_shift"]]
    return [store.shift_types.rows[name] for name in names if name in store.shift_types.rows]


def day_with(store: Store, employee: Row, moment: datetime) -> tuple[Row, ShiftDay] | None:
    """The shift, and its day, to which a check-in of that time belongs.

    The windows of two days do not overlap: a shift with its margins lasts 24 hours at most.
    """
    for step in (0, -1, 1):
        day = moment.date() + _DAY * step
        for shift in shifts_of(store, employee, day):
            times = ShiftDay.of(shift, day)
            if times.opens <= moment <= times.closes:
                return shift, times
    return None
