"""By how much the clocks of devices are off, as far as they tell the time."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Final, NamedTuple

import structlog
from msgspec.structs import replace

from attendance.logs import Seldom
from attendance.metrics import Metrics
from attendance.records.device_status import DeviceStatus
from attendance.records.raw_event import RawEvent
from attendance.server_clock import Clock
from attendance.times import now

log = structlog.get_logger(__name__)

WARN_SECONDS: Final = 60
FEWEST: Final = 5
"""Terminals whose clocks together say something of the server's. Of fewer, some that are wrong alike may be most."""
FRESH_SECONDS: Final = 3600.0
"""For how long what a terminal said of the time counts for that."""
LAG_SECONDS: Final = 5.0
"""How long a terminal's word of the time may have taken to come here."""
_MOST_DEVICES: Final = 100_000


class _Reported(NamedTuple):
    """What a device said the time is, and when, by a clock that nobody sets."""

    device_time: datetime
    monotonic: float


class Clocks:
    """What was last measured of each device's clock, here or by another process. Events carry the skew of such a clock.

    Args:
        metrics: Show how many clocks are off.
        monotonic: Seconds that no setting of the server's clock changes.
    """

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._monotonic = monotonic
        self._off: dict[str, int] = {}
        self._measured_at: dict[str, datetime] = {}
        self._reported: dict[str, _Reported] = {}
        self._seldom = Seldom(most=_MOST_DEVICES, clock=monotonic)

    def measured(self, device_id: str, device_time: datetime, received_at: datetime) -> None:
        """Take in what a device says the time is. A clock that goes off, or right again, is logged.

        Once a minute for each device: it may change with every request.

        Args:
            device_id: Whose clock it is.
            device_time: What the device says, UTC.
            received_at: The server's clock when it said so, UTC.
        """
        self._reported[device_id] = _Reported(device_time, self._monotonic())
        self._take_in(device_id, round((device_time - received_at).total_seconds()), received_at)

    def learn(self, status: DeviceStatus) -> None:
        """Take in what another process measured, or this one before it was started again."""
        at = status.clock_measured_at or status.heard_at
        if status.clock_skew is not None:
            known = self._measured_at.get(status.device_id)
            if known is None or known < at:
                self._take_in(status.device_id, status.clock_skew, at)

    def _take_in(self, device_id: str, skew: int, at: datetime) -> None:
        self._measured_at[device_id] = at
        self._seldom.flush()
        was_off = self._off.pop(device_id, None) is not None
        if abs(skew) > WARN_SECONDS:
            self._off[device_id] = skew
            if not was_off:
                self._say(log.warning, "A device's clock is off.", device_id, skew)
        elif was_off:
            self._say(log.info, "A device's clock is right again.", device_id, skew)
        self._metrics.gauge("punchstream_clocks_off", len(self._off))

    def _say(self, write: Callable[..., object], sentence: str, device_id: str, skew: int) -> None:
        # One cause for both sentences, so that the last of them is how it is.
        self._seldom.say(device_id, write, sentence, device_id=device_id, seconds_ahead=skew)

    def with_skew(self, events: Sequence[RawEvent]) -> Sequence[RawEvent]:
        """The events, those of devices whose clock is off with its skew."""
        if not self._off:
            return events
        off = self._off
        return [
            replace(event, clock_skew=off[event.device_id]) if event.device_id in off else event for event in events
        ]

    async def read(self) -> Clock | None:
        """What the clocks of the terminals say of the server's; None where too few told the time to this process."""
        monotonic, at = self._monotonic(), now()
        self._reported = {
            device_id: reported
            for device_id, reported in self._reported.items()
            if monotonic - reported.monotonic < FRESH_SECONDS
        }
        if len(self._reported) < FEWEST:
            return None
        # By what they would say now: the server's clock may have been set since.
        ahead = median(
            (reported.device_time + timedelta(seconds=monotonic - reported.monotonic) - at).total_seconds()
            for reported in self._reported.values()
        )
        return Clock(f"the median of {len(self._reported)} terminals", ahead, LAG_SECONDS)
