"""Late deliveries on the stand-in, which closes days as ERPNext does: marked, listed, and repaired from anywhere."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from attendance.erpnext import ErpnextClient
from attendance.errors import TargetUnavailable
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Late
from attendance.settings import ErpnextSettings
from attendance.times import now
from operations.late import Day, LateDelivery, looked_up, repair
from operations.site.setup import EVENT_ID
from sandbox.erpnext.server import ErpnextStandIn
from sinks.targets.base import Delivered
from sinks.targets.erpnext.target import ErpnextTarget

TODAY = now().date()
DAY = TODAY - timedelta(days=3)
SHIFT = "Day Shift"
PRESENT, ABSENT, OTHER = "HR-EMP-00001", "HR-EMP-00002", "HR-EMP-00003"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    log_file = tmp_path_factory.mktemp("erpnext") / "stand-in.log"
    with ErpnextStandIn(log_file=log_file, time_zone="Asia/Riyadh") as stand_in:
        yield stand_in


@pytest.fixture
def site(server: ErpnextStandIn) -> ErpnextStandIn:
    """Three people on the day shift, who joined on the day that the tests close."""
    server.reset()
    server.shift_types([{"name": SHIFT, "process_attendance_after": str(DAY)}])
    server.employees(
        {"name": name, "default_shift": SHIFT, "date_of_joining": str(DAY)} for name in (PRESENT, ABSENT, OTHER)
    )
    with_field = ErpnextClient(settings_of(server))
    with_field.insert(EVENT_ID)
    with_field.close()
    return server


def settings_of(site: ErpnextStandIn) -> ErpnextSettings:
    return ErpnextSettings(url=site.url, api_key=site.api_key, api_secret=site.api_secret, timeout=5, _env_file=None)


@pytest.fixture
def client(site: ErpnextStandIn) -> Iterator[ErpnextClient]:
    client = ErpnextClient(settings_of(site))
    yield client
    client.close()


def punch(employee: str, hour: int, day: date = DAY) -> Checkin:
    """A check-in at that hour in Riyadh."""
    made = datetime(day.year, day.month, day.day, hour - 3, tzinfo=UTC)
    return Checkin(
        event_id=f"{employee}-{day}-{hour}",
        employee=employee,
        event_time=made,
        log_type="IN" if hour < 12 else "OUT",
        device_id="GATE-1",
        device_user_id="7",
        site="hq",
        device_timezone="Asia/Riyadh",
    )


def deliver(site: ErpnextStandIn, *checkins: Checkin) -> list[Delivered]:
    async def scene() -> list[Delivered]:
        target = ErpnextTarget(lambda: ErpnextClient(settings_of(site)), 1, 100)
        try:
            await target.open()
            results = await target.deliver(checkins)
        finally:
            await target.close()
        assert all(isinstance(result, Delivered) for result in results)
        return results  # type: ignore[return-value]

    return asyncio.run(scene())


def close_the_day(client: ErpnextClient) -> None:
    # ERPNext marks people Absent one day later than it counts check-ins.
    client.update("Shift Type", SHIFT, {"last_sync_of_checkin": f"{DAY + timedelta(days=1)} 12:00:00"})


def late_deliveries(site: ErpnextStandIn, client: ErpnextClient, *checkins: Checkin) -> list[LateDelivery]:
    """Deliver after the day was closed, and have ERPNext's hourly job set the check-ins aside."""
    results = deliver(site, *checkins)
    client.run_method("Shift Type", SHIFT, "process_auto_attendance")
    return [
        LateDelivery(
            employee=checkin.employee,
            attendance_date=result.late.attendance_date,
            shift_type=result.late.shift_type,
            event_id=checkin.event_id,
            device_id=result.late.device_id,
            document=result.document,
            delivered_at=now(),
        )
        for checkin, result in zip(checkins, results, strict=True)
        if result.late is not None
    ]


def statuses(site: ErpnextStandIn, employee: str) -> list[tuple[str, float]]:
    """The attendance that the employee has for the day."""
    return [
        (row["status"], row["working_hours"])
        for row in site.attendance()
        if row["employee"] == employee and row["attendance_date"] == str(DAY) and row["docstatus"] == 1
    ]


def test_a_check_in_before_the_close_is_not_late_and_one_after_it_is(
    site: ErpnextStandIn, client: ErpnextClient
) -> None:
    [before] = deliver(site, punch(PRESENT, 8))
    close_the_day(client)
    again, after, open_day = deliver(site, punch(PRESENT, 8), punch(ABSENT, 8), punch(ABSENT, 8, TODAY - timedelta(1)))
    assert before.late is None
    assert (again.status, again.late) == ("already_there", None), "ERPNext has counted it"
    assert after.late == Late("GATE-1", SHIFT, DAY)
    assert open_day.late is None


def test_a_check_in_of_somebody_without_a_shift_is_never_late(site: ErpnextStandIn, client: ErpnextClient) -> None:
    site.employees([{"name": "HR-EMP-00009"}])
    close_the_day(client)
    [delivered] = deliver(site, punch("HR-EMP-00009", 8))
    assert delivered.late is None


def test_a_late_day_is_absent_until_it_is_repaired_and_then_has_its_hours(
    site: ErpnextStandIn, client: ErpnextClient
) -> None:
    deliver(site, punch(PRESENT, 8), punch(PRESENT, 17))
    close_the_day(client)
    late = late_deliveries(site, client, punch(ABSENT, 8), punch(ABSENT, 17))
    assert [each.attendance for each in looked_up(client, late)] == ["Absent", "Absent"]
    [repaired] = repair(client, looked_up(client, late))
    assert (repaired.day, repaired.result) == (Day(SHIFT, DAY, ABSENT), "repaired")
    assert statuses(site, ABSENT) == [("Present", 9.0)]
    assert statuses(site, PRESENT) == [("Present", 9.0)]
    assert statuses(site, OTHER) == [("Absent", 0.0)]
    assert [each.attendance for each in looked_up(client, late)] == ["Present", "Present"]


def test_a_late_delivery_without_a_shift_is_looked_up_and_a_document_that_is_gone_is_left_out(
    site: ErpnextStandIn, client: ErpnextClient
) -> None:
    close_the_day(client)
    [known] = late_deliveries(site, client, punch(ABSENT, 8))
    unknown = replace(known, shift_type=None, attendance_date=None)
    assert looked_up(client, [unknown, replace(known, document="EMP-CKIN-GONE")]) == [
        replace(known, attendance="Absent")
    ]


def test_a_repaired_day_is_left_alone_the_next_time(site: ErpnextStandIn, client: ErpnextClient) -> None:
    close_the_day(client)
    late = late_deliveries(site, client, punch(ABSENT, 8), punch(ABSENT, 17))
    list(repair(client, late))
    before = site.attendance()
    [again] = repair(client, late)
    assert (again.result, again.why) == ("left alone", "the day is Present")
    assert site.attendance() == before


def test_an_absent_that_all_check_ins_lead_to_is_left_alone(site: ErpnextStandIn, client: ErpnextClient) -> None:
    client.update("Shift Type", SHIFT, {"working_hours_threshold_for_absent": 4})
    close_the_day(client)
    late = late_deliveries(site, client, punch(ABSENT, 8))
    [first] = repair(client, late)
    [second] = repair(client, late)
    assert (first.result, second.result) == ("not repaired", "left alone")
    assert second.why == "the day is Absent with all its check-ins counted"


class Cut:
    """The client, until its connection is cut: after so many writes, where `lost` with the last answer lost."""

    def __init__(self, client: ErpnextClient, writes: int, *, lost: bool) -> None:
        self._client = client
        self._left = writes
        self._lost = lost

    def logged_user(self) -> str:
        return self._client.logged_user()

    def get_list(self, *args: Any, **more: Any) -> Sequence[Mapping[str, Any]]:
        return self._client.get_list(*args, **more)

    def __getattr__(self, name: str) -> Any:
        def write(*args: Any) -> Any:
            self._left -= 1
            if self._left < 0 and not self._lost:
                raise TargetUnavailable("cut")
            answer = getattr(self._client, name)(*args)
            if self._left < 0:
                raise TargetUnavailable("cut after it was done")
            return answer

        return write


@pytest.mark.parametrize("lost", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("hourly_job", [False, True], ids=["", "and ERPNext's own job runs"])
@pytest.mark.parametrize("writes", range(5))
def test_a_repair_that_was_cut_off_anywhere_is_completed_by_the_next_one(
    site: ErpnextStandIn, client: ErpnextClient, writes: int, hourly_job: Any, lost: Any
) -> None:
    close_the_day(client)
    late = late_deliveries(site, client, punch(ABSENT, 8), punch(ABSENT, 17))
    cut = Cut(client, writes, lost=lost)
    try:
        list(repair(cut, late))  # type: ignore[arg-type]
    except TargetUnavailable:
        if hourly_job:
            close_the_day(client)
    else:
        assert writes == 4, "it takes four writes: two check-ins, cancel, process"
    for _ in range(2):
        outcomes = list(repair(client, late))
        assert all(each.result in ("repaired", "left alone") for each in outcomes)
    assert statuses(site, ABSENT) == [("Present", 9.0)]
