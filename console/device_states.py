"""The state of a device for people: is it heard, late or silent, and since when."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from attendance.fleet import Device
from attendance.records.device_status import DeviceStatus
from attendance.times import from_milliseconds
from attendance.working_hours import WorkingHours, working_time
from console.settings import ConsoleSettings
from console.words import DEVICE_STATES, DeviceState
from ledger.device_statuses import status_of
from operations.devices import WRONG_CLOCK
from operations.facts import StatusFact

_ORDER: Final = {state: number for number, state in enumerate(DEVICE_STATES)}
_PULLS: Final = 3
"""A device that is asked is late after so many intervals."""


class SeenDevice(NamedTuple):
    """A device, and how it is. Thousands are made for a page of a hundred: what only these show is made when asked for.

    Attributes:
        device: Its entry.
        said: What it last said of itself, as a row of the ledger; None where it was never heard.
        state: How it is.
        at: When that is.
        hours: The working hours of its site; None where it works always.
    """

    device: Device
    said: StatusFact | None
    state: DeviceState
    at: datetime
    hours: WorkingHours | None

    @property
    def status(self) -> DeviceStatus | None:
        """What it last said of itself; None where it was never heard."""
        return None if self.said is None else status_of(self.said)

    @property
    def heard_ago(self) -> float | None:
        """How many seconds ago it was heard; None for never."""
        return self._ago(None if self.said is None else self.said.heard_at)

    @property
    def punched_ago(self) -> float | None:
        """How many seconds ago its last punch was made; None where nobody knows."""
        return self._ago(None if self.said is None else self.said.last_event)

    @property
    def has_wrong_clock(self) -> bool:
        """Whether its clock is off by more than a minute."""
        return self.said is not None and abs(self.said.clock_skew or 0) > WRONG_CLOCK

    @property
    def needs_somebody(self) -> bool:
        """Whether somebody should look at it."""
        return self.state in ("silent", "never", "late") or (self.state == "connected" and self.has_wrong_clock)

    def _ago(self, milliseconds: int | None) -> float | None:
        return None if milliseconds is None else (self.at - from_milliseconds(milliseconds)).total_seconds()


def seen_devices(
    fleet: Iterable[Device],
    said: Mapping[str, StatusFact],
    hours: Mapping[str, WorkingHours],
    at: datetime,
    settings: ConsoleSettings,
) -> list[SeenDevice]:
    """Every device, those that need somebody first.

    Args:
        fleet: The devices.
        said: By device_id what each last said of itself.
        hours: By device_id the working hours of its site, where it has some.
        at: What time it is.
        settings: When a device is late, and when silent.
    """
    limits = settings.late_after, settings.silent_after
    seen = []
    for device in fleet:
        fact, of = said.get(device.device_id), hours.get(device.device_id)
        seen.append(SeenDevice(device, fact, _state(device, fact, of, at, *limits), at, of))
    return sorted(seen, key=lambda each: (_ORDER[each.state], not each.has_wrong_clock, each.device.device_id))


def _state(
    device: Device, said: StatusFact | None, hours: WorkingHours | None, at: datetime, late: float, silent: float
) -> DeviceState:
    """How a device is that is late, and silent, after so many seconds."""
    if device.disabled or device.paused:
        return "off" if device.disabled else "paused"
    if said is None:
        return "never"
    if device.interval:
        # A device that is asked is heard when it is asked.
        late, silent = max(late, device.interval * _PULLS), max(silent, device.interval * _PULLS)
    heard_at = from_milliseconds(said.heard_at)
    # A file comes when somebody brings it.
    if device.mode == "file" or (at - heard_at).total_seconds() < late:
        return "connected"
    missed = working_time(hours, heard_at, at).total_seconds()
    # What was missed while the site worked stays missed at night: it is to be mended before the morning.
    if missed >= silent:
        return "silent"
    if hours is not None and not hours.include(at):
        return "outside"
    return "late" if missed >= late else "connected"
