"""By how much the clocks of devices are off, as far as they tell the time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog
from msgspec.structs import replace

from attendance.metrics import Metrics
from attendance.records.raw_event import RawEvent

log = structlog.get_logger(__name__)

WARN_SECONDS: Final = 60


class Clocks:
    """What was last measured of each device's clock. Events that come while the clock is off carry the skew."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._off: dict[str, int] = {}

    def measured(self, device_id: str, device_time: datetime, received_at: datetime) -> None:
        """Take in what a device says the time is. A clock that goes off, or right again, is logged.

        Args:
            device_id: Whose clock it is.
            device_time: What the device says, UTC.
            received_at: The server's clock when it said so, UTC.
        """
        skew = round((device_time - received_at).total_seconds())
        was_off = self._off.pop(device_id, None) is not None
        if abs(skew) > WARN_SECONDS:
            self._off[device_id] = skew
            if not was_off:
                log.warning("A device's clock is off.", device_id=device_id, seconds_ahead=skew)
        elif was_off:
            log.info("A device's clock is right again.", device_id=device_id, seconds_ahead=skew)
        self._metrics.gauge("punchstream_clocks_off", len(self._off))

    def with_skew(self, events: Sequence[RawEvent]) -> Sequence[RawEvent]:
        """The events, those of devices whose clock is off with its skew."""
        if not self._off:
            return events
        off = self._off
        return [
            replace(event, clock_skew=off[event.device_id]) if event.device_id in off else event for event in events
        ]
