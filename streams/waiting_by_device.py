"""What waits, by device: the metrics, and a line of the log where a device has more unknown users than it should."""

from typing import Final

import structlog

from attendance.metric_table import Name
from attendance.metrics import Metrics
from streams.waiting_table import WaitingTable

log = structlog.get_logger(__name__)

SHOWN: Final = 100  # devices that the metrics name
WARN_USERS: Final = 1000
SERIES: Final[tuple[Name, Name]] = ("punchstream_waiting_users", "punchstream_waiting_punches")


class WaitingByDevice:
    """Shows the devices of which most device users wait."""

    def __init__(self, metrics: Metrics, waiting: WaitingTable, warn_users: int) -> None:
        """Nothing is shown yet.

        Args:
            metrics: Where the devices are shown.
            waiting: What waits.
            warn_users: If more device users of one device wait, the log names the device.
        """
        self._metrics = metrics
        self._waiting = waiting
        self._warn_users = warn_users
        self._shown: dict[str, tuple[int, int]] = {}
        self._warned: set[str] = set()

    def show(self) -> None:
        """Show what waits now. A device is named in the log once, until it has no more unknown users than it should."""
        now = {each.device_id: (each.users, each.punches) for each in self._waiting.of_devices(SHOWN)}
        for device_id in self._shown.keys() - now.keys():
            for name in SERIES:
                self._metrics.forget(name, device_id=device_id)
        for device_id, counts in now.items():
            if self._shown.get(device_id) != counts:
                for name, count in zip(SERIES, counts, strict=True):
                    self._metrics.gauge(name, count, device_id=device_id)
        self._shown = now
        above = {each.device_id: each for each in self._waiting.devices_above(self._warn_users)}
        for device_id in above.keys() - self._warned:
            each = above[device_id]
            log.warning(
                "Many users of a device are unknown; their punches wait.",
                device_id=device_id,
                users=each.users,
                punches=each.punches,
            )
        self._warned = set(above)
