import asyncio
from typing import Any

import httpx
import pytest

from tests.support.stand_in import Api

CHECKINS = "/api/resource/Employee Checkin"
INSERT_MANY = "/api/method/frappe.client.insert_many"


def document(employee: int, **more: Any) -> dict[str, Any]:
    punch = {"employee": f"HR-EMP-{employee:05}", "time": "2026-11-01 08:00:00", "device_id": "D1"}
    return {"doctype": "Employee Checkin", **punch, **more}


def failing(**fault: Any) -> Api:
    return Api(failing_documents=[fault])


def post(api: Api, body: dict[str, Any]) -> tuple[int, str | None]:
    answer = api.request("POST", INSERT_MANY if "docs" in body else CHECKINS, json=body)
    return answer.status_code, answer.json().get("exc_type")


@pytest.mark.parametrize(
    ("status", "exc_type", "exception"),
    [
        (417, "ValidationError", "frappe.exceptions.ValidationError: barred"),
        (403, "PermissionError", "frappe.exceptions.PermissionError: barred"),
        (500, "ValueError", "ValueError: barred"),
        (500, "QueryTimeoutError", "frappe.exceptions.QueryTimeoutError: barred"),
        (404, "DoesNotExistError", None),
    ],
)
def test_a_hook_fails_one_employee_alone_and_in_a_batch(status: int, exc_type: str, exception: str | None) -> None:
    api = failing(where={"employee": "HR-EMP-00002"}, status=status, exc_type=exc_type, text="barred")
    for body in (document(2), {"docs": [document(each) for each in (1, 2, 3)]}):
        answer = api.request("POST", INSERT_MANY if "docs" in body else CHECKINS, json=body)
        assert (answer.status_code, answer.json()["exc_type"]) == (status, exc_type)
        assert answer.json().get("exception") == exception
    assert api.rows == 0
    assert post(api, {"docs": [document(1), document(3)]}) == (200, None)


def test_a_hook_fails_one_document_or_all_or_for_some_time() -> None:
    one = failing(where={"event_id": "a", "device_id": "D1"}, status=417, exc_type="ValidationError")
    assert [post(one, document(1, event_id=each))[0] for each in "ab"] == [417, 200]
    everything = failing(status=417, exc_type="ValidationError", times=2)
    assert [post(everything, document(each))[0] for each in (1, 2, 3)] == [417, 417, 200]


def test_while_a_slow_document_takes_its_time_no_other_is_stored() -> None:
    api = failing(where={"employee": "HR-EMP-00002"}, delay_ms=150, fails=False)

    async def talk(client: httpx.AsyncClient) -> list[str]:
        first: list[str] = []

        async def send(employee: int) -> None:
            await client.post(CHECKINS, json=document(employee))
            first.append(str(employee))

        await asyncio.gather(send(2), send(1))
        return first

    assert api.run(talk) == ["2", "1"]
    assert api.rows == 2
