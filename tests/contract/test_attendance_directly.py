"""Attendance directly on the stand-in, which answers as a real ERPNext was recorded: once, whatever is cut off."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from attendance.erpnext import CHECKIN, ErpnextClient
from attendance.errors import TargetUnavailable
from attendance.fleet import Shift
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.attendance_day import AttendanceDay
from attendance.settings import ErpnextSettings, KafkaSettings
from attendance.times import now
from operations.attendance_days import compared
from operations.site.setup import ensure_day_field
from sandbox.erpnext.server import ErpnextStandIn
from sinks.attendance import runner
from sinks.attendance.runner import CompleteShift, DirectAttendance
from sinks.attendance.site import AttendanceSite

SHIFT, NIGHT = "Day Shift", "Night Shift"
DAY = now().date() - timedelta(days=3)
KAFKA = KafkaSettings(_env_file=None)
ENTRY = Shift(shift_type=SHIFT, attendance="direct", half_day_below="4 h", attendance_from=DAY - timedelta(days=3))  # type: ignore[arg-type]


class Kafka:
    """What was sent."""

    def __init__(self) -> None:
        self.sent: list[OutRecord] = []

    async def send(self, *records: OutRecord) -> None:
        self.sent += records

    def days(self) -> list[AttendanceDay]:
        """The records of days, as they stand on their topic."""
        topic = KAFKA.topics["attendance_days"]
        return [AttendanceDay.decode(record.value) for record in self.sent if record.topic == topic]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    log_file = tmp_path_factory.mktemp("erpnext") / "stand-in.log"
    with ErpnextStandIn(log_file=log_file, time_zone="Asia/Riyadh") as stand_in:
        yield stand_in


@pytest.fixture
def site(server: ErpnextStandIn, monkeypatch: pytest.MonkeyPatch) -> ErpnextStandIn:
    """Two shifts without auto attendance, and the field of the days."""
    server.reset()
    times = {"start_time": "22:00:00", "end_time": "6:00:00"}
    off = {"enable_auto_attendance": 0, "holiday_list": None}
    server.shift_types([{"name": SHIFT, **off}, {"name": NIGHT, **off, **times}])

    async def nothing(*_: object) -> list[Any]:
        return []

    monkeypatch.setattr(runner, "snapshot", nothing)
    assert ensure_day_field(settings_of(server))[0] == "created"
    return server


def settings_of(site: ErpnextStandIn, timeout: float = 10) -> ErpnextSettings:
    return ErpnextSettings(
        url=site.url, api_key=site.api_key, api_secret=site.api_secret, timeout=timeout, _env_file=None
    )


def people(site: ErpnextStandIn, count: int, shift_type: str = SHIFT) -> list[str]:
    names = [f"E{number:02}" for number in range(count)]
    return site.employees(
        {"name": name, "default_shift": shift_type, "date_of_joining": "2020-01-01"} for name in names
    )


def punch(site: ErpnextStandIn, employees: Sequence[str], *times: str) -> None:
    """Check-ins on the day, or on the next for a time such as `+05:00`."""
    client = ErpnextClient(settings_of(site))
    documents = []
    for employee in employees:
        for time in times:
            on = DAY + timedelta(days=time.startswith("+"))
            documents.append({"doctype": CHECKIN, "employee": employee, "time": f"{on} {time.lstrip('+')}:00"})
    client.insert_many(documents)
    client.close()


def look(site: ErpnextStandIn, kafka: Kafka, *, entry: Shift = ENTRY, timeout: float = 10, processes: int = 1) -> None:
    """One look by each of some processes, at the same time."""
    until = datetime.combine(DAY + timedelta(days=2), datetime.min.time())

    async def run() -> None:
        stages = [
            DirectAttendance(KAFKA, AttendanceSite(ErpnextClient(settings_of(site, timeout))), kafka, Metrics())  # type: ignore[arg-type]
            for _ in range(processes)
        ]
        await asyncio.gather(*(stage.look(CompleteShift(entry, until, "Asia/Riyadh"), "test") for stage in stages))

    asyncio.run(run())


def standing(site: ErpnextStandIn) -> list[tuple[Any, ...]]:
    fields = ("employee", "status", "in_time", "out_time")
    return sorted(tuple(row[each] for each in fields) for row in site.attendance() if row["docstatus"] != 2)


def test_first_and_last_punch_become_one_submitted_attendance_and_a_late_one_amends_it(site: ErpnextStandIn) -> None:
    kafka, names = Kafka(), people(site, 2)
    punch(site, names, "08:00", "11:00")
    look(site, kafka)
    punch(site, names[:1], "17:30")
    look(site, kafka)

    assert standing(site) == [
        ("E00", "Present", f"{DAY} 08:00:00", f"{DAY} 17:30:00"),
        ("E01", "Half Day", f"{DAY} 08:00:00", f"{DAY} 11:00:00"),
    ]
    first, amended = (row for row in site.attendance() if row["employee"] == "E00")
    assert (first["docstatus"], amended["amended_from"]) == (2, first["name"])
    assert sorted((day.outcome, day.status) for day in kafka.days()) == [
        ("already_there", "Half Day"),
        ("corrected", "Present"),
        ("written", "Half Day"),
        ("written", "Half Day"),
    ]
    client = ErpnextClient(settings_of(site))
    newest = {day.employee: day for day in kafka.days()}
    assert {day.state for day in compared(client, list(newest.values()), {SHIFT: ENTRY})} == {"as it should be"}
    client.close()


def test_a_night_shift_is_dated_by_the_day_on_which_it_begins(site: ErpnextStandIn) -> None:
    punch(site, people(site, 1, NIGHT), "21:55", "+06:05")
    look(site, Kafka(), entry=ENTRY.model_copy(update={"shift_type": NIGHT}))
    (row,) = site.attendance()
    assert (row["attendance_date"], row["out_time"]) == (str(DAY), f"{DAY + timedelta(days=1)} 06:05:00")


def test_leave_holidays_payroll_and_what_a_person_made_stay(site: ErpnextStandIn) -> None:
    kafka, names = Kafka(), people(site, 5)
    punch(site, names, "08:00", "17:00")
    site.put("Holiday List", {"name": "Own", "holidays": [{"holiday_date": str(DAY)}]})
    site.employees([{"name": "E01", "default_shift": SHIFT, "date_of_joining": "2020-01-01", "holiday_list": "Own"}])
    leave = {"employee": "E02", "from_date": str(DAY), "to_date": str(DAY), "status": "Approved", "docstatus": 1}
    site.put("Leave Application", {"name": "HR-LAP-1", "leave_type": "Casual Leave", **leave})
    slip = {"employee": "E03", "start_date": str(DAY), "end_date": str(DAY), "docstatus": 1}
    site.put("Salary Slip", {"name": "Sal Slip/E03/1", **slip})
    person = ErpnextClient(settings_of(site))
    by_hand = {"employee": "E04", "attendance_date": str(DAY), "status": "Work From Home", "docstatus": 1}
    person.create({"doctype": "Attendance", **by_hand})
    person.close()

    look(site, kafka)
    assert {day.employee: day.reason for day in kafka.days()} == {
        "E00": None,
        "E01": "holiday",
        "E02": "leave",
        "E03": "paid",
        "E04": "marked",
    }
    assert [(row[0], row[1]) for row in standing(site)] == [
        *(("E00", "Present"), ("E02", "On Leave"), ("E04", "Work From Home")),  # the leave made its own
    ]


def test_two_processes_at_the_same_time_write_each_day_once_and_correct_it_once(site: ErpnextStandIn) -> None:
    kafka, names = Kafka(), people(site, 12)
    punch(site, names, "08:00", "17:00")
    look(site, kafka, processes=3)
    punch(site, names, "17:30")
    look(site, kafka, processes=3)
    assert standing(site) == [(name, "Present", f"{DAY} 08:00:00", f"{DAY} 17:30:00") for name in names]
    assert len(site.attendance()) == 2 * len(names)


@pytest.mark.parametrize("request_", ["POST /api/resource/Attendance", "PUT /api/resource/Attendance"])
@pytest.mark.parametrize("action", ["slow_answer", "close_after_write", "close_before", "truncated", "empty"])
def test_whatever_becomes_of_the_answer_there_is_one_attendance(
    site: ErpnextStandIn, request_: str, action: str
) -> None:
    kafka, names = Kafka(), people(site, 3)
    punch(site, names, "08:00", "17:00")
    if request_.startswith("PUT"):
        look(site, kafka)
        punch(site, names, "17:30")
    site.knobs(faults=[{"match": request_, "action": action, "delay_ms": 600, "times": 2}])
    tries = 0
    for _ in range(3):
        tries += 1
        try:
            look(site, kafka, timeout=0.3)
        except TargetUnavailable:
            continue
        break
    assert tries == 3
    last = "17:30" if request_.startswith("PUT") else "17:00"
    assert standing(site) == [(name, "Present", f"{DAY} 08:00:00", f"{DAY} {last}:00") for name in names]
    assert all(row["docstatus"] != 0 for row in site.attendance())
