import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from attendance.erpnext import CHECKIN, ErpnextClient
from attendance.errors import DocumentRejected, TargetUnavailable
from attendance.settings import ErpnextSettings
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.process import ProcessFailed

EVENT_ID_FIELD = {
    "doctype": "Custom Field",
    "dt": CHECKIN,
    "fieldname": "event_id",
    "label": "Event ID",
    "fieldtype": "Data",
    "unique": 1,
}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    with ErpnextStandIn(log_file=tmp_path_factory.mktemp("erpnext") / "log") as running:
        yield running


@pytest.fixture
def stand_in(process: ErpnextStandIn) -> ErpnextStandIn:
    process.reset()
    process.employees([{"name": "HR-EMP-00001", "attendance_device_id": "1001"}])
    return process


@pytest.fixture
def client(stand_in: ErpnextStandIn) -> Iterator[ErpnextClient]:
    client = connect(stand_in)
    yield client
    client.close()


def connect(stand_in: ErpnextStandIn, *, timeout: float = 10) -> ErpnextClient:
    secret = {"api_key": stand_in.api_key, "api_secret": stand_in.api_secret}
    return ErpnextClient(ErpnextSettings.model_validate({"url": stand_in.url, "timeout": timeout, **secret}))


def punch(number: int = 0) -> dict[str, object]:
    time_of_day = f"2026-11-01 08:{number // 60:02}:{number % 60:02}"
    return {"doctype": CHECKIN, "employee": "HR-EMP-00001", "time": time_of_day, "log_type": "IN"}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_products_own_client_gets_along_with_it(stand_in: ErpnextStandIn, client: ErpnextClient) -> None:
    assert client.logged_user() == "checkin-api@example.com"
    assert client.site_zone() == "Asia/Riyadh"
    assert not client.has_event_id_field()
    assert client.insert(EVENT_ID_FIELD) == "Employee Checkin-event_id"
    assert client.has_event_id_field()
    names = client.insert_many([punch(number) | {"event_id": f"e{number}"} for number in range(200)])
    found = client.get_list(CHECKIN, ["name"], [("event_id", "in", ["e0", "e199", "none"])])
    assert [row["name"] for row in found] == [names[0], names[-1]]
    with pytest.raises(DocumentRejected) as raised:
        client.insert(punch(300) | {"event_id": "e7"})
    assert raised.value.kind == "UniqueValidationError"
    assert len(stand_in.checkins()) == 200


@pytest.mark.parametrize(
    ("action", "rows"), [("close_before", 0), ("close_after_write", 1), ("truncated", 1), ("empty", 1)]
)
def test_a_connection_that_fails_leaves_the_client_in_doubt(
    stand_in: ErpnextStandIn, client: ErpnextClient, action: str, rows: int
) -> None:
    stand_in.knobs(faults=[{"action": action, "match": CHECKIN}])
    with pytest.raises(TargetUnavailable):
        client.insert(punch())
    assert len(stand_in.checkins()) == rows
    assert client.insert(punch(1))


@pytest.mark.parametrize("action", ["close_before", "close_after_write"])
def test_a_closed_connection_carries_no_byte_of_an_answer(stand_in: ErpnextStandIn, action: str) -> None:
    stand_in.knobs(faults=[{"action": action}])
    with socket.create_connection(("127.0.0.1", stand_in.port), timeout=10) as connection:
        connection.sendall(b"GET /api/method/ping HTTP/1.1\r\nHost: erp\r\n\r\n")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("slowness", [{"latency_ms": 300}, {"latency_per_document_ms": 1.5}])
def test_a_write_goes_on_when_its_client_has_given_up(stand_in: ErpnextStandIn, slowness: dict[str, float]) -> None:
    stand_in.knobs(**slowness)
    hasty = connect(stand_in, timeout=0.05)
    with pytest.raises(TargetUnavailable):
        hasty.insert_many([punch(number) for number in range(200)])
    hasty.close()
    assert stand_in.checkins() == []
    wait_until(lambda: len(stand_in.checkins()) == 200)


def test_a_paused_server_takes_a_request_and_answers_it_later(stand_in: ErpnextStandIn) -> None:
    hasty = connect(stand_in, timeout=0.05)
    stand_in.pause()
    with pytest.raises(TargetUnavailable):
        hasty.insert(punch())
    stand_in.resume()
    hasty.close()
    wait_until(lambda: len(stand_in.checkins()) == 1)


def test_a_crash_loses_what_was_not_committed_and_nothing_else(tmp_path: Path) -> None:
    stand_in = ErpnextStandIn(log_file=tmp_path / "log", journal=tmp_path / "journal", employee_count=3)
    with stand_in:
        committed = connect(stand_in)
        name = committed.insert(punch())
        stand_in.knobs(race_window_ms=60_000)
        hasty = connect(stand_in, timeout=0.2)
        with pytest.raises(TargetUnavailable):
            hasty.insert(punch(1))
        stand_in.kill()
        with pytest.raises(TargetUnavailable):
            committed.insert(punch(2))
        stand_in.start()
        assert [row["name"] for row in stand_in.checkins()] == [name]
        with pytest.raises(DocumentRejected):
            committed.insert(punch())
        assert committed.insert(punch(1)) > name
        assert len(committed.get_list("Employee", ["name"])) == 3
        for client in (committed, hasty):
            client.close()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match="IANA"):
        ErpnextStandIn(log_file=tmp_path / "log", time_zone="Nowhere/Land").start()


def test_after_it_was_stopped_nobody_listens(tmp_path: Path) -> None:
    with ErpnextStandIn(log_file=tmp_path / "log") as stand_in:
        assert stand_in.stats()["documents_inserted"] == 0
    with pytest.raises(httpx.ConnectError):
        stand_in.stats()


def test_a_shift_of_a_stand_in_marks_its_people(stand_in: ErpnextStandIn, client: ErpnextClient) -> None:
    assert stand_in.shift_types([{"name": "Late Shift", "start_time": "13:00:00", "end_time": "21:00:00"}]) == [
        "Late Shift"
    ]
    stand_in.employees(
        {"name": f"HR-EMP-0000{number}", "default_shift": "Late Shift", "date_of_joining": "2026-11-01"}
        for number in (1, 2)
    )
    client.insert(punch() | {"time": "2026-11-01 13:00:00"})
    assert stand_in.attendance() == []
    change = {"last_sync_of_checkin": "2026-11-02 00:00:00"}
    key = {"Authorization": f"token {stand_in.hr_key}:{stand_in.hr_secret}"}
    httpx.put(f"{stand_in.url}/api/resource/Shift Type/Late Shift", json=change, headers=key).raise_for_status()
    marked = {row["employee"]: row["status"] for row in stand_in.attendance()}
    assert marked == {"HR-EMP-00001": "Present", "HR-EMP-00002": "Absent"}


def test_what_hr_and_administrators_do_is_done_from_outside_the_process(
    stand_in: ErpnextStandIn, client: ErpnextClient
) -> None:
    stand_in.employees([{"name": "HR-EMP-00002"}, {"name": "HR-EMP-00003"}, {"name": "HR-EMP-00004"}])
    first = client.insert(punch())
    stand_in.rename_employee("HR-EMP-00001", "ACME-1")
    stand_in.rename_employee("ACME-1", "HR-EMP-00002", merge=True)
    stand_in.delete_employee("HR-EMP-00004")
    assert [row["employee"] for row in stand_in.checkins()] == ["HR-EMP-00002"]
    with pytest.raises(httpx.HTTPStatusError):
        stand_in.delete_employee("HR-EMP-00002")
    stand_in.remove("Employee", "HR-EMP-00002")
    assert [row["name"] for row in client.get_list("Employee", ["name"])] == ["HR-EMP-00003"]
    stand_in.series(CHECKIN, 0)
    with pytest.raises(DocumentRejected) as refused:
        client.insert(punch(1))
    assert (refused.value.status, first) == (409, client.get_list(CHECKIN, ["name"])[0]["name"])
    stand_in.series(CHECKIN, 1)
    stand_in.geolocation(wanted=True)
    with pytest.raises(DocumentRejected):
        client.insert(punch(2))
    stand_in.geolocation(wanted=False)
    stand_in.time_zone("Asia/Tokyo")
    stand_in.time_zone("Asia/Kolkata", stand_in.clerk_name)
    client.insert(punch(3))
    created = [row["creation"] for row in stand_in.checkins()]
    assert created[1][:13] > created[0][:13]
    assert stand_in.put("Salary Slip", {"employee": "HR-EMP-00003"}) == ["Salary Slip 1"]
    stand_in.hourly()
