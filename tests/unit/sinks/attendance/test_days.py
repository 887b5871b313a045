"""Which days of a shift have to be looked at, and from where another process reads on."""

from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from attendance_site import SHIFT, at

from attendance.records.attendance_day import AttendanceProgress
from sinks.attendance.days import LONGEST_PAUSE, OVERLAP, OpenDays
from sinks.attendance.policy import Day

BEGINS = date(2026, 3, 1)
CLOCK = at("2026-03-05 12:00")
LATER = at("2026-03-06 12:00")


def row(name: str, modified: str, day: str = "2026-03-02", **fields: Any) -> dict[str, Any]:
    times = {"shift_start": f"{day} 08:00:00", "shift_actual_end": f"{day} 18:00:00"}
    return {"name": name, "employee": "E1", "modified": modified, **times, **fields}


def open_days() -> OpenDays:
    return OpenDays(SHIFT, BEGINS)


def the_day(day: int = 2) -> Day:
    return Day(date(2026, 3, day), "E1", SHIFT)


def test_a_day_is_complete_only_once_the_shift_is_complete_beyond_its_end() -> None:
    days = open_days()
    days.add([row("C1", "2026-03-02 08:00:01.5")])
    assert days.complete(at("2026-03-02 18:00"), CLOCK) == []
    assert days.complete(at("2026-03-02 18:00:01"), CLOCK) == [the_day()]


def test_a_check_in_that_was_taken_in_opens_no_day_a_second_time_unless_it_changed() -> None:
    days = open_days()
    days.add([row("C1", "2026-03-02 08:00:01.5")])
    days.finished(the_day())
    days.add([row("C1", "2026-03-02 08:00:01.5")])
    assert days.complete(LATER, CLOCK) == []
    days.add([row("C1", "2026-03-04 09:00:00")])
    assert days.complete(LATER, CLOCK) == [the_day()]


def test_reading_goes_on_an_overlap_before_the_newest_change() -> None:
    days = open_days()
    days.add([row("C1", "2026-03-02 08:00:00")])
    days.finished(the_day())
    progress = days.advance(CLOCK)
    assert (days.since, progress.modified) == (at("2026-03-02 08:00:00") - OVERLAP,) * 2


def test_a_change_that_is_dated_ahead_of_the_clock_blinds_nobody() -> None:
    days = open_days()
    days.add([row("C1", "2030-01-01 00:00:00")])
    days.finished(the_day())
    assert days.advance(CLOCK).modified == CLOCK - OVERLAP


def test_another_process_begins_before_the_oldest_day_that_is_open() -> None:
    days = open_days()
    days.add([row("C1", "2026-03-02 08:00:00"), row("C2", "2026-03-04 08:00:00", "2026-03-04")])
    days.finished(the_day(4))
    progress = days.advance(CLOCK)
    assert days.since > progress.modified == at("2026-03-02 08:00:00")


def test_an_earlier_first_day_begins_anew_and_a_later_one_goes_on() -> None:
    saved = AttendanceProgress(SHIFT, BEGINS, at("2026-03-04 08:00:00"))
    assert OpenDays.resumed(SHIFT, BEGINS, saved).since == saved.modified
    assert OpenDays.resumed(SHIFT, BEGINS + timedelta(days=1), saved).since == saved.modified
    # A night shift's people may punch in on the evening before.
    assert OpenDays.resumed(SHIFT, BEGINS - timedelta(days=9), saved).since == at("2026-02-19 00:00")


def test_a_day_on_which_erpnext_fails_is_tried_at_growing_intervals_or_once_it_changes() -> None:
    days = open_days()
    days.add([row("C1", "2026-03-02 08:00:00")])
    tried: list[datetime] = []
    clock = CLOCK
    while clock < CLOCK + timedelta(days=2):
        if days.complete(LATER, clock):
            tried.append(clock)
            days.failed(the_day(), clock)
        clock += timedelta(minutes=5)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses == sorted(pauses)
    assert pauses[0] == timedelta(minutes=5)
    assert pauses[-1] == LONGEST_PAUSE
    days.add([row("C1", "2026-03-05 13:00:00")])
    assert days.complete(LATER, clock) == [the_day()]


def test_check_ins_of_days_before_the_first_or_without_times_open_nothing() -> None:
    days = open_days()
    days.add([row("C1", "2026-03-02 08:00:00", "2026-02-28"), row("C2", "2026-03-02 08:00:00", shift_start=None)])
    assert days.complete(LATER, CLOCK) == []
