"""Check-ins in bulk: the rows that `insert` would have made, in one statement.

A document goes in bulk only if `insert` would certainly take it. Whatever is in doubt is left to `insert`, which then
refuses it in its own words.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import frappe
from frappe.model.naming import parse_naming_series
from frappe.utils import cint, now
from hrms.hr.doctype.employee_checkin.employee_checkin import EmployeeCheckin

from biometric_integration.ingest.conditions import AUTONAME, CHECKIN
from biometric_integration.ingest.shifts import Shifts

FIELDS: Final = frozenset({"doctype", "employee", "time", "device_id", "log_type", "latitude", "longitude", "event_id"})
"""What a document may have that goes in bulk."""
OF_EACH: Final = ("name", "creation", "modified")
"""The columns that differ between two documents of one employee at one time."""

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
# Nothing that Frappe would cut, clean or read in another way.
_WORD: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")

Fields = Mapping[str, Any]


class Bulk:
    """The documents of one request that may go in bulk, with their rows."""

    def __init__(self, documents: Mapping[int, Fields]) -> None:
        """Read once what `insert` reads for each.

        Args:
            documents: By their index in the request, in order.
        """
        self.doubts: dict[int, str] = {}
        """Why a document does not go in bulk, by index."""
        self.rows: dict[int, dict[str, Any]] = {}
        """By index, the row as far as `insert` would not choose it anew each time."""
        times = {index: time for index, each in documents.items() if (time := _plain_time(each)) is not None}
        wanted = {documents[index]["employee"] for index in times}
        fields = ["name", "employee_name", "status", "default_shift"]
        filters = {"name": ["in", list(wanted)]}
        # Exactly that name: the database takes `a` and `A` for one text.
        rows = frappe.get_all("Employee", filters=filters, fields=fields) if wanted else []
        employees = {row.name: row for row in rows if row.name in wanted}
        taken = _taken(wanted, times.values())
        twice = Counter((documents[index]["employee"], time) for index, time in times.items())
        ids = Counter(str(each.get("event_id")).lower() for each in documents.values())
        shifts = Shifts({name: row.default_shift for name, row in employees.items()}, times.values()) if rows else None
        left: set[object] = set()
        for index, each in documents.items():
            doubt = self._doubt(each, times.get(index), employees, left)
            if doubt is None:
                punch = (each["employee"], times[index])
                if punch in taken or twice[punch] > 1:
                    doubt = "a check-in of the same employee and time"
                elif ids[each["event_id"].lower()] > 1:
                    doubt = "its event_id is there twice"
                else:
                    doubt = self._make(index, each, times[index], employees[each["employee"]].employee_name, shifts)
            if doubt is not None:
                self.doubts[index] = doubt
                # The check-ins of one employee are stored in their order.
                left.add(str(each.get("employee")))

    def _doubt(
        self, each: Fields, time: datetime | None, employees: Mapping[str, Any], left: set[object]
    ) -> str | None:
        if str(each.get("employee")) in left:
            return "comes after another of its employee that goes by insert"
        if time is None:
            return "a value or a field of another kind"
        employee = employees.get(each["employee"])
        if employee is None:
            return "an employee who is not there"
        # Frappe HR refuses only some of these.
        return None if employee.status == "Active" else f"an employee who is {employee.status}"

    def _make(self, index: int, each: Fields, time: datetime, employee_name: str, shifts: Shifts) -> str | None:
        record = _Record(each, time, employee_name)
        try:
            shifts.fetch(record)
            EmployeeCheckin.set_geolocation(record)
            EmployeeCheckin.validate_distance_from_shift_location(record)
        except frappe.ValidationError as error:
            frappe.clear_messages()
            return f"{type(error).__name__} is to be expected"
        self.rows[index] = vars(record)
        return None

    def differences(self, index: int, name: str) -> list[str]:
        """Compare the row of a document with what `insert` stored of it, and take what else it has for all.

        Args:
            index: Of the document.
            name: Of what `insert` stored.

        Returns:
            The columns in which the two differ.
        """
        columns = frappe.get_meta(CHECKIN).get_valid_columns()
        [stored] = frappe.db.get_values(CHECKIN, name, columns, as_dict=True)
        self._columns = {column: stored[column] for column in columns}
        row = self.rows.pop(index)
        return [column for column in row if column not in columns or not _same(stored[column], row[column])]

    def insert(self) -> dict[int, str]:
        """Store all rows in one statement. `differences` comes before it.

        Returns:
            The names, by index.

        Raises:
            Exception: what the database says. Nothing is stored once it was rolled back.
        """
        names = _names(len(self.rows))
        columns = list(self._columns)
        values: list[Any] = []
        for name, row in zip(names, self.rows.values(), strict=True):
            created = now()
            whole = self._columns | row | {"name": name, "creation": created, "modified": created}
            values += [whole[column] for column in columns]
        line = f"({', '.join(['%s'] * len(columns))})"
        frappe.db.sql(
            f"INSERT INTO `tab{CHECKIN}` ({', '.join(f'`{each}`' for each in columns)}) "  # noqa: S608 - names of columns
            f"VALUES {', '.join([line] * len(self.rows))}",
            values,
        )
        return dict(zip(self.rows, names, strict=True))


class _Record:
    """The fields of a check-in on which Frappe HR's methods work, as those of a document before `validate`."""

    def __init__(self, each: Fields, time: datetime, employee_name: str) -> None:
        self.employee = each["employee"]
        self.employee_name = employee_name
        self.time = time
        self.device_id = each.get("device_id")
        self.log_type = each.get("log_type") or ""
        self.latitude = each.get("latitude") or 0.0
        self.longitude = each.get("longitude") or 0.0
        self.event_id = each["event_id"]
        self.skip_auto_attendance = 0
        self.attendance = None
        self.geolocation = None
        self.shift = None
        self.offshift = 0
        self.shift_start = self.shift_end = self.shift_actual_start = self.shift_actual_end = None


def _plain_time(each: Fields) -> datetime | None:
    """The time of a document whose values are all as Frappe would store them; None of any other."""
    words = [each.get("event_id"), each.get("device_id")]
    plain = (
        each.keys() <= FIELDS
        and isinstance(each.get("employee"), str)
        and all(isinstance(word, str) and _WORD.fullmatch(word) for word in words)
        and each.get("log_type") in (None, "", "IN", "OUT")
        and all(type(each.get(name)) in (float, int, type(None)) for name in ("latitude", "longitude"))
        and isinstance(each.get("time"), str)
        and _TIME.fullmatch(each["time"])
    )
    try:
        return datetime.fromisoformat(each["time"]) if plain else None
    except ValueError:
        return None


def _taken(employees: set[str], times: Sequence[datetime]) -> set[tuple[str, datetime]]:
    """What is there of these employees at these times. The lists cross, so it is more than asked for."""
    if not employees:
        return set()
    filters = {"employee": ["in", list(employees)], "time": ["in", list(set(times))]}
    return {(row.employee, row.time) for row in frappe.get_all(CHECKIN, filters=filters, fields=["employee", "time"])}


def _names(count: int) -> list[str]:
    """The next names of the series, as Frappe makes them one by one."""
    found: list[str] = []

    def reserve(prefix: str, digits: int) -> str:
        current = frappe.db.sql("SELECT `current` FROM `tabSeries` WHERE `name` = %s FOR UPDATE", (prefix,))
        if current and current[0][0] is not None:
            first = cint(current[0][0]) + 1
            frappe.db.sql("UPDATE `tabSeries` SET `current` = `current` + %s WHERE `name` = %s", (count, prefix))
        else:
            first = 1
            frappe.db.sql("INSERT INTO `tabSeries` (`name`, `current`) VALUES (%s, %s)", (prefix, count))
        found.extend(f"{prefix}{number:0{digits}d}" for number in range(first, first + count))
        return ""

    parse_naming_series(AUTONAME, number_generator=reserve)
    return found


def _same(stored: object, ours: object) -> bool:
    if isinstance(stored, float) and isinstance(ours, int | float):
        return abs(stored - ours) < 1e-9
    return stored == ours
