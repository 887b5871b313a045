"""Holiday List: which days are free, for whom."""

from collections.abc import Mapping
from typing import Any

from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import COMPANY, HOLIDAY_LIST
from sandbox.erpnext.query import Row
from sandbox.erpnext.store import Store


def dates(store: Store, name: str | None) -> frozenset[str]:
    """The holidays of a list; none where there is no such list."""
    row = store.table(HOLIDAY_LIST).rows.get(name) if name else None
    return frozenset(each["holiday_date"] for each in row["holidays"] or ()) if row else frozenset()


def list_of(store: Store, employee: Row | None) -> str | None:
    """The name of an employee's list, or else of their company's."""
    if employee is None:
        return None
    company = store.table(COMPANY).rows.get(employee["company"])
    return employee["holiday_list"] or (company["default_holiday_list"] if company else None)


def count(store: Store, arguments: Mapping[str, Any]) -> int:
    """How many holidays `get_holidays` of Leave Application counts: from one day to another, both included.

    Raises:
        FrappeError: no list is named, and the employee has none.
    """
    name = arguments.get("holiday_list")
    if not name:
        employee = store.employee(arguments.get("employee"))
        name = list_of(store, employee)
        if not name:
            company = employee["company"] if employee else None
            text = f"Please set a default Holiday List for Employee {arguments.get('employee')} or Company {company}"
            raise errors.thrown("ValidationError", text, source="erpnext (app)")
    return sum(str(arguments["from_date"]) <= day <= str(arguments["to_date"]) for day in dates(store, str(name)))
