"""What a site may want of its check-ins, and who may have to do with whom."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sandbox.erpnext.doctypes import (
    ATTENDANCE,
    CHECKIN,
    CUSTOM_FIELD,
    EMPLOYEE,
    HR_SETTINGS,
    SHIFT_ASSIGNMENT,
    SHIFT_LOCATION,
    SHIFT_TYPE,
    USER_PERMISSION,
)
from sandbox.erpnext.site import Site
from sandbox.erpnext.users import ADMIN, HR_CLERK, NO_ROLE_USER
from tests.support.stand_in import Api

CHECKINS = "/api/resource/Employee Checkin"
INSERT_MANY = "/api/method/frappe.client.insert_many"
BULK_FETCH_SHIFT = "/api/method/hrms.hr.doctype.employee_checkin.employee_checkin.bulk_fetch_shift"
RUN_DOC_METHOD = "/api/method/run_doc_method"
GATE = {"dt": CHECKIN, "fieldname": "gate", "label": "Gate", "fieldtype": "Data", "reqd": 1}
PLACE = {"name": "Works", "checkin_radius": 100, "latitude": 24.7136, "longitude": 46.6753}
ASSIGNED = {
    "employee": "HR-EMP-00001",
    "shift_type": "Day Shift",
    "start_date": "2026-11-01",
    "status": "Active",
    "docstatus": 1,
}
HERE = {"latitude": 24.71365, "longitude": 46.6753}
FAR = {"latitude": 24.8, "longitude": 46.6753}


@pytest.fixture
def api() -> Api:
    api = Api()
    api.site.put_employees([{"name": "HR-EMP-00002", "attendance_device_id": "1002", "company": "Other Works"}])
    return api


def punch(**more: Any) -> dict[str, Any]:
    return {"doctype": CHECKIN, "employee": "HR-EMP-00001", "time": "2026-11-02 08:00:00", **more}


def post(api: Api, **more: Any) -> Any:
    answer = api.request("POST", CHECKINS, json=punch(**more), user=HR_CLERK)
    return answer.json().get("data") or answer.json()["exc_type"]


def geolocation(api: Api, wanted: int) -> None:
    api.site.put(HR_SETTINGS, [{"name": HR_SETTINGS, "allow_geolocation_tracking": wanted}])


def test_a_site_that_tracks_wants_coordinates_whether_there_is_a_place_or_not(api: Api) -> None:
    assert post(api)["latitude"] == 0.0
    geolocation(api, 1)
    assert post(api, log_type="IN") == "ValidationError"
    assert post(api, log_type="IN", latitude=0, longitude=0) == "ValidationError"
    stored = post(api, log_type="IN", **HERE)
    assert "[46.6753, 24.71365]" in stored["geolocation"]


def test_the_distance_counts_from_the_place_of_the_assigned_shift(api: Api) -> None:
    api.site.put(SHIFT_LOCATION, [PLACE])
    api.site.put(SHIFT_ASSIGNMENT, [ASSIGNED | {"shift_location": "Works"}])
    assert post(api, **FAR)["shift"] == "Day Shift"
    geolocation(api, 1)
    assert post(api, log_type="IN", **FAR) == "CheckinRadiusExceededError"
    answer = api.request("POST", INSERT_MANY, json={"docs": [punch(log_type="OUT", **each) for each in (HERE, FAR)]})
    assert answer.json()["exc_type"] == "ValidationError"
    assert post(api, log_type="IN", **HERE)["shift"] == "Day Shift"
    assert post(api, log_type="IN", employee="HR-EMP-00002", **FAR)["offshift"] == 1


def test_whoever_is_logged_in_reads_what_the_mobile_app_needs_to_know(api: Api) -> None:
    geolocation(api, 1)
    answered = api.request("GET", "/api/method/hrms.api.get_hr_settings", user=NO_ROLE_USER).json()["message"]
    assert answered == {"allow_employee_checkin_from_mobile_app": 1, "allow_geolocation_tracking": 1}
    value = "/api/method/frappe.client.get_value?doctype=HR Settings&fieldname=allow_geolocation_tracking"
    single = "/api/method/frappe.client.get_single_value?doctype=HR Settings&field=allow_geolocation_tracking"
    assert api.request("GET", value, user=HR_CLERK).json()["message"] == {"allow_geolocation_tracking": "1"}
    assert api.request("GET", single, user=HR_CLERK).json()["message"] == 1
    assert api.request("GET", single, user=NO_ROLE_USER).status_code == 403


def test_a_mandatory_field_is_filled_by_the_sender_or_its_default(api: Api) -> None:
    api.site.insert(ADMIN, CUSTOM_FIELD, GATE)
    assert post(api) == "MandatoryError"
    assert post(api, gate="north")["gate"] == "north"
    api.request("PUT", "/api/resource/Custom Field/Employee Checkin-gate", json={"default": "any"}).raise_for_status()
    assert post(api, log_type="IN")["gate"] == "any"


def test_a_document_that_begins_cancelled_is_refused_after_those_before_it(api: Api) -> None:
    answer = api.request("POST", INSERT_MANY, json={"docs": [punch(), {"doctype": CHECKIN, "docstatus": 2}]})
    assert (answer.status_code, answer.json()["exc_type"]) == (417, "DocstatusTransitionError")
    assert api.rows == 0


def test_a_shift_that_is_assigned_later_is_fetched_by_request(api: Api) -> None:
    names = [post(api)["name"], post(api, time="2026-11-02 17:00:00")["name"]]
    assert [row["offshift"] for row in api.site.rows(CHECKIN)] == [1, 1]
    api.site.put(SHIFT_ASSIGNMENT, [ASSIGNED])
    one = {"dt": CHECKIN, "dn": names[0], "method": "fetch_shift"}
    [fetched] = api.request("POST", RUN_DOC_METHOD, json=one, user=HR_CLERK).json()["docs"]
    assert (fetched["shift"], fetched["offshift"]) == ("Day Shift", 0)
    assert [row["offshift"] for row in api.site.rows(CHECKIN)] == [1, 1]
    missing = api.request("POST", BULK_FETCH_SHIFT, json={"checkins": [names[0], "no-such"]}, user=HR_CLERK)
    assert missing.status_code == 404
    assert api.request("POST", BULK_FETCH_SHIFT, json={"checkins": names}, user=NO_ROLE_USER).status_code == 403
    assert api.request("POST", BULK_FETCH_SHIFT, json={"checkins": names}, user=HR_CLERK).json() == {}
    assert {(row["offshift"], row["shift"], row["shift_start"]) for row in api.site.rows(CHECKIN)} == {
        (0, "Day Shift", "2026-11-02 08:00:00")
    }


def test_an_assignment_goes_before_the_default_shift(api: Api) -> None:
    api.site.put_shift_types([{"name": "Late Shift", "start_time": "14:00:00", "end_time": "22:00:00"}])
    api.site.put_employees([{"name": "HR-EMP-00001", "default_shift": "Day Shift"}])
    api.site.put(SHIFT_ASSIGNMENT, [ASSIGNED | {"shift_type": "Late Shift", "end_date": "2026-11-02"}])
    assert post(api)["offshift"] == 1
    assert post(api, time="2026-11-02 21:00:00")["shift"] == "Late Shift"
    assert post(api, time="2026-11-03 08:00:00")["shift"] == "Day Shift"


@pytest.mark.parametrize(
    ("now", "shift", "last_sync"),
    [
        ("17:59:00", {}, "2026-11-01 12:00:00"),
        ("18:05:00", {}, "2026-11-02 18:01:00"),
        ("07:30:00", {"start_time": "22:00:00", "end_time": "6:00:00"}, "2026-11-02 07:01:00"),
        ("18:05:00", {"auto_update_last_sync": 0}, "2026-11-01 12:00:00"),
        ("18:05:00", {"enable_auto_attendance": 0}, "2026-11-01 12:00:00"),
        ("18:05:00", {"last_sync_of_checkin": "2026-11-03 00:00:00"}, "2026-11-03 00:00:00"),
    ],
)
def test_hrms_moves_the_last_sync_by_itself_after_the_shift(now: str, shift: dict[str, Any], last_sync: str) -> None:
    site = Site(time_zone="UTC", clock=lambda: datetime.fromisoformat(f"2026-11-02T{now}").replace(tzinfo=UTC))
    moving = {"auto_update_last_sync": 1, "last_sync_of_checkin": "2026-11-01 12:00:00"}
    site.put_shift_types([{"name": "Shift", **moving, **shift}])
    site.run_hourly()
    assert site.shift_types.rows["Shift"]["last_sync_of_checkin"] == last_sync


def test_the_hour_marks_who_has_not_come_though_no_terminal_was_heard() -> None:
    api = Api(clock=lambda: datetime(2026, 11, 2, 20, tzinfo=UTC))
    joined = {"default_shift": "Day Shift", "date_of_joining": "2026-01-01"}
    api.site.put_employees([{"name": "HR-EMP-00001", **joined}])
    shift = api.site.shift_types.rows["Day Shift"] | {
        "auto_update_last_sync": 1,
        "process_attendance_after": "2026-01-01",
    }
    api.site.put(SHIFT_TYPE, [shift])
    api.request("POST", "/sandbox/hourly").raise_for_status()
    assert {row["status"] for row in api.site.rows(ATTENDANCE)} == {"Absent"}


def test_a_user_permission_leaves_one_employee_to_see_and_to_write(api: Api) -> None:
    api.site.put(USER_PERMISSION, [{"user": HR_CLERK.name, "allow": EMPLOYEE, "for_value": "HR-EMP-00001"}])
    assert post(api)["employee"] == "HR-EMP-00001"
    assert post(api, employee="HR-EMP-00002") == "PermissionError"
    assert post(api, employee="HR-EMP-00999") == "PermissionError"
    batch = {"docs": [punch(log_type="IN"), punch(employee="HR-EMP-00002")]}
    assert api.request("POST", INSERT_MANY, json=batch, user=HR_CLERK).status_code == 403
    listed = api.request("GET", "/api/resource/Employee", user=HR_CLERK).json()["data"]
    assert listed == [{"name": "HR-EMP-00001"}]
    counts = ("frappe.client.get_count", "frappe.desk.reportview.get_count")
    asked = [api.request("GET", f"/api/method/{each}?doctype=Employee", user=HR_CLERK).json() for each in counts]
    assert asked == [{"message": 2}, {"message": 1}]


def test_a_user_permission_on_a_company_hides_its_employees_and_not_the_check_ins(api: Api) -> None:
    own = "/api/method/frappe.core.doctype.user_permission.user_permission.get_user_permissions"
    assert api.request("GET", own, user=HR_CLERK).json() == {"message": {}}
    api.site.put(USER_PERMISSION, [{"user": HR_CLERK.name, "allow": "Company", "for_value": "Acme Works"}])
    doc = {"doc": "Acme Works", "applicable_for": None, "is_default": 0, "hide_descendants": 0}
    assert api.request("GET", own, user=HR_CLERK).json() == {"message": {"Company": [doc]}}
    assert api.request("GET", "/api/resource/Employee", user=HR_CLERK).json() == {"data": [{"name": "HR-EMP-00001"}]}
    assert post(api, employee="HR-EMP-00002")["employee"] == "HR-EMP-00002"
    assert api.request("GET", "/api/resource/Employee", user=ADMIN).json()["data"][1] == {"name": "HR-EMP-00002"}
