"""The zone of a site: what is trusted, what is in doubt, and what a document's creation proves."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from attendance.errors import TargetUnavailable, ZoneInDoubt
from attendance.kafka.records import OutRecord
from attendance.records.site import SiteZone, ZoneState
from attendance.site import (
    CLOCKS_DIFFER,
    Creation,
    ZoneReading,
    ZoneRecords,
    find_doubt,
    known_zone,
    read_zone,
    site_of,
    trusted_zone,
)
from attendance.times import to_wall_clock

AT = datetime(2026, 3, 2, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Client:
    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer

    def site_zone(self) -> str:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def recorded(zone: str, state: ZoneState = "proven", read: str | None = None) -> SiteZone:
    return SiteZone("erpnext", zone, state, AT, "fatima", read, why="it was not so" if state == "in_doubt" else None)


def creation(stamp: str, began: datetime = AT, seconds: float = 1) -> Creation:
    return Creation("C-1", datetime.fromisoformat(stamp), began, began + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("record", "read", "known"),
    [
        (None, "Asia/Riyadh", None),
        (recorded("Asia/Riyadh"), "Asia/Riyadh", "Asia/Riyadh"),
        (recorded("Asia/Riyadh", "accepted"), "Asia/Riyadh", "Asia/Riyadh"),
        (recorded("Asia/Riyadh", "accepted", "Asia/Kolkata"), "Asia/Kolkata", "Asia/Riyadh"),
        (recorded("Asia/Riyadh", "accepted"), None, "Asia/Riyadh"),
        # What failed for another zone says nothing of this one.
        (recorded("Asia/Kolkata", "in_doubt"), "Asia/Riyadh", None),
    ],
)
def test_a_zone_without_doubt_is_known_or_to_be_proven(
    record: SiteZone | None, read: str | None, known: str | None
) -> None:
    reading = ZoneReading(read, None if read else "it is silent")
    assert find_doubt(reading, record) is None
    assert known_zone(reading, record) == known


@pytest.mark.parametrize(
    ("record", "read", "why"),
    [
        (None, None, r"it is silent.*--accept ZONE"),
        (recorded("Asia/Riyadh"), None, "it is silent"),
        (recorded("Asia/Riyadh"), "Asia/Kolkata", r"was Asia/Riyadh \(proven .*is Asia/Kolkata.*--accept Asia/Kolkata"),
        # The same hour today, and not in summer.
        (recorded("Africa/Lagos"), "Europe/Berlin", "was Africa/Lagos"),
        (recorded("Asia/Riyadh", "accepted"), "Asia/Kolkata", r"was Asia/Riyadh \(accepted"),
        (recorded("Asia/Riyadh", "accepted", "Asia/Kolkata"), "Asia/Tokyo", "is Asia/Tokyo"),
        (recorded("Asia/Riyadh", "accepted", "Asia/Riyadh"), None, "it is silent"),
        (recorded("Asia/Kolkata", "in_doubt"), "Asia/Kolkata", "it was not so"),
    ],
)
def test_a_zone_is_in_doubt(record: SiteZone | None, read: str | None, why: str) -> None:
    reading = ZoneReading(read, None if read else "it is silent")
    assert known_zone(reading, record) is None
    with pytest.raises(ZoneInDoubt, match=why):
        trusted_zone(Client(read or ZoneInDoubt("it is silent")), record)


def test_a_zone_that_nobody_has_proven_is_trusted_by_nobody_but_the_sink() -> None:
    with pytest.raises(ZoneInDoubt, match="not proven yet"):
        trusted_zone(Client("Asia/Riyadh"), None)


def test_a_zone_that_does_not_exist_is_not_read_and_a_site_that_is_away_says_nothing() -> None:
    assert read_zone(Client("Mars/Base")).name is None
    with pytest.raises(TargetUnavailable):
        read_zone(Client(TargetUnavailable("503")))


@pytest.mark.parametrize(
    ("stamp", "began", "fits"),
    [
        ("2026-03-02 08:00:00.500000", AT, True),
        ("2026-03-02 07:54:00", AT, True),
        ("2026-03-02 08:06:00", AT, True),
        ("2026-03-02 08:15:00", AT, False),
        ("2026-03-02 07:45:00", AT, False),
        ("2026-03-02 10:30:00", AT, False),
        ("2026-03-01 08:00:00", AT, False),
    ],
)
def test_a_creation_fits_the_zone_that_would_have_dated_it_so(stamp: str, began: datetime, *, fits: bool) -> None:
    assert creation(stamp, began).fits("Asia/Riyadh") is fits


def test_a_request_that_took_long_may_have_been_served_at_any_moment_of_it() -> None:
    assert creation("2026-03-02 08:00:20", seconds=1).fits("Asia/Riyadh")
    assert creation("2026-03-02 08:19:00", seconds=20 * 60).fits("Asia/Riyadh")
    assert not creation("2026-03-02 08:19:00", seconds=60).fits("Asia/Riyadh")


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York", "Pacific/Apia"])
@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - they are given one
    st.timedeltas(SECOND - CLOCKS_DIFFER, CLOCKS_DIFFER - SECOND),
)
def test_every_clock_that_is_nearly_right_fits_its_own_zone(zone: str, began: datetime, skew: timedelta) -> None:
    assert Creation("C", to_wall_clock(began + skew, zone), began, began + timedelta(seconds=1)).fits(zone)


@pytest.mark.parametrize(
    ("began", "stamp"),
    [
        # The clock goes back at 01:00 UTC: the hour from 02:00 is there twice, and a clock may be ahead of ours.
        (datetime(2026, 10, 25, 0, 59, tzinfo=UTC), "2026-10-25 02:01:00"),
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "2026-10-25 02:30:00"),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "2026-10-25 02:30:00"),
        # It goes forward at 01:00 UTC.
        (datetime(2026, 3, 29, 0, 58, tzinfo=UTC), "2026-03-29 03:02:00"),
        (datetime(2026, 3, 29, 1, 2, tzinfo=UTC), "2026-03-29 01:58:00"),
    ],
)
def test_the_hours_in_which_the_clocks_change_are_no_doubt(began: datetime, stamp: str) -> None:
    assert creation(stamp, began).fits("Europe/Berlin")


def test_a_time_that_the_zone_leaves_out_is_of_another_zone() -> None:
    assert not creation("2026-03-29 02:03:00", datetime(2026, 3, 29, 1, 1, tzinfo=UTC)).fits("Europe/Berlin")


def test_the_doubt_names_both_zones() -> None:
    said = creation("2026-03-02 08:00:00").doubt("Asia/Kolkata")
    assert "Asia/Kolkata (UTC+05:30)" in said
    assert "C-1 as in UTC+03:00" in said
    assert "UTC-03:30" in creation("2026-03-02 01:30:00").doubt("Asia/Kolkata")


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://ERP.example.com/", "https://erp.example.com"),
        ("https://erp.example.com:443", "https://erp.example.com"),
        ("http://erp.example.com:8000", "http://erp.example.com:8000"),
        ("http://erp.example.com:80/hr/", "http://erp.example.com/hr"),
    ],
)
def test_a_site_has_one_name_however_its_address_is_spelled(url: str, site: str) -> None:
    assert site_of(url) == site


def test_the_newest_record_of_each_site_counts_and_nothing_is_inherited_from_another() -> None:
    records = ZoneRecords()
    one = recorded("Asia/Riyadh")
    for each in (recorded("Asia/Kolkata"), one):
        records.learn(OutRecord("site", each.key, each.encode()))
    assert (records.get("erpnext"), records.get("https://erp.example.com")) == (one, None)
    with capture_logs() as logs:
        records.learn(OutRecord("site", b"what", b"{}"))
    assert len(logs) == 1
    records.learn(OutRecord("site", one.key, None))
    assert records.get("erpnext") is None
