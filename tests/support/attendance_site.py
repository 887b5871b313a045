"""An ERPNext for Attendance, in memory: what `ErpnextClient` answers, as observed on a real one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from attendance.erpnext import ErpnextClient
from attendance.errors import Conflict, DocumentRejected

US = "punchstream@example.com"
HR = "hr@example.com"
SHIFT = "Day Shift"


def at(text: str) -> datetime:
    """A naive time of the site."""
    return datetime.fromisoformat(text)


class FakeSite:
    """The documents, and what is to happen at a request. `before` and `after` are called with each write."""

    has_field = ErpnextClient.has_field

    def __init__(self) -> None:
        self.clock = at("2026-03-03 00:10:00")
        self.tables: dict[str, list[dict[str, Any]]] = {
            name: []
            for name in ("Employee Checkin", "Attendance", "Leave Application", "Salary Slip", "Employee", "Shift Type")
        }
        self.shift = {"name": SHIFT, "enable_auto_attendance": 0, "holiday_list": None}
        self.tables["Shift Type"].append(self.shift)
        self.holidays: dict[str | None, set[date]] = {"Acme 2026": set()}
        self.unique = True
        self.fields_missing: set[str] = set()
        self.requests: Counter[str] = Counter()
        self.before: Callable[[str, Mapping[str, Any]], object] = lambda _what, _document: None
        self.after: Callable[[str, Mapping[str, Any]], object] = lambda _what, _document: None

    # What a test arranges

    def employee(self, name: str, **fields: Any) -> str:
        person = {"name": name, "status": "Active", "company": "Acme", "holiday_list": "Acme 2026"}
        self.tables["Employee"].append(
            {**person, "date_of_joining": "2024-01-01", "relieving_date": None, "default_shift": SHIFT, **fields}
        )
        return name

    def punch(self, employee: str, time: str, start: str = "08:00", hours: int = 9, **fields: Any) -> dict[str, Any]:
        """A check-in of the shift that begins on the day of its time, unless `shift_start` says otherwise."""
        begins = at(fields.get("shift_start") or f"{time[:10]} {start}")
        name = f"EMP-CKIN-{len(self.tables['Employee Checkin']) + 1:06}"
        row: dict[str, Any] = {"name": name, "employee": employee, "time": time, "modified": self.stamp()}
        row |= {
            "shift": SHIFT,
            "shift_start": str(begins),
            "shift_actual_end": str(begins + timedelta(hours=hours + 1)),
        }
        row |= {"offshift": 0, "skip_auto_attendance": 0}
        self.tables["Employee Checkin"].append(row | fields)
        return self.tables["Employee Checkin"][-1]

    def change(self, row: dict[str, Any], **fields: Any) -> None:
        """What a person does in ERPNext."""
        row |= {"modified": self.stamp(), "modified_by": HR, **fields}

    def standing(self) -> list[dict[str, Any]]:
        """The Attendance that is not cancelled."""
        return [row for row in self.tables["Attendance"] if row["docstatus"] == 1]

    def days(self) -> list[tuple[Any, ...]]:
        """Employee, date, status and times of the Attendance that stands."""
        fields = ("employee", "attendance_date", "status", "in_time", "out_time")
        return sorted(tuple(row.get(field) for field in fields) for row in self.standing())

    def stamp(self) -> str:
        self.clock += timedelta(milliseconds=1)
        return str(self.clock)

    # What `ErpnextClient` has

    def logged_user(self) -> str:
        return US

    def close(self) -> None:
        pass

    def get(self, doctype: str, name: str) -> dict[str, Any]:
        self.requests[f"get {doctype}"] += 1
        return dict(self._row(doctype, name))

    def get_list(
        self,
        doctype: str,
        fields: Sequence[str],
        filters: Sequence[tuple[str, str, object]] = (),
        *,
        order_by: str | None = None,
        start: int = 0,
        limit: int = 0,
    ) -> list[dict[str, Any]]:
        self.requests[f"list {doctype}"] += 1
        if set(fields) & self.fields_missing:
            raise DocumentRejected(417, "DataError", f"Field not permitted in query: {fields}")
        rows = [row for row in self.tables[doctype] if all(_passes(row, each) for each in filters)]
        if order_by == "name asc":
            rows.sort(key=lambda row: str(row["name"]))
        found = rows[start : start + limit] if limit else rows[start:]
        return [{field: row.get(field) for field in fields} for row in found]

    def create(self, document: Mapping[str, Any]) -> dict[str, Any]:
        self.before("create", document)
        existing = self.tables["Attendance"]
        own = [row for row in existing if row["employee"] == document["employee"]]
        for row in own:
            same_day = row["attendance_date"] == document["attendance_date"] and row["docstatus"] < 2
            if same_day and (not row.get("shift") or row["shift"] == document["shift"]):
                raise DocumentRejected(417, "DuplicateAttendanceError", f"already marked: {row['name']}")
        marker = document.get("punchstream_day")
        if self.unique and any(row.get("punchstream_day") == marker for row in existing):
            raise DocumentRejected(417, "UniqueValidationError", "Punchstream Day must be unique")
        now = self.stamp()
        row = {**document, "creation": now, "modified": now, "owner": US, "modified_by": US}
        row = {field: value for field, value in row.items() if field not in self.fields_missing}
        row["name"] = f"HR-ATT-2026-{len(existing) + 1:05}"
        existing.append(row)
        self.after("create", row)
        return dict(row)

    def update(self, doctype: str, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        row = self._row(doctype, name)
        self.before("cancel", row)
        if fields["modified"] != row["modified"]:
            raise Conflict("417 TimestampMismatchError")
        row |= {**fields, "modified": self.stamp(), "modified_by": US}
        self.after("cancel", row)
        return dict(row)

    def call(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        assert (method, path.rpartition(".")[2]) == ("POST", "get_holidays")
        self.requests["holidays"] += 1
        if body["holiday_list"] is None and None not in self.holidays:
            raise DocumentRejected(417, "ValidationError", "Please set a default Holiday List")
        days = self.holidays.get(body["holiday_list"], set())
        return {"message": int(date.fromisoformat(body["from_date"]) in days)}

    def _row(self, doctype: str, name: str) -> dict[str, Any]:
        return next(row for row in self.tables[doctype] if row["name"] == name)


def _passes(row: Mapping[str, Any], filter_: tuple[str, str, Any]) -> bool:
    field, operator, wanted = filter_
    value = row.get(field)
    match operator:
        case "=":
            return bool(value == wanted)
        case "in":
            return value in wanted
        case "between":
            return bool(value is not None and wanted[0] <= value <= wanted[1])
        case _:
            if value is None:
                return False
            return bool({">": value > wanted, ">=": value >= wanted, "<=": value <= wanted}[operator])
