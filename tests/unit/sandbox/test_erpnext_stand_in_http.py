import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

from sandbox.erpnext.doctypes import CUSTOM_FIELD
from sandbox.erpnext.errors import FrappeError
from sandbox.erpnext.knobs import Control, Knobs, RateLimit
from sandbox.erpnext.users import ADMIN
from tests.support.stand_in import Api

CHECKINS = "/api/resource/Employee Checkin"
INSERT_MANY = "/api/method/frappe.client.insert_many"
RUN_DOC_METHOD = "/api/method/run_doc_method"
CANCEL = "/api/method/frappe.client.cancel"
PROCESS = {"dt": "Shift Type", "dn": "Day Shift", "method": "process_auto_attendance"}
PUNCH = {"doctype": "Employee Checkin", "employee": "HR-EMP-00001", "time": "2026-11-01 08:00:00", "log_type": "IN"}
EVENT_ID_FIELD = {
    "dt": "Employee Checkin",
    "fieldname": "event_id",
    "label": "Event ID",
    "fieldtype": "Data",
    "unique": 1,
}


@pytest.fixture
def api() -> Api:
    return Api()


def basic(pair: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def test_a_punch_posted_many_times_at_once_is_stored_many_times() -> None:
    api = Api(race_window_ms=20)
    assert api.together(10, CHECKINS, PUNCH) == [200] * 10
    assert api.rows == 10


def test_a_batch_posted_twice_at_once_is_stored_twice() -> None:
    api = Api(latency_per_document_ms=0.1)
    docs = [PUNCH | {"employee": f"HR-EMP-{number}"} for number in range(200)]
    assert api.together(2, INSERT_MANY, {"docs": docs}) == [200, 200]
    assert api.rows == 400


@pytest.mark.parametrize("path", [CHECKINS, INSERT_MANY])
def test_a_unique_field_stores_it_once(path: str) -> None:
    api = Api(race_window_ms=20)
    api.site.insert(ADMIN, CUSTOM_FIELD, EVENT_ID_FIELD)
    punch = PUNCH | {"event_id": "a"}
    assert api.together(10, path, punch if path == CHECKINS else {"docs": [punch]}) == [200] + [417] * 9
    assert api.rows == 1


def test_without_a_race_window_no_request_comes_between_check_and_insert(api: Api) -> None:
    assert api.together(10, CHECKINS, PUNCH) == [200] + [417] * 9


def test_requests_wait_out_their_latency_side_by_side() -> None:
    api = Api(latency_ms=100)

    async def talk(client: httpx.AsyncClient) -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(client.get("/api/method/ping") for _ in range(50)))
        return loop.time() - start

    assert 0.1 <= api.run(talk) < 50 * 0.1


def test_basic_authentication_is_as_good_as_a_token(api: Api) -> None:
    headers = basic(f"{ADMIN.api_key}:{ADMIN.api_secret}")
    answer = api.request("GET", "/api/method/frappe.auth.get_logged_user", headers=headers)
    assert answer.json() == {"message": ADMIN.name}


@pytest.mark.parametrize(
    "headers",
    [basic("no:body"), {"Authorization": "Basic !"}, {"Authorization": "Digest x"}, {"Authorization": "token a:b:c"}],
)
def test_credentials_that_lead_nowhere_are_401(api: Api, headers: dict[str, str]) -> None:
    answer = api.request("GET", "/api/method/ping", headers=headers)
    assert (answer.status_code, answer.json()["exc_type"]) == (401, "AuthenticationError")


@pytest.mark.parametrize("fields", [["time_zone"], "time_zone"])
def test_the_time_zone_is_a_system_setting(api: Api, fields: Any) -> None:
    body = {"doctype": "System Settings", "fieldname": fields}
    answer = api.request("POST", "/api/method/frappe.client.get_value", json=body)
    assert answer.json() == {"message": {"time_zone": "Asia/Riyadh"}}


def test_a_value_of_a_document_is_found_by_filters(api: Api) -> None:
    path = "/api/method/frappe.client.get_value"
    body = {"doctype": "Employee", "fieldname": ["name", "status"], "filters": {"attendance_device_id": "1001"}}
    assert api.request("POST", path, json=body).json() == {"message": {"name": "HR-EMP-00001", "status": "Active"}}
    body["filters"] = {"attendance_device_id": "none"}
    assert api.request("POST", path, json=body).json() == {"message": {}}


def test_a_knob_that_is_not_named_stays_as_it_is(api: Api) -> None:
    api.request("PUT", "/sandbox/knobs", json={"latency_ms": 1})
    knobs = api.request("PUT", "/sandbox/knobs", json={"language": "de"}).json()
    assert (knobs["latency_ms"], knobs["language"]) == (1, "de")
    assert api.request("GET", "/sandbox/knobs").json() == knobs


def test_a_knob_that_does_not_exist_is_an_error(api: Api) -> None:
    answer = api.request("PUT", "/sandbox/knobs", json={"latency": 1})
    assert answer.status_code == 422
    assert "latency" in answer.text


@pytest.mark.parametrize(
    ("fault", "status", "rows"),
    [
        ({"action": "status", "status": 503, "exc_type": "SessionStopped"}, 503, 0),
        ({"action": "html_500"}, 500, 0),
        ({"action": "html_502"}, 502, 0),
        ({"action": "empty"}, 200, 1),
        ({"action": "slow_answer", "delay_ms": 1}, 200, 1),
    ],
)
def test_a_fault_changes_an_answer_as_often_as_it_says(fault: dict[str, Any], status: int, rows: int) -> None:
    api = Api(faults=[{"match": "POST /api/resource", **fault}])
    assert api.request("GET", "/api/method/ping").status_code == 200
    answer = api.request("POST", CHECKINS, json=PUNCH)
    assert (answer.status_code, api.rows) == (status, rows)
    assert ("html" in answer.headers["content-type"]) == fault["action"].startswith("html")
    assert (answer.content == b"") == (fault["action"] == "empty")
    assert api.request("POST", CHECKINS, json=PUNCH | {"log_type": "OUT"}).json()["data"]["log_type"] == "OUT"


@pytest.mark.parametrize(("action", "rows"), [("close_before", 0), ("close_after_write", 1)])
def test_a_closed_connection_tells_nothing_about_the_write(action: str, rows: int) -> None:
    api = Api(faults=[{"action": action}])
    with pytest.raises(ConnectionResetError):
        api.request("POST", CHECKINS, json=PUNCH)
    assert api.rows == rows
    assert api.request("GET", "/sandbox/stats").json()["requests"] == {f"POST {CHECKINS}": {"closed": 1}}


def test_a_refusal_may_name_a_time_to_come_back() -> None:
    fault = {"action": "status", "status": 429, "exc_type": "TooManyRequestsError"}
    api = Api(faults=[{**fault, "retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, fault])
    answers = [api.request("GET", "/api/method/ping") for _ in range(2)]
    assert [answer.headers.get("retry-after") for answer in answers] == ["Wed, 21 Oct 2026 07:28:00 GMT", None]


def test_a_body_beyond_the_limit_is_refused_by_what_stands_in_front() -> None:
    api = Api(max_body=150)
    assert api.request("POST", CHECKINS, json=PUNCH).status_code == 200
    answer = api.request("POST", CHECKINS, json=PUNCH | {"log_type": "OUT", "device_id": "D" * 100})
    assert (answer.status_code, answer.headers["content-type"], api.rows) == (413, "text/html", 1)


@pytest.mark.parametrize(("status", "traceback"), [(500, True), (403, False)])
def test_the_check_ins_of_some_employees_fail_and_their_batch_with_them(status: int, *, traceback: bool) -> None:
    api = Api(failing_employees={"HR-EMP-00002": {"status": status, "exc_type": "Whatever"}})
    bad = PUNCH | {"employee": "HR-EMP-00002"}
    for answer in (
        api.request("POST", CHECKINS, json=bad),
        api.request("POST", INSERT_MANY, json={"docs": [PUNCH, bad]}),
    ):
        assert (answer.status_code, answer.json()["exc_type"], "exc" in answer.json()) == (
            status,
            "Whatever",
            traceback,
        )
    assert api.rows == 0
    assert api.request("POST", CHECKINS, json=PUNCH).status_code == 200


def test_faults_happen_one_after_the_other_and_then_for_ever() -> None:
    control = Control(
        Knobs.model_validate(
            {
                "faults": [
                    {"action": "html_500", "times": 2},
                    {"action": "empty", "match": "POST"},
                    {"action": "html_502", "times": None},
                ]
            }
        )
    )
    faults = [control.take_fault("POST /api") for _ in range(5)]
    assert [fault and fault.action for fault in faults] == ["html_500", "html_500", "empty", "html_502", "html_502"]


def test_a_fault_may_happen_now_and_then() -> None:
    control = Control(Knobs.model_validate({"faults": [{"action": "empty", "times": None, "probability": 0.25}]}))
    happened = sum(control.take_fault("GET /") is not None for _ in range(1000))
    assert 200 < happened < 300


def test_a_reset_brings_back_the_knobs_of_the_start() -> None:
    api = Api(faults=[{"action": "html_500"}])
    api.request("GET", "/api/method/ping")
    api.request("PUT", "/sandbox/knobs", json={"maintenance": "on"})
    api.request("POST", "/sandbox/reset")
    assert api.request("GET", "/api/method/ping").status_code == 500
    assert api.request("GET", "/api/method/ping").status_code == 200
    assert api.request("GET", "/api/resource/Employee").json() == {"data": []}


def test_so_many_requests_are_answered_in_a_window() -> None:
    time = 1000.0
    control = Control(Knobs(rate_limit=RateLimit(remaining=2, retry_after=30)), clock=lambda: time)
    assert control.rate_headers()["x-ratelimit-remaining"] == "1"
    assert control.rate_headers()["x-ratelimit-remaining"] == "0"
    time += 10.5
    with pytest.raises(FrappeError) as raised:
        control.rate_headers()
    assert (raised.value.status, raised.value.headers["retry-after"]) == (429, "20")
    time += 20
    assert control.rate_headers()["x-ratelimit-remaining"] == "1"


def test_check_ins_are_listed_as_they_were_stored(api: Api) -> None:
    for day in (3, 1, 2):
        api.request("POST", CHECKINS, json=PUNCH | {"time": f"2026-11-{day:02} 08:00:00"})
    rows = [httpx.Response(200, content=line).json() for line in api.request("GET", "/sandbox/checkins").iter_lines()]
    assert [row["time"][8:10] for row in rows] == ["03", "01", "02"]
    since = rows[1]["creation"]
    assert len(api.request("GET", f"/sandbox/checkins?since={since}").text.splitlines()) == 2


def test_requests_and_documents_are_counted(api: Api) -> None:
    api.request("POST", CHECKINS, json=PUNCH)
    api.request("POST", CHECKINS, json=PUNCH)
    api.request("POST", INSERT_MANY, json={"docs": [PUNCH | {"log_type": "OUT"}, PUNCH | {"log_type": ""}]})
    api.request("GET", f"{CHECKINS}/{next(iter(api.site.checkins.rows))}")
    assert api.request("GET", "/sandbox/stats").json() == {
        "requests": {
            f"GET {CHECKINS}": {"200": 1},
            f"POST {INSERT_MANY}": {"200": 1},
            f"POST {CHECKINS}": {"200": 1, "417": 1},
        },
        "documents_inserted": 3,
    }


def test_employees_are_created_and_replaced(api: Api) -> None:
    new = [{"name": "HR-EMP-00001", "status": "Left"}, {"attendance_device_id": "1002", "default_shift": "Day Shift"}]
    assert api.request("POST", "/sandbox/employees", json=new).json() == ["HR-EMP-00001", "HR-EMP-00002"]
    fields = '["name","status","attendance_device_id"]'
    assert api.request("GET", f"/api/resource/Employee?fields={fields}").json()["data"] == [
        {"name": "HR-EMP-00001", "status": "Left", "attendance_device_id": None},
        {"name": "HR-EMP-00002", "status": "Active", "attendance_device_id": "1002"},
    ]


def test_shift_types_are_created_and_what_they_mark_can_be_read(api: Api) -> None:
    night = {"name": "Night Shift", "start_time": "22:00:00", "end_time": "6:00:00"}
    employee = {"name": "HR-EMP-00001", "default_shift": "Night Shift", "date_of_joining": "2026-11-01"}
    assert api.request("POST", "/sandbox/shift_types", json=[night]).json() == ["Night Shift"]
    api.request("POST", "/sandbox/employees", json=[employee])
    api.request("POST", CHECKINS, json=PUNCH | {"time": "2026-11-01 22:00:00"})
    api.request("PUT", "/api/resource/Shift Type/Night Shift", json={"last_sync_of_checkin": "2026-11-02 12:00:00"})
    [row] = (json.loads(line) for line in api.request("GET", "/sandbox/attendance").text.splitlines())
    assert (row["attendance_date"], row["status"], row["owner"]) == ("2026-11-01", "Present", "Administrator")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({"dt": "Shift Type", "dn": "Late Shift", "method": "process_auto_attendance"}, (404, "DoesNotExistError")),
        ({"dt": "Shift Type", "dn": "Day Shift", "method": "process"}, (500, "AttributeError")),
        ({"dt": "Employee", "dn": "HR-EMP-00001", "method": "process_auto_attendance"}, (500, "AttributeError")),
    ],
)
def test_a_method_that_is_not_there_cannot_be_run(api: Api, arguments: Any, answer: tuple[int, str]) -> None:
    response = api.request("POST", RUN_DOC_METHOD, json=arguments)
    assert (response.status_code, response.json()["exc_type"]) == answer


def test_a_guest_runs_no_method(api: Api) -> None:
    response = api.request("POST", RUN_DOC_METHOD, json=PROCESS, headers={"Authorization": ""})
    assert (response.status_code, response.json()["exc_type"]) == (403, "PermissionError")


@pytest.mark.parametrize(
    ("path", "arguments"),
    [(RUN_DOC_METHOD, PROCESS), (CANCEL, {"doctype": "Attendance", "name": "HR-ATT-2026-00001"})],
)
def test_attendance_is_not_written_during_maintenance(path: str, arguments: Any) -> None:
    assert Api(maintenance="read_only").request("POST", path, json=arguments).status_code == 503


def test_only_attendance_is_cancelled(api: Api) -> None:
    name = api.request("POST", CHECKINS, json=PUNCH).json()["data"]["name"]
    response = api.request("POST", CANCEL, json={"doctype": "Employee Checkin", "name": name})
    assert (response.status_code, api.site.checkins.rows[name]["docstatus"]) == (403, 0)
