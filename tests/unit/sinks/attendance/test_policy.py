"""What the Attendance of a day should be, and what is done about the one that ERPNext has."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attendance.fleet import Shift
from attendance.times import from_wall_clock, to_wall_clock
from sinks.attendance.policy import (
    MARKER,
    Day,
    Expected,
    Facts,
    Keep,
    Refuse,
    Row,
    Write,
    decide,
    expected_attendance,
    revision,
)


def at(text: str) -> datetime:
    """A naive time of the site."""
    return datetime.fromisoformat(text)


RIYADH = "Asia/Riyadh"
US = "punchstream@example.com"
DAY = Day(date(2026, 3, 2), "HR-EMP-00001", "Day Shift")
IN, OUT = at("2026-03-02 08:00"), at("2026-03-02 17:00")
WROTE = "2026-03-03 00:10:00.123456"


def shift(**fields: Any) -> Shift:
    return Shift.model_validate({"shift_type": "Day Shift", "attendance": "direct", **fields})


def facts(*times: datetime, **fields: Any) -> Facts:
    return Facts(times, max(times, default=None), **fields)


def row(**fields: Any) -> Row:
    """Our Attendance of the day, as we wrote it."""
    ours: dict[str, Any] = dict.fromkeys(("owner", "modified_by"), US) | dict.fromkeys(("creation", "modified"), WROTE)
    ours |= {"name": "HR-ATT-2026-00001", "docstatus": 1, "status": "Present", "shift": "Day Shift"}
    ours |= {"in_time": str(IN), "out_time": str(OUT), "working_hours": 9.0, "punchstream_day": DAY.marker()}
    return ours | fields


def decision(found: Facts, **fields: Any) -> object:
    return decide(DAY, found, shift(**fields), RIYADH, US)


def test_the_first_and_the_last_punch_of_a_day_are_its_times() -> None:
    noon = at("2026-03-02 12:00")
    assert expected_attendance([noon, OUT, IN], shift(), RIYADH) == Expected("Present", IN, OUT, 9.0)


@given(st.lists(st.datetimes(IN, OUT).map(lambda time: time.replace(microsecond=0)), min_size=2), st.randoms())
def test_the_order_in_which_punches_come_changes_nothing(times: list[datetime], random: Any) -> None:
    shuffled = random.sample(times, len(times))
    assert expected_attendance(shuffled, shift(half_day_below="4 h"), RIYADH) == expected_attendance(
        times, shift(half_day_below="4 h"), RIYADH
    )


@given(st.integers(1, 24 * 3600 - 1))
@example(4 * 3600)
@example(4 * 3600 - 1)
def test_a_day_is_a_half_day_below_the_threshold_and_present_from_it_on(seconds: int) -> None:
    expected = expected_attendance([IN, IN + timedelta(seconds=seconds)], shift(half_day_below="4 h"), RIYADH)
    assert expected is not None
    assert expected.status == ("Half Day" if seconds < 4 * 3600 else "Present")
    assert expected.working_hours == round(seconds / 3600, 2)


@given(
    st.datetimes(at("2026-01-01 00:00"), at("2026-12-31 00:00")),
    st.integers(1, 16 * 3600),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Riyadh", "Australia/Lord_Howe"]),
)
def test_working_hours_are_those_that_passed_also_where_clocks_change(
    start: datetime, seconds: int, zone_name: str
) -> None:
    begin = from_wall_clock(start.replace(microsecond=0), zone_name)
    end = begin + timedelta(seconds=seconds)
    wall = [to_wall_clock(begin, zone_name), to_wall_clock(end, zone_name)]
    if [from_wall_clock(each, zone_name) for each in wall] != [begin, end] or wall[0] >= wall[1]:
        return  # an hour that the clock shows twice: which of the two it was stands nowhere
    expected = expected_attendance(wall, shift(), zone_name)
    assert expected is not None
    assert expected.working_hours == round(seconds / 3600, 2)


def test_a_night_on_which_clocks_go_back_has_the_hour_that_they_show_twice() -> None:
    night = [at("2026-10-24 22:00"), at("2026-10-25 06:00")]
    assert expected_attendance(night, shift(), "Europe/Berlin") == Expected("Present", *night, 9.0)


@pytest.mark.parametrize(
    ("option", "status"), [("none", None), ("half_day", "Half Day"), ("present", "Present")], ids=str
)
def test_a_day_with_one_punch_is_what_the_entry_says(option: str, status: str | None) -> None:
    expected = expected_attendance([IN, IN], shift(one_punch=option), RIYADH)
    assert expected == (None if status is None else Expected(status, IN, None, 0.0))  # type: ignore[arg-type]


def test_a_day_without_an_attendance_gets_one() -> None:
    assert decision(facts(IN, OUT)) == Write(
        Expected("Present", IN, OUT, 9.0), "HR-EMP-00001|Day Shift|2026-03-02", None, None
    )


def test_an_attendance_that_is_as_it_should_be_stays_whatever_came_after() -> None:
    assert decision(facts(IN, OUT, attendances=[row()], paid=True, on_leave=True)) == Keep(row())


def test_a_late_punch_cancels_ours_and_writes_the_next_revision() -> None:
    late = at("2026-03-02 19:00")
    assert decision(facts(IN, OUT, late, attendances=[row()])) == Write(
        Expected("Present", IN, late, 11.0), f"{DAY.marker()}|2", row(), "HR-ATT-2026-00001"
    )


def test_one_that_we_cancelled_and_did_not_replace_is_replaced() -> None:
    cancelled = row(docstatus=2, modified="2026-03-04 01:00:00")
    assert decision(facts(IN, OUT, attendances=[cancelled])) == Write(
        Expected("Present", IN, OUT, 9.0), f"{DAY.marker()}|2", None, "HR-ATT-2026-00001"
    )


LATER = "2026-03-03 09:00:00"
HR = "hr@example.com"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"attendances": [row(modified=LATER, modified_by=HR)]}, "changed"),
        # Somebody who works as our user, or a hook, is not us either.
        ({"attendances": [row(modified=LATER)]}, "changed"),
        ({"attendances": [row(modified_by=HR)]}, "changed"),
        ({"attendances": [row(docstatus=0)]}, "changed"),
        ({"attendances": [row(owner=HR)]}, "changed"),
        ({"attendances": [row(modified=LATER, leave_application="HR-LAP-1")]}, "leave"),
        ({"attendances": [row(punchstream_day=None)]}, "marked"),
        ({"attendances": [row(punchstream_day=None, owner=HR, shift=None)]}, "marked"),
        ({"attendances": [row(punchstream_day=None, shift=None, leave_type="Sick")]}, "leave"),
        ({"attendances": [row(), row(name="HR-ATT-2", punchstream_day=None)]}, "marked"),
        ({"attendances": [row(docstatus=2, modified=LATER, modified_by=HR)]}, "cancelled"),
        ({"employed": False}, "employee"),
        ({"on_leave": True}, "leave"),
        ({"holiday": True}, "holiday"),
        ({"paid": True}, "paid"),
        ({"attendances": [row()], "paid": True}, "paid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_person_or_payroll_has_decided_stays(found: dict[str, Any], reason: str) -> None:
    refused = decision(facts(IN, at("2026-03-02 19:00"), **found))
    assert isinstance(refused, Refuse)
    assert refused.reason == reason


def test_an_attendance_of_another_shift_or_one_that_a_person_cancelled_without_our_marker_is_in_nobodys_way() -> None:
    others = [row(shift="Evening", punchstream_day=None), row(docstatus=2, punchstream_day=None, modified_by=HR)]
    assert isinstance(decision(facts(IN, OUT, attendances=others)), Write)


def test_a_day_with_one_punch_is_listed_and_ours_stays_when_only_one_is_left() -> None:
    assert decision(facts(IN)) == Refuse("one_punch")
    assert decision(facts(IN, attendances=[row()])) == Refuse("one_punch", row())


def test_a_day_whose_punches_are_gone_is_listed_only_if_we_wrote_it() -> None:
    assert decision(facts()) is None
    assert decision(facts(attendances=[row(punchstream_day=None)])) is None
    assert decision(facts(attendances=[row()])) == Refuse("no_punch", row())


@given(st.lists(st.sampled_from([IN, OUT, IN + timedelta(hours=2), OUT + timedelta(hours=1)]), min_size=1))
def test_absent_is_never_written(times: list[datetime]) -> None:
    found = decision(facts(*times), half_day_below="8 h", one_punch="half_day")
    assert isinstance(found, Write)
    assert found.expected.status in {"Present", "Half Day"}


@given(st.text(min_size=1, max_size=140), st.text(min_size=1, max_size=140), st.integers(1, 9999))
def test_a_marker_fits_into_a_field_and_says_its_revision(employee: str, shift_type: str, number: int) -> None:
    day = Day(date(2026, 3, 2), employee, shift_type)
    marker = day.marker(number)
    assert len(marker) <= 140
    assert revision({MARKER: marker}) == number
