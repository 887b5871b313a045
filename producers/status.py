"""What may be claimed of a device's completeness. Every way in that hears of a device goes through here."""

from datetime import datetime, timedelta
from typing import Final

from attendance.device_status import DeviceStatus

UNTOLD_CLOCK: Final = timedelta(minutes=5)
"""How far behind the clock may be of a device that does not tell its time."""


def heartbeat(
    device_id: str,
    heard_at: datetime,
    *,
    pending: int | None,
    device_time: datetime | None,
    last_sequence: int | None = None,
) -> DeviceStatus:
    """The status that a heartbeat amounts to.

    A device with nothing pending has handed over every punch that it had dated before the heartbeat. Its punches are
    dated by its own clock, so the earlier of the two clocks counts. One with punches pending, or that does not say,
    claims nothing.

    Args:
        device_id: Of whom.
        heard_at: The server's clock, UTC, when the heartbeat had arrived.
        pending: The punches for which the device has had no acknowledgement.
        device_time: The device's clock when it wrote the heartbeat, UTC; None where it does not tell.
        last_sequence: The number of its newest record.
    """
    until = None
    if pending == 0:
        until = heard_at - UNTOLD_CLOCK if device_time is None else min(heard_at, device_time)
    return DeviceStatus(
        device_id=device_id,
        heard_at=heard_at,
        complete_until=None if until is None else until.replace(microsecond=0),
        pending=pending,
        last_sequence=last_sequence,
    )
