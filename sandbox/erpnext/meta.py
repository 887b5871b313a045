"""How Employee Checkin is made, as ERPNext's desk asks for it: its fields with the custom ones, and its workflow."""

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
_ASKED: Final = ("fieldname", "fieldtype", "label", "reqd", "unique", "read_only")


def of_checkins(store: Store) -> Row:
    """What is asked of a check-in."""
    fields: list[Row] = []
    for name, kind, label in _FIELDS:
        flags = {"reqd": int(name in _MANDATORY), "unique": 0, "read_only": int(name in _READ_ONLY)}
        own = {"fieldname": name, "fieldtype": kind, "label": label} | flags
        fields.append(_field(own, default=_DEFAULTS.get(name), fetch_from=_FETCHED.get(name)))
        fields += [
            _field({each: row[each] for each in _ASKED}, default=row["default"] or None, is_custom_field=1)
            for row in store.custom_fields(CHECKIN).values()
            if row["insert_after"] == name
        ]
    flows = [row for row in store.rows(WORKFLOW) if row["document_type"] == CHECKIN and row["is_active"]]
    return {
        "doctype": "DocType",
        "name": CHECKIN,
        "fields": fields,
        "__workflow_docs": [{"doctype": WORKFLOW, "name": row["name"]} for row in flows],
    }


def _field(asked: Row, **more: object) -> Row:
    unset = dict.fromkeys(("default", "fetch_from", "mandatory_depends_on", "is_custom_field"))
    return unset | asked | more
