"""Shifts of many check-ins: Frappe HR's own functions, with what they look up answered from memory.

Nothing of how a shift is found is written here a second time. Frappe HR's functions run as they are; only their
questions to the database are answered from what was read once for all check-ins. A question of another kind goes to the
database as ever.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from types import FunctionType, ModuleType
from typing import Any, Final

import frappe
from frappe.utils import add_days
from hrms.hr.doctype.employee_checkin import employee_checkin
from hrms.hr.doctype.shift_assignment import shift_assignment

AROUND: Final = timedelta(days=4)
"""By so much Frappe HR may look before and after the day of a check-in."""
_ASSIGNMENT: Final = "Shift Assignment"


class Shifts:
    """The shifts of the employees of one request."""

    def __init__(self, default_shifts: Mapping[str, str | None], times: Iterable[datetime]) -> None:
        """Read the assignments of all of them.

        Args:
            default_shifts: By employee, the default shift.
            times: Of the check-ins; at least one.
        """
        days = [each.date() for each in times]
        self._from, self._to = min(days) - AROUND, max(days) + AROUND
        self._default_shifts = default_shifts
        self._found: dict[tuple[str, date], list[dict[str, Any]]] = {}
        names = list(default_shifts)
        valid = {"employee": ["in", names], "docstatus": 1, "status": "Active"}
        self._assigned = set(frappe.get_all(_ASSIGNMENT, filters=valid, pluck="employee", distinct=True))
        self._assignments: dict[str, list[dict[str, Any]]] = {}
        for row in frappe.get_all(
            _ASSIGNMENT,
            filters=valid | {"start_date": ["<=", self._to]},
            or_filters=[["end_date", "is", "not set"], ["end_date", ">=", self._from]],
            fields=["name", "employee", "shift_type", "start_date", "end_date"],
        ):
            self._assignments.setdefault(row.employee, []).append(row)
        theirs = _rebuilt(shift_assignment, frappe=_Frappe(self), get_shifts_for_date=self._for_date)
        name = "get_actual_start_end_datetime_of_shift"
        self._fetch_shift: Callable[[object], None] = _rebuilt(employee_checkin, **{name: theirs[name]})["fetch_shift"]

    def fetch(self, record: object) -> None:
        """Do what `EmployeeCheckin.fetch_shift` does.

        Args:
            record: Anything with the fields of a check-in.

        Raises:
            frappe.ValidationError: as `fetch_shift`.
        """
        self._fetch_shift(record)

    def default_shift(self, employee: str) -> str | None:
        """That of an employee of this request. Raises KeyError of another."""
        return self._default_shifts[employee]

    def has_none(self, employee: str) -> bool:
        """Whether an employee of this request has no valid assignment at all."""
        return employee in self._default_shifts and employee not in self._assigned

    def _for_date(self, employee: str, for_timestamp: datetime) -> list[dict[str, Any]]:
        """As Frappe HR's `get_shifts_for_date`."""
        day = for_timestamp.date()
        before, after = add_days(day, -1), add_days(day, 1)
        if before < self._from or after > self._to or employee not in self._default_shifts:
            return shift_assignment.get_shifts_for_date(employee, for_timestamp)
        if (employee, day) not in self._found:
            rows = [
                row
                for row in self._assignments.get(employee, [])
                if row.start_date <= after and (row.end_date is None or before <= row.end_date)
            ]
            # Of several the order counts, which is the database's.
            found = shift_assignment.get_shifts_for_date(employee, for_timestamp) if len(rows) > 1 else rows
            self._found[employee, day] = found
        return self._found[employee, day]


class _Frappe:
    """The module `frappe`, as Frappe HR's functions see it here."""

    def __init__(self, shifts: Shifts) -> None:
        self._shifts = shifts
        self.db = _Database(shifts)

    def __getattr__(self, name: str) -> object:
        return getattr(frappe, name)

    def get_all(self, doctype: str, *args: Any, **kwargs: Any) -> list[Any]:
        filters = args[1] if len(args) > 1 else kwargs.get("filters")
        if doctype == _ASSIGNMENT and isinstance(filters, dict):
            wanted = {"docstatus": 1, "status": "Active"}.items() <= filters.items()
            if wanted and isinstance(filters.get("employee"), str) and self._shifts.has_none(filters["employee"]):
                return []
        return frappe.get_all(doctype, *args, **kwargs)


class _Database:
    """`frappe.db`, as Frappe HR's functions see it here."""

    def __init__(self, shifts: Shifts) -> None:
        self._shifts = shifts

    def __getattr__(self, name: str) -> object:
        return getattr(frappe.db, name)

    def get_value(self, doctype: str, filters: object = None, fieldname: object = "name", **kwargs: object) -> object:
        if (doctype, fieldname, kwargs) == ("Employee", "default_shift", {"cache": True}):
            with suppress(KeyError):
                return self._shifts.default_shift(str(filters))
        return frappe.db.get_value(doctype, filters, fieldname, **kwargs)


def _rebuilt(module: ModuleType, **replaced: object) -> dict[str, Any]:
    """The functions of a module, and those of its classes, that see other things under these names.

    The module stays as it is: other threads use it.
    """
    space = dict(vars(module))
    own = [each for each in vars(module).values() if getattr(each, "__module__", None) == module.__name__]
    for each in [*own, *(part for cls in own if isinstance(cls, type) for part in vars(cls).values())]:
        function = inspect.unwrap(each) if callable(each) else None
        if isinstance(function, FunctionType) and function.__module__ == module.__name__:
            name, closure = function.__name__, function.__closure__
            space[name] = FunctionType(function.__code__, space, name, function.__defaults__, closure)
            space[name].__kwdefaults__ = function.__kwdefaults__
    # In place: the functions look their names up in this very dictionary.
    space.update(replaced)
    return space
