"""Whether check-ins of a site may be stored in bulk: only where nothing but Frappe HR itself acts on a new check-in."""

import functools
import inspect
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, Final

import frappe
from frappe.desk.notifications import get_notification_config
from frappe.model import display_fieldtypes
from frappe.model.base_document import get_controller
from frappe.model.document import Document
from frappe.utils import cint
from hrms.hr import utils as hr_utils
from hrms.hr.doctype.employee_checkin.employee_checkin import EmployeeCheckin
from hrms.hr.doctype.shift_assignment import shift_assignment

CHECKIN: Final = "Employee Checkin"
AUTONAME: Final = "EMP-CKIN-.MM.-.YYYY.-.######"
TESTED: Final = frozenset({"e31d4bfe8aa1b532"})
"""Digests of the code that the rows of `bulk.py` were compared with, field by field: frappe 15.72 with hrms 15.47."""

_EVENTS: Final = (
    "before_insert",
    "before_naming",
    "autoname",
    "before_validate",
    "validate",
    "before_save",
    "after_insert",
    "on_update",
    "on_change",
)
_HARMLESS: Final = frozenset(
    {
        "frappe.automation.doctype.assignment_rule.assignment_rule.apply",
        "frappe.automation.doctype.assignment_rule.assignment_rule.update_due_date",
        "frappe.automation.doctype.milestone_tracker.milestone_tracker.evaluate_milestone",
        "frappe.core.doctype.file.utils.attach_files_to_document",
        "frappe.core.doctype.user_type.user_type.apply_permissions_for_non_standard_user_type",
        "frappe.desk.notifications.clear_doctype_notifications",
        "frappe.social.doctype.energy_point_rule.energy_point_rule.process_energy_points",
        "frappe.workflow.doctype.workflow_action.workflow_action.process_workflow_actions",
        "erpnext.setup.doctype.transaction_deletion_record.transaction_deletion_record.check_for_running_deletion_job",
        "erpnext.support.doctype.service_level_agreement.service_level_agreement.apply",
    }
)
"""What Frappe and ERPNext have run on every document. It does nothing with a check-in unless something below is set."""
_RULES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("Server Script", {"reference_doctype": CHECKIN, "script_type": "DocType Event", "disabled": 0}),
    ("Notification", {"document_type": CHECKIN, "enabled": 1}),
    ("Webhook", {"webhook_doctype": CHECKIN, "enabled": 1}),
    ("Workflow", {"document_type": CHECKIN, "is_active": 1}),
    ("Assignment Rule", {"document_type": CHECKIN, "disabled": 0}),
    ("Milestone Tracker", {"document_type": CHECKIN, "disabled": 0}),
    ("Energy Point Rule", {"reference_doctype": CHECKIN, "enabled": 1}),
    ("Document Naming Rule", {"document_type": CHECKIN, "disabled": 0}),
    ("Service Level Agreement", {"document_type": CHECKIN}),
    ("User Type", {"apply_user_permission_on": CHECKIN, "is_standard": 0}),
)
_TRAITS: Final = ("options", "default", "fetch_from", "fetch_if_empty", "reqd", "permlevel", "unique", "is_virtual")
_TRAITS_OF_VALUES: Final = ("length", "non_negative", "precision", "in_global_search")
_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "employee": {"fieldtype": "Link", "options": "Employee", "reqd": 1},
    "employee_name": {"fieldtype": "Data", "fetch_from": "employee.employee_name"},
    "log_type": {"fieldtype": "Select", "options": "\nIN\nOUT"},
    "shift": {"fieldtype": "Link", "options": "Shift Type"},
    "time": {"fieldtype": "Datetime", "default": "Now", "reqd": 1, "permlevel": 1},
    "device_id": {"fieldtype": "Data"},
    "skip_auto_attendance": {"fieldtype": "Check", "default": "0"},
    "attendance": {"fieldtype": "Link", "options": "Attendance"},
    "latitude": {"fieldtype": "Float", "precision": "7"},
    "longitude": {"fieldtype": "Float", "precision": "7"},
    "geolocation": {"fieldtype": "Geolocation"},
    "shift_start": {"fieldtype": "Datetime"},
    "shift_end": {"fieldtype": "Datetime"},
    "offshift": {"fieldtype": "Check", "default": "0"},
    "shift_actual_start": {"fieldtype": "Datetime"},
    "shift_actual_end": {"fieldtype": "Datetime"},
    "event_id": {"fieldtype": "Data", "unique": 1},
}
"""The fields of a check-in, as the tested Frappe HR has them, with the unique one."""
_EMPTY: Final = frozenset({"Data", "Small Text", "Text", "Link", "Select", "Date", "Datetime", "Time", "Check", "Int"})
"""Types of further fields that may be there, if they stay empty."""


def obstacles() -> list[str]:
    """Why no check-in of this site and user may be stored in bulk: a sentence each, none where all may be."""
    return [*_of_the_code(), *_of_the_fields(), *_of_rules(), *_of_the_user()]


def _of_the_code() -> Iterator[str]:
    if frappe.db.db_type != "mariadb":
        yield f"the database is {frappe.db.db_type}; only MariaDB was tried"
    controller = get_controller(CHECKIN)
    if controller is not EmployeeCheckin:
        yield f"another controller: {controller.__module__}.{controller.__name__}"
    elif (found := digest()) not in TESTED:
        yield f"Frappe HR or Frappe has code for new check-ins that was not compared with this app: {found}"
    hooks = frappe.get_doc_hooks()
    for event in _EVENTS:
        for handler in [*hooks.get(CHECKIN, {}).get(event, []), *hooks.get("*", {}).get(event, [])]:
            if handler not in _HARMLESS:
                yield f"a hook of an app: {handler} ({event})"
    rights = frappe.get_hooks("has_permission")
    for handler in [*rights.get(CHECKIN, []), *rights.get("*", [])]:
        yield f"a hook of an app: {handler} (has_permission)"


def digest() -> str:
    """A digest of the code of Frappe HR and Frappe whose effect on a new check-in `bulk.py` has, or relies on."""
    parts = [part for part in map(inspect.unwrap, vars(EmployeeCheckin).values()) if inspect.isfunction(part)]
    parts += [hr_utils.validate_active_employee, hr_utils.set_geolocation_from_coordinates]
    parts += [shift_assignment.get_shifts_for_date, shift_assignment.get_employee_shift]
    steps = ("insert", "run_before_save_methods", "run_post_save_methods", "_validate", "db_insert", "get_valid_dict")
    parts += [getattr(Document, name) for name in steps]
    return sha256("\n".join(sorted(map(_source, parts))).encode()).hexdigest()[:16]


@functools.cache
def _source(function: Callable[..., object]) -> str:
    try:
        return f"{function.__qualname__}\n{inspect.getsource(function)}"
    except OSError:
        return f"{function.__qualname__}: no source"


def _of_the_fields() -> Iterator[str]:
    meta = frappe.get_meta(CHECKIN)
    if (meta.autoname or "") != AUTONAME:
        yield f"another naming: {meta.autoname}"
    if meta.is_submittable or meta.istable or meta.issingle or meta.get("is_tree") or meta.title_field == "title":
        yield f"{CHECKIN} is another kind of document"
    if CHECKIN in get_notification_config().for_doctype:
        yield f"{CHECKIN} is counted for notifications"
    there = {field.fieldname: field for field in meta.fields}
    if missing := sorted(_FIELDS.keys() - there.keys()):
        yield f"fields that are not there: {', '.join(missing)}"
    for name, field in there.items():
        expected = _FIELDS.get(name)
        if expected is None:
            if field.fieldtype in display_fieldtypes:
                continue
            expected = {"fieldtype": field.fieldtype if field.fieldtype in _EMPTY else "", "options": field.options}
            traits: tuple[str, ...] = ("fieldtype", *_TRAITS)
        else:
            traits = ("fieldtype", *_TRAITS, *_TRAITS_OF_VALUES)
        for trait in traits:
            if _plain(field.get(trait)) != _plain(expected.get(trait)):
                yield f"the field {name}: {trait} is {field.get(trait)!r}"


def _plain(value: object) -> str:
    return "" if value in (None, 0, "0") else str(value)


def _of_rules() -> Iterator[str]:
    for doctype, filters in _RULES:
        if frappe.db.table_exists(doctype) and (name := frappe.db.get_value(doctype, filters, "name")):
            yield f"{doctype} {name}"


def _of_the_user() -> Iterator[str]:
    user = frappe.session.user
    if frappe.permissions.get_user_permissions(user):
        yield f"User Permissions of {user}"
    if cint(frappe.get_cached_value("User", user, "follow_created_documents")):
        yield f"{user} follows the documents that they create"
