"""run: keeps `Shift Type.last_sync_of_checkin` at the time up to which every device of the shift is complete.

A look goes through four steps, in this order:

1. What devices have claimed by now, and how far their record numbers go, is taken.
2. It is waited until the stream has committed all that the raw topic holds after that, and then the sink all that the
   checkins topic holds. So every punch that a claim speaks of has its outcome.
3. The watermark of each shift is the least of its devices'.
4. Where it is ahead of what ERPNext has, it is written there.

Nothing is kept but how far the record numbers go, so a look may be abandoned anywhere, and two processes at the same
time do no harm.
"""

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

import structlog

from attendance.erpnext import SHIFT_TYPE, ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected, InvalidRecord, KafkaUnavailable, TargetUnavailable
from attendance.kafka.groups import until_through
from attendance.kafka.producer import Producer
from attendance.kafka.readers import follow, read, snapshot
from attendance.kafka.records import OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.device_status import read_status
from attendance.records.raw_event import RawEvent, is_replay_copy
from attendance.records.sequences import Sequences
from attendance.registry import Registry
from attendance.runtime import run_until_stopped
from attendance.settings import CompletenessSettings, ErpnextSettings, KafkaSettings
from attendance.times import now, zone
from sinks.completeness.watermark import Numbers, Proof, Standing, standing

log = structlog.get_logger(__name__)

STAGE: Final = "completeness"
BEHIND: Final = timedelta(minutes=5)
"""How far `last_sync_of_checkin` stays behind the clock. The sink relies on it: a punch that is stored within less of
its own time, by whichever clock, is on the day that is still open."""
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
    """Look at regular intervals until `stop` is set. Kafka and ERPNext are waited for.

    Raises:
        ConfigurationError: a setting of Kafka or ERPNext's time zone is wrong.
    """
    client = ErpnextClient(erpnext)
    producer = Producer(kafka, kafka.client_id(STAGE))
    completeness = Completeness(kafka, settings, registry, client, producer, metrics)
    try:
        await run_until_stopped(stop, completeness.hear(), completeness.keep())
    finally:
        await producer.stop()
        client.close()


class Completeness:
    """The stage's state: what is proven of each device, and up to which offsets record numbers have been read."""

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: CompletenessSettings,
        registry: Registry,
        client: ErpnextClient,
        producer: Producer,
        metrics: Metrics,
    ) -> None:
        self._kafka = kafka
        self._settings = settings
        self._registry = registry
        self._client = client
        self._producer = producer
        self._metrics = metrics
        self._proofs: dict[str, Proof] = {}
        self._heard = asyncio.Event()
        self._offsets: dict[int, int] = {}
        self._partition_of: dict[str, int] = {}
        self._numbers_known = False
        self._holding: dict[str, tuple[str, ...]] = {}

    async def hear(self) -> None:
        """Take in what devices say, for ever."""
        topic = self._kafka.topics["device_status"]
        await follow(self._kafka, topic, self._hear, client_id=self._client_id, caught_up=self._heard)

    async def keep(self) -> NoReturn:
        """Look at regular intervals, for ever."""
        await self._heard.wait()
        while True:
            try:
                await self.look()
            except KafkaUnavailable as error:
                log.warning("Waiting for Kafka.", error=str(error))
            except TargetUnavailable as error:
                log.warning("Waiting for ERPNext.", error=str(error))
            except (AccessDenied, DocumentRejected) as error:
                log.error("ERPNext refuses; no shift moves on until this is repaired.", error=str(error))
            await asyncio.sleep(self._settings.interval)

    async def look(self) -> None:
        """Find out how far each shift is complete, and tell ERPNext.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
            TargetUnavailable, AccessDenied, DocumentRejected: ERPNext does not tell its time zone.
        """
        await self._registry.refreshed()
        shifts = self._registry.shifts
        for removed in self._holding.keys() - shifts.keys():
            self._forget(removed)
        if not shifts:
            log.warning("The registry file lists no shifts; there is nothing to do.")
            return
        latest = now() - BEHIND
        numbered = {device.device_id for device in self._registry if device.numbered}
        if numbered:
            await self._read_numbers(numbered)
        # Before anything is waited for: only what is claimed by now is through then.
        watermarks = {
            device_id: watermark
            for device_id, proof in self._proofs.items()
            if (watermark := proof.watermark(numbered=device_id in numbered)) is not None
        }
        topics, client_id = self._kafka.topics, self._client_id
        for topic, group in ((topics["raw"], "stream"), (topics["checkins"], "sink")):
            await self._patiently(group, until_through(self._kafka, topic, self._kafka.group(group), client_id))
        site_zone = await asyncio.to_thread(self._client.time_zone)
        zone(site_zone)  # for its error
        for shift_type, devices in shifts.items():
            found = standing(devices, watermarks, latest, site_zone)
            self._report(shift_type, [device.device_id for device in devices], watermarks, found)
            if found.sync is not None:
                await asyncio.to_thread(self._move, shift_type, found.sync)

    async def _patiently(self, group: str, work: Coroutine[Any, Any, None]) -> None:
        """Await it, and say now and then that it takes long."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({task}, timeout=self._settings.interval))[0]:
                log.warning("Punches are still on their way; shifts wait for them.", group=self._kafka.group(group))
            task.result()
        finally:
            task.cancel()

    def _hear(self, record: Record) -> None:
        status = read_status(record)
        if status is not None:
            self._proof(status.device_id).hear(status)

    def _proof(self, device_id: str) -> Proof:
        return self._proofs.setdefault(device_id, Proof())

    async def _read_numbers(self, numbered: Collection[str]) -> None:
        """Read on in the raw topic, and keep how far it was read."""
        topics = self._kafka.topics
        if not self._numbers_known:
            for record in await snapshot(self._kafka, topics["sequences"], self._client_id):
                self._load(record)
            self._numbers_known = True
        before = dict(self._offsets)
        begin = {partition: self._offsets.get(partition, 0) for partition in range(self._kafka.partitions)}
        async for batch in read(self._kafka, topics["raw"], self._client_id, begin=begin):
            for record in batch:
                self._offsets[record.partition] = record.offset + 1
                device_id = (record.key or b"").decode(errors="replace")
                if device_id in numbered:
                    self._partition_of[device_id] = record.partition
                    self._count(device_id, record)
        changed = [partition for partition, offset in self._offsets.items() if before.get(partition) != offset]
        await self._producer.send(*(self._dump(partition, numbered) for partition in changed))

    def _count(self, device_id: str, record: Record) -> None:
        try:
            event = RawEvent.decode(record.value)
        except InvalidRecord:
            return  # the stream makes a dead letter of it
        # A copy or a correction is no record of the device's: its number was counted the first time, and may be of a
        # count that the device has forgotten since.
        again = event.supersedes is not None or is_replay_copy(record.headers)
        if event.sequence is not None and not again:
            self._proof(device_id).numbers.add(event.sequence, event.event_time, event.received_at)

    def _load(self, record: Record) -> None:
        if record.value is None:
            return
        try:
            sequences = Sequences.decode(record.key, record.value)
        except InvalidRecord as error:
            # Where it was one of ours, the raw topic is read again from its beginning, which counts the same.
            log.error("A record of sequences cannot be read.", key=record.key, error=error.message)
            return
        self._offsets[sequences.partition] = sequences.offset
        for device_id, counted in sequences.devices.items():
            self._partition_of[device_id] = sequences.partition
            self._proof(device_id).numbers = Numbers(counted)

    def _dump(self, partition: int, numbered: Collection[str]) -> OutRecord:
        """The offset and what was counted up to it in one record, so that neither is ahead of the other."""
        devices = {
            device_id: self._proofs[device_id].numbers.counted
            for device_id, of in self._partition_of.items()
            if of == partition and device_id in numbered
        }
        sequences = Sequences(partition, self._offsets[partition], devices)
        return OutRecord(self._kafka.topics["sequences"], sequences.key, sequences.encode())

    def _report(
        self, shift_type: str, device_ids: Collection[str], watermarks: Mapping[str, datetime], found: Standing
    ) -> None:
        """Show how far the shift is and, where that is overdue, because of whom."""
        overdue = _epoch(now()) - self._settings.warn_after
        behind = {each: _epoch(watermarks.get(each)) for each in device_ids}
        holding = tuple(
            sorted((each for each in behind if behind[each] < overdue), key=lambda each: (behind[each], each))
        )
        before = self._forget(shift_type)
        # One series for each shift, which names one device: thousands of devices are too many for labels.
        self._metrics.gauge(SERIES, _epoch(found.until), shift_type=shift_type, held_by=_first(holding))
        # Once for each change, not at every look of a weekend.
        if holding and holding != before:
            missing = {each: self._proof(each).numbers.missing for each in holding[:NAMED]}
            log.warning(
                "Devices hold a shift back.",
                shift_type=shift_type,
                devices=len(holding),
                first=holding[:NAMED],
                numbers_missing={each: number for each, number in missing.items() if number is not None},
            )
        if before and not holding:
            log.info("No device holds the shift back any more.", shift_type=shift_type)
        self._holding[shift_type] = holding

    def _forget(self, shift_type: str) -> tuple[str, ...]:
        """Show the shift no longer. Returns who held it back."""
        if shift_type not in self._holding:
            return ()
        holding = self._holding.pop(shift_type)
        self._metrics.forget(SERIES, shift_type=shift_type, held_by=_first(holding))
        return holding

    def _move(self, shift_type: str, sync: datetime) -> None:
        """Write the time into ERPNext, unless it has that one or a later one."""
        try:
            document = self._client.get(SHIFT_TYPE, shift_type)
            if document.get("auto_update_last_sync"):
                log.warning(
                    "ERPNext moves the last sync of this shift by the clock, whether its devices are complete or not. "
                    "Switch off Auto Update Last Sync.",
                    shift_type=shift_type,
                )
            known = document.get("last_sync_of_checkin")
            if known and sync <= datetime.fromisoformat(str(known)):
                return
            # With `modified` the site refuses what somebody else was faster with: it may have gone further.
            moved = {"last_sync_of_checkin": str(sync), "modified": document.get("modified")}
            self._client.update(SHIFT_TYPE, shift_type, moved)
        except TargetUnavailable as error:
            log.warning("Waiting for ERPNext.", shift_type=shift_type, error=str(error))
        except (AccessDenied, DocumentRejected) as error:
            log.error("ERPNext does not let this shift move on.", shift_type=shift_type, error=str(error))
        else:
            log.info("A shift moves on.", shift_type=shift_type, last_sync_of_checkin=str(sync))

    @property
    def _client_id(self) -> str:
        return self._kafka.client_id(STAGE)


def _first(holding: Sequence[str]) -> str:
    return holding[0] if holding else ""


def _epoch(instant: datetime | None) -> float:
    return 0.0 if instant is None else instant.timestamp()
