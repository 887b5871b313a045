"""Nightly: reconciles yesterday of each site, once for each day, beside the following of the topics."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final, NoReturn

import structlog

from attendance.errors import PunchstreamError
from attendance.fleet import Device
from attendance.metric_table import Name
from attendance.metrics import Metrics
from attendance.registry import Registry
from attendance.settings import CommonSettings, KafkaSettings
from attendance.times import now, to_wall_clock
from ledger.behind import until_reached
from ledger.database import Database
from ledger.reconciliations import Reconciliations, SiteDay
from ledger.trace import LedgerTrace
from operations.fleet import learn_fleet
from operations.log import KafkaLog, Log, Skipped
from operations.reconcile import InErpnext, end_of, reconcile

log = structlog.get_logger(__name__)

FIRST_SECONDS: Final = 5.0
"""Until the first look: a new ledger has no tables yet."""
LOOK_SECONDS: Final = 300.0
"""Between two looks whether a day is due."""
RETRY_SECONDS: Final = 30.0
"""Until the next look where a day that is due could not be reconciled."""
REACH_SECONDS: Final = 60.0
"""So long the ledger may take to have what the topics had."""
_GAUGES: Final[Sequence[Name]] = (
    "punchstream_reconciled_devices_with_gap",
    "punchstream_reconciled_missing_punches",
    "punchstream_reconciled_until_timestamp_seconds",
)

ReadFleet = Callable[[], Awaitable[Sequence[Device]]]
"""The devices of now. Raises PunchstreamError."""


class Nightly:
    """Reconciles each site once its day is over. It reads what the ledger has, and writes results only.

    A result whose ERPNext did not answer is made again at the next look, until the day after is due.
    """

    def __init__(
        self,
        log_: Log,
        database: Database,
        at: time,
        read_fleet: ReadFleet,
        in_erpnext: InErpnext | None,
        metrics: Metrics,
        clock: Callable[[], datetime] = now,
    ) -> None:
        """Nothing is read yet.

        Args:
            log_: The topics.
            database: Of the ledger. Another task prepares it.
            at: From which time of the day on, in the zone of a site, the day before is due.
            read_fleet: The fleet.
            in_erpnext: Asks ERPNext; None asks nobody.
            metrics: Show the newest result of each site.
            clock: The time, UTC.
        """
        self._log = log_
        self._database = database
        self._at = at
        self._read_fleet = read_fleet
        self._in_erpnext = in_erpnext
        self._metrics = metrics
        self._clock = clock
        self._results = Reconciliations(database)
        self._shown: set[str] = set()
        self._fleet: Sequence[Device] | None = None

    async def keep(self) -> NoReturn:
        """Look for days that are due, for ever. What fails is said, and tried again."""
        await asyncio.sleep(FIRST_SECONDS)
        while True:
            is_done = False
            try:
                is_done = await self.run_due()
            except PunchstreamError as error:
                log.warning("Reconciling waits.", error=str(error))
            except Exception:
                # Never at the cost of the ledger, which another task keeps.
                log.exception("Reconciling failed.")
            await asyncio.sleep(LOOK_SECONDS if is_done else RETRY_SECONDS)

    async def run_due(self) -> bool:
        """Reconcile the sites of which a day is due.

        Returns:
            Whether each has a result now. That of a site whose ERPNext did not answer may be made again.

        Raises:
            PunchstreamError: Kafka or the database do not answer, or the fleet was never read. Sites that were
                reconciled stay so.
        """
        sites: dict[str, list[Device]] = defaultdict(list)
        for device in await self._devices():
            sites[device.site].append(device)
        newest = {each.site: each for each in await asyncio.to_thread(self._results.newest)}
        try:
            for site, devices in sorted(sites.items()):
                day = due_day(devices, self._at, self._clock())
                known = newest.get(site)
                is_due = known is None or known.day < day or (known.day == day and known.problem is not None)
                if is_due and not await self._reconcile(site, devices, day):
                    return False
            return True
        finally:
            self._show(await asyncio.to_thread(self._results.newest), sites)

    async def _devices(self) -> Sequence[Device]:
        """The devices of now. While the fleet cannot be read, those of before: as in each stage."""
        try:
            self._fleet = await self._read_fleet()
        except PunchstreamError as error:
            if self._fleet is None:
                raise
            log.warning("The fleet cannot be read; keeping the previous one.", error=str(error))
        return self._fleet

    async def _reconcile(self, site: str, devices: Sequence[Device], day: date) -> bool:
        reached = await until_reached(self._database, self._log, REACH_SECONDS)
        if reached.behind:
            log.warning("Reconciling waits for the ledger.", site=site, day=str(day), behind=reached.behind)
            return False
        source, skipped, at = LedgerTrace(self._database), Skipped(), self._clock()
        found = await reconcile(source, self._log, devices, day, skipped, now=at, in_erpnext=self._in_erpnext)
        _say_skipped(skipped)
        await asyncio.to_thread(self._results.save, site, day, found, at)
        gaps = [each.device_id for each in found.devices if each.gaps]
        said = {"site": site, "day": str(day), "devices": len(found.devices), "with_gap": len(gaps), "first": gaps[:3]}
        if found.is_whole:
            log.info("A day was reconciled.", **said)
        else:
            log.warning("A day has gaps; `punchstream reconcile` names them.", problems=found.problems, **said)
        return True

    def _show(self, newest: Sequence[SiteDay], sites: dict[str, list[Device]]) -> None:
        shown = {each.site: each for each in newest if each.site in sites}
        for site in self._shown - shown.keys():
            for name in _GAUGES:
                self._metrics.forget(name, site=site)
        for site, each in shown.items():
            end = min(end_of(device, each.day) for device in sites[site]).timestamp()
            for name, value in zip(_GAUGES, (each.devices_with_gap, each.missing, end), strict=True):
                self._metrics.gauge(name, value, site=site)
        self._shown = set(shown)


def due_day(devices: Sequence[Device], at: time, now_: datetime) -> date:
    """The newest day that is due at all of these devices: it is over, and the time of the day after has come.

    Args:
        devices: At least one.
        at: That time of the day.
        now_: The time, UTC.
    """
    since_midnight = timedelta(hours=at.hour, minutes=at.minute, seconds=at.second)
    zones = {device.timezone for device in devices}
    return min((to_wall_clock(now_, zone) - since_midnight).date() for zone in zones) - timedelta(days=1)


def _say_skipped(skipped: Skipped) -> None:
    for line in skipped.lines():
        log.warning("Records cannot be read.", what=line)


def nightly(
    kafka: KafkaSettings, database: Database, at: time, in_erpnext: InErpnext | None, metrics: Metrics
) -> Nightly:
    """The one of the ledger's process, which reads the fleet file and the fleet topic anew at each look.

    Args:
        kafka: Where the topics are.
        database: Of the ledger.
        at: See `Nightly`.
        in_erpnext: Asks ERPNext; None asks nobody.
        metrics: See `Nightly`.

    Raises:
        ConfigurationError: the fleet file is wrong, or was named and is missing.
    """
    topics = KafkaLog(kafka, "ledger-reconcile")
    Registry.load(CommonSettings.load())

    async def read_fleet() -> Sequence[Device]:
        registry, skipped = Registry.load(CommonSettings.load()), Skipped()
        await learn_fleet(topics, registry, skipped)
        _say_skipped(skipped)
        return [*registry]

    return Nightly(topics, database, at, read_fleet, in_erpnext, metrics)
