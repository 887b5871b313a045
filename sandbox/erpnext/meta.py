"""How Employee Checkin is made, as ERPNext's desk asks for it: its fields with the custom ones, and its workflow."""

from collections.abc import Collection
from typing import Final

from sandbox.erpnext.doctypes import CHECKIN, WORKFLOW
from sandbox.erpnext.query import Row
from sandbox.erpnext.store import Store

_FIELDS: Final = (
    ("employee", "Link", "Employee"),
    ("employee_name", "Data", "Employee Name"),
    ("log_type", "Select", "Log Type"),
    ("shift", "Link", "Shift"),
    ("column_break_4", "Column Break", None),
    ("time", "Datetime", "Time"),
    ("device_id", "Data", "Location / Device ID"),
    ("skip_auto_attendance", "Check", "Skip Auto Attendance"),
    ("attendance", "Link", "Attendance Marked"),
    ("location_section", "Section Break", "Location"),
    ("latitude", "Float", "Latitude"),
    ("column_break_yqpi", "Column Break", None),
    ("longitude", "Float", "Longitude"),
    ("section_break_ksbo", "Section Break", None),
    ("fetch_geolocation", "Button", "Fetch Geolocation"),
    ("geolocation", "Geolocation", "Geolocation"),
    ("shift_timings_section", "Section Break", "Shift Timings"),
    ("shift_start", "Datetime", "Shift Start"),
    ("shift_end", "Datetime", "Shift End"),
    ("offshift", "Check", "Off-shift"),
    ("column_break_vyyt", "Column Break", None),
    ("shift_actual_start", "Datetime", "Shift Actual Start"),
    ("shift_actual_end", "Datetime", "Shift Actual End"),
)
_MANDATORY: Final = frozenset({"employee", "time"})
_READ_ONLY: Final = frozenset(
    {"employee_name", "shift", "attendance", "latitude", "longitude", "geolocation", "offshift"}
)
_DEFAULTS: Final = {"time": "Now", "skip_auto_attendance": "0", "offshift": "0"}
_FETCHED: Final = {"employee_name": "employee.employee_name"}
_OPTIONS: Final = {
    "employee": "Employee",
    "log_type": "\nIN\nOUT",
    "shift": "Shift Type",
    "attendance": "Attendance",
}
_ASKED: Final = ("fieldname", "fieldtype", "label", "reqd", "unique", "read_only")


def of_checkins(store: Store) -> Row:
    """What is asked of a check-in."""
    custom = store.custom_fields(CHECKIN).values()
    fields = _added(custom, None)
    for name, kind, label in _FIELDS:
        flags = {"reqd": int(name in _MANDATORY), "unique": 0, "read_only": int(name in _READ_ONLY)}
        own = {"fieldname": name, "fieldtype": kind, "label": label} | flags
        more = {"default": _DEFAULTS.get(name), "fetch_from": _FETCHED.get(name), "options": _OPTIONS.get(name)}
        fields += [_field(own, **more), *_added(custom, name)]
    flows = []
    for flow in workflows(store):
        flows.append({"doctype": WORKFLOW, "name": flow["name"]})
        flows += [{"doctype": "Workflow State", "name": state} for state in flow["states"]]
    return {
        "doctype": "DocType",
        "name": CHECKIN,
        "module": "HR",
        "autoname": "EMP-CKIN-.MM.-.YYYY.-.######",
        "fields": fields,
        "__workflow_docs": flows,
    }


def workflows(store: Store) -> list[Row]:
    """Those that check-ins go through."""
    return [row for row in store.rows(WORKFLOW) if row["document_type"] == CHECKIN and row["is_active"]]


def _added(custom: Collection[Row], after: str | None) -> list[Row]:
    """The custom fields behind a field, those behind these included; first of all come those that name no place."""
    fields: list[Row] = []
    for row in custom:
        if row["insert_after"] == after:
            asked = {each: row[each] for each in _ASKED}
            fields.append(_field(asked, default=row["default"] or None, is_custom_field=1))
            fields += _added(custom, row["fieldname"])
    return fields


def _field(asked: Row, **more: object) -> Row:
    unset = dict.fromkeys(("default", "fetch_from", "mandatory_depends_on", "is_custom_field", "options"))
    return unset | asked | more
