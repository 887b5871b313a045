"""run: keeps `Shift Type.last_sync_of_checkin` at the time up to which every device of the shift is complete.

An update has four steps, in this order:

1. Take what devices have claimed by now, and how far their record numbers go.
2. Wait until the stream has committed all that the raw topic holds after that, and then until the sink has committed
   all that the checkins topic holds. So every punch that a claim speaks of has its outcome.
3. The watermark of each shift is the least of its devices'.
4. If it is ahead of what ERPNext has, write it there (`sinks.completeness.last_sync`). Where the fleet asks for
   it, the days that are complete become Attendance (`sinks.attendance`), beside the updates.

Nothing is kept but how far the record numbers go. So an update may be abandoned anywhere, and two processes at the same
time do no harm.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

import structlog

from attendance.erpnext import ErpnextClient
from attendance.erpnext_clock import erpnext_clock
from attendance.errors import (
    AccessDenied,
    DocumentRejected,
    KafkaUnavailable,
    StandingStill,
    TargetUnavailable,
    ZoneInDoubt,
)
from attendance.guards import Guards
from attendance.kafka.accounts import AccountsTopic
from attendance.kafka.fleet import FleetTopic
from attendance.kafka.groups import GroupProgress
from attendance.kafka.producer import Producer
from attendance.kafka.progress import Progress
from attendance.kafka.readers import follow
from attendance.kafka.records import Record
from attendance.kafka.site import SiteTopic
from attendance.kafka.stage_guards import stage_guards
from attendance.metrics import Metrics
from attendance.records.device_status import read_status
from attendance.records.site import SiteZone
from attendance.registry import Registry
from attendance.runtime import run_until_stopped
from attendance.settings import CompletenessSettings, ErpnextSettings, KafkaSettings
from attendance.site import site_of, trusted_zone
from attendance.times import now, to_wall_clock
from sinks.attendance.runner import CompleteShift, DirectAttendance, common_zone
from sinks.attendance.site import AttendanceSite
from sinks.completeness.last_sync import LastSync
from sinks.completeness.sequences import SequenceReader
from sinks.completeness.watermark import DeviceClaims, ShiftWatermark, shift_watermark

log = structlog.get_logger(__name__)

STAGE: Final = "completeness"
SYNC_LAG: Final = timedelta(minutes=5)
"""How far `last_sync_of_checkin` stays behind the clock. `sinks.completeness.lateness` relies on it: a punch that is
stored within less of its own time, by whichever clock, is on a day that is still open."""
SERIES: Final = "punchstream_shift_complete_timestamp_seconds"
NAMED: Final = 10  # devices in one line of the log


async def run(
    kafka: KafkaSettings,
    erpnext: ErpnextSettings,
    settings: CompletenessSettings,
    registry: Registry,
    metrics: Metrics,
    stop: asyncio.Event,
) -> None:
    """Update the shifts at regular intervals until `stop` is set. It waits for Kafka and for ERPNext.

    Args:
        kafka: Where devices' claims and punches are.
        erpnext: The site whose shifts are updated.
        settings: Intervals.
        registry: The devices and the shifts.
        metrics: What is shown of each shift.
        stop: Set when the process is to stop.

    Raises:
        ConfigurationError: A setting of Kafka or ERPNext's time zone is wrong.
    """
    client, own_client = ErpnextClient(erpnext), ErpnextClient(erpnext)
    producer = Producer(kafka, kafka.client_id(STAGE))
    zones = SiteTopic(kafka, producer, kafka.client_id(f"{STAGE}-site"))
    accounts = AccountsTopic(kafka, producer, kafka.client_id(f"{STAGE}-accounts"))
    progress = Progress(kafka, STAGE, kafka.topics["raw"], accounts, metrics)
    fleet = FleetTopic(kafka, registry, STAGE)
    guards = stage_guards(STAGE, kafka, metrics, producer, erpnext_clock(erpnext), own=[progress, fleet])
    attendance = DirectAttendance(kafka, AttendanceSite(own_client), producer, metrics, guards)
    completeness = Completeness(
        kafka,
        settings,
        registry,
        client,
        producer,
        metrics,
        attendance,
        lambda: zones.get(site_of(erpnext.url)),
    )
    completeness.use_progress(progress)
    try:
        await run_until_stopped(
            stop,
            zones.follow(),
            accounts.follow(),
            fleet.follow(),
            registry.keep(),
            completeness.follow_statuses(),
            completeness.update_regularly(guards, zones.caught_up),
            attendance.run(kafka.client_id(STAGE), registry.direct_shifts),
            guards.keep(),
        )
    finally:
        own_client.close()
        await completeness.close()
        await producer.stop()
        client.close()


class Completeness:
    """The stage: what devices have claimed, how far their record numbers go, and what ERPNext has."""

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: CompletenessSettings,
        registry: Registry,
        client: ErpnextClient,
        producer: Producer,
        metrics: Metrics,
        attendance: DirectAttendance | None = None,
        recorded_zone: Callable[[], SiteZone | None] = lambda: None,
    ) -> None:
        """Nothing is read or asked yet.

        Args:
            kafka: Where devices' claims and punches are.
            settings: Intervals.
            registry: The devices and the shifts.
            client: The site whose shifts are updated.
            producer: Writes how far record numbers were read.
            metrics: What is shown of each shift.
            attendance: Is given the shifts whose days become Attendance directly.
            recorded_zone: What is recorded of the site's zone.
        """
        self._attendance = attendance
        self._recorded_zone = recorded_zone
        self._kafka = kafka
        self._settings = settings
        self._registry = registry
        self._client = client
        self._last_sync = LastSync(client, metrics)
        self._metrics = metrics
        self._client_id = kafka.client_id(STAGE)
        self._progress = GroupProgress(kafka, self._client_id)
        self._sequences = SequenceReader(kafka, producer, self._client_id)
        self._claims: dict[str, DeviceClaims] = {}
        self._caught_up = asyncio.Event()
        self._overdue: dict[str, tuple[str, ...]] = {}

    def use_progress(self, progress: Progress) -> None:
        """Advance no shift while raw records are gone that were not counted yet.

        Args:
            progress: Notices that.
        """
        self._sequences.use_progress(progress)

    async def follow_statuses(self) -> None:
        """Take in what devices say of themselves, for ever."""
        topic = self._kafka.topics["device_status"]
        await follow(self._kafka, topic, self._add_status, client_id=self._client_id, caught_up=self._caught_up)

    async def update_regularly(self, guards: Guards, *others: asyncio.Event) -> NoReturn:
        """Update the shifts at regular intervals, for ever.

        Args:
            guards: While one stands, there is no update.
            others: What has to be set before the first update.
        """
        for each in (self._caught_up, *others):
            await each.wait()
        while True:
            await guards.until_clear()
            why: str | None = None
            try:
                await self.update()
            except KafkaUnavailable as error:
                why = f"Kafka: {error}"
                log.warning("Waiting for Kafka.", error=str(error))
            except StandingStill:
                await guards.ask()  # which logs why
                continue
            except TargetUnavailable as error:
                why = f"ERPNext does not answer: {error}"
                log.warning("Waiting for ERPNext.", error=str(error))
            except ZoneInDoubt as error:
                log.error("ERPNext's time zone is in doubt; no shift advances until that is decided.", error=str(error))
            except (AccessDenied, DocumentRejected) as error:
                why = f"ERPNext denied access: {error}"
                log.error("ERPNext denied access; no shift advances until that is repaired.", error=str(error))
            self._metrics.ready("shifts", why)
            await asyncio.sleep(self._settings.interval)

    async def update(self) -> None:
        """Find out how far each shift is complete, and write it into ERPNext.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
            TargetUnavailable: ERPNext does not answer when it is asked for its time zone.
            AccessDenied: It denies that.
            ZoneInDoubt: In which zone it keeps its times is in doubt, or not proven yet.
            DocumentRejected: It rejects that.
            StandingStill: Raw records that were not counted yet are gone.
        """
        await self._registry.refreshed()
        shifts = self._registry.shifts
        for removed in self._overdue.keys() - shifts.keys():
            self._hide(removed)
            self._last_sync.forget(removed)
        if not shifts:
            log.warning("The fleet lists no shifts; there is nothing to do.")
            if self._attendance is not None:
                self._attendance.offer((), ())
            return
        latest = now() - SYNC_LAG
        numbered = {device.device_id for device in self._registry if device.numbered}
        if numbered:
            await self._sequences.read_on(numbered)
        # Before the wait below: only punches that a claim of now speaks of have their outcome after it.
        watermarks = self._watermarks(numbered)
        topics = self._kafka.topics
        for topic, group in ((topics["raw"], "stream"), (topics["checkins"], "sink")):
            await self._wait_for_outcomes(group, self._progress.until_through(topic, self._kafka.group(group)))
        site_zone = await self._site_zone()
        complete = []
        for shift_type, devices in shifts.items():
            found = shift_watermark(devices, watermarks, latest, site_zone)
            self._report(shift_type, [device.device_id for device in devices], watermarks, found)
            site_now = to_wall_clock(now(), site_zone)
            await asyncio.to_thread(self._last_sync.advance, shift_type, found.sync, site_now)
            direct = self._registry.direct_shifts.get(shift_type)
            if direct is not None and found.sync is not None:
                complete.append(CompleteShift(direct, found.sync, common_zone(devices, site_zone)))
        if self._attendance is not None:
            self._attendance.offer(complete, self._registry.direct_shifts)

    async def close(self) -> None:
        """Let go of the clients of Kafka."""
        await self._progress.close()
        await self._sequences.close()

    async def _site_zone(self) -> str:
        try:
            found = await asyncio.to_thread(trusted_zone, self._client, self._recorded_zone())
        except ZoneInDoubt as error:
            self._metrics.ready("zone", f"zone in doubt: {error}")
            if self._attendance is not None:
                self._attendance.withdraw()
            raise
        self._metrics.ready("zone", None)
        return found

    def _watermarks(self, numbered: Collection[str]) -> dict[str, datetime]:
        watermarks: dict[str, datetime] = {}
        for device_id in self._claims.keys() | self._sequences.devices:
            numbers = self._sequences.numbers(device_id) if device_id in numbered else None
            watermark = self._claims.setdefault(device_id, DeviceClaims()).watermark(numbers)
            if watermark is not None:
                watermarks[device_id] = watermark
        return watermarks

    async def _wait_for_outcomes(self, group: str, work: Coroutine[Any, Any, None]) -> None:
        """Await `work`, and log now and then that it takes long."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({task}, timeout=self._settings.interval))[0]:
                log.warning("Punches are still on their way; shifts wait for them.", group=self._kafka.group(group))
            task.result()
        finally:
            task.cancel()

    def _add_status(self, record: Record) -> None:
        status = read_status(record)
        if status is not None:
            self._claims.setdefault(status.device_id, DeviceClaims()).add(status)

    def _report(
        self, shift_type: str, device_ids: Collection[str], watermarks: Mapping[str, datetime], found: ShiftWatermark
    ) -> None:
        """Show how far the shift is complete and, if that is overdue, which devices hold it back."""
        expected = _epoch(now()) - self._settings.warn_after
        complete = {each: _epoch(watermarks.get(each)) for each in device_ids}
        overdue = tuple(
            sorted((each for each in complete if complete[each] < expected), key=lambda each: (complete[each], each))
        )
        before = self._hide(shift_type)
        # One series for each shift, which names one device: thousands of devices are too many for labels.
        self._metrics.gauge(SERIES, _epoch(found.until), shift_type=shift_type, held_by=_first(overdue))
        # Once for each change, not at every update of a weekend.
        if overdue and overdue != before:
            missing = {each: self._sequences.numbers(each).missing for each in overdue[:NAMED]}
            log.warning(
                "Devices hold a shift back.",
                shift_type=shift_type,
                devices=len(overdue),
                first=overdue[:NAMED],
                numbers_missing={each: number for each, number in missing.items() if number is not None},
            )
        if before and not overdue:
            log.info("No device holds the shift back any more.", shift_type=shift_type)
        self._overdue[shift_type] = overdue

    def _hide(self, shift_type: str) -> tuple[str, ...]:
        """Show the shift no longer, and return the devices that held it back."""
        if shift_type not in self._overdue:
            return ()
        overdue = self._overdue.pop(shift_type)
        self._metrics.forget(SERIES, shift_type=shift_type, held_by=_first(overdue))
        return overdue


def _first(devices: Sequence[str]) -> str:
    return devices[0] if devices else ""


def _epoch(instant: datetime | None) -> float:
    return 0.0 if instant is None else instant.timestamp()
