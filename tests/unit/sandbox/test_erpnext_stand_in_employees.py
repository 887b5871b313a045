from typing import Any

import pytest

from sandbox.erpnext.doctypes import CHECKIN, EMPLOYEE
from sandbox.erpnext.users import ADMIN, GUEST, HR_CLERK, NO_ROLE_USER, User
from tests.support.stand_in import Api

CHECKINS = "/api/resource/Employee Checkin"
EMPLOYEES = "/api/resource/Employee"
RENAME = "/api/method/frappe.client.rename_doc"
INSERT_MANY = "/api/method/frappe.client.insert_many"
COUNT = "/api/method/frappe.client.get_count"
FIRST, SECOND = "HR-EMP-00001", "HR-EMP-00002"


@pytest.fixture
def api() -> Api:
    api = Api()
    api.site.put_employees([{"name": SECOND, "attendance_device_id": "1002"}])
    return api


def punch(api: Api, employee: str = FIRST) -> Any:
    body = {"employee": employee, "time": "2026-11-01 08:00:00", "log_type": "IN"}
    return api.request("POST", CHECKINS, json=body).json()["data"]


def rename(api: Api, old: str, new: str, *, merge: bool = False, user: User = ADMIN) -> tuple[int, str | None]:
    body = {"doctype": EMPLOYEE, "old_name": old, "new_name": new, "merge": merge}
    answer = api.request("POST", RENAME, json=body, user=user)
    return answer.status_code, answer.json().get("exc_type")


def employee(api: Api, name: str) -> Any:
    return api.request("GET", f"{EMPLOYEES}/{name}").json().get("data")


def test_a_check_in_of_nobody_is_stored(api: Api) -> None:
    row = punch(api, "HR-EMP-00999")
    assert (row["employee"], "employee_name" in row) == ("HR-EMP-00999", False)


def test_a_renamed_employee_takes_its_check_ins_along(api: Api) -> None:
    name = punch(api)["name"]
    before, checkin = employee(api, FIRST), api.site.checkins.rows[name]
    assert rename(api, FIRST, "ACME-7", user=HR_CLERK) == (200, None)
    after = employee(api, "ACME-7")
    assert (after["creation"], after["employee"]) == (before["creation"], "ACME-7")
    assert after["modified"] > before["modified"]
    assert employee(api, FIRST) is None
    assert api.site.checkins.rows[name] == checkin | {"employee": "ACME-7"}


def test_a_merged_employee_is_gone_and_the_other_has_its_check_ins(api: Api) -> None:
    name = punch(api)["name"]
    other = employee(api, SECOND)
    assert rename(api, FIRST, SECOND, merge=True) == (200, None)
    assert employee(api, FIRST) is None
    assert employee(api, SECOND)["creation"] == other["creation"]
    assert employee(api, SECOND)["modified"] > other["modified"]
    assert api.site.checkins.rows[name]["employee"] == SECOND


@pytest.mark.parametrize(
    ("old", "new", "merge"), [(FIRST, SECOND, False), (FIRST, "ACME-7", True), (FIRST, FIRST, False)]
)
def test_what_cannot_be_renamed_or_merged_stays(api: Api, old: str, new: str, *, merge: bool) -> None:
    assert rename(api, old, new, merge=merge) == (417, "ValidationError")
    assert [row["name"] for row in api.site.rows(EMPLOYEE)] == [FIRST, SECOND]


def test_nobody_is_renamed_who_is_not_there_or_by_whom_it_is_forbidden(api: Api) -> None:
    assert rename(api, "HR-EMP-00999", "ACME-7") == (404, "DoesNotExistError")
    assert rename(api, FIRST, "ACME-7", user=NO_ROLE_USER) == (403, "PermissionError")


def test_an_employee_with_check_ins_is_not_deleted(api: Api) -> None:
    punch(api)
    answer = api.request("DELETE", f"{EMPLOYEES}/{FIRST}")
    assert (answer.status_code, answer.json()["exc_type"]) == (417, "LinkExistsError")
    api.request("DELETE", f"/sandbox/documents/{EMPLOYEE}/{FIRST}").raise_for_status()
    assert [row["employee"] for row in api.site.rows(CHECKIN)] == [FIRST]


def test_the_next_hire_gets_the_number_of_the_last_who_was_deleted_and_the_punch_that_came_between(api: Api) -> None:
    before = employee(api, SECOND)
    assert api.request("DELETE", f"{EMPLOYEES}/{SECOND}", user=HR_CLERK).status_code == 202
    assert "employee_name" not in punch(api, SECOND)
    hired = api.request("POST", EMPLOYEES, json={"first_name": "New", "date_of_joining": "2026-11-20"}).json()["data"]
    assert (hired["name"], hired["date_of_joining"]) == (SECOND, "2026-11-20")
    assert hired["creation"] > before["creation"]
    assert api.request("POST", COUNT, json={"doctype": CHECKIN, "filters": {"employee": SECOND}}).json() == {
        "message": 1
    }


def test_only_the_last_number_is_given_again(api: Api) -> None:
    api.request("DELETE", f"{EMPLOYEES}/{FIRST}")
    assert api.request("POST", EMPLOYEES, json={"first_name": "New"}).json()["data"]["name"] == "HR-EMP-00003"


def test_a_replaced_employee_keeps_its_creation_and_a_time_may_be_given(api: Api) -> None:
    before = employee(api, FIRST)
    [name] = api.site.put_employees([{"name": FIRST, "modified": "2031-01-01 00:00:00.000000"}])
    assert employee(api, name)["creation"] == before["creation"]
    assert employee(api, name)["modified"] == "2031-01-01 00:00:00.000000"


@pytest.mark.parametrize(("user", "status"), [(HR_CLERK, 200), (NO_ROLE_USER, 200), (GUEST, 403)])
def test_whoever_is_logged_in_counts(api: Api, user: User, status: int) -> None:
    answer = api.request("GET", f"{COUNT}?doctype={EMPLOYEE}", user=user)
    assert answer.status_code == status
    assert answer.json().get("message") == (2 if status == 200 else None)


def test_a_series_behind_its_documents_names_none(api: Api) -> None:
    names = [punch(api, each)["name"] for each in (FIRST, SECOND)]
    next_day = {"doctype": CHECKIN, "employee": FIRST, "time": "2026-11-02 08:00:00"}
    api.request("POST", "/sandbox/series", json={"doctype": CHECKIN, "current": 0}).raise_for_status()
    for path, body in ((CHECKINS, next_day), (INSERT_MANY, {"docs": [next_day]})):
        answer = api.request("POST", path, json=body)
        assert (answer.status_code, answer.json()["exc_type"]) == (409, "DuplicateEntryError")
        assert names[0] in answer.json()["exception"]
    api.request("POST", "/sandbox/series", json={"doctype": CHECKIN, "current": 2}).raise_for_status()
    assert api.request("POST", CHECKINS, json=next_day).status_code == 200
