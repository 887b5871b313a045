"""The pull process: its share of the fleet, and which devices it asks after a change.

The processes are a consumer group on the topic of cursors. Each asks the devices whose cursors are, or would be, in
its partitions; what one loses another takes up, with the cursors that it left.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Final, NoReturn, get_args

import structlog

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.kafka.fleet import FleetTopic
from attendance.kafka.groups import Assignment, follow_share
from attendance.kafka.producer import Producer
from attendance.kafka.records import Record
from attendance.kafka.stage_guards import stage_guards
from attendance.metrics import Metrics
from attendance.records.cursor import cursor_key
from attendance.registry import REFRESH_SECONDS, Registry
from attendance.runtime import made_anew, run_until_stopped
from attendance.sealing import Seal
from attendance.settings import DeadLetterSettings, KafkaSettings, PullSettings, UnreadSettings
from attendance.times import now
from attendance.tracing import OFF, Tracing
from attendance.working_hours import working_time
from producers.clocks import Clocks
from producers.devices.common.http import create_client
from producers.devices.contract import PullAdapter, Tools
from producers.expiry import Expiry
from producers.intake import Intake
from producers.publisher import Publisher
from producers.pull.context import ConcurrencyLimit, PullContext, State
from producers.pull.cursors import Cursors
from producers.pull.puller import Puller
from producers.pull.sources import Adapters, secret, sources

log = structlog.get_logger(__name__)

STAGE: Final = "pull"
MAX_IN_FLIGHT: Final = 32 * 1024 * 1024  # bytes that may wait for Kafka's acknowledgement
BEHIND: Final = timedelta(minutes=5)
"""A device that has not answered for three intervals, and for so long, both of working time, is behind."""
NAMED: Final = 100  # devices in the metrics, which must not grow with the fleet
SERIES: Final = "punchstream_pull_behind_timestamp_seconds"


class Pull:
    """This process's share of the fleet, each device asked by a task of its own."""

    def __init__(self, registry: Registry, adapter_of: Callable[[Device], PullAdapter], context: PullContext) -> None:
        """Nothing is asked yet.

        Args:
            registry: The fleet.
            adapter_of: A device's adapter; raises `ConfigurationError`.
            context: What all pullers of the process share.

        Raises:
            ConfigurationError: an entry cannot work. Later, such an entry is logged and left out.
        """
        self._registry = registry
        self._adapter_of = adapter_of
        self._context = context
        self._assignment: Assignment | None = None
        self._asking = False
        self._pullers: dict[str, Puller] = {}
        self._tasks: dict[str, asyncio.Task[NoReturn]] = {}
        self._ended: set[asyncio.Task[NoReturn]] = set()
        self._behind: set[str] = set()
        for source in sources(registry).values():
            adapter_of(source.device)

    def lost(self) -> None:
        """Ask nobody any more, and forget where to go on. When and whom to ask next is kept."""
        self._asking = False
        self._assignment = None
        for device_id in list(self._tasks):
            self._stop(device_id)
        self._context.cursors.forget()

    def take(self, record: Record) -> None:
        """Take in a cursor."""
        self._context.cursors.take(record)

    def assigned(self, assignment: Assignment) -> None:
        """These are the partitions from now on."""
        self._assignment = assignment

    async def caught_up(self) -> None:
        """Ask the devices of this share, now that their cursors are known."""
        if not self._asking and self._assignment is not None:
            self._asking = True
            self._reconcile()
            log.info("Asking devices.", devices=len(self._tasks), partitions=len(self._assignment.partitions))

    async def watch(self) -> NoReturn:
        """Take up changes of the fleet file, and show how the devices are, for ever."""
        while True:
            if await self._registry.refreshed() and self._asking:
                self._reconcile()
            self.show()
            await asyncio.sleep(REFRESH_SECONDS)

    async def stop(self) -> None:
        """Ask nobody any more. Returns when no device is being asked."""
        self.lost()
        await asyncio.gather(*self._ended, return_exceptions=True)

    def show(self) -> None:
        """Show how many devices are in which state, and which are furthest behind."""
        states = Counter(puller.state for device_id, puller in self._pullers.items() if device_id in self._tasks)
        for state in get_args(State):
            self._context.metrics.gauge("punchstream_pull_devices", states[state], state=state)
        behind = self._furthest_behind(self._context.now())
        for device_id in self._behind - behind.keys():
            self._context.metrics.forget(SERIES, device_id=device_id)
        for device_id, answered_at in behind.items():
            self._context.metrics.gauge(SERIES, answered_at.timestamp(), device_id=device_id)
        self._behind = set(behind)

    def _furthest_behind(self, at: datetime) -> Mapping[str, datetime]:
        hours = self._registry.fleet.hours
        behind = [
            (puller.answered_at, device_id)
            for device_id, puller in self._pullers.items()
            if device_id in self._tasks
            and working_time(hours.get(device_id), puller.answered_at, at)
            > max(BEHIND, 3 * timedelta(seconds=puller.interval))
        ]
        return {device_id: answered_at for answered_at, device_id in sorted(behind)[:NAMED]}

    def _reconcile(self) -> None:
        """Have exactly the devices of this share asked, each by its entry of now."""
        assert self._assignment is not None
        wanted = {
            device_id: source
            for device_id, source in sources(self._registry).items()
            if self._assignment.has(cursor_key(device_id))
        }
        for device_id in self._pullers.keys() - wanted.keys():
            self._stop(device_id)
            del self._pullers[device_id]
        for device_id, source in wanted.items():
            known = self._pullers.get(device_id)
            if known is None or known.source != source:
                self._stop(device_id)
                self._pullers.pop(device_id, None)
                try:
                    self._pullers[device_id] = Puller(source, self._adapter_of(source.device), self._context)
                except ConfigurationError as error:
                    log.error("Cannot ask a device; its entry is wrong.", error=str(error))
                    continue
            if device_id not in self._tasks:
                self._start(device_id)

    def _start(self, device_id: str) -> None:
        before = {task for task in self._ended if task.get_name() == device_id}
        asking = _after(before, self._pullers[device_id])
        self._tasks[device_id] = asyncio.create_task(asking, name=device_id)

    def _stop(self, device_id: str) -> None:
        task = self._tasks.pop(device_id, None)
        if task is not None:
            task.cancel()
            self._ended.add(task)
            task.add_done_callback(self._ended.discard)


async def _after(before: Collection[asyncio.Task[NoReturn]], puller: Puller) -> NoReturn:
    """Ask, once whoever asked the same device before has ended: an adapter is never used twice at once for one."""
    if before:
        await asyncio.wait(before)
    await made_anew(puller.run, device_id=puller.source.device.device_id)


async def run(
    kafka: KafkaSettings,
    settings: PullSettings,
    registry: Registry,
    payload_fields: Collection[str],
    metrics: Metrics,
    stop: asyncio.Event,
    seal: Seal | None = None,
    tracing: Tracing = OFF,
) -> None:
    """Ask this process's share of the fleet until `stop` is set. While Kafka is away it waits.

    Args:
        kafka: Where the punches go, and where the cursors are.
        settings: How often to ask, how long to wait, and how many devices at a time.
        registry: The fleet.
        payload_fields: The vendors' fields that are kept beside the adapters' own.
        metrics: Where everything is counted.
        stop: Set by whoever wants this to return.
        seal: Seals what was not understood.
        tracing: Of what is published.

    Raises:
        ConfigurationError: a setting or an entry of the registry is wrong.
    """
    client_id = kafka.client_id(STAGE)
    producer = Producer(kafka, client_id)
    cursors_topic = kafka.topics["cursors"]
    fleet = FleetTopic(kafka, registry, STAGE)
    async with create_client(
        connect_seconds=settings.connect_timeout, answer_seconds=settings.answer_timeout, cafile=settings.ssl_cafile
    ) as http:
        context = PullContext(
            settings=settings,
            publisher=Publisher(producer, kafka.topics, metrics, MAX_IN_FLIGHT, seal=seal, tracing=tracing),
            cursors=Cursors(producer, cursors_topic),
            intake=Intake(STAGE, Clocks(metrics)),
            metrics=metrics,
            concurrency=ConcurrencyLimit(settings.concurrency),
            now=now,
            guards=stage_guards(STAGE, kafka, metrics, producer, own=[fleet]),
        )
        pull = Pull(registry, Adapters(Tools(http, secret, payload_fields)).of, context)
        days = UnreadSettings.load().days or kafka.retention_days
        letter_days = DeadLetterSettings.load().days or kafka.retention_days
        expiry = Expiry(kafka, days, letter_days, metrics, kafka.client_id("pull-expiry"))
        share = follow_share(
            kafka, cursors_topic, kafka.group(STAGE), pull, client_id=client_id, assigned=pull.assigned
        )
        try:
            await run_until_stopped(
                stop,
                share,
                pull.watch(),
                fleet.follow(),
                expiry.watch(),
                context.guards.keep(),
                context.seldom.keep(),
            )
        finally:
            await pull.stop()
            await context.publisher.stop()
