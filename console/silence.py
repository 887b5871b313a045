"""Silent devices as a metric: how many of each site, for whoever is to be told."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NoReturn

import structlog

from attendance.metrics import Metrics
from attendance.registry import Registry
from attendance.times import now
from console.device_states import seen_devices
from console.settings import ConsoleSettings
from ledger.database import Database, LedgerUnavailable
from ledger.device_statuses import LedgerStatuses
from operations.log import Skipped

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 60.0
OLD: Final = timedelta(minutes=5)
"""A ledger that is further behind does not know who is silent."""


class Silence:
    """Counts silent devices. While the ledger does not know, nothing is shown: no device is silent for that."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        settings: ConsoleSettings,
        metrics: Metrics,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """Nothing is counted yet.

        Args:
            database: The ledger, prepared.
            registry: The fleet, kept up to date.
            settings: When a device is silent.
            metrics: Where it is shown.
            clock: The time, UTC.
        """
        self._database = database
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._shown: set[str] = set()

    async def keep(self) -> NoReturn:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except LedgerUnavailable as error:
                self._show({})
                log.warning("Nobody knows which devices are silent.", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        source, at = LedgerStatuses(self._database, Skipped()), self._clock()
        facts = await source.facts()
        if source.as_of is None or at - source.as_of > OLD:
            self._show({})
            return
        fleet = [*self._registry]
        seen = seen_devices(fleet, facts, self._registry.fleet.hours, at, self._settings)
        silent = Counter(each.device.site for each in seen if each.state == "silent")
        self._show({device.site: silent[device.site] for device in fleet})

    def _show(self, silent: dict[str, int]) -> None:
        for site in self._shown - silent.keys():
            self._metrics.forget("punchstream_silent_devices", site=site)
        for site, count in silent.items():
            self._metrics.gauge("punchstream_silent_devices", count, site=site)
        self._shown = set(silent)
