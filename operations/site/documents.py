"""Does the site take an Employee Checkin as Punchstream sends it? By its meta data, and by one that is undone."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4
from zoneinfo import ZoneInfo

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import AccessDenied, ConfigurationError, DocumentRejected, PermissionDenied, ServerError
from attendance.fleet import Device
from operations.site.results import Check, attempt, failed, ok, some, unseen, warning
from producers.directory.employees import EMPLOYEE

TRIAL: Final = "a check-in, undone"
REFUSED: Final[Document] = {"doctype": CHECKIN, "docstatus": 2}
"""ERPNext refuses it before anything else is looked at: no document begins as a cancelled one."""

_META: Final = "/api/method/frappe.desk.form.load.getdoctype?doctype=Employee%20Checkin"
_REFUSAL: Final = "DocstatusTransitionError"
_MANDATORY_FIRST: Final = frozenset({"MandatoryError", "ValidationError"})
_ALWAYS: Final = frozenset({"employee", "time", "device_id", EVENT_ID_FIELD})
_BY_HRMS: Final = frozenset({"employee_name"})
_PLACE: Final = frozenset({"latitude", "longitude"})
_WITHOUT_VALUE: Final = frozenset({"Section Break", "Column Break", "Tab Break", "Button", "HTML", "Heading", "Check"})


def look_at_documents(
    client: ErpnextClient, devices: Sequence[Device] | None, user: str, *, wants_place: bool, site_zone: ZoneInfo | None
) -> Iterator[Check]:
    """Look at what the site does with documents.

    Args:
        client: The site.
        devices: Those that are not disabled; None where there is no fleet.
        user: The API user, for the remedies.
        wants_place: Whether the site refuses check-ins without coordinates.
        site_zone: The zone of the site, if it is known.

    Yields:
        What was found of each thing.
    """
    create = f"let {user} create Employee Checkin, such as by the role HR User"
    permission = attempt("check-ins", create, lambda: _may_create(client))
    yield permission
    try:
        answer = client.call("GET", _META).get("docs")
        meta: Mapping[str, Any] = answer[0] if isinstance(answer, list) and answer else {}
    except (AccessDenied, DocumentRejected) as error:
        yield unseen("fields", f"{user} may not read how Employee Checkin is made: {error}", "ask a System Manager")
    else:
        yield _mandatory(meta, devices)
        yield _unique(meta)
        yield _workflow(meta)
    yield attempt("server scripts", "run it again", lambda: _server_scripts(client))
    if permission.state == "ok":
        yield attempt(
            TRIAL, "run it again", lambda: _try(client, devices, wants_place=wants_place, site_zone=site_zone)
        )


def _may_create(client: ErpnextClient) -> str:
    """Ask by a document that cannot be stored, because ERPNext looks at the permission before the content."""
    # Without its employee, and with a log type that does not exist: one of them is refused on any site.
    impossible = {"doctype": CHECKIN, "time": "2000-01-01 00:00:00", "log_type": "punchstream check"}
    try:
        name = client.insert(impossible)
    except DocumentRejected as error:
        if error.kind not in _MANDATORY_FIRST:
            raise
        return "may be created"
    raise ConfigurationError(f"the site stored {name}, which has no employee: delete it")


def _mandatory(meta: Mapping[str, Any], devices: Sequence[Device] | None) -> Check:
    name = "mandatory fields"
    fields = [field for field in _fields(meta) if field["fieldname"] not in _ALWAYS | _BY_HRMS]
    wanted = {field["fieldname"]: field for field in fields if field.get("reqd") and not _filled_in(field)}
    never = [
        f"{field.get('label') or key} ({key})" for key, field in wanted.items() if key not in {"log_type", *_PLACE}
    ]
    if _PLACE & wanted.keys():
        without = [each.device_id for each in devices or () if each.latitude is None]
        if without or devices is None:
            never.append(f"latitude and longitude, which these devices lack: {some(without) or 'not known here'}")
    if "log_type" in wanted:
        open_ = [each.device_id for each in devices or () if each.direction in {"none", "from_device"}]
        if open_ or devices is None:
            never.append(f"log_type, which these devices may not say: {some(open_) or 'not known here'}")
    if never:
        return failed(
            name,
            f"ERPNext refuses every check-in without these, and Punchstream does not send them: {some(never)}",
            "in Customize Form, Employee Checkin, untick Mandatory, or give the field a default",
        )
    sometimes = [field["fieldname"] for field in fields if field.get("mandatory_depends_on")]
    if sometimes:
        return warning(
            name,
            f"mandatory under a condition, and not sent: {some(sometimes)}",
            "in Customize Form, Employee Checkin, look at Mandatory Depends On: does it hold for terminals?",
        )
    return ok(name, "ERPNext asks for nothing that Punchstream does not send")


def _filled_in(field: Mapping[str, Any]) -> bool:
    """Whether the field has a value without anybody sending one."""
    return field.get("fieldtype") in _WITHOUT_VALUE or bool(field.get("default")) or bool(field.get("fetch_from"))


def _unique(meta: Mapping[str, Any]) -> Check:
    name = "unique fields"
    wrong = [
        field["fieldname"]
        for field in _fields(meta)
        if field.get("unique") and field["fieldname"] in {*_ALWAYS, "log_type", *_PLACE} - {EVENT_ID_FIELD}
    ]
    if wrong:
        detail = f"unique, although check-ins share its values: {some(wrong)}; ERPNext refuses the second of each"
        return failed(name, detail, "in Customize Form, Employee Checkin, untick Unique")
    return ok(name, "no field is unique whose values check-ins share")


def _workflow(meta: Mapping[str, Any]) -> Check:
    name = "workflow"
    active = [row.get("name") for row in meta.get("__workflow_docs") or () if row.get("doctype") == "Workflow"]
    if not active:
        return ok(name, "none is active on Employee Checkin")
    return warning(
        name,
        f"{active[0]} is active on Employee Checkin: each check-in begins in its first state",
        "auto attendance counts a check-in in any state; let nobody have to approve what a terminal said",
    )


def _server_scripts(client: ErpnextClient) -> str | Check:
    name = "server scripts"
    filters = [("reference_doctype", "=", CHECKIN), ("disabled", "=", 0)]
    try:
        scripts = [row["name"] for row in client.get_list("Server Script", ["name"], filters, order_by="name asc")]
    except (AccessDenied, DocumentRejected):
        return unseen(
            name,
            "the API user may not read Server Script, and nobody sees the hooks of other apps from outside",
            "a user with the role Script Manager finds them in Server Script List, by Employee Checkin",
        )
    if not scripts:
        return "none runs on Employee Checkin; hooks of other apps cannot be seen from outside"
    detail = f"these run on every check-in, and may refuse, change or delay it: {some(scripts)}"
    return warning(name, detail, "test them with a check-in of a terminal")


def _try(
    client: ErpnextClient, devices: Sequence[Device] | None, *, wants_place: bool, site_zone: ZoneInfo | None
) -> str | Check:
    """Store a check-in and have it undone, in one request: its second document is always refused."""
    device = next((each for each in devices or () if each.latitude is not None), None)
    if wants_place and device is None:
        return Check(TRIAL, "not checked", "no device has coordinates to try with", "see geolocation", optional=True)
    filters = [("status", "=", "Active"), ("attendance_device_id", "is", "set")]
    employee = next((row["name"] for row in client.get_list(EMPLOYEE, ["name"], filters, limit=1)), None)
    if employee is None:
        detail = "there is no Active employee with an attendance_device_id to try with"
        return Check(TRIAL, "not checked", detail, "run it again when there is one", optional=True)
    marker = f"punchstream-check-{uuid4().hex}"
    document: Document = {
        "doctype": CHECKIN,
        "employee": employee,
        "time": str(datetime.now(site_zone or UTC).replace(tzinfo=None, microsecond=0)),
        "log_type": "IN",
        "device_id": marker,
        EVENT_ID_FIELD: marker,
    }
    if device is not None:
        document |= {"latitude": device.latitude, "longitude": device.longitude}
    try:
        client.insert_many([document, REFUSED])
    except DocumentRejected as error:
        found = None if error.kind == _REFUSAL else _refused(employee, error)
    except PermissionDenied as error:
        found = failed(TRIAL, f"ERPNext forbids one of {employee}: {error}", "see hidden employees")
    except ServerError as error:
        found = failed(TRIAL, f"ERPNext fails on one of {employee}: {error}", "its Error Log says where")
    else:
        found = None  # the look below finds what it stored
    left = [
        row["name"]
        for row in client.get_list(CHECKIN, ["name"], [("employee", "=", employee), ("device_id", "=", marker)])
    ]
    for name in left:
        client.delete(CHECKIN, name)
    if left:
        return failed(
            TRIAL,
            f"{some(left)} stayed, although the request failed, and was deleted: something on the site commits in the "
            "midst of a request, so a batch is not stored as a whole",
            "find the hook or Server Script that calls frappe.db.commit(), and take the call out",
        )
    return found or f"one of {employee} was accepted, and nothing of it stayed"


def _refused(employee: str, error: DocumentRejected) -> Check:
    remedy = {
        "MandatoryError": "in Customize Form, Employee Checkin, untick Mandatory, or give the field a default",
        "DuplicateEntryError": (
            "the naming series is behind its documents, as after a restore: in Document Naming Settings, Update Series "
            "Counter, set the one of Employee Checkin to its highest number"
        ),
        "UniqueValidationError": "in Customize Form, Employee Checkin, untick Unique of the field that it names",
        "CheckinRadiusExceededError": "correct the coordinates of the device or of the Shift Location, or its radius",
    }.get(error.kind, "its words say what refuses it: a setting, a Server Script or a hook of the site")
    return failed(TRIAL, f"ERPNext refuses one of {employee}: {error}", remedy)


def _fields(meta: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [field for field in meta.get("fields") or () if field.get("fieldname")]
