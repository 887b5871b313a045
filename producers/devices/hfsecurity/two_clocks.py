"""The two clocks of a HeyStar record: an instant, and the wall clock that the terminal shows.

The instant is what counts. Where the wall clock is not what the entry's zone makes of it, the terminal's zone or the
entry's is wrong, and every local day and shift with it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from attendance.fleet import Device
from attendance.logs import Seldom
from attendance.times import read_device_time, to_wall_clock
from producers.devices.common.bodies import given_twice
from producers.devices.common.settings import DIFFERS
from producers.devices.hfsecurity.recognition import first

log = structlog.get_logger(__name__)

DETAIL: Final = "zone"
"""The name of the finding in a device's status."""
AS_WANTED: Final = "as in the fleet file"

_INSTANTS: Final = ("recordTime", "createTime")
_WALL_CLOCKS: Final = ("recordTimeStr", "createTimeStr")
_TOLERANCE: Final = timedelta(minutes=1)


def zone_of(record: object, device: Device) -> str | None:
    """What a record's two clocks say of the terminal's zone; None where it does not have both.

    Args:
        record: As the terminal wrote it.
        device: Its entry.
    """
    if not isinstance(record, dict) or given_twice(record, (*_INSTANTS, *_WALL_CLOCKS)):
        return None
    instant, wall_clock = first(record, _INSTANTS), first(record, _WALL_CLOCKS)
    if instant is None or not isinstance(wall_clock, str) or not str(instant).isdecimal():
        return None
    time = read_device_time(str(instant), device.timezone)
    try:
        ahead = datetime.fromisoformat(wall_clock.strip().replace("/", "-"))
        difference = None if time is None else ahead - to_wall_clock(time, device.timezone)
    except (ValueError, TypeError, OverflowError):  # no wall clock, or one that names its zone
        return None
    if difference is None:
        return None
    if abs(difference) <= _TOLERANCE:
        return AS_WANTED
    minutes = round(difference / timedelta(minutes=1))
    return f"{DIFFERS}: its wall clock is {minutes:+} min from that of {device.timezone}"


class Zones:
    """What was last found of each terminal's zone, so that it is logged when it changes, and once a minute."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._seldom = Seldom()

    def detail(self, records: Sequence[object], device: Device) -> Mapping[str, str]:
        """What records say of their terminal's zone, as a detail of its status; empty where they do not say.

        Args:
            records: As the terminal wrote them, the newest last.
            device: Its entry.
        """
        self._seldom.flush()
        for record in reversed(records):
            found = zone_of(record, device)
            if found is not None:
                break
        else:
            return {}
        before = self._found.get(device.device_id, AS_WANTED)
        self._found[device.device_id] = found
        if found not in (before, AS_WANTED):
            self._say(log.warning, "A terminal's zone is not that of its entry.", device, zone=found)
        elif found != before:
            self._say(log.info, "A terminal's zone is that of its entry again.", device)
        return {DETAIL: found}

    def _say(self, write: Callable[..., object], sentence: str, device: Device, **keys: str) -> None:
        # One cause for both sentences, so that the last of them is how it is.
        self._seldom.say(device.device_id, write, sentence, device_id=device.device_id, **keys)
