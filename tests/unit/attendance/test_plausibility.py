"""Whether a time may be true, for the stream and for the preview of a file alike."""

from datetime import UTC, date, datetime, timedelta

import pytest
from msgspec.structs import replace

from attendance.errors import ConfigurationError, Reason
from attendance.fleet import Device
from attendance.plausibility import TimeFault, find_time_fault
from attendance.records.raw_event import RawEvent, Source

ARRIVED = datetime(2026, 3, 2, 12, tzinfo=UTC)
EVENT = RawEvent(
    device_id="D1",
    site="riyadh",
    device_user_id="0417",
    event_type="IN",
    event_time=ARRIVED,
    device_time="2026-03-02 15:00:00",
    device_timezone="Asia/Riyadh",
    received_at=ARRIVED,
    source=Source("push", "json"),
)


def fault(event: RawEvent, installed_on: date | None = None) -> TimeFault | None:
    device = Device.model_validate(
        {"device_id": "D1", "site": "riyadh", "timezone": "Asia/Riyadh", "installed_on": installed_on, "serial": "S1"}
    )
    found = find_time_fault(event, device, future_tolerance=300)
    return found and found.fault


@pytest.mark.parametrize(
    ("ahead", "found"), [(timedelta(seconds=300), None), (timedelta(seconds=300, milliseconds=1), TimeFault.AHEAD)]
)
def test_a_time_may_be_ahead_of_its_arrival_by_the_tolerance(ahead: timedelta, found: TimeFault | None) -> None:
    assert fault(replace(EVENT, event_time=ARRIVED + ahead)) is found


@pytest.mark.parametrize(
    ("zone", "time", "found"),
    [
        # Midnight of the device's own wall clock, east and west of Greenwich.
        ("Asia/Riyadh", "2026-02-28T21:00:00", None),
        ("Asia/Riyadh", "2026-02-28T20:59:59", TimeFault.BEFORE_INSTALLED),
        ("America/Bogota", "2026-03-01T05:00:00", None),
        ("America/Bogota", "2026-03-01T04:59:59", TimeFault.BEFORE_INSTALLED),
        ("America/Bogota", "0001-01-01T00:00:00", TimeFault.BEFORE_INSTALLED),
    ],
)
def test_the_day_of_installation_begins_at_the_devices_midnight(zone: str, time: str, found: TimeFault | None) -> None:
    event = replace(EVENT, event_time=datetime.fromisoformat(f"{time}+00:00"), device_timezone=zone)
    assert fault(event, date(2026, 3, 1)) is found


def test_a_device_of_which_nothing_is_known_was_not_there_before_2016() -> None:
    assert fault(replace(EVENT, event_time=datetime(2015, 12, 31, 12, tzinfo=UTC))) is TimeFault.BEFORE_INSTALLED
    assert fault(replace(EVENT, event_time=datetime(2016, 1, 1, 12, tzinfo=UTC))) is None
    unknown = find_time_fault(replace(EVENT, event_time=datetime(2000, 1, 1, tzinfo=UTC)), None, 300)
    assert unknown is not None
    assert (unknown.reason, unknown.message) == (
        Reason.IMPLAUSIBLE_TIME,
        "2000-01-01T00:00:00Z is before the device was installed",
    )


def test_no_punch_is_older_than_the_seconds_of_its_record_whatever_the_fleet_file_says() -> None:
    before, after = (replace(EVENT, event_time=datetime(*day, tzinfo=UTC)) for day in ((1969, 12, 31), (1970, 1, 5)))
    assert fault(before, date(1900, 1, 1)) is TimeFault.BEFORE_INSTALLED
    assert fault(after, date(1900, 1, 1)) is None


def test_a_time_that_could_not_be_read_is_none() -> None:
    unreadable = find_time_fault(replace(EVENT, event_time=None, device_time="soon"), None, 300)
    assert unreadable is not None
    assert (unreadable.reason, unreadable.message) == (Reason.UNREADABLE_TIME, "device time 'soon' is not a time")


def test_a_zone_that_is_not_known_here_is_an_error_and_no_verdict() -> None:
    with pytest.raises(ConfigurationError, match="Mars"):
        fault(replace(EVENT, device_timezone="Mars/Olympus"))
