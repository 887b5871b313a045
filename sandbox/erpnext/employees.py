"""Employee: who works here, and what becomes of their documents when they are renamed, merged or deleted."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import EMPLOYEE, FIELDS, STAMPS
from sandbox.erpnext.query import Row, collate
from sandbox.erpnext.store import Store
from sandbox.erpnext.users import ADMIN

_STATUSES: Final = ("Active", "Inactive", "Suspended", "Left")
_DEFAULTS: Final = {"status": "Active", "company": "Acme Works"}


def new(store: Store, document: Mapping[str, Any], owner: str) -> Row:
    """The row of a new employee.

    Raises:
        FrappeError: refused.
    """
    row = _row(store, {"name": store.next_name(EMPLOYEE), **document}, owner)
    if row["name"] in store.employees.rows:
        raise errors.name_taken(EMPLOYEE, row["name"])
    check(store, row)
    return row


def put(store: Store, employees: Iterable[Mapping[str, Any]]) -> list[str]:
    """Create or replace employees, without any check, and return their names.

    One that is there keeps its `creation`. `creation` and `modified` may be given.
    """
    names: list[str] = []
    for values in employees:
        row = _row(store, {**values, "name": values.get("name") or store.next_name(EMPLOYEE)}, ADMIN.name)
        old = store.employees.rows.get(row["name"])
        row |= {"creation": old["creation"]} if old else {}
        row |= {field: values[field] for field in ("creation", "modified") if field in values}
        store.commit([(EMPLOYEE, row["name"], row)])
        names.append(row["name"])
    return names


def check(store: Store, row: Row) -> None:
    """Return if the employee may be as the row has it.

    Raises:
        FrappeError: it may not.
    """
    if row["status"] not in _STATUSES:
        options = ", ".join(f'"{status}"' for status in _STATUSES)
        text = f'Status cannot be "{row["status"]}". It should be one of {options}'
        raise errors.thrown("ValidationError", text)
    field, value = "attendance_device_id", row["attendance_device_id"] or None
    row[field] = value
    if value and any(name != row["name"] for name in store.employees.find(field, collate(value))):
        raise errors.not_unique(EMPLOYEE, row["name"], field, "Attendance Device ID (Biometric/RF tag ID)", value)


def _row(store: Store, values: Mapping[str, Any], owner: str) -> Row:
    name = str(values["name"])
    given = {field: values.get(field) for field in FIELDS[EMPLOYEE] if field not in {*STAMPS, "employee"}}
    row = store.stamps(name, owner) | {"employee": name} | given
    row |= {field: value for field, value in _DEFAULTS.items() if row[field] is None}
    row["employee_name"] = row["employee_name"] or row["first_name"] or f"Worker{row['attendance_device_id']} Test"
    return row
