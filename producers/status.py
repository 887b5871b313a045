"""What may be claimed of a device's completeness. Every way in that hears of a device goes through here."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from attendance.device_status import DeviceStatus
from producers.devices.base import Heard
from producers.publisher import Publisher

UNTOLD_CLOCK: Final = timedelta(minutes=5)
"""How far behind the clock may be of a device that does not tell its time."""

ALIVE_SECONDS: Final = 60
"""Between two reports of a device that has nothing new to say of itself. Many ask every few seconds."""


class Statuses:
    """What devices that push say of themselves, as far as it is new.

    Facts are told when a device is switched on, and signs of life after that; so what it told stays beside them. This
    process has heard it: after a restart it is told again by the device.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._reported: dict[str, DeviceStatus] = {}

    async def report(self, device_id: str, heard_at: datetime, heard: Heard) -> None:
        """Return when Kafka has it, or has nothing to learn from it. Assumes and raises what `Publisher.report` does.

        Args:
            device_id: Of whom.
            heard_at: The server's clock, UTC.
            heard: What the device said.
        """
        status = heartbeat(device_id, heard_at, heard)
        known = self._reported.get(device_id)
        if known is not None:
            status = replace(status, details={**known.details, **heard.details})
            if heard.device_time is None:
                status = replace(status, clock_skew=known.clock_skew)
            says_nothing = heard.device_time is None and heard.pending is None and heard.last_sequence is None
            recent = heard_at - known.heard_at < timedelta(seconds=ALIVE_SECONDS)
            if says_nothing and recent and status.details == known.details:
                return
        await self._publisher.report(status)
        self._reported[device_id] = status


def pulled(
    device_id: str, heard_at: datetime, heard: Heard | None, complete_until: datetime | None
) -> DeviceStatus | None:
    """The status that a fetched page amounts to; None where it says nothing.

    Args:
        device_id: Of whom.
        heard_at: The server's clock, UTC, when the page had arrived.
        heard: What the device said beside its punches.
        complete_until: What the page claims, UTC.
    """
    if heard is None and complete_until is None:
        return None
    status = heartbeat(device_id, heard_at, heard or Heard())
    return replace(status, complete_until=complete_until and complete_until.replace(microsecond=0))


def heartbeat(device_id: str, heard_at: datetime, heard: Heard) -> DeviceStatus:
    """The status that a heartbeat amounts to.

    A device with nothing pending has handed over every punch that it had dated before the heartbeat. Its punches are
    dated by its own clock, so the earlier of the two clocks counts. One with punches pending, or that does not say,
    claims nothing.

    Args:
        device_id: Of whom.
        heard_at: The server's clock, UTC, when the heartbeat had arrived.
        heard: What the device said.
    """
    until = skew = None
    if heard.device_time is not None:
        skew = round((heard.device_time - heard_at).total_seconds())
    if heard.pending == 0:
        until = heard_at - UNTOLD_CLOCK if heard.device_time is None else min(heard_at, heard.device_time)
    return DeviceStatus(
        device_id=device_id,
        heard_at=heard_at,
        complete_until=None if until is None else until.replace(microsecond=0),
        pending=heard.pending,
        last_sequence=heard.last_sequence,
        clock_skew=skew,
        details=heard.details,
    )
