"""Reading a terminal's wall clock, and the times on the wire."""

import zoneinfo
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendance.errors import ConfigurationError
from attendance.times import (
    earliest_wall_clock,
    format_milliseconds,
    format_seconds,
    from_wall_clock,
    now,
    parse_utc,
    read_device_time,
    to_wall_clock,
    zone,
)

ZONES = ("Asia/Riyadh", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca")
AT_FIVE = datetime(2026, 1, 1, 5, tzinfo=UTC)

zones = st.sampled_from(ZONES)
instants = st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - hypothesis adds the zone
    lambda instant: instant.replace(microsecond=0)
)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01 08:00:00",
        "2026-01-01T08:00:00",
        "2026-01-01T08:00",
        "2026/01/01 08:00:00",
        "  2026-01-01 08:00:00  ",
        "2026-01-01 08:00:00.999",
        "2026-01-01T08:00:00+03:00",
        "2026-01-01T05:00:00Z",
        "2026-01-01T00:00:00-05:00",
        "1767243600",
        "1767243600000",
        "1767243600999",
    ],
)
def test_a_device_time_is_read_in_the_zone_of_the_device(text: str) -> None:
    assert read_device_time(text, "Asia/Riyadh") == AT_FIVE


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "2026-01-01",
        "08:00:00",
        "2026-01-01 25:00:00",
        "2026-02-30 08:00:00",
        "0000-00-00 00:00:00",
        "01/02/2026 08:00:00",
        "01.02.2026 08:00:00",
        "20260101T080000",
        "-1767243600",
        "17672436.00",
        "no battery at all",
        "²²²²²²²²²²",
        "9" * 30,
        "9" * 5000,
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
    ],
)
def test_what_is_no_time_is_none_and_not_a_guess(text: str) -> None:
    assert read_device_time(text, "Asia/Riyadh") is None


@given(st.text() | st.text("0123456789-/:T Z+.", max_size=30), zones)
@settings(deadline=None)
def test_no_text_raises(text: str, name: str) -> None:
    instant = read_device_time(text, name)
    assert instant is None or (instant.tzinfo is UTC and instant.microsecond == 0)


@pytest.mark.parametrize(
    ("name", "wall_clock", "instant"),
    [
        # Skipped: 02:00 to 03:00 on 29 March, 02:00 to 03:00 on 8 March, half an hour on 4 October.
        ("Europe/Berlin", "2026-03-29 02:30:00", "2026-03-29T01:30:00Z"),
        ("America/New_York", "2026-03-08 02:30:00", "2026-03-08T07:30:00Z"),
        ("Australia/Lord_Howe", "2026-10-04 02:15:00", "2026-10-03T15:45:00Z"),
        # Twice: the first of the two.
        ("Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T00:30:00Z"),
        ("America/New_York", "2026-11-01 01:30:00", "2026-11-01T05:30:00Z"),
        # The hours beside them.
        ("Europe/Berlin", "2026-03-29 01:59:59", "2026-03-29T00:59:59Z"),
        ("Europe/Berlin", "2026-03-29 03:00:00", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-10-25 01:59:59", "2026-10-24T23:59:59Z"),
        ("Europe/Berlin", "2026-10-25 03:00:00", "2026-10-25T02:00:00Z"),
    ],
)
def test_at_a_change_of_clocks_the_offset_before_it_is_used(name: str, wall_clock: str, instant: str) -> None:
    assert read_device_time(wall_clock, name) == parse_utc(instant)


def test_a_fold_that_the_caller_set_changes_nothing() -> None:
    ambiguous = datetime(2026, 10, 25, 2, 30, fold=1)  # noqa: DTZ001 - a wall clock
    assert from_wall_clock(ambiguous, "Europe/Berlin") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@given(instants, zones)
@settings(deadline=None)
def test_a_wall_clock_leads_back_to_the_instant_or_to_the_first_of_two(instant: datetime, name: str) -> None:
    wall_clock = to_wall_clock(instant, name)
    back = from_wall_clock(wall_clock, name)
    assert back <= instant
    assert to_wall_clock(back, name) == wall_clock
    assert back == instant or instant.astimezone(zone(name)).fold == 1


@given(instants, zones)
@settings(deadline=None)
def test_an_epoch_is_read_alike_in_seconds_and_milliseconds_and_in_every_zone(instant: datetime, name: str) -> None:
    seconds = int(instant.timestamp())
    assert read_device_time(str(seconds), name) == instant
    assert read_device_time(str(seconds * 1000), name) == instant


@given(instants, zones)
@settings(deadline=None)
def test_every_written_form_of_an_instant_is_read_as_that_instant(instant: datetime, name: str) -> None:
    local = instant.astimezone(zone(name))
    assert read_device_time(local.isoformat(), name) == instant
    assert read_device_time(format_seconds(instant), name) == instant


def test_a_wall_clock_has_whole_seconds_and_no_zone() -> None:
    instant = datetime(2026, 7, 1, 12, 0, 0, 999_999, tzinfo=UTC)
    assert to_wall_clock(instant, "Europe/Berlin") == datetime(2026, 7, 1, 14)  # noqa: DTZ001 - a wall clock


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds
    st.integers(0, 3 * 86400),
    st.sampled_from(["Europe/London", "America/St_Johns", "Australia/Lord_Howe", "Asia/Riyadh", "Africa/Casablanca"]),
)
@settings(deadline=None)
def test_no_wall_clock_shows_an_earlier_time_afterwards_than_the_earliest(
    instant: datetime, seconds: int, name: str
) -> None:
    earliest = earliest_wall_clock(instant, name)
    assert to_wall_clock(instant + timedelta(seconds=seconds), name) >= earliest
    assert to_wall_clock(instant, name) - earliest <= timedelta(hours=1), "and it holds nothing back for long"


@given(st.datetimes(timezones=st.just(UTC)))
@settings(deadline=None)
def test_the_formats_are_read_back(instant: datetime) -> None:
    assert parse_utc(format_seconds(instant)) == instant.replace(microsecond=0)
    assert parse_utc(format_milliseconds(instant)) == instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def test_the_formats_are_utc_whatever_the_zone() -> None:
    instant = datetime(2026, 1, 1, 8, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=3)))
    assert format_seconds(instant) == "2026-01-01T05:00:00Z"
    assert format_milliseconds(instant) == "2026-01-01T05:00:00.123Z"


def test_the_year_has_four_digits_even_when_it_is_the_first() -> None:
    assert format_seconds(datetime(1, 1, 2, tzinfo=UTC)) == "0001-01-02T00:00:00Z"


@pytest.mark.parametrize("text", ["", "soon", "2026-01-01T05:00:00", "2026-01-01", "0001-01-01T00:00:00+05:00"])
def test_a_text_that_names_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_utc(text)


@pytest.mark.parametrize("name", ["", "Riyadh", "Asia", "../../etc/passwd", "GMT+3", "Asia/Riyadh\n"])
def test_what_is_no_zone_is_a_wrong_setting(name: str) -> None:
    with pytest.raises(ConfigurationError, match="IANA"):
        zone(name)


def test_the_clock_of_the_server_is_utc() -> None:
    assert now().tzinfo is UTC


def test_the_zones_are_those_of_the_package_whatever_the_system_has(tmp_path: Path) -> None:
    wrong = tmp_path / "Asia" / "Riyadh"
    wrong.parent.mkdir()
    wrong.write_bytes(files("tzdata").joinpath("zoneinfo", "America", "New_York").read_bytes())
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path)])
    zone.cache_clear()
    try:
        assert noon.astimezone(zoneinfo.ZoneInfo.no_cache("Asia/Riyadh")).hour == 7, "it would be read"
        assert noon.astimezone(zone("Asia/Riyadh")).hour == 15
    finally:
        zoneinfo.reset_tzpath(before)
        zone.cache_clear()


def test_every_zone_of_the_package_is_known_by_its_name() -> None:
    names = files("tzdata").joinpath("zones").read_text().split()
    assert len(names) > 500
    assert [zone(name).key for name in names] == names


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../zones", "/etc/localtime", "Asia", "Asia/", "Asia//Riyadh", "Riyadh", "a\0b", "é"]
)
def test_what_is_no_zone_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an IANA time zone"):
        zone(name)
