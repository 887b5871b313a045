"""The doctypes that the stand-in knows: their names, their fields, and what each role may do with them."""

from collections.abc import Mapping
from typing import Final, Literal

from sandbox.erpnext import errors
from sandbox.erpnext.users import HR, HR_USER_ROLE, SYNC, SYSTEM_MANAGER, User

Right = Literal["read", "write", "delete", "submit"]
"""`write` is to create, too; `submit` is to cancel, too."""

EMPLOYEE: Final = "Employee"
CHECKIN: Final = "Employee Checkin"
SHIFT_TYPE: Final = "Shift Type"
ATTENDANCE: Final = "Attendance"
CUSTOM_FIELD: Final = "Custom Field"
DELETED: Final = "Deleted Document"
SYSTEM_SETTINGS: Final = "System Settings"
USER: Final = "User"
LEAVE_APPLICATION: Final = "Leave Application"
HOLIDAY_LIST: Final = "Holiday List"
COMPANY: Final = "Company"
SALARY_SLIP: Final = "Salary Slip"
HR_SETTINGS: Final = "HR Settings"
SERVER_SCRIPT: Final = "Server Script"
WORKFLOW: Final = "Workflow"
SHIFT_ASSIGNMENT: Final = "Shift Assignment"
SHIFT_LOCATION: Final = "Shift Location"
USER_PERMISSION: Final = "User Permission"
BIOMETRIC_DEVICE: Final = "Biometric Device"
BIOMETRIC_USER_MAP: Final = "Biometric User Map"
SHIFT_SETTINGS: Final = "Shift Type, Punchstream"
"""No doctype, and out of reach of REST: what the fields that the app adds to a Shift Type come to, by its name."""
SERIES: Final = "Series"
"""No doctype, and out of reach of REST: the number that each naming series gave last."""

SUBMITTED: Final = 1
"""The `docstatus` of a document that was submitted."""

LIVE_FIELDS: Final = ("last_sync_at", "last_heard_at", "last_cursor", "clock", "backlog")
"""What the role Biometric Sync may write of a device, by a method of the app."""
OF_THE_DESK: Final = frozenset({BIOMETRIC_DEVICE, BIOMETRIC_USER_MAP})
"""The doctypes of the app `biometric_integration`, which not every site has."""

SINGLES: Final = frozenset({HR_SETTINGS, SYSTEM_SETTINGS})
"""The doctypes of which there is one document, named like them."""

STAMPS: Final = ("name", "owner", "creation", "modified", "modified_by", "docstatus", "idx")
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    EMPLOYEE: (
        *STAMPS,
        *("employee", "first_name", "employee_name", "date_of_joining", "status", "company", "branch", "department"),
        *("designation", "default_shift", "holiday_list", "attendance_device_id", "user_id", "relieving_date"),
    ),
    CHECKIN: (
        *STAMPS,
        *("employee", "employee_name", "log_type", "shift", "time", "device_id", "skip_auto_attendance", "attendance"),
        *("latitude", "longitude", "geolocation"),
        *("shift_start", "shift_end", "offshift", "shift_actual_start", "shift_actual_end"),
    ),
    SHIFT_TYPE: (
        *STAMPS,
        *("start_time", "end_time", "holiday_list", "color", "enable_auto_attendance"),
        *("determine_check_in_and_check_out", "working_hours_calculation_based_on"),
        *("begin_check_in_before_shift_start_time", "allow_check_out_after_shift_end_time"),
        *("mark_auto_attendance_on_holidays", "working_hours_threshold_for_half_day"),
        *("working_hours_threshold_for_absent", "process_attendance_after", "last_sync_of_checkin"),
        *("auto_update_last_sync", "enable_late_entry_marking", "late_entry_grace_period"),
        *("enable_early_exit_marking", "early_exit_grace_period"),
    ),
    ATTENDANCE: (
        *STAMPS,
        *("naming_series", "employee", "employee_name", "working_hours", "status", "leave_type", "leave_application"),
        *("attendance_date", "company", "department", "attendance_request", "half_day_status", "shift"),
        *("in_time", "out_time", "late_entry", "early_exit", "amended_from", "modify_half_day_status"),
    ),
    CUSTOM_FIELD: (
        *STAMPS,
        *("dt", "label", "fieldname", "insert_after", "fieldtype", "unique", "read_only", "no_copy", "reqd", "default"),
    ),
    SYSTEM_SETTINGS: ("name", "modified", "modified_by", "docstatus", "time_zone"),
    USER: (*STAMPS, "enabled", "full_name", "time_zone"),
    DELETED: (*STAMPS, "deleted_doctype", "deleted_name", "restored", "new_name", "data"),
    HR_SETTINGS: (
        *("name", "modified", "modified_by", "docstatus"),
        *("allow_employee_checkin_from_mobile_app", "allow_geolocation_tracking"),
    ),
    SERVER_SCRIPT: (*STAMPS, "script_type", "reference_doctype", "doctype_event", "disabled"),
    WORKFLOW: (*STAMPS, "document_type", "is_active", "workflow_state_field", "states"),
    SHIFT_ASSIGNMENT: (
        *STAMPS,
        *("employee", "employee_name", "shift_type", "company", "start_date", "end_date", "status", "shift_location"),
    ),
    SHIFT_LOCATION: (*STAMPS, "location_name", "checkin_radius", "latitude", "longitude"),
    USER_PERMISSION: (*STAMPS, "user", "allow", "for_value"),
    LEAVE_APPLICATION: (
        *STAMPS,
        *("employee", "employee_name", "leave_type", "from_date", "to_date", "half_day", "half_day_date", "status"),
        *("company", "salary_slip", "amended_from"),
    ),
    HOLIDAY_LIST: (*STAMPS, "holiday_list_name", "from_date", "to_date", "total_holidays", "holidays"),
    COMPANY: (*STAMPS, "company_name", "default_holiday_list"),
    SALARY_SLIP: (
        *STAMPS,
        *("employee", "employee_name", "company", "start_date", "end_date", "posting_date", "status", "payment_days"),
    ),
    BIOMETRIC_DEVICE: (
        *STAMPS,
        *("device_id", "device_name", "site", "timezone", "disabled", "mode", "adapter", "serial", "host", "port"),
        *("direction", "token_sha256", "latitude", "longitude", "more_settings"),
        *LIVE_FIELDS,
    ),
    BIOMETRIC_USER_MAP: (*STAMPS, "device_user_id", "employee", "employee_name", "device", "site", "biometric_type"),
    SHIFT_SETTINGS: (
        *STAMPS,
        *("sites", "devices", "attendance", "half_day_below", "one_punch", "attendance_from"),
    ),
}

_ALL: Final[tuple[Right, ...]] = ("read", "write", "delete", "submit")
_RIGHTS: Final[Mapping[str, Mapping[str, tuple[Right, ...]]]] = {
    EMPLOYEE: {HR: _ALL, HR_USER_ROLE: _ALL},
    CHECKIN: {HR: _ALL, HR_USER_ROLE: _ALL, SYSTEM_MANAGER: _ALL},
    SHIFT_TYPE: {HR: _ALL, HR_USER_ROLE: ("read", "write")},
    ATTENDANCE: {HR: _ALL, HR_USER_ROLE: _ALL, SYSTEM_MANAGER: _ALL},
    CUSTOM_FIELD: {SYSTEM_MANAGER: _ALL},
    SYSTEM_SETTINGS: {SYSTEM_MANAGER: ("read", "write")},
    USER: {SYSTEM_MANAGER: _ALL},
    DELETED: {SYSTEM_MANAGER: ("read",)},
    HR_SETTINGS: {HR: ("read", "write"), HR_USER_ROLE: ("read",), SYSTEM_MANAGER: ("read", "write")},
    SERVER_SCRIPT: {"Script Manager": _ALL},
    WORKFLOW: {SYSTEM_MANAGER: _ALL},
    SHIFT_ASSIGNMENT: {HR: _ALL, HR_USER_ROLE: ("read", "write", "submit")},
    SHIFT_LOCATION: {HR: _ALL, HR_USER_ROLE: _ALL, SYSTEM_MANAGER: _ALL},
    USER_PERMISSION: {SYSTEM_MANAGER: _ALL},
    LEAVE_APPLICATION: {HR: _ALL, HR_USER_ROLE: _ALL},
    HOLIDAY_LIST: {HR: _ALL},
    COMPANY: {HR: ("read",)},
    SALARY_SLIP: {HR: _ALL, HR_USER_ROLE: ("read", "write", "submit")},
    BIOMETRIC_DEVICE: {HR: ("read",), HR_USER_ROLE: ("read",), SYNC: ("read",), SYSTEM_MANAGER: _ALL},
    BIOMETRIC_USER_MAP: {HR: _ALL, HR_USER_ROLE: ("read",), SYNC: ("read",), SYSTEM_MANAGER: _ALL},
}


def is_permitted(user: User, doctype: str, right: Right = "read") -> bool:
    """Whether one of the user's roles gives that right.

    Raises:
        FrappeError: there is no such doctype.
    """
    if doctype not in _RIGHTS:
        raise errors.unknown_doctype(doctype)
    return any(right in rights for role, rights in _RIGHTS[doctype].items() if role in user.roles)


def check_permission(user: User, doctype: str, right: Right = "read", *, reading_list: bool = False) -> None:
    """Return if one of the user's roles gives that right.

    Raises:
        FrappeError: none does, or there is no such doctype.
    """
    if not is_permitted(user, doctype, right):
        raise errors.not_permitted(user.name, doctype, reading_list=reading_list)
