"""When a device is swept: asked for all of the last days, for records that came late to it."""

from datetime import datetime, timedelta
from typing import Final
from zlib import crc32

from attendance.fleet import Device
from attendance.times import from_wall_clock, to_wall_clock

NIGHT: Final = timedelta(hours=1)  # after midnight: when the first sweeps begin
NIGHTS_LENGTH: Final = timedelta(hours=4)


def last_night(device: Device, now: datetime) -> datetime:
    """When the device's nightly sweep was last due.

    Args:
        device: Each device has a time of its own, at night by its wall clock.
        now: The server's clock, UTC.

    Returns:
        UTC, not after `now`.
    """
    into_the_night = NIGHT + crc32(device.device_id.encode()) / 2**32 * NIGHTS_LENGTH
    today = to_wall_clock(now, device.timezone).replace(hour=0, minute=0, second=0)
    due = from_wall_clock(today + into_the_night, device.timezone)
    return due if due <= now else from_wall_clock(today - timedelta(days=1) + into_the_night, device.timezone)
