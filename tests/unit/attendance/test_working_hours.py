"""Working hours: how they are written, and how much of a time lies in them whatever clocks do."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance.times import from_wall_clock
from attendance.working_hours import Span, WorkingHours, parse_spans, working_time

RIYADH = "Asia/Riyadh"
BERLIN = "Europe/Berlin"
OFFICE = "sun-thu 07:00-12:00 13:00-19:00"


def hours(text: str, zone: str = RIYADH) -> WorkingHours:
    return WorkingHours(zone, parse_spans(text))


def at(text: str, zone: str = RIYADH) -> datetime:
    """The first instant at which the wall clock shows this."""
    return from_wall_clock(datetime.fromisoformat(text), zone)


def within(of: WorkingHours, since: str, until: str) -> timedelta:
    return of.within(at(since, of.zone), at(until, of.zone))


def test_a_text_is_weekdays_with_the_spans_of_each() -> None:
    assert parse_spans("Sat-mon 8:30-12:00") == (
        Span(0, 510, 720),
        Span(5, 510, 720),
        Span(6, 510, 720),
    )
    assert parse_spans("mon,wed 22:00-06:00;  fri 00:00-24:00") == (
        Span(0, 1320, 1800),
        Span(2, 1320, 1800),
        Span(4, 0, 1440),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is none of mon, tue, wed, thu, fri, sat, sun"),
        ("monday 07:00-19:00", "'monday' is none of mon, tue"),
        ("mon- 07:00-19:00", "'' is none of mon"),
        ("mon", "mon has no hours, such as sun-thu"),
        ("mon 07:00-19:00;", "'' is none of mon"),
        ("mon 07:00", "'07:00' is no span such as 07:00-19:00"),
        ("mon 7-19", "'7-19' is no span"),
        ("mon 07:60-19:00", "'07:60-19:00' is no span"),
        ("mon 07:00-24:01", "'07:00-24:01' is no span"),
        ("mon 24:00-07:00", "'24:00-07:00' is no span"),
        ("mon 07:00-19:00,20:00-21:00", "is no span"),
        ("mon 07:00-07:00", "07:00-07:00 ends when it begins; a whole day is 00:00-24:00"),
        ("sun-thu 07:00-12:00; tue 13:00-19:00", "tue is there twice"),
        ("mon,sun-tue 07:00-12:00", "mon,sun-tue names a day twice"),
        ("mon \u0660\u0667:00-19:00", "is no span"),
    ],
)
def test_what_is_no_working_hours_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_spans(text)


def test_a_span_includes_its_begin_and_not_its_end() -> None:
    sunday = ("06:59:59", "07:00:00", "11:59:59", "12:00:00", "13:00:00", "19:00:00")
    found = [hours(OFFICE).include(at(f"2026-03-01T{each}")) for each in sunday]
    assert found == [False, True, True, False, True, False]
    assert not hours(OFFICE).include(at("2026-03-06T09:00:00")), "a Friday"


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    night = hours("thu 22:00-06:00")
    assert night.include(at("2026-03-06T05:59:59"))
    assert not night.include(at("2026-03-06T06:00:00"))
    assert not night.include(at("2026-03-06T23:00:00"))
    assert within(night, "2026-03-01T00:00", "2026-03-08T00:00") == timedelta(hours=8)
    assert within(night, "2026-03-06T01:00", "2026-03-06T12:00") == timedelta(hours=5)


def test_of_a_night_and_a_weekend_nothing_counts() -> None:
    office = hours(OFFICE)
    assert within(office, "2026-03-05T19:00", "2026-03-08T07:00") == timedelta()
    assert within(office, "2026-03-05T18:50", "2026-03-08T07:10") == timedelta(minutes=20)
    assert within(office, "2026-03-01T00:00", "2026-03-08T00:00") == timedelta(hours=55)


def test_spans_of_neighbouring_days_that_overlap_count_once() -> None:
    both = hours("mon 20:00-08:00; tue 06:00-10:00 09:00-11:00")
    assert within(both, "2026-03-02T00:00", "2026-03-04T00:00") == timedelta(hours=15)


@pytest.mark.parametrize(
    ("day", "length", "text"),
    [
        ("2026-03-28", 7, "sat 22:00-06:00"),  # clocks go forward at 2:00
        ("2026-10-24", 9, "sat 22:00-06:00"),  # and back at 3:00
        ("2026-03-28", 4.5, "sat 22:00-02:30"),  # which that night does not have: half an hour after the change
        ("2026-10-24", 4.5, "sat 22:00-02:30"),  # which it has twice: the first one
        ("2026-10-24", 6.5, "sat 22:00-03:30"),
    ],
)
def test_a_night_in_which_clocks_change_is_as_long_as_it_was(day: str, length: float, text: str) -> None:
    of = hours(text, BERLIN)
    noon = at(f"{day}T12:00", BERLIN)
    assert of.within(noon, noon + timedelta(days=1)) == timedelta(hours=length)


def test_the_wall_clock_of_the_site_counts_in_summer_and_winter() -> None:
    of = hours("mon-fri 08:00-16:00", BERLIN)
    assert of.include(datetime(2026, 1, 5, 7, 30, tzinfo=UTC))
    assert not of.include(datetime(2026, 7, 6, 14, 30, tzinfo=UTC))
    assert of.include(datetime(2026, 7, 6, 6, 30, tzinfo=UTC))


def test_without_working_hours_all_time_counts() -> None:
    begin = at("2026-03-06T00:00")
    assert working_time(None, begin, begin + timedelta(days=2)) == timedelta(days=2)
    assert working_time(None, begin, begin - timedelta(days=2)) == timedelta()
    assert working_time(hours(OFFICE), begin, begin - timedelta(days=2)) == timedelta()


@given(
    st.integers(0, 330 * 86400).map(lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)),
    st.lists(st.timedeltas(timedelta(), timedelta(days=9)), min_size=2, max_size=2),
    st.sampled_from([OFFICE, "sat 22:00-06:00; sun 05:00-14:00", "mon-sun 00:00-24:00", "mon 20:00-19:59"]),
    st.sampled_from([RIYADH, BERLIN, "America/St_Johns", "Australia/Lord_Howe"]),
)
def test_time_in_two_parts_has_the_working_time_of_both(
    begin: datetime, lengths: list[timedelta], text: str, zone: str
) -> None:
    of = hours(text, zone)
    middle = begin + lengths[0]
    end = middle + lengths[1]
    assert of.within(begin, end) == of.within(begin, middle) + of.within(middle, end)
    assert timedelta() <= of.within(begin, end) <= end - begin


def test_the_week_by_its_spans() -> None:
    assert hours("sun-thu 07:00-12:00 13:00-19:00; sat 22:00-06:00").by_spans() == {
        "07:00-12:00 13:00-19:00": [0, 1, 2, 3, 6],
        "22:00-06:00": [5],
    }
