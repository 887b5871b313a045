"""`punchstream audit --attendance`: the days, as they are printed."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from memory_log import MemoryLog

from attendance.records.attendance_day import AttendanceDay
from operations.attendance_days import ComparedDay
from punchstream.commands import attendance_days


def record(employee: str, **fields: Any) -> AttendanceDay:
    given = {"outcome": "written", "status": "Present", **fields}
    return AttendanceDay(employee, "Day", date(2026, 3, 2), decided_at=datetime(2026, 3, 3, tzinfo=UTC), **given)


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    for day in (record("E1", working_hours=9.0), record("E2", outcome="refused", reason="one_punch", status=None)):
        log.add("attendance_days", day.key, day.encode())
    return log


def test_each_day_is_listed_with_its_outcome_and_they_are_counted(
    log: MemoryLog, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attendance_days.run(log, None, since=None, as_json=False) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "E1" in shown
    assert "one_punch" in shown
    assert shown.endswith("2 days of Attendance directly: 1 refused (one_punch), 1 written")


def test_json_has_every_field(log: MemoryLog, capsys: pytest.CaptureFixture[str]) -> None:
    attendance_days.run(log, None, since=None, as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert (first["attendance_date"], first["working_hours"], first["in_erpnext"]) == ("2026-03-02", 9.0, None)
    assert (second["outcome"], second["reason"]) == ("refused", "one_punch")


def test_the_audit_names_the_days_that_need_a_look(capsys: pytest.CaptureFixture[str]) -> None:
    days = [
        ComparedDay(record("E1"), "as it should be"),
        ComparedDay(record("E2"), "refused", "changed"),
        ComparedDay(record("E3"), "gone"),
    ]
    attendance_days.show_summary(days)
    assert capsys.readouterr().out.splitlines() == [
        "3 days of Attendance directly: 1 as it should be, 1 gone, 1 refused (changed)",
        "Attendance gone: E3, 2026-03-02, Day",
    ]
    assert attendance_days.needs_a_look(days)
    assert not attendance_days.needs_a_look(days[:2])
    assert [day["employee"] for day in attendance_days.to_json(days)["days"]] == ["E2", "E3"]
