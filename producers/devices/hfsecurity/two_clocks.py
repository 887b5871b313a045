"""The two clocks of a HeyStar record: an instant, and the wall clock that the terminal shows.

The instant is what counts. Where the wall clock is not what the entry's zone makes of it, the terminal's zone or the
entry's is wrong, and every local day and shift with it.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from attendance.registry import Device
from attendance.times import read_device_time, to_wall_clock
from producers.devices.common.settings import DIFFERS
from producers.devices.hfsecurity.recognition import first

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
    if not isinstance(record, Mapping):
        return None
    instant = str(first(record, _INSTANTS))
    wall_clock = None
    with suppress(ValueError):
        wall_clock = datetime.fromisoformat(str(first(record, _WALL_CLOCKS)).replace("/", "-"))
    time = read_device_time(instant, device.timezone) if instant.isdecimal() else None
    if time is None or wall_clock is None or wall_clock.tzinfo is not None:
        return None
    ahead = wall_clock - to_wall_clock(time, device.timezone)
    if abs(ahead) <= _TOLERANCE:
        return AS_WANTED
    minutes = round(ahead / timedelta(minutes=1))
    return f"{DIFFERS}: its wall clock is {minutes:+} min from that of {device.timezone}"


class Zones:
    """What was last found of each device's zone, so that it is said when it changes."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def news(self, records: Collection[object], device: Device) -> Mapping[str, str]:
        """What records say of their device's zone that was not said before, as a detail of its status.

        Args:
            records: As the terminal wrote them, the oldest first.
            device: Its entry.
        """
        found = next((zone for each in reversed(list(records)) if (zone := zone_of(each, device)) is not None), None)
        if found is None or self._found.get(device.device_id) == found:
            return {}
        self._found[device.device_id] = found
        return {DETAIL: found}
