"""The state of a device for people: is it heard, late or silent, and since when."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from attendance.fleet import Device
from attendance.records.device_status import DeviceStatus
from attendance.working_hours import WorkingHours, working_time
from console.settings import ConsoleSettings
from console.words import DEVICE_STATES, DeviceState
from operations.devices import WRONG_CLOCK

_ORDER: Final = list(DEVICE_STATES)
_PULLS: Final = 3
"""A device that is asked is late after so many intervals."""


@dataclass(frozen=True, slots=True)
class SeenDevice:
    """A device, and how it is.

    Attributes:
        device: Its entry.
        status: What it last said of itself; None where it was never heard.
        state: How it is.
        heard_ago: How many seconds ago it was heard; None for never.
        punched_ago: How many seconds ago its last punch was made; None where nobody knows.
        hours: The working hours of its site; None where it works always.
    """

    device: Device
    status: DeviceStatus | None
    state: DeviceState
    heard_ago: float | None
    punched_ago: float | None
    hours: WorkingHours | None

    @property
    def has_wrong_clock(self) -> bool:
        """Whether its clock is off by more than a minute."""
        return self.status is not None and abs(self.status.clock_skew or 0) > WRONG_CLOCK

    @property
    def needs_somebody(self) -> bool:
        """Whether somebody should look at it."""
        return self.state in ("silent", "never", "late") or (self.state == "connected" and self.has_wrong_clock)


def seen_devices(
    fleet: Iterable[Device],
    statuses: Mapping[str, DeviceStatus],
    hours: Mapping[str, WorkingHours],
    at: datetime,
    settings: ConsoleSettings,
) -> list[SeenDevice]:
    """Every device, those that need somebody first.

    Args:
        fleet: The devices.
        statuses: By device_id what each last said of itself.
        hours: By device_id the working hours of its site, where it has some.
        at: What time it is.
        settings: When a device is late, and when silent.
    """
    seen = [_seen(each, statuses.get(each.device_id), hours.get(each.device_id), at, settings) for each in fleet]
    return sorted(seen, key=lambda each: (_ORDER.index(each.state), not each.has_wrong_clock, each.device.device_id))


def _seen(
    device: Device, status: DeviceStatus | None, hours: WorkingHours | None, at: datetime, settings: ConsoleSettings
) -> SeenDevice:
    heard_ago = None if status is None else (at - status.heard_at).total_seconds()
    last = None if status is None or status.last_event is None else (at - status.last_event).total_seconds()
    return SeenDevice(device, status, _state(device, status, hours, at, settings), heard_ago, last, hours)


def _state(
    device: Device, status: DeviceStatus | None, hours: WorkingHours | None, at: datetime, settings: ConsoleSettings
) -> DeviceState:
    if device.disabled or device.paused:
        return "off" if device.disabled else "paused"
    if status is None:
        return "never"
    # A file comes when somebody brings it, and a device that is asked is heard when it is asked.
    asked = timedelta(seconds=(device.interval or 0) * _PULLS)
    late, silent = max(settings.late, asked), max(settings.silent, asked)
    if device.mode == "file" or at - status.heard_at < late:
        return "connected"
    missed = working_time(hours, status.heard_at, at)
    # What was missed while the site worked stays missed at night: it is to be mended before the morning.
    if missed >= silent:
        return "silent"
    if hours is not None and not hours.include(at):
        return "outside"
    return "late" if missed >= late else "connected"
