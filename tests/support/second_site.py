"""The second site of the recordings, asked as an HR User of no other role, and what each recording finds there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.erpnext.doctypes import (
    ATTENDANCE,
    CHECKIN,
    CUSTOM_FIELD,
    EMPLOYEE,
    HR_SETTINGS,
    LEAVE_APPLICATION,
    SHIFT_ASSIGNMENT,
    SHIFT_LOCATION,
    USER_PERMISSION,
    WORKFLOW,
)
from sandbox.erpnext.site import Site
from sandbox.erpnext.users import ADMIN, HR_CLERK, NO_ROLE_USER, USERS, User

Prepare = Callable[[Site], object]

EVENT_ID = {
    "dt": CHECKIN,
    "fieldname": "event_id",
    "label": "Event ID",
    "fieldtype": "Data",
    "unique": 1,
    "read_only": 1,
    "no_copy": 1,
    "insert_after": "device_id",
}
MARKER = EVENT_ID | {"dt": ATTENDANCE, "fieldname": "punchstream_day", "label": "Punchstream Day"}
GATE = {"dt": CHECKIN, "fieldname": "lab_gate", "label": "Lab Gate", "fieldtype": "Data", "reqd": 1}
PLACE = {"location_name": "Lab Place", "checkin_radius": 100, "latitude": 24.7136, "longitude": 46.6753}
DAY = {
    "employee": "HR-EMP-00026",
    "shift": "Direct Shift",
    "status": "Present",
    "docstatus": 1,
    "attendance_date": "2026-11-09",
    "working_hours": 8.5,
    "punchstream_day": "HR-EMP-00026|Direct Shift|2026-11-09",
    "in_time": "2026-11-09 08:00:00",
    "out_time": "2026-11-09 16:30:00",
}
DRAFT = {
    "attendance_date": "2026-11-12",
    "docstatus": 0,
    "punchstream_day": "HR-EMP-00026|Direct Shift|2026-11-12",
    "in_time": "2026-11-12 08:00:00",
    "out_time": "2026-11-12 16:30:00",
}
SEEN_DRAFT = {"name": "HR-ATT-2026-00224", "modified": "2026-11-29 02:21:29.300833"}
NIGHT = {
    "shift": "Night Shift",
    "punchstream_day": f"{DAY['punchstream_day']}n",
    "in_time": "2026-11-09 22:00:00",
    "out_time": "2026-11-10 06:00:00",
}
LONGER = {
    "amended_from": "HR-ATT-2026-00217",
    "punchstream_day": f"{DAY['punchstream_day']}|2",
    "working_hours": 9.0,
    "out_time": "2026-11-09 17:00:00",
}
NO_ROLE_API = User("norole-api@example.com", "norole-key", "norole-secret", frozenset())


@dataclass(frozen=True)
class Case:
    """What a recording finds: what was done to the site before, in that order, its knobs, and who asks."""

    before: tuple[Prepare, ...] = ()
    knobs: Mapping[str, Any] = field(default_factory=dict)
    sender: User = HR_CLERK


def second_site() -> Site:
    """Thirty people on three shifts, one of which auto attendance leaves alone."""
    now = datetime(2026, 11, 28, 23, 1, tzinfo=UTC)

    def clock() -> datetime:
        nonlocal now
        now += timedelta(milliseconds=1)
        return now

    site = Site(clock=clock, users=(*USERS, NO_ROLE_API), url="http://127.0.0.1:8199")
    site.put_shift_types(
        [
            {"name": "Night Shift", "start_time": "22:00:00", "end_time": "6:00:00"},
            {"name": "Direct Shift", "enable_auto_attendance": 0},
        ]
    )
    shifts = ["Day Shift"] * 20 + ["Night Shift"] * 3 + ["Direct Shift"] * 3 + [None] * 4
    site.put_employees(
        {
            "name": f"HR-EMP-{number:05}",
            "employee_name": f"Worker{1000 + number} Test",
            "attendance_device_id": str(1000 + number),
            "default_shift": shift,
            "date_of_joining": "2024-01-01",
        }
        for number, shift in enumerate(shifts, start=1)
    )
    site.insert(ADMIN, CUSTOM_FIELD, EVENT_ID)
    site.insert(ADMIN, CUSTOM_FIELD, MARKER)
    return site


def tracking(site: Site) -> None:
    """HR Settings want to know where."""
    site.put(HR_SETTINGS, [{"name": HR_SETTINGS, "allow_geolocation_tracking": 1}])


def placed(site: Site) -> None:
    """One employee has a Shift Location."""
    site.put(SHIFT_LOCATION, [PLACE | {"name": "Lab Place"}])
    assigned = {"name": "HR-SHA-26-11-00001", "employee": "HR-EMP-00020", "shift_type": "Day Shift"}
    more = {"start_date": "2026-11-01", "status": "Active", "docstatus": 1, "shift_location": "Lab Place"}
    site.put(SHIFT_ASSIGNMENT, [assigned | more])


def gated(site: Site) -> None:
    """A custom field has to be filled."""
    site.insert(ADMIN, CUSTOM_FIELD, GATE)


def with_a_flow(field: str, *states: str) -> Prepare:
    """Check-ins go through a workflow, for which ERPNext has added a field that names no place."""

    def prepare(site: Site) -> None:
        label = field.replace("_", " ").title()
        site.insert(ADMIN, CUSTOM_FIELD, {"dt": CHECKIN, "fieldname": field, "label": label, "fieldtype": "Link"})
        flow = {"document_type": CHECKIN, "is_active": 1, "workflow_state_field": field, "states": list(states)}
        site.put(WORKFLOW, [{"name": "Check Flow", **flow}])

    return prepare


def with_a_check_gate(site: Site) -> None:
    """A custom field behind a custom field has to be filled."""
    gate = GATE | {"fieldname": "check_gate", "label": "Check Gate", "insert_after": "event_id"}
    site.insert(ADMIN, CUSTOM_FIELD, gate)


def one_renamed(site: Site) -> None:
    """Six more were hired, of whom one was renamed. By their checksums the recording is of exactly these names."""
    hired = (*(f"HR-EMP-{number:05}" for number in (33, 34, 35, 36, 38, 39)), "LAB-RENAMED-1")
    site.put_employees({"name": name} for name in hired)


def not_unique(site: Site) -> None:
    """The field's Unique is off."""
    site.update(ADMIN, CUSTOM_FIELD, f"{CHECKIN}-event_id", {"unique": 0})


def permitted(allow: str, value: str) -> Prepare:
    """The HR User may have to do with that alone."""
    return lambda site: site.put(USER_PERMISSION, [{"user": HR_CLERK.name, "allow": allow, "for_value": value}])


def employed(site: Site) -> None:
    """Seven more, and one who is on no shift."""
    site.put_employees({"name": f"HR-EMP-{number:05}"} for number in range(31, 38))


def stored(name: str, employee: str, time: str, **more: Any) -> Prepare:
    """A check-in is there under that name."""

    def prepare(site: Site) -> None:
        site.put_employees([] if site.employee(employee) else [{"name": employee, "employee_name": "LabOff"}])
        transaction = site.begin(HR_CLERK)
        transaction.insert(
            {"name": name, "employee": employee, "time": time, "device_id": "LAB", **more}, keep_name=True
        )
        transaction.commit()

    return prepare


def series_at(number: int) -> Prepare:
    """The series of check-ins is behind."""
    return lambda site: site.set_series(CHECKIN, number)


def marked(number: int, **more: Any) -> Prepare:
    """An Attendance is there under that number."""

    def prepare(site: Site) -> None:
        site.set_series(ATTENDANCE, number - 1)
        site.insert(HR_CLERK, ATTENDANCE, DAY | more)

    return prepare


def cancelled(site: Site) -> None:
    """That Attendance was cancelled."""
    site.cancel(HR_CLERK, ATTENDANCE, "HR-ATT-2026-00217")


def seen(site: Site) -> None:
    """That Attendance is as old as the request says."""
    site.put(ATTENDANCE, [{"name": "HR-ATT-2026-00217", "modified": "2026-11-29 02:21:26.510631"}])


def leave(number: int, employee: str, first: str, last: str, half: str | None) -> Prepare:
    """A leave was approved, without the Attendance of its own that it makes."""
    days = {"from_date": first, "to_date": last, "half_day": int(half is not None), "half_day_date": half}
    row = {"name": f"HR-LAP-2026-{number:05}", "employee": employee, "leave_type": "Lab Leave", **days}
    return lambda site: site.put(LEAVE_APPLICATION, [row | {"status": "Approved", "docstatus": 1}])


def on_leave(site: Site) -> None:
    """One is on leave for half of a day."""
    site.put_employees([{"name": "HR-EMP-00049", "employee_name": "LabLeave", "default_shift": "Day Shift"}])
    leave(4, "HR-EMP-00049", "2026-11-17", "2026-11-17", "2026-11-17")(site)


def failing(status: int, exc_type: str, text: str) -> Case:
    """A Server Script fails one employee."""
    one = {"where": {"employee": "HR-EMP-00012"}, "status": status, "exc_type": exc_type, "text": text}
    return Case(knobs={"failing_documents": [one]})


BARRED = failing(417, "ValidationError", "Employee is barred by the gate rule")
NOT_THIS_ONE = failing(403, "PermissionError", "Not for this one")
NOBODY = failing(404, "DoesNotExistError", "Employee NOBODY not found")
NO_NUMBER = failing(500, "ValueError", "invalid literal for int() with base 10: 'gate'")
NO_KEY = failing(500, "KeyError", "'x'")
LOCKED = "(1205, 'Lock wait timeout exceeded; try restarting transaction')"
QUIET = {"allow_error_traceback": False}
READ_ONLY = Case(knobs={"maintenance": "read_only"})
ONE = Case((permitted(EMPLOYEE, "HR-EMP-00001"),))
ONE_OF_37 = Case((employed, *ONE.before))
ONE_COMPANY = Case((permitted("Company", "Acme Works"),))
FORTY = stored("EMP-CKIN-11-2026-000041", "HR-EMP-00027", "2026-11-01 08:00:00")
BEHIND = Case((FORTY, series_at(40)))
OFF = (
    stored("EMP-CKIN-11-2026-001282", "HR-EMP-00052", "2026-11-17 08:00:00", log_type="IN", event_id="lab-off-0"),
    stored("EMP-CKIN-11-2026-001283", "HR-EMP-00052", "2026-11-17 17:00:00", log_type="OUT", event_id="lab-off-1"),
)
HIRED = {"name": "HR-EMP-00052", "employee_name": "LabOff"}
ON_SHIFT = Case((*OFF, lambda site: site.put_employees([HIRED | {"default_shift": "Day Shift"}])))
MARKED = Case((marked(217),))
AMENDED = (marked(217), cancelled, marked(218, amended_from="HR-ATT-2026-00217", punchstream_day="2"))
LOG = stored("EMP-CKIN-11-2026-000869", "HR-EMP-00026", "2026-11-09 08:00:00", log_type="IN", event_id="lab-att-1")


def linked(site: Site) -> None:
    """An Attendance was made of that check-in."""
    site.put(CHECKIN, [{"name": "EMP-CKIN-11-2026-000869", "attendance": "HR-ATT-2026-00217-1"}])


CASES: dict[str, Case] = {
    "geolocation_none": Case((tracking,)),
    "geolocation_zero": Case((tracking,)),
    "geolocation_with": Case((tracking,)),
    "geolocation_none_with_place": Case((tracking, placed)),
    "geolocation_near": Case((tracking, placed)),
    "geolocation_far": Case((tracking, placed)),
    "geolocation_far_in_many": Case((tracking, placed)),
    "geolocation_off_far": Case((placed,)),
    "trial_too_far": Case((tracking, placed)),
    "trial_without_coordinates": Case((tracking,)),
    "trial_rolled_back": Case(),
    "trial_mandatory": Case((gated,)),
    "trial_mandatory_uniqueness": Case((gated,)),
    "mandatory_custom_field": Case((gated,)),
    "meta_checkin_mandatory": Case((with_a_flow("check_state", "Check Draft"), with_a_check_gate)),
    "meta_checkin_not_unique": Case((not_unique,)),
    "workflow_checkin": Case((with_a_flow("workflow_state", "Lab Open"),)),
    "employees_checksum": Case((one_renamed,)),
    "employees_checksum_buckets": Case((one_renamed,)),
    "employees_names_as_lists": Case((one_renamed,)),
    "no_traceback_rolled_back": Case(knobs=QUIET),
    "no_traceback_stale_put": Case(knobs=QUIET),
    "no_traceback_trial_unique": Case(knobs=QUIET),
    "no_traceback_trial_not_unique": Case((not_unique,), knobs=QUIET),
    "hr_settings": Case(),
    "hr_settings_geolocation": Case((tracking,)),
    "hr_settings_norole": Case(sender=NO_ROLE_USER),
    "hr_settings_single": Case(),
    "hr_settings_value": Case(),
    "shift_locations_hr_user": Case((placed,)),
    "shift_assignments_hr_user": Case((placed,)),
    "deleted_document_list": Case(),
    "method_missing_in_hrms": Case(),
    "stale_put_checkin": Case((stored("EMP-CKIN-11-2026-000001", "HR-EMP-00027", "2026-11-10 08:00:00"),)),
    "hook_throw": BARRED,
    "hook_throw_many": BARRED,
    "hook_permission": NOT_THIS_ONE,
    "hook_permission_many": NOT_THIS_ONE,
    "hook_does_not_exist": NOBODY,
    "hook_does_not_exist_many": NOBODY,
    "hook_value_error": NO_NUMBER,
    "hook_value_error_many": NO_NUMBER,
    "hook_key_error": NO_KEY,
    "hook_duplicate_name": failing(409, "DuplicateEntryError", "two"),
    "lock_one_employee": failing(500, "QueryTimeoutError", LOCKED),
    "read_only_post": READ_ONLY,
    "read_only_many": READ_ONLY,
    "series_behind": BEHIND,
    "series_behind_again": BEHIND,
    "series_behind_many": BEHIND,
    "series_behind_trial": BEHIND,
    "user_permissions_none": Case(),
    "user_permissions_employee": ONE,
    "user_permissions_company": ONE_COMPANY,
    "user_permission_checkin_own": ONE,
    "user_permission_checkin_other": ONE,
    "user_permission_many": ONE,
    "user_permission_trial_ghost": ONE,
    "user_permission_list": ONE,
    "user_permission_count_client": ONE_OF_37,
    "user_permission_count_reportview": ONE_OF_37,
    "user_permission_company_ghost": ONE_COMPANY,
    "offshift_0": Case((lambda site: site.put_employees([HIRED]),)),
    "offshift_list": Case(OFF),
    "bulk_fetch_shift": ON_SHIFT,
    "bulk_fetch_shift_none": Case(OFF),
    "bulk_fetch_shift_missing": ON_SHIFT,
    "bulk_fetch_shift_norole": Case(OFF, sender=NO_ROLE_API),
    "fetch_shift_method": ON_SHIFT,
    "attendance_submitted_at_once": Case((lambda site: site.set_series(ATTENDANCE, 216),)),
    "attendance_again": MARKED,
    "attendance_other_shift": MARKED,
    "attendance_no_shift_same_day": MARKED,
    "attendance_night_shift_same_day": MARKED,
    "attendance_marker_again": MARKED,
    "attendance_missing_employee": MARKED,
    "attendance_holiday": MARKED,
    "attendance_before_joining": MARKED,
    "attendance_update_submitted": MARKED,
    "attendance_cancel_put": Case((marked(217), seen)),
    "attendance_cancel_put_stale": MARKED,
    "attendance_amended": Case((marked(217), cancelled)),
    "attendance_amended_same_marker": Case((marked(217), cancelled)),
    "attendance_half_day": MARKED,
    "attendance_beside_half_day_leave": Case((on_leave,)),
    "attendance_client_submit": Case((marked(224, **DRAFT), lambda site: site.put(ATTENDANCE, [SEEN_DRAFT]))),
    "attendance_list": Case((marked(217), cancelled, marked(223, **NIGHT), marked(224, **LONGER))),
    "attendance_on_leave": Case((leave(2, "HR-EMP-00025", "2026-11-16", "2026-11-16", None),)),
    "leave_list": Case(
        (
            leave(1, "HR-EMP-00042", "2026-11-25", "2026-11-26", "2026-11-26"),
            leave(2, "HR-EMP-00025", "2026-11-16", "2026-11-16", None),
            leave(3, "HR-EMP-00024", "2026-11-16", "2026-11-16", "2026-11-16"),
        )
    ),
    "checkin_link_attendance": Case((LOG, *AMENDED)),
    "checkin_time_with_attendance": Case((LOG, *AMENDED, linked)),
    "checkin_delete_with_attendance": Case((LOG, *AMENDED, linked)),
}
