"""An ERPNext behind the methods of its client, as far as `punchstream erpnext` looks at it."""

from collections.abc import Mapping, Sequence
from typing import Any

from uniqueness_trial import answer_trial

from attendance.erpnext import CHECKIN, SHIFT_TYPE, ErpnextClient
from attendance.errors import AccessDenied, Conflict, DocumentRejected, PermissionDenied

SERIES = "EMP-CKIN-"
STANDARD: dict[str, dict[str, Any]] = {
    name: {"fieldname": name, "fieldtype": "Data", "label": name.title(), "reqd": int(name in {"employee", "time"})}
    for name in ("employee", "employee_name", "log_type", "shift", "time", "device_id", "latitude", "longitude")
}


class FakeErpnext(ErpnextClient):
    """A site with roles, meta data, settings and documents. What it is asked to store, it checks and stores."""

    def __init__(self, *roles: str) -> None:
        self.roles = set(roles)
        self.fields = {name: dict(field) for name, field in STANDARD.items()}
        self.field: dict[str, Any] | None = None
        self.employees: list[dict[str, Any]] = []
        self.hidden = 0
        self.user_permissions: Any = {}
        self.counts_all = True
        self.geolocation = 0
        self.knows_geolocation = True
        self.locations: list[dict[str, Any]] = []
        self.assignments: list[dict[str, Any]] = []
        self.workflow: str | None = None
        self.scripts: list[str] | None = []
        self.refuses: Exception | None = None
        self.commits = False
        self.documents: dict[str, dict[str, Any]] = {"CKIN-1": {"employee": "E1", "device_id": "OLD"}}
        self.shifts: dict[str, dict[str, Any]] = {
            "Day": {"enable_auto_attendance": 1, "process_attendance_after": "2025-01-01"}
        }
        self.read_only: set[str] = set()
        self.zone = "Asia/Riyadh"
        self.tried: list[Mapping[str, Any]] = []
        self.ingest: dict[str, Any] | None = None
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def logged_user(self) -> str:
        return "api@example.com"

    def site_zone(self) -> str:
        return self.zone

    def has_event_id_field(self) -> bool:
        if "HR User" not in self.roles:
            raise AccessDenied(f"403 PermissionError: No permission for {CHECKIN}")
        return self.field is not None

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        assert (method, body) == ("GET", None)
        match path.partition("?")[0].removeprefix("/api/method/"):
            case "frappe.desk.form.load.getdoctype":
                workflows = [{"doctype": "Workflow", "name": self.workflow}] if self.workflow else []
                return {"docs": [{"fields": list(self.fields.values()), "__workflow_docs": workflows}]}
            case "frappe.core.doctype.user_permission.user_permission.get_user_permissions":
                return {"message": self.user_permissions}
            case "frappe.client.get_count":
                return {"message": len(self.employees) + (self.hidden if self.counts_all else 0)}
            case "biometric_integration.ingest.api.describe" if self.ingest is not None:
                return {"message": self.ingest}
            case "hrms.api.get_hr_settings" if self.knows_geolocation:
                return {"message": {"allow_geolocation_tracking": self.geolocation}}
        raise DocumentRejected(417, "ValidationError", f"Failed to get method for command {path}")

    def get_list(
        self, doctype: str, fields: Sequence[str], filters: Sequence[Any] = (), *, limit: int = 0, **_: Any
    ) -> list[dict[str, Any]]:
        if doctype == "Custom Field":
            return [self.field] if self.field else []
        if doctype == "Server Script":
            if self.scripts is None:
                raise PermissionDenied("403 PermissionError: No permission for Server Script")
            return [{"name": name} for name in self.scripts]
        if "HR User" not in self.roles:
            raise AccessDenied(f"403 PermissionError: No permission for {doctype}")
        tables = {
            CHECKIN: [{"name": name, **row} for name, row in self.documents.items()],
            SHIFT_TYPE: [{"name": name, **row} for name, row in self.shifts.items()],
            "Shift Location": self.locations,
            "Shift Assignment": [{"docstatus": 1, **row} for row in self.assignments],
            "Employee": self.employees,
        }
        rows = [row for row in tables[doctype] if all(_passes(row, *each) for each in filters)]
        return [{field: row.get(field) for field in fields} for row in rows[: limit or None]]

    def get(self, doctype: str, name: str) -> dict[str, Any]:
        assert doctype == SHIFT_TYPE
        if name not in self.shifts:
            raise DocumentRejected(404, "DoesNotExistError", f"Shift Type {name} not found")
        return {"name": name, **self.shifts[name]}

    def update(self, doctype: str, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        assert name in (self.documents if doctype == CHECKIN else self.shifts)
        assert list(fields) == ["modified"]
        if doctype in self.read_only:
            raise PermissionDenied("403 PermissionError")
        raise Conflict("417 TimestampMismatchError")

    def insert(self, document: Mapping[str, Any]) -> str:
        if document["doctype"] == "Custom Field":
            if "System Manager" not in self.roles:
                raise AccessDenied("403 PermissionError")
            if self.field:
                raise DocumentRejected(417, "ValidationError", "already exists")
            self.field = dict(document)
            return "Employee Checkin-event_id"
        return self.insert_many([document])[0]

    def insert_many(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        new: dict[str, dict[str, Any]] = {}
        if self.field and "HR User" in self.roles:
            answer_trial(documents, unique=bool(self.field["unique"]))
        try:
            for document in documents:
                name = f"CKIN-{len(self.documents) + len(new) + 1}"
                self._check(document)
                new[name] = dict(document)
        except DocumentRejected:
            if self.commits:
                self.documents |= new
            raise
        self.documents |= new
        return list(new)

    def _check(self, document: Mapping[str, Any]) -> None:
        if document.get("docstatus") == 2:
            raise DocumentRejected(417, "DocstatusTransitionError", "Cannot change docstatus from 0 (Draft) to 2")
        if "HR User" not in self.roles:
            raise AccessDenied("403 PermissionError")
        self.tried.append(document)
        if "employee" in document and self.refuses is not None:
            raise self.refuses
        if self.geolocation and "employee" in document and not document.get("latitude"):
            raise DocumentRejected(417, "ValidationError", "Latitude and longitude values are required")
        missing = [name for name, field in self.fields.items() if field["reqd"] and not document.get(name)]
        if missing:
            raise DocumentRejected(417, "MandatoryError", ", ".join(missing))

    def delete(self, doctype: str, name: str) -> None:
        assert doctype == CHECKIN
        del self.documents[name]


def _passes(row: Mapping[str, Any], field: str, operator: str, value: Any) -> bool:
    ours = row.get(field)
    match operator:
        case "=":
            return bool(ours == value)
        case "is":
            return (ours not in (None, "")) == (value == "set")
        case ">":
            return bool(ours > value)
    raise AssertionError(operator)


def employee(name: str, device_user_id: str | None, **fields: Any) -> dict[str, Any]:
    """An employee as ERPNext lists it."""
    unset = dict.fromkeys(("company", "branch", "relieving_date"))
    return unset | {
        "name": name,
        "attendance_device_id": device_user_id,
        "status": "Active",
        "date_of_joining": "2020-01-01",
        "default_shift": "Day",
        "creation": "2020-01-01 08:00:00.000000",
        "modified": "2026-03-01 08:00:00.000000",
        **fields,
    }


def ready() -> FakeErpnext:
    """A site with which nothing is wrong."""
    site = FakeErpnext("HR User", "System Manager")
    site.employees = [employee("E1", "1"), employee("E2", None)]
    site.field = {"unique": 1}
    return site
