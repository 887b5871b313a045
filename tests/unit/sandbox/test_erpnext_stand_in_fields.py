from typing import Any

import pytest

from sandbox.erpnext.doctypes import CHECKIN, CUSTOM_FIELD
from sandbox.erpnext.users import ADMIN, HR_CLERK
from tests.support.stand_in import Api

CHECKINS = "/api/resource/Employee Checkin"
FIELD = "/api/resource/Custom Field/Employee Checkin-event_id"
EVENT_ID_FIELD = {"dt": CHECKIN, "fieldname": "event_id", "label": "Event ID", "fieldtype": "Data", "unique": 1}


@pytest.fixture
def api() -> Api:
    api = Api()
    api.site.insert(ADMIN, CUSTOM_FIELD, EVENT_ID_FIELD)
    return api


def post(api: Api, minute: int, event_id: str | None = "a") -> Any:
    punch = {"employee": "HR-EMP-00001", "time": f"2026-11-01 08:{minute:02}:00", "event_id": event_id}
    answer = api.request("POST", CHECKINS, json=punch, user=HR_CLERK)
    return answer.json().get("data") or answer.json()["exc_type"]


def listed(api: Api) -> Any:
    return api.request("GET", f'{CHECKINS}?fields=["event_id"]', user=HR_CLERK).json()


def test_without_unique_an_event_is_stored_twice_and_a_list_looks_as_before(api: Api) -> None:
    post(api, 0)
    assert post(api, 1) == "UniqueValidationError"
    assert api.request("PUT", FIELD, json={"unique": 0}).status_code == 200
    assert post(api, 1)["event_id"] == "a"
    assert listed(api) == {"data": [{"event_id": "a"}] * 2}


def test_unique_comes_back_once_no_value_repeats(api: Api) -> None:
    api.request("PUT", FIELD, json={"unique": 0})
    names = [post(api, minute)["name"] for minute in range(2)]
    answer = api.request("PUT", FIELD, json={"unique": 1})
    assert (answer.status_code, answer.json()["exc_type"]) == (417, "ValidationError")
    api.request("DELETE", f"{CHECKINS}/{names[1]}")
    assert api.request("PUT", FIELD, json={"unique": 1}).status_code == 200
    assert post(api, 2) == "UniqueValidationError"


def test_a_field_that_is_deleted_is_neither_stored_nor_found_and_its_values_come_back_with_it(api: Api) -> None:
    post(api, 0)
    assert api.request("DELETE", FIELD).status_code == 202
    assert "event_id" not in post(api, 1, "b")
    assert listed(api)["exc_type"] == "DataError"
    api.request("POST", "/api/resource/Custom Field", json=EVENT_ID_FIELD).raise_for_status()
    assert listed(api) == {"data": [{"event_id": "a"}, {"event_id": None}]}
    assert post(api, 2) == "UniqueValidationError"


def test_an_hr_user_neither_sees_nor_changes_a_custom_field(api: Api) -> None:
    assert [
        api.request(method, FIELD, json={"unique": 0}, user=HR_CLERK).status_code for method in ("GET", "PUT", "DELETE")
    ] == [403, 403, 403]
