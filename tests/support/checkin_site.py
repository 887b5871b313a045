"""An ERPNext in memory: the check-ins, employees and deleted documents that operations ask for and change."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attendance.erpnext import ErpnextClient
from attendance.errors import DocumentRejected, PermissionDenied

CHECKIN = "Employee Checkin"
EMPLOYEE = "Employee"
DELETED = "Deleted Document"
US = "api@example.com"
MADE = "2026-03-02 05:00:00"


class CheckinSite:
    """Stands for an `ErpnextClient`. Every request is kept in `requests`, every change in `changes`."""

    has_field = ErpnextClient.has_field
    has_event_id_field = ErpnextClient.has_event_id_field

    def __init__(self, **documents: str | None) -> None:
        """A site with the employee E1.

        Args:
            documents: Check-ins of E1 at 05:00 by name, each with its event_id.
        """
        self.tables: dict[str, list[dict[str, Any]]] = {CHECKIN: [], EMPLOYEE: [], DELETED: []}
        self.requests: list[tuple[str, str]] = []
        self.changes: list[tuple[str, str]] = []
        self.forbidden: set[str] = set()
        self.hidden: set[str] = set()
        self.with_event_id = True
        self.fetches_shifts = True
        self.shifts: dict[str, dict[str, Any]] = {}
        """What ERPNext finds of the shift of a check-in, by its name, when it is asked."""
        self.unsaved: set[str] = set()
        self.employ("E1")
        for name, event_id in documents.items():
            self.store(name, event_id)

    def employ(self, name: str, creation: str = "2020-01-01 00:00:00") -> None:
        self.tables[EMPLOYEE].append({"name": name, "creation": creation})

    def dismiss(self, name: str) -> None:
        self.tables[EMPLOYEE] = [row for row in self.tables[EMPLOYEE] if row["name"] != name]

    def store(self, name: str, event_id: str | None, **fields: Any) -> dict[str, Any]:
        row = {
            "name": name,
            "event_id": event_id,
            "employee": "E1",
            "time": "2026-03-02 05:00:00",
            "log_type": "IN",
            "attendance": None,
            "offshift": 0,
            "shift": None,
            "creation": MADE,
            "modified": MADE,
            "modified_by": US,
        } | fields
        self.tables[CHECKIN].append(row)
        return row

    def document(self, name: str) -> dict[str, Any]:
        return next(row for row in self.tables[CHECKIN] if row["name"] == name)

    def names(self) -> list[str]:
        return [row["name"] for row in self.tables[CHECKIN]]

    def logged_user(self) -> str:
        return US

    def get_list(
        self,
        doctype: str,
        fields: Sequence[str],
        filters: Sequence[tuple[str, str, Any]] = (),
        *,
        limit: int = 0,
        **_: Any,
    ) -> list[dict[str, Any]]:
        self.requests.append(("list", doctype))
        if doctype in self.forbidden:
            raise PermissionDenied(f"403 PermissionError: {doctype}")
        if not self.with_event_id and "event_id" in (*fields, *(field for field, _, _ in filters)):
            raise DocumentRejected(417, "DataError", "Field not permitted in query: event_id")
        rows = [
            {field: row[field] for field in fields}
            for row in self.tables[doctype]
            if row.get("name") not in self.hidden and all(_passes(row, *each) for each in filters)
        ]
        return rows[:limit] if limit else rows

    def get(self, doctype: str, name: str) -> dict[str, Any]:
        self.requests.append(("get", doctype))
        if name in self.hidden:
            raise PermissionDenied("403 PermissionError")
        for row in self.tables[doctype]:
            if row["name"] == name:
                return row
        raise DocumentRejected(404, "DoesNotExistError", f"{doctype} {name} not found")

    def delete(self, doctype: str, name: str, by: str = US) -> None:
        data = json.dumps(self.get(doctype, name))
        if name in self.unsaved:
            raise PermissionDenied("403 PermissionError")
        self.changes.append(("delete", name))
        self.tables[doctype] = [row for row in self.tables[doctype] if row["name"] != name]
        self.tables[DELETED].append({"deleted_doctype": doctype, "deleted_name": name, "owner": by, "data": data})

    def call(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The only method that is called by its path fetches shifts."""
        assert (method, path.rpartition(".")[2]) == ("POST", "bulk_fetch_shift")
        if not self.fetches_shifts:
            raise DocumentRejected(417, "ValidationError", "Failed to get method")
        if self.unsaved & set(body["checkins"]):
            raise DocumentRejected(417, "ValidationError", "Log Type is required")
        for name in body["checkins"]:
            self.document(name).update(self.shifts.get(name, {}))
        return {}

    def update(self, doctype: str, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        if name in self.unsaved:
            raise DocumentRejected(417, "ValidationError", "Log Type is required")
        self.changes.append(("update", name))
        row = self.get(doctype, name)
        row.update({**fields, **self.shifts.get(name, {})})
        return row

    def close(self) -> None:
        """Nothing is open."""


def _passes(row: Mapping[str, Any], field: str, operator: str, value: Any) -> bool:
    match operator:
        case "=":
            return bool(row[field] == value)
        case "in":
            return row[field] in value
        case ">=":
            return bool(row[field] >= value)
        case "<=":
            return bool(row[field] <= value)
        case "is":
            return bool(row[field]) == (value == "set")
    raise AssertionError(operator)
