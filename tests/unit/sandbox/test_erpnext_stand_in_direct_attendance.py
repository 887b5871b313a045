from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from sandbox.erpnext.doctypes import ATTENDANCE, CHECKIN, CUSTOM_FIELD, EMPLOYEE, HOLIDAY_LIST, LEAVE_APPLICATION
from sandbox.erpnext.users import ADMIN, HR_CLERK, NO_ROLE_USER
from tests.support.stand_in import Api

ATTENDANCES = "/api/resource/Attendance"
CANCEL = "/api/method/frappe.client.cancel"
SUBMIT = "/api/method/frappe.client.submit"
GET_HOLIDAYS = "/api/method/hrms.hr.doctype.leave_application.leave_application.get_holidays"
MARKER = {"dt": ATTENDANCE, "fieldname": "marker", "label": "Marker", "fieldtype": "Data", "unique": 1}
DAY = {
    "employee": "HR-EMP-00001",
    "attendance_date": "2026-11-02",
    "shift": "Day Shift",
    "status": "Present",
    "in_time": "2026-11-02 08:01:00",
    "out_time": "2026-11-02 16:33:00",
    "working_hours": 8.53,
    "docstatus": 1,
}
CASUAL = {
    "employee": "HR-EMP-00001",
    "leave_type": "Casual Leave",
    "from_date": "2026-11-01",
    "to_date": "2026-11-05",
    "status": "Approved",
    "docstatus": 1,
}


@pytest.fixture
def api() -> Api:
    seconds = count()
    api = Api(clock=lambda: datetime(2026, 11, 28, 12, tzinfo=UTC) + timedelta(seconds=next(seconds)))
    api.site.put_employees([{"name": "HR-EMP-00002", "attendance_device_id": "1002"}])
    api.site.put_shift_types(
        [
            {"name": "Night Shift", "start_time": "22:00:00", "end_time": "6:00:00"},
            {"name": "Early Shift", "start_time": "6:00:00", "end_time": "14:00:00"},
        ]
    )
    return api


def post(api: Api, **more: Any) -> Any:
    """The document that was stored, or the word for the refusal."""
    answer = api.request("POST", ATTENDANCES, json=DAY | more, user=HR_CLERK)
    return answer.json().get("data") or answer.json()["exc_type"]


def put(api: Api, name: str, **values: Any) -> Any:
    answer = api.request("PUT", f"{ATTENDANCES}/{name}", json=values, user=HR_CLERK)
    return answer.json().get("data") or answer.json()["exc_type"]


def test_an_attendance_is_created_and_submitted_at_once(api: Api) -> None:
    row = post(api)
    assert row == DAY | {
        "name": "HR-ATT-2026-00001",
        "owner": HR_CLERK.name,
        "creation": row["creation"],
        "modified": row["creation"],
        "modified_by": HR_CLERK.name,
        "idx": 0,
        "naming_series": "HR-ATT-.YYYY.-",
        "employee_name": "Worker1001 Test",
        "company": "Acme Works",
        "late_entry": 0,
        "early_exit": 0,
        "modify_half_day_status": 0,
        "doctype": ATTENDANCE,
    }


@pytest.mark.parametrize(
    ("more", "exc_type"),
    [
        ({}, "DuplicateAttendanceError"),
        ({"shift": None}, "DuplicateAttendanceError"),
        ({"shift": "Early Shift"}, "OverlappingShiftAttendanceError"),
        ({"shift": "Late Shift"}, "LinkValidationError"),
        ({"status": "Late"}, "ValidationError"),
        ({"employee": None}, "MandatoryError"),
        ({"attendance_date": None}, "MandatoryError"),
        ({"attendance_date": "2026-11-03", "in_time": "eight"}, "OperationalError"),
        ({"docstatus": 2}, "DocstatusTransitionError"),
    ],
)
def test_what_is_wrong_with_an_attendance_is_refused(api: Api, more: dict[str, Any], exc_type: str) -> None:
    post(api)
    assert post(api, **more) == exc_type
    assert len(list(api.site.rows(ATTENDANCE))) == 1


def test_a_day_has_an_attendance_for_each_shift_without_hours_in_common(api: Api) -> None:
    post(api)
    assert post(api, shift="Night Shift")["name"] == "HR-ATT-2026-00002"
    assert post(api, employee="HR-EMP-00002")["name"] == "HR-ATT-2026-00003"


def test_an_attendance_of_nobody_is_stored_and_one_of_whom_may_not_work_is_not(api: Api) -> None:
    assert post(api, employee="HR-EMP-00999")["employee"] == "HR-EMP-00999"
    api.site.put_employees([{"name": "HR-EMP-00001", "date_of_joining": "2026-11-03"}])
    api.site.put_employees([{"name": "HR-EMP-00002", "status": "Inactive"}])
    assert post(api) == "ValidationError"
    assert post(api, employee="HR-EMP-00002") == "InactiveEmployeeStatusError"


def test_a_draft_changes_until_it_is_submitted_and_then_no_more(api: Api) -> None:
    draft = post(api, docstatus=0)
    assert post(api) == "DuplicateAttendanceError"
    assert put(api, draft["name"], docstatus=2) == "DocstatusTransitionError"
    assert put(api, draft["name"], working_hours=8.0)["working_hours"] == 8.0
    assert put(api, draft["name"], docstatus=1)["docstatus"] == 1
    assert put(api, draft["name"], working_hours=7.0) == "UpdateAfterSubmitError"
    assert put(api, draft["name"], docstatus=0) == "DocstatusTransitionError"
    assert put(api, draft["name"], working_hours=8.0)["docstatus"] == 1


def test_a_draft_is_submitted_by_its_method(api: Api) -> None:
    draft = post(api, docstatus=0)
    answer = api.request("POST", SUBMIT, json={"doc": draft}, user=HR_CLERK)
    assert answer.json()["message"]["docstatus"] == 1


def test_it_is_cancelled_by_the_way_of_a_change_unless_somebody_else_changed_it(api: Api) -> None:
    row = post(api)
    assert put(api, row["name"], docstatus=2, modified="2026-11-01 00:00:00.000000") == "TimestampMismatchError"
    assert put(api, row["name"], docstatus=2, modified=row["modified"])["docstatus"] == 2
    assert put(api, row["name"], docstatus=1) == "ValidationError"
    assert post(api)["name"] == "HR-ATT-2026-00002"


def test_a_cancelled_one_is_amended_under_its_name_and_a_number(api: Api) -> None:
    name = post(api)["name"]
    assert post(api, amended_from=name) == "ValidationError"
    assert post(api, amended_from="HR-ATT-2026-00999") == "LinkValidationError"
    for expected in (f"{name}-1", f"{name}-2"):
        last = f"{expected[:-1]}1" if expected.endswith("-2") else name
        put(api, last, docstatus=2)
        amended = post(api, amended_from=last, status="Half Day")
        assert (amended["name"], amended["amended_from"], amended["status"]) == (expected, last, "Half Day")
    assert post(api, attendance_date="2026-11-03")["name"] == "HR-ATT-2026-00002"


def test_a_unique_field_holds_across_employees_and_cancelled_documents(api: Api) -> None:
    api.site.insert(ADMIN, CUSTOM_FIELD, MARKER)
    row = post(api, marker="a")
    assert row["marker"] == "a"
    assert post(api, employee="HR-EMP-00002", marker="a") == "UniqueValidationError"
    put(api, row["name"], docstatus=2)
    assert post(api, amended_from=row["name"], marker="a") == "UniqueValidationError"
    assert post(api, amended_from=row["name"], marker="a|2")["name"] == f"{row['name']}-1"


def test_a_day_of_leave_has_its_attendance_and_half_a_day_takes_another(api: Api) -> None:
    [leave] = api.site.put(LEAVE_APPLICATION, [CASUAL | {"half_day": 1, "half_day_date": "2026-11-03"}])
    made = [(row["attendance_date"][-2:], row["status"], row["leave_application"]) for row in api.site.rows(ATTENDANCE)]
    assert made == [(f"0{day}", "Half Day" if day == 3 else "On Leave", leave) for day in range(1, 6)]
    assert post(api) == "DuplicateAttendanceError"
    half = post(api, attendance_date="2026-11-03")
    assert (half["status"], half["leave_type"], half["leave_application"]) == ("Half Day", "Casual Leave", leave)
    assert post(api, attendance_date="2026-11-06")["status"] == "Present"
    listed = api.request("GET", '/api/resource/Leave Application?filters=[["docstatus","=",1]]', user=HR_CLERK)
    assert listed.json() == {"data": [{"name": leave}]}


def test_a_leave_that_is_approved_later_changes_the_attendance_that_is_there(api: Api) -> None:
    whole, half = post(api), post(api, attendance_date="2026-11-03")
    [leave] = api.site.put(LEAVE_APPLICATION, [CASUAL | {"half_day": 1, "half_day_date": "2026-11-03"}])
    rows = {row["name"]: row for row in api.site.rows(ATTENDANCE)}
    assert [rows[each["name"]]["status"] for each in (whole, half)] == ["On Leave", "Half Day"]
    assert rows[whole["name"]]["leave_application"] == leave
    assert rows[whole["name"]]["modified"] > whole["modified"]
    assert (rows[whole["name"]]["docstatus"], rows[whole["name"]]["working_hours"], len(rows)) == (1, 8.53, 5)


def test_without_an_attendance_of_its_own_a_leave_decides_the_status(api: Api) -> None:
    api.site.put(LEAVE_APPLICATION, [CASUAL])
    for row in list(api.site.rows(ATTENDANCE)):
        api.site.remove(ATTENDANCE, row["name"])
    assert (post(api)["status"], post(api, attendance_date="2026-11-06")["status"]) == ("On Leave", "Present")


@pytest.mark.parametrize("more", [{"status": "Open"}, {"docstatus": 2}, {"employee": "HR-EMP-00002"}])
def test_a_leave_that_does_not_hold_changes_nothing(api: Api, more: dict[str, Any]) -> None:
    api.site.put(LEAVE_APPLICATION, [CASUAL | more])
    assert post(api)["status"] == "Present"


def test_an_hr_user_reads_no_holiday_list_and_counts_its_days_all_the_same(api: Api) -> None:
    days = [{"holiday_date": day} for day in ("2026-11-06", "2026-11-13")]
    api.site.put(HOLIDAY_LIST, [{"name": "Fridays", "holidays": days}])
    assert api.request("GET", "/api/resource/Holiday List", user=HR_CLERK).status_code == 403
    asked = {"employee": "", "from_date": "2026-11-01", "to_date": "2026-11-06", "holiday_list": "Fridays"}

    def count(**more: str) -> Any:
        answer = api.request("POST", GET_HOLIDAYS, json=asked | more, user=HR_CLERK)
        return answer.json().get("message", answer.json().get("exc_type"))

    assert [count(), count(to_date="2026-11-30"), count(holiday_list="None such")] == [1, 2, 0]
    assert count(employee="HR-EMP-00001", holiday_list="") == "ValidationError"
    api.site.put_employees([{"name": "HR-EMP-00001", "holiday_list": "Fridays"}])
    assert count(employee="HR-EMP-00001", holiday_list="") == 1


def test_nobody_is_absent_on_a_holiday_and_check_ins_of_one_make_no_attendance(api: Api) -> None:
    api.site.put(HOLIDAY_LIST, [{"name": "HL", "holidays": [{"holiday_date": "2026-11-02"}]}])
    api.site.put_employees([{"name": "HR-EMP-00001", "default_shift": "Day Shift", "date_of_joining": "2026-11-01"}])
    api.request(
        "POST", "/api/resource/Employee Checkin", json={"employee": "HR-EMP-00001", "time": "2026-11-02 08:00:00"}
    )
    shift = {"process_attendance_after": "2026-11-01", "last_sync_of_checkin": "2026-11-04 12:00:00"}
    api.request("PUT", "/api/resource/Shift Type/Day Shift", json=shift).raise_for_status()
    marked = [(row["attendance_date"], row["status"]) for row in api.site.rows(ATTENDANCE)]
    assert marked == [("2026-11-01", "Absent"), ("2026-11-03", "Absent")]
    assert [(row["attendance"], row["skip_auto_attendance"]) for row in api.site.rows(CHECKIN)] == [(None, 0)]


def test_auto_attendance_leaves_a_day_alone_that_was_marked_before(api: Api) -> None:
    post(api, shift=None, status="Half Day")
    api.site.put_employees([{"name": "HR-EMP-00001", "default_shift": "Day Shift", "date_of_joining": "2026-11-02"}])
    shift = {"process_attendance_after": "2026-11-02", "last_sync_of_checkin": "2026-11-03 12:00:00"}
    api.request("PUT", "/api/resource/Shift Type/Day Shift", json=shift).raise_for_status()
    assert [row["status"] for row in api.site.rows(ATTENDANCE)] == ["Half Day"]


def test_who_has_no_role_makes_no_attendance_and_only_an_attendance_is_submitted(api: Api) -> None:
    assert api.request("POST", ATTENDANCES, json=DAY, user=NO_ROLE_USER).status_code == 403
    assert api.request("POST", CANCEL, json={"doctype": EMPLOYEE, "name": "HR-EMP-00001"}).status_code == 403
    assert api.request("POST", SUBMIT, json={"doc": {"doctype": EMPLOYEE, "name": "HR-EMP-00001"}}).status_code == 403


def test_documents_of_any_doctype_are_put_over_the_control_routes(api: Api) -> None:
    [name] = api.request("POST", "/sandbox/documents/Salary Slip", json=[{"employee": "HR-EMP-00001"}]).json()
    slips = api.request("GET", '/api/resource/Salary Slip?fields=["employee"]', user=HR_CLERK).json()["data"]
    assert slips == [{"employee": "HR-EMP-00001"}]
    api.request("POST", "/sandbox/documents/Salary Slip", json=[{"name": name, "docstatus": 1}]).raise_for_status()
    assert [(row["employee"], row["docstatus"]) for row in api.site.rows("Salary Slip")] == [("HR-EMP-00001", 1)]
    assert api.request("POST", "/sandbox/documents/Nothing", json=[{}]).status_code == 422
