"""The days of a shift become Attendance: with Kafka's reading and writing replaced, at an ERPNext in memory."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from attendance_site import HR, SHIFT, US, FakeSite, at
from fake_guard import WRONG, standing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import LogCapture

from attendance.errors import ConfigurationError, DocumentRejected, KafkaUnavailable, ServerError, TargetUnavailable
from attendance.fleet import Device, Shift
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.attendance_day import AttendanceDay
from attendance.settings import KafkaSettings
from sinks.attendance import runner
from sinks.attendance.runner import CompleteShift, DirectAttendance, common_zone
from sinks.attendance.site import AttendanceSite

KAFKA = KafkaSettings(_env_file=None)
RIYADH = "Asia/Riyadh"


class Killed(BaseException):
    """The process dies."""


class Bench:
    """One process of the stage after another, at one site and one Kafka."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = FakeSite()
        self.sent: list[OutRecord] = []
        self.kafka_is_away = False
        self.said = LogCapture()
        self.fields: dict[str, Any] = {"attendance_from": "2026-03-01"}
        monkeypatch.setattr(runner, "snapshot", self.snapshot)
        monkeypatch.setattr(runner, "log", structlog.wrap_logger(None, [self.said]))
        monkeypatch.setattr(runner, "now", lambda: datetime(2026, 3, 5, tzinfo=UTC))
        self.stage = self.new_process()

    def new_process(self) -> DirectAttendance:
        site = AttendanceSite(self.site)  # type: ignore[arg-type]
        self.metrics = Metrics()
        self.stage = DirectAttendance(KAFKA, site, self, self.metrics)  # type: ignore[arg-type]
        return self.stage

    def not_ready(self) -> list[str]:
        """What `/readyz` gives as reasons."""
        body = b"".join(self.metrics.answer({"PATH_INFO": "/readyz"}, lambda *_: lambda _: None))  # type: ignore[arg-type, return-value]
        return list(json.loads(body)["reasons"])

    async def snapshot(self, _kafka: object, topic: str, _client: str) -> list[Any]:
        return [SimpleNamespace(value=record.value) for record in self.sent if record.topic == topic]

    async def send(self, *records: OutRecord) -> None:
        if self.kafka_is_away:
            raise KafkaUnavailable("away")
        self.sent += records

    def shift(self) -> Shift:
        return Shift.model_validate({"shift_type": SHIFT, "attendance": "direct", **self.fields})

    def look(self, until: str = "2026-03-04 12:00", zone_name: str | None = RIYADH) -> list[AttendanceDay]:
        """What a look records."""
        before = len(self.sent)
        asyncio.run(self.stage.look(CompleteShift(self.shift(), at(until), zone_name), "test"))
        topic = KAFKA.topics["attendance_days"]
        return [AttendanceDay.decode(record.value) for record in self.sent[before:] if record.topic == topic]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def a_day(bench: Bench, employee: str = "E1", day: str = "2026-03-02") -> str:
    if employee not in {row["name"] for row in bench.site.tables["Employee"]}:
        bench.site.employee(employee)
    bench.site.punch(employee, f"{day} 08:00:00")
    bench.site.punch(employee, f"{day} 17:00:00")
    return employee


def test_a_complete_day_becomes_one_submitted_attendance_with_its_record(bench: Bench) -> None:
    a_day(bench)
    (record,) = bench.look()
    (row,) = bench.site.standing()
    assert (row["status"], row["in_time"], row["out_time"], row["working_hours"], row["shift"], row["company"]) == (
        *("Present", "2026-03-02 08:00:00", "2026-03-02 17:00:00", 9.0, SHIFT, "Acme"),
    )
    assert (record.outcome, record.document, record.modified) == ("written", row["name"], row["modified"])
    assert bench.look() == []


def test_a_day_that_is_not_over_by_the_watermark_waits_for_it(bench: Bench) -> None:
    a_day(bench)
    assert bench.look(until="2026-03-02 18:00") == []  # its last hour for check-outs ends then
    assert not bench.site.days()
    assert [record.outcome for record in bench.look(until="2026-03-02 18:01")] == ["written"]


def test_a_night_shift_is_one_day_that_begins_on_the_day_before_and_ends_after_midnight(bench: Bench) -> None:
    bench.site.employee("E1")
    for time in ("2026-03-02 21:55:00", "2026-03-03 06:05:00"):
        bench.site.punch("E1", time, shift_start="2026-03-02 22:00:00", hours=8)
    bench.look()
    assert bench.site.days() == [("E1", "2026-03-02", "Present", "2026-03-02 21:55:00", "2026-03-03 06:05:00")]


def test_a_late_punch_cancels_and_amends_and_another_process_goes_on_from_there(bench: Bench) -> None:
    a_day(bench)
    bench.look()
    bench.site.clock = at("2026-03-04 09:00:00")
    bench.site.punch("E1", "2026-03-02 18:30:00")
    bench.new_process()
    (record,) = bench.look()
    (row,) = bench.site.standing()
    assert (record.outcome, record.supersedes, row["amended_from"]) == ("corrected", *["HR-ATT-2026-00001"] * 2)
    assert row["out_time"] == "2026-03-02 18:30:00"
    assert row["working_hours"] == 10.5


def test_a_check_in_that_hr_made_or_set_aside_counts_as_hr_says(bench: Bench) -> None:
    bench.site.employee("E1")
    first = bench.site.punch("E1", "2026-03-02 08:00:00")
    bench.site.punch("E1", "2026-03-02 12:00:00")
    bench.site.punch("E1", "2026-03-02 17:00:00", owner=HR)
    bench.look()
    bench.site.change(first, skip_auto_attendance=1)
    bench.look()
    assert [day[3:] for day in bench.site.days()] == [("2026-03-02 12:00:00", "2026-03-02 17:00:00")]


def test_a_check_in_that_erpnext_could_not_place_is_of_no_day(bench: Bench) -> None:
    a_day(bench)
    bench.site.punch("E1", "2026-03-02 22:00:00", offshift=1)
    bench.look()
    assert [day[4] for day in bench.site.days()] == ["2026-03-02 17:00:00"]


def test_days_before_the_first_one_are_left_alone(bench: Bench) -> None:
    a_day(bench, day="2026-02-27")
    assert bench.look() == []
    bench.fields["attendance_from"] = "2026-02-27"
    assert [str(record.attendance_date) for record in bench.look()] == ["2026-02-27"]


def test_what_a_person_changed_stays_and_is_recorded(bench: Bench) -> None:
    a_day(bench)
    bench.look()
    bench.site.change(bench.site.standing()[0], status="Work From Home")
    bench.site.punch("E1", "2026-03-02 18:30:00")
    (record,) = bench.look()
    assert (record.outcome, record.reason, record.document) == ("refused", "changed", "HR-ATT-2026-00001")
    assert [day[2] for day in bench.site.days()] == ["Work From Home"]


def test_what_changes_between_reading_and_cancelling_stays_too(bench: Bench) -> None:
    a_day(bench)
    bench.look()
    bench.site.punch("E1", "2026-03-02 18:30:00")

    def a_person_is_faster(what: str, row: Mapping[str, Any]) -> None:
        if what == "cancel":
            bench.site.change(row, status="Work From Home")  # type: ignore[arg-type]

    bench.site.before = a_person_is_faster
    bench.look()
    assert [day[2] for day in bench.site.days()] == ["Work From Home"]


def test_nothing_is_written_beside_auto_attendance_and_the_log_says_so_once(bench: Bench) -> None:
    a_day(bench)
    bench.site.shift["enable_auto_attendance"] = 1
    assert bench.look() + bench.look() == []
    assert not bench.site.days()
    assert [entry["event"] for entry in bench.said.entries] == ["No Attendance is written for this shift."]
    assert list(bench.stage.refused) == [SHIFT]
    assert bench.not_ready() == [f"no Attendance is written for {SHIFT}: {bench.stage.refused[SHIFT]}"]
    bench.site.shift["enable_auto_attendance"] = 0
    assert [record.outcome for record in bench.look()] == ["written"]
    assert not bench.stage.refused
    assert not bench.not_ready()


def test_a_shift_that_no_longer_asks_hinders_readiness_no_more(bench: Bench) -> None:
    bench.site.shift["enable_auto_attendance"] = 1
    bench.look()
    bench.stage.offer([], [])
    assert not bench.not_ready()


def test_a_zone_that_comes_into_doubt_stops_the_days_that_are_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHUNK", 2)
    for number in range(6):
        a_day(bench, f"E{number:02}")
    bench.site.after = lambda _what, _document: bench.stage.withdraw()
    bench.look()
    assert len(bench.site.standing()) == 2
    bench.site.after = lambda _what, _document: None
    bench.stage.offer([], [SHIFT])
    bench.look()
    assert len(bench.site.standing()) == 6


def test_auto_attendance_is_looked_for_before_anything_else_happens(bench: Bench) -> None:
    bench.site.shift["enable_auto_attendance"] = 1

    async def start() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.stage.run("test", [SHIFT]), 0.2)

    asyncio.run(start())
    assert list(bench.stage.refused) == [SHIFT]


@pytest.mark.parametrize(
    ("table", "row", "reason"),
    [
        ("Leave Application", {"status": "Approved", "from_date": "2026-03-01", "to_date": "2026-03-02"}, "leave"),
        ("Salary Slip", {"start_date": "2026-03-01", "end_date": "2026-03-31"}, "paid"),
    ],
)
def test_a_day_that_leave_or_payroll_covers_is_refused(
    bench: Bench, table: str, row: dict[str, Any], reason: str
) -> None:
    a_day(bench)
    a_day(bench, "E2")
    bench.site.tables[table].append({"employee": "E1", "docstatus": 1, **row})
    assert {record.employee: record.reason for record in bench.look()} == {"E1": reason, "E2": None}
    assert [day[0] for day in bench.site.days()] == ["E2"]


def test_a_holiday_is_that_of_the_shift_else_of_the_employee_else_of_the_company(bench: Bench) -> None:
    bench.site.holidays |= {
        "Shift": {at("2026-03-01").date()},
        "Own": {at("2026-03-02").date()},
        None: {at("2026-03-03").date()},
    }
    for day in ("2026-03-01", "2026-03-02", "2026-03-03"):
        for name, list_ in (("E1", "Own"), ("E2", None)):
            if day == "2026-03-01":
                bench.site.employee(name, holiday_list=list_)
            a_day(bench, name, day)
    refused = {(each.employee, str(each.attendance_date)) for each in bench.look() if each.reason == "holiday"}
    assert refused == {("E1", "2026-03-02"), ("E2", "2026-03-03")}

    bench.site.shift["holiday_list"] = "Shift"
    bench.new_process()
    bench.sent.clear()
    refused = {(each.employee, str(each.attendance_date)) for each in bench.look() if each.reason == "holiday"}
    assert refused == set()  # what was written on that day before stays


def test_a_shift_that_counts_holidays_has_none(bench: Bench) -> None:
    bench.site.holidays["Acme 2026"] = {at("2026-03-02").date()}
    a_day(bench)
    assert [record.reason for record in bench.look()] == ["holiday"]
    bench.site.shift |= {"mark_auto_attendance_on_holidays": 1}
    bench.new_process()
    bench.sent.clear()
    assert [record.outcome for record in bench.look()] == ["written"]


def test_a_check_in_of_another_shift_on_the_same_day_does_not_count(bench: Bench) -> None:
    a_day(bench)
    bench.site.punch("E1", "2026-03-02 23:00:00", shift="Evening")
    bench.look()
    assert [day[4] for day in bench.site.days()] == ["2026-03-02 17:00:00"]


def test_a_day_that_is_longer_by_a_check_in_that_has_not_changed_waits_for_its_end(bench: Bench) -> None:
    a_day(bench)
    bench.site.punch("E1", "2026-03-02 19:00:00", hours=12, modified="2026-01-01 00:00:00")
    assert bench.look(until="2026-03-02 20:00") == []
    assert [record.outcome for record in bench.look(until="2026-03-02 21:01")] == ["written"]


def test_auto_attendance_that_is_switched_on_meanwhile_stops_the_days_that_are_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHUNK", 2)
    for number in range(6):
        a_day(bench, f"E{number:02}")
    bench.site.after = lambda _what, _document: bench.site.shift.update(enable_auto_attendance=1)
    bench.look()
    assert len(bench.site.standing()) == 2


def test_nothing_is_written_if_erpnext_does_not_say_which_days_are_holidays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_day(bench)

    def no_such_method(*_arguments: object) -> None:
        raise DocumentRejected(417, "ValidationError", "Failed to get method")

    monkeypatch.setattr(bench.site, "call", no_such_method)
    with pytest.raises(ConfigurationError, match="holidays"):
        bench.look()
    assert not bench.site.days()


@pytest.mark.parametrize(
    "fields",
    [
        {"date_of_joining": "2026-03-03"},
        {"status": "Left", "relieving_date": "2026-03-01"},
        {"status": "Inactive"},
    ],
    ids=str,
)
def test_who_was_not_employed_that_day_gets_nothing(bench: Bench, fields: dict[str, Any]) -> None:
    bench.site.employee("E1", **fields)
    a_day(bench)
    assert [record.reason for record in bench.look()] == ["employee"]
    assert not bench.site.days()


def test_the_last_working_day_counts(bench: Bench) -> None:
    bench.site.employee("E1", status="Left", relieving_date="2026-03-02")
    a_day(bench)
    assert [record.outcome for record in bench.look()] == ["written"]


@pytest.mark.parametrize("uniqueness", ["unique", "not unique"])
@pytest.mark.parametrize("moment", ["before create", "after create", "before cancel", "after cancel"])
@pytest.mark.parametrize("how", [Killed(), TargetUnavailable("no answer")], ids=["killed", "timeout"])
def test_wherever_it_is_cut_off_another_try_leaves_one_attendance(
    bench: Bench, uniqueness: str, moment: str, how: BaseException
) -> None:
    bench.site.unique = uniqueness == "unique"
    a_day(bench)
    a_day(bench, "E2")
    if "cancel" in moment:
        bench.look()
        bench.site.clock = at("2026-03-04 09:00:00")
        bench.site.punch("E1", "2026-03-02 18:30:00")
    when, what = moment.split()

    def cut_off(request: str, _document: object) -> None:
        if request == what:
            bench.site.before = bench.site.after = lambda _what, _document: None
            raise how

    setattr(bench.site, when, cut_off)
    with pytest.raises(type(how)):
        bench.look()
    bench.new_process()
    bench.look()
    last = "2026-03-02 18:30:00" if "cancel" in moment else "2026-03-02 17:00:00"
    assert [(day[0], day[4]) for day in bench.site.days()] == [("E1", last), ("E2", "2026-03-02 17:00:00")]


def test_of_two_processes_one_writes_and_the_other_finds_it(bench: Bench) -> None:
    a_day(bench)
    first = bench.stage

    def the_other_is_faster(what: str, _document: object) -> None:
        bench.site.before = lambda _what, _document: None
        if what == "create":
            bench.new_process()
            bench.look()

    bench.site.before = the_other_is_faster
    bench.stage = first
    records = bench.look()
    assert [record.outcome for record in records] == ["written", "already_there"]
    assert len(bench.site.standing()) == 1


def test_without_the_custom_field_days_are_written_and_never_corrected(bench: Bench) -> None:
    bench.site.fields_missing = {"punchstream_day"}
    a_day(bench)
    assert [record.outcome for record in bench.look()] == ["written"]
    bench.site.punch("E1", "2026-03-02 18:30:00")
    assert [record.reason for record in bench.look()] == ["marked"]
    assert len(bench.site.standing()) == 1


def test_while_kafka_is_away_no_day_is_forgotten(bench: Bench) -> None:
    a_day(bench)
    bench.kafka_is_away = True
    with pytest.raises(KafkaUnavailable):
        bench.look()
    bench.kafka_is_away = False
    assert [record.outcome for record in bench.look()] == ["already_there"]


def test_one_employee_on_whom_erpnext_fails_delays_nobody_and_is_tried_again_later(bench: Bench) -> None:
    for number in range(30):
        a_day(bench, f"E{number:02}")

    def fail(_what: str, document: Mapping[str, Any]) -> None:
        if document["employee"] == "E07":
            raise ServerError("500 ValueError")

    bench.site.before = fail
    records = bench.look()
    assert {record.employee for record in records if record.outcome == "written"} == {
        f"E{number:02}" for number in range(30) if number != 7
    }
    assert [(record.employee, record.reason) for record in records if record.outcome == "refused"] == [
        ("E07", "rejected")
    ]
    assert bench.look() == []  # not at once
    bench.site.before = lambda _what, _document: None
    bench.new_process()
    assert "E07" in {record.employee for record in bench.look()}
    assert len(bench.site.standing()) == 30


def test_a_site_that_refuses_everything_is_left_after_a_few_and_heals(bench: Bench) -> None:
    for number in range(30):
        a_day(bench, f"E{number:02}", f"2026-03-0{1 + number % 3}")
    tries = []

    def fail(_what: str, document: Mapping[str, Any]) -> None:
        tries.append(document["employee"])
        raise DocumentRejected(417, "MandatoryError", "[Attendance]: project")

    bench.site.before = fail
    bench.look()
    assert len(tries) == 10
    bench.site.before = lambda _what, _document: None
    bench.new_process()
    bench.look()
    assert len(bench.site.standing()) == 30


@given(st.sets(st.integers(0, 29), max_size=20))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_the_mix_of_failing_employees_the_others_are_written_within_bounded_requests(
    monkeypatch: pytest.MonkeyPatch, failing: set[int]
) -> None:
    bench = Bench(monkeypatch)
    names = [a_day(bench, f"E{number:02}") for number in range(30)]
    tries = []

    def fail(_what: str, document: Mapping[str, Any]) -> None:
        tries.append(document["employee"])
        if int(document["employee"][1:]) in failing:
            raise ServerError("500 ValueError")

    bench.site.before = fail
    for _ in range(30):
        bench.look()
    assert {row["employee"] for row in bench.site.standing()} == {names[n] for n in range(30) if n not in failing}
    assert len(tries) == 30  # those that fail are tried once in this time


def test_what_has_not_changed_is_not_looked_at_again(bench: Bench) -> None:
    for number in range(30):
        a_day(bench, f"E{number:02}")
    bench.look()
    bench.site.requests.clear()
    bench.look()
    assert bench.site.requests == {"get Shift Type": 1, "list Employee Checkin": 1, "list Attendance": 2}


def go_over_all(bench: Bench) -> list[AttendanceDay]:
    """Enough looks for every date from the first to the last."""
    return [record for _ in range(4) for record in bench.look()]


def test_a_check_in_that_a_correction_moves_to_another_day_is_missed_on_the_day_that_it_leaves(bench: Bench) -> None:
    a_day(bench)
    wrong = bench.site.punch("E1", "2026-03-02 18:30:00")
    bench.look()
    bench.site.clock = at("2026-03-04 09:00:00")
    bench.site.change(wrong, time="2026-03-03 18:30:00", shift_start="2026-03-03 08:00:00")
    bench.site.change(wrong, shift_actual_end="2026-03-03 18:00:00", modified_by=US)
    bench.fields["one_punch"] = "half_day"
    assert [record.outcome for record in go_over_all(bench)] == ["written", "corrected"]
    assert [day[1:] for day in bench.site.days()] == [
        ("2026-03-02", "Present", "2026-03-02 08:00:00", "2026-03-02 17:00:00"),
        ("2026-03-03", "Half Day", "2026-03-03 18:30:00", None),
    ]


@pytest.mark.parametrize("left", [2, 1, 0])
def test_a_check_in_that_is_deleted_is_missed_and_what_is_left_to_a_person_is_said_once(
    bench: Bench, left: int
) -> None:
    a_day(bench)
    bench.site.punch("E1", "2026-03-02 18:30:00")
    bench.look()
    del bench.site.tables["Employee Checkin"][left:]
    records = go_over_all(bench) + go_over_all(bench)
    assert [(record.outcome, record.reason) for record in records] == [
        {2: ("corrected", None), 1: ("refused", "one_punch"), 0: ("refused", "no_punch")}[left]
    ]
    assert len(bench.site.standing()) == 1


def test_going_over_the_days_touches_no_attendance_that_a_person_changed_or_cancelled(bench: Bench) -> None:
    for name in ("E1", "E2"):
        a_day(bench, name)
    bench.look()
    changed, cancelled = bench.site.standing()
    bench.site.change(changed, out_time="2026-03-02 16:00:00")
    bench.site.change(cancelled, docstatus=2)
    assert go_over_all(bench) == []


def test_a_day_that_lost_its_attendance_on_the_way_to_another_gets_it_though_nothing_changes(bench: Bench) -> None:
    a_day(bench)
    bench.look()
    (row,) = bench.site.standing()
    row |= {"docstatus": 2, "modified": bench.site.stamp(), "modified_by": US}
    assert [(record.outcome, record.supersedes) for record in go_over_all(bench)] == [("corrected", row["name"])]


def test_a_cancelled_attendance_whose_successor_is_refused_is_said_at_each_try_until_there_is_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_day(bench)
    bench.look()
    (before,) = bench.site.standing()
    bench.site.clock = at("2026-03-04 09:00:00")
    bench.site.punch("E1", "2026-03-02 18:30:00")

    def refuse(what: str, _document: object) -> None:
        if what == "create":
            raise DocumentRejected(417, "MandatoryError", "[Attendance]: project")

    bench.site.before = refuse
    (record,) = bench.look()
    assert (record.reason, record.detail, record.supersedes) == (
        *("rejected", "417 MandatoryError: [Attendance]: project", before["name"]),
    )
    assert bench.look() == []
    monkeypatch.setattr(runner, "now", lambda: datetime(2026, 3, 5, 0, 6, tzinfo=UTC))
    assert bench.look() == []  # its record says so already
    said = [(entry["cancelled"], entry["error"]) for entry in bench.said.entries if entry["log_level"] == "error"]
    assert said == [(before["name"], record.detail)] * 2
    bench.site.before = lambda _what, _document: None
    monkeypatch.setattr(runner, "now", lambda: datetime(2026, 3, 5, 1, tzinfo=UTC))
    (record,) = bench.look()
    assert (record.outcome, record.supersedes) == ("corrected", before["name"])


def rename(site: FakeSite, table: str, field: str, old: str, new: str) -> None:
    """As ERPNext does: in every field that links to it, without another `modified`."""
    for row in [each for name in ("Employee Checkin", "Attendance") for each in site.tables[name]]:
        row[field] = new if row[field] == old else row[field]
    for row in site.tables[table]:
        row["name"] = new if row["name"] == old else row["name"]


@pytest.mark.parametrize("what", ["employee", "shift"])
def test_what_was_written_before_a_renaming_is_ours_still(bench: Bench, what: str) -> None:
    a_day(bench)
    bench.look()
    if what == "employee":
        rename(bench.site, "Employee", "employee", "E1", "E9")
    else:
        rename(bench.site, "Shift Type", "shift", SHIFT, "Early Shift")
        bench.fields["shift_type"] = "Early Shift"
    bench.site.clock = at("2026-03-04 09:00:00")
    shift = bench.fields.get("shift_type", SHIFT)
    bench.site.punch("E9" if what == "employee" else "E1", "2026-03-02 18:30:00", shift=shift)
    bench.new_process()
    assert [record.outcome for record in bench.look()] == ["corrected"]
    assert [day[4] for day in bench.site.days()] == ["2026-03-02 18:30:00"]


def test_two_of_ours_that_a_merge_put_on_one_day_are_left_to_a_person(bench: Bench) -> None:
    a_day(bench, "E1")
    a_day(bench, "E2")
    bench.look()
    rename(bench.site, "Employee", "employee", "E2", "E1")
    del bench.site.tables["Employee"][1:]
    assert go_over_all(bench) == []
    bench.site.clock = at("2026-03-04 09:00:00")
    bench.site.punch("E1", "2026-03-02 18:30:00")
    assert [record.reason for record in bench.look()] == ["marked"]
    assert len(bench.site.standing()) == 2


def test_many_check_ins_are_read_in_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.attendance.site.PAGE", 7)
    for number in range(30):
        a_day(bench, f"E{number:02}")
    bench.look()
    assert len(bench.site.standing()) == 30


def test_a_shift_with_many_days_lets_the_others_have_their_turn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "AT_A_TIME", 20)
    for number in range(30):
        a_day(bench, f"E{number:02}")
    complete = CompleteShift(bench.shift(), at("2026-03-04 12:00"), RIYADH)
    assert asyncio.run(bench.stage.look(complete, "test"))
    assert len(bench.site.standing()) == 20
    assert not asyncio.run(bench.stage.look(complete, "test"))
    assert len(bench.site.standing()) == 30


def test_check_ins_in_several_zones_make_no_day(bench: Bench) -> None:
    a_day(bench)
    with pytest.raises(ConfigurationError, match="several time zones"):
        bench.look(zone_name=None)
    local = [
        Device(device_id=zone[5:], site="hq", timezone=zone, mode="pull", checkin_time="device_local")
        for zone in ("Asia/Riyadh", "Asia/Dubai")
    ]
    assert common_zone(local, RIYADH) is None
    assert common_zone(local[1:], RIYADH) == "Asia/Dubai"
    assert common_zone([Device(device_id="a", site="hq", timezone="Asia/Dubai", mode="pull")], RIYADH) == RIYADH


def test_whoever_we_are_is_who_the_site_says(bench: Bench) -> None:
    a_day(bench)
    bench.look()
    assert {row["owner"] for row in bench.site.standing()} == {US}


def test_a_guard_that_comes_to_stand_stops_the_days_that_are_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, guards = standing(bench.metrics)
    guard.answer = None
    asyncio.run(guards.ask())
    site = AttendanceSite(bench.site)  # type: ignore[arg-type]
    bench.stage = DirectAttendance(KAFKA, site, bench, bench.metrics, guards)  # type: ignore[arg-type]
    monkeypatch.setattr(runner, "CHUNK", 2)
    for number in range(6):
        a_day(bench, f"E{number:02}")

    def stand(*_: object) -> None:
        guard.answer = WRONG
        asyncio.run(guards.ask())

    bench.site.after = stand
    bench.look()
    assert len(bench.site.standing()) == 2
    bench.site.after = lambda _what, _document: None
    guard.answer = None
    asyncio.run(guards.ask())
    bench.look()
    assert len(bench.site.standing()) == 6
