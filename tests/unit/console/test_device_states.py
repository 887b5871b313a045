"""When a device is late or silent for people, by the working hours of its site."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from attendance.fleet import Device
from attendance.records.device_status import DeviceStatus
from attendance.times import from_wall_clock
from attendance.working_hours import WorkingHours, parse_spans
from console.device_states import SeenDevice, seen_devices
from console.settings import ConsoleSettings
from operations.fact_reading import milliseconds
from operations.facts import StatusFact

ZONE = "Asia/Riyadh"
OFFICE = "sun-thu 07:00-12:00 13:00-19:00"
SETTINGS = ConsoleSettings(_env_file=None, late_after=900, silent_after=3600)  # type: ignore[call-arg]


def at(text: str) -> datetime:
    return from_wall_clock(datetime.fromisoformat(text), ZONE)


def fact(heard_at: int, last_event: int | None = None, skew: int | None = None) -> StatusFact:
    return StatusFact(0, 0, "D1", heard_at, heard_at, last_event, 3, None, None, skew, None, '{"serial":"S1"}')


def seen(heard_at: str | None, now: str, hours: str | None = OFFICE, **fields: Any) -> SeenDevice:
    device = Device.model_validate({"device_id": "D1", "site": "hq", "timezone": ZONE, "serial": "S1", **fields})
    said = {} if heard_at is None else {"D1": fact(milliseconds(at(heard_at)))}
    of = {} if hours is None else {"D1": WorkingHours(ZONE, parse_spans(hours))}
    (found,) = seen_devices([device], said, of, at(now), SETTINGS)
    return found


@pytest.mark.parametrize(
    ("heard_at", "now", "state"),
    [
        # 2026-03-01 is a Sunday.
        ("2026-03-01T18:50", "2026-03-01T19:01", "connected"),
        ("2026-03-01T18:50", "2026-03-01T19:30", "outside"),
        ("2026-03-01T18:50", "2026-03-02T06:59", "outside"),
        ("2026-03-01T18:50", "2026-03-02T07:04", "connected"),
        ("2026-03-01T18:50", "2026-03-02T07:06", "late"),
        ("2026-03-01T18:50", "2026-03-02T07:51", "silent"),
        ("2026-03-01T11:50", "2026-03-01T12:30", "outside"),
        ("2026-03-05T19:00", "2026-03-07T23:00", "outside"),
        ("2026-03-05T19:00", "2026-03-08T07:10", "connected"),
        ("2026-03-01T18:40", "2026-03-01T21:00", "outside"),
        ("2026-03-01T10:00", "2026-03-01T21:00", "silent"),
        ("2026-03-01T21:00", "2026-03-01T21:10", "connected"),
        (None, "2026-03-01T21:00", "never"),
    ],
    ids=[
        "just heard before the evening",
        "evening",
        "early morning",
        "the first minutes of a day do not begin with last night",
        "late in the morning",
        "silent in the morning",
        "lunch",
        "weekend",
        "after a weekend",
        "late when the day ended",
        "silent since the morning stays silent at night",
        "heard at night",
        "never heard",
    ],
)
def test_only_working_hours_count(heard_at: str | None, now: str, state: str) -> None:
    assert seen(heard_at, now).state == state


def test_without_working_hours_every_hour_counts() -> None:
    assert seen("2026-03-01T18:50", "2026-03-01T19:30", None).state == "late"
    assert seen("2026-03-01T18:50", "2026-03-02T03:00", None).state == "silent"


def test_ages_are_shown_by_the_clock() -> None:
    assert (
        seen("2026-03-05T19:00", "2026-03-08T07:10").heard_ago
        == timedelta(days=2, hours=12, minutes=10).total_seconds()
    )


def test_what_a_device_said_is_there_for_whoever_shows_it() -> None:
    device = Device.model_validate({"device_id": "D1", "site": "hq", "timezone": ZONE, "serial": "S1"})
    heard_at, last_event = at("2026-03-01T10:00"), at("2026-03-01T09:00")
    said = {"D1": fact(milliseconds(heard_at), milliseconds(last_event), 61)}
    (found,) = seen_devices([device], said, {}, at("2026-03-01T10:01"), SETTINGS)
    assert (found.heard_ago, found.punched_ago, found.has_wrong_clock) == (60, 3660, True)
    assert found.status == DeviceStatus("D1", heard_at, None, 3, None, 61, {"serial": "S1"}, last_event)
    (unheard,) = seen_devices([device], {}, {}, at("2026-03-01T10:01"), SETTINGS)
    assert (unheard.heard_ago, unheard.punched_ago, unheard.has_wrong_clock, unheard.status) == (
        None,
        None,
        False,
        None,
    )


def test_whoever_is_outside_of_working_hours_needs_nobody() -> None:
    assert not seen("2026-03-01T18:50", "2026-03-02T03:00").needs_somebody
    assert seen("2026-03-01T10:00", "2026-03-01T21:00").needs_somebody


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"disabled": True}, "off"),
        ({"mode": "file", "adapter": "csv"}, "connected"),
        ({"mode": "pull", "adapter": "zkteco_tcp", "interval": 7200}, "connected"),
    ],
)
def test_what_is_not_expected_to_be_heard_is_not_silent(fields: dict[str, Any], state: str) -> None:
    assert seen("2026-03-01T08:00", "2026-03-01T11:00", **fields).state == state
