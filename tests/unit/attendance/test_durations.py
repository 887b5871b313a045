"""Durations are read as people write them, and are written so that they can be read back."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance.durations import format_seconds, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60),
        ("+60", 60),
        ("0.5", 0.5),
        ("30 s", 30),
        ("90s", 90),
        ("2 sec", 2),
        ("1 second", 1),
        ("5m", 300),
        ("5 min", 300),
        (" 1.5 minutes ", 90),
        ("12 h", 43_200),
        ("1 hour", 3600),
        ("90d", 7_776_000),
        ("1 day", 86_400),
        ("90 Days", 7_776_000),
    ],
)
def test_a_duration_is_a_number_with_or_without_a_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


def test_a_plain_number_is_in_the_unit_that_the_caller_names_and_a_unit_goes_before_it() -> None:
    assert parse_seconds("3", plain=86_400) == 259_200
    assert parse_seconds("3 h", plain=86_400) == 10_800


@pytest.mark.parametrize(
    "text", ["", "s", "soon", "-5", "5 weeks", "1e3", "nan", "inf", "5m 3s", "1,5 h", "٣ s", "5 s s"]
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as 30 s, 5 min, 12 h or 90 days"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.5, "0.5 s"), (45, "45 s"), (90, "90 s"), (300, "5 min"), (5400, "90 min"), (86_400, "1 day")],
)
def test_a_duration_is_written_in_the_largest_unit_of_which_it_is_a_whole_number(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@given(st.integers(0, 10**10) | st.floats(0.001, 10**6).map(lambda seconds: round(seconds, 3)))
def test_what_is_written_is_read_back_as_the_same_duration(seconds: float) -> None:
    assert parse_seconds(format_seconds(seconds)) == seconds


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_refused_and_nothing_is_negative(text: str) -> None:
    with suppress(ValueError):
        assert parse_seconds(text) >= 0
