"""The way in by asking: one scheduler for thousands of devices, shared among processes by a consumer group.

The group consumes the cursors topic, and a process asks the devices whose key falls into its partitions; so a device is
asked by one process, which has its cursor. After a rebalance a process may go on for a moment with a device that is
another's: then something is read twice, and a cursor falls back, which has it read once more. Both are harmless.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Final, Literal, NoReturn
from zlib import crc32

import httpx
import structlog

from attendance.dead_letter import DeadLetter, Record
from attendance.errors import (
    ConfigurationError,
    DeviceRefused,
    DeviceUnavailable,
    InvalidRecord,
    RetriableError,
    UnreadableAnswer,
)
from attendance.event import RawEvent
from attendance.kafka import OutRecord, Partitions, Producer, follow_share
from attendance.metrics import Metrics
from attendance.other_event import OtherEvent
from attendance.registry import Device, Registry
from attendance.settings import KafkaSettings, PullSettings
from attendance.times import now, to_wall_clock
from producers.clocks import Clocks
from producers.cursors import Position
from producers.devices import PULL_ADAPTERS, create_pull_adapter
from producers.devices.base import Fetch, Page, PullAdapter, Tools
from producers.publisher import Publisher
from producers.status import pulled

log = structlog.get_logger(__name__)

State = Literal["ok", "unavailable", "refused", "unreadable", "failed"]

SUSPECTS: Final = (
    8  # devices that failed last time and are being asked again; they wait for one another, not the others
)
LONGEST_FETCH: Final = 300.0  # seconds; a device with more than that goes on at its next turn
PUBLISH_PAUSE: Final = 1.0  # seconds, between two tries while Kafka does not acknowledge
REFRESH_SECONDS: Final = 1.0
RECENT: Final = 500  # ids that are known as published lately, for each device
NIGHT_BEGINS: Final = timedelta(hours=1)  # after midnight, by the device's own clock
NIGHT_LASTS: Final = timedelta(hours=4)


def is_asked(device: Device) -> bool:
    """Whether the pull stage asks this device: it is there to be asked, or pushes and has an interval besides."""
    if device.disabled or device.via is not None:
        return False
    return device.mode == "pull" or (device.mode == "push" and device.interval is not None)


def secret(device: Device, name: str) -> str:
    """The value of one of the entry's credentials.

    Raises:
        DeviceRefused: the entry has no such name, or the environment no such variable.
    """
    try:
        return os.environ[device.credentials[name]]
    except KeyError as error:
        raise DeviceRefused(f"{device.device_id}: credentials: {name}: {error.args[0]} is not set") from None


@dataclass(slots=True)
class Asked:
    """A device that is asked: its entry, those behind it, how far it has been read, and how that goes."""

    device: Device
    terminals: Mapping[str, Device]
    position: Position
    interval: float
    state: State | None = None
    failures: int = 0
    recent: dict[str, None] = field(default_factory=dict)


class Scheduler:
    """Asks this process's share of the fleet, each device in its interval. A `Share` of the cursors topic.

    Args:
        registry: The fleet.
        adapter: The pull adapter of a name. Raises ConfigurationError where there is none.
        publisher: Where everything goes before a cursor moves.
        write: Returns when Kafka has a cursor's record.
        cursors: The full name of the cursors topic.
        settings: How often, how many at a time, how patiently.
        metrics: Where fetches are counted.
    """

    def __init__(
        self,
        registry: Registry,
        adapter: Callable[[str], PullAdapter],
        publisher: Publisher,
        write: Callable[[OutRecord], Awaitable[object]],
        cursors: str,
        settings: PullSettings,
        metrics: Metrics,
    ) -> None:
        self._registry = registry
        self._adapter = adapter
        self._publisher = publisher
        self._write = write
        self._cursors = cursors
        self._settings = settings
        self._metrics = metrics
        self._clocks = Clocks(metrics)
        self._positions: dict[str, Position] = {}
        self._asked: dict[str, tuple[Asked, asyncio.Task[NoReturn]]] = {}
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._suspects = asyncio.Semaphore(min(SUSPECTS, settings.concurrency))
        self._refreshed_at = 0.0

    def lost(self) -> None:
        """Stop asking: the devices are another's from now on."""
        for _, task in self._asked.values():
            task.cancel()
        self._asked.clear()
        self._positions.clear()
        self._show()

    def take(self, record: Record) -> None:
        """Take in a cursor; one that cannot be read is logged, and its device begins anew."""
        if record.value is None:
            return
        try:
            position = Position.decode(record.value)
        except InvalidRecord as error:
            log.error("A cursor cannot be read; its device is read anew.", key=record.key, error=error.message)
            return
        self._positions[position.device_id] = position

    async def caught_up(self, partitions: Partitions) -> None:
        """Ask the devices of these partitions, as the registry file has them now, and no others."""
        if time.monotonic() - self._refreshed_at >= REFRESH_SECONDS:
            # In a thread: thousands of entries take seconds to read.
            await asyncio.to_thread(self._registry.refresh)
            self._refreshed_at = time.monotonic()
        wanted = {
            device.device_id: (device, self._behind(device))
            for device in self._registry
            if is_asked(device) and partitions.hold(device.device_id.encode())
        }
        for device_id, (asked, task) in list(self._asked.items()):
            if (asked.device, asked.terminals) != wanted.get(device_id):
                task.cancel()
                # What it has read, the successor need not read again.
                self._positions[device_id] = asked.position
                del self._asked[device_id]
        for device_id in wanted.keys() - self._asked.keys():
            asked = self._begin(*wanted[device_id])
            self._asked[device_id] = asked, asyncio.create_task(self._keep_asking(asked))
        self._show()

    def _behind(self, source: Device) -> dict[str, Device]:
        """The entries whose records a server holds, by serial number."""
        return {
            device.serial: device
            for device in self._registry
            if device.via == source.device_id and device.serial is not None and not device.disabled
        }

    def _begin(self, device: Device, terminals: Mapping[str, Device]) -> Asked:
        known = self._positions.get(device.device_id)
        interval = device.interval or self._settings.interval
        return Asked(device, terminals, known or Position(device.device_id, device.adapter, ""), interval)

    async def _keep_asking(self, asked: Asked) -> NoReturn:
        """Ask one device for ever. The first time is anywhere in its interval, so that a fleet is spread over it."""
        pause = random.uniform(0, asked.interval)  # noqa: S311 - no secret
        while True:
            await asyncio.sleep(pause)
            # A device that hangs holds its place for as long as it may: those that did so have places of their own.
            async with self._suspects if asked.failures else self._slots:
                began = time.monotonic()
                state = await self._ask(asked)
            took = time.monotonic() - began
            self._metrics.count("punchstream_fetches_total", adapter=asked.device.adapter, result=state)
            self._metrics.observe("punchstream_fetch_seconds", took)
            asked.state = state
            asked.failures = 0 if state == "ok" else asked.failures + 1
            pause = self._pause(asked, took)

    def _pause(self, asked: Asked, took: float) -> float:
        """Seconds until the next turn: an interval after the last began; longer and longer while it fails."""
        if asked.state == "ok":
            return max(0.0, asked.interval - took)
        if asked.state == "refused":
            return self._settings.refused_pause
        longest = min(self._settings.retry_max, asked.interval * 2**asked.failures)
        return random.uniform(asked.interval, max(asked.interval, longest))  # noqa: S311 - no secret

    async def _ask(self, asked: Asked) -> State:
        """One fetch, whatever comes of it."""
        device_id = asked.device.device_id
        try:
            async with asyncio.timeout(LONGEST_FETCH):
                await self._fetch(asked)
        except TimeoutError:
            log.info("A device has more than one turn can fetch; it goes on at its next.", device_id=device_id)
        except UnreadableAnswer as error:
            log.error("A device's answer cannot be right; its cursor stays.", device_id=device_id, error=str(error))
            return "unreadable"
        except DeviceUnavailable as error:
            if not asked.failures:
                log.warning("A device does not answer.", device_id=device_id, error=str(error))
            return "unavailable"
        except (DeviceRefused, ConfigurationError) as error:
            log.error("A device cannot be asked until its entry is right.", device_id=device_id, error=str(error))
            return "refused"
        except Exception:
            log.exception("A device could not be asked.", device_id=device_id)
            return "failed"
        if asked.failures:
            log.info("A device answers again.", device_id=device_id)
        return "ok"

    async def _fetch(self, asked: Asked) -> None:
        adapter = self._adapter(asked.device.adapter)
        if asked.position.cursor is not None and (asked.position.adapter, asked.position.version) != (
            adapter.name,
            adapter.version,
        ):
            log.warning("A cursor is another adapter's; its device is read anew.", device_id=asked.device.device_id)
            asked.position = replace(asked.position, cursor=None)
        asked.position = replace(asked.position, adapter=adapter.name, version=adapter.version)
        moment = now()
        today = due_sweep(asked.device, asked.position, moment)
        since = None if today is None else moment - timedelta(days=self._settings.sweep_days)
        wanted = Fetch(asked.device, asked.terminals, asked.position.cursor, since, moment)
        pages = adapter.fetch(wanted)
        async with aclosing(pages):  # type: ignore[type-var]  # an adapter's iterator is a generator
            while True:
                try:
                    async with asyncio.timeout(self._settings.timeout):
                        page = await anext(pages)
                except StopAsyncIteration:
                    break
                except TimeoutError as error:
                    raise DeviceUnavailable(f"no page within {self._settings.timeout:g} s") from error
                await self._store(asked, page)
        swept_on = today or asked.position.swept_on or to_wall_clock(moment, asked.device.timezone).date()
        await self._move(asked, replace(asked.position, swept_on=swept_on))

    async def _store(self, asked: Asked, page: Page) -> None:
        """Return when Kafka has a page, and after it the cursor."""
        device, received_at = asked.device, now()
        heard = page.heard
        if heard is not None and heard.device_time is not None:
            self._clocks.measured(device.device_id, heard.device_time, received_at)
        fresh = [event for event in page.events if event.event_id not in asked.recent]
        letters = [
            DeadLetter(
                stage="pull",
                reason=each.reason,
                message=f"records[{each.index}]: {each.message}",
                at=received_at,
                key=device.device_id.encode(),
                value=each.value,
                where=f"pull:{device.device_id}",
            )
            for each in page.rejected
        ]
        others = [
            OtherEvent(device.device_id, device.site, device.adapter, each.kind, received_at, each.value)
            for each in page.others
        ]
        events = self._clocks.mark(device.device_id, fresh)
        await _until_stored(lambda: self._publisher.publish(events, letters, others))
        _remember(asked.recent, fresh)
        await self._move(asked, replace(asked.position, cursor=page.cursor))
        status = pulled(device.device_id, received_at, heard, page.complete_until)
        if status is not None:
            await _until_stored(lambda: self._publisher.report(status))

    async def _move(self, asked: Asked, position: Position) -> None:
        """Return when Kafka has the position, where it is another."""
        if position == asked.position:
            return
        record = OutRecord(self._cursors, position.key, position.encode())
        await _until_stored(lambda: self._write(record))
        asked.position = position

    def _show(self) -> None:
        states = Counter(asked.state or "new" for asked, _ in self._asked.values())
        for state in ("new", "ok", "unavailable", "refused", "unreadable", "failed"):
            self._metrics.gauge("punchstream_asked_devices", states[state], state=state)


def due_sweep(device: Device, position: Position, moment: datetime) -> date | None:
    """The day whose sweep is due, by the device's calendar: once a night, each device at a time of its own.

    A night that was missed is made up for as soon as it can be. A device that was never read needs none: its first
    fetch reads everything.
    """
    if position.swept_on is None:
        return None
    clock = to_wall_clock(moment, device.timezone)
    spread = NIGHT_LASTS * (crc32(device.device_id.encode()) / 2**32)
    midnight = clock.replace(hour=0, minute=0, second=0)
    day = clock.date() if clock >= midnight + NIGHT_BEGINS + spread else clock.date() - timedelta(days=1)
    return day if position.swept_on < day else None


def _remember(recent: dict[str, None], events: Sequence[RawEvent]) -> None:
    """Note ids as published, and forget the oldest beyond `RECENT`: an overlap is read again at every turn."""
    for event in events:
        recent[event.event_id] = None
    for event_id in list(recent)[: max(0, len(recent) - RECENT)]:
        del recent[event_id]


async def _until_stored(store: Callable[[], Awaitable[object]]) -> None:
    """Return when Kafka has acknowledged, however long it takes: what was fetched is kept until then."""
    while True:
        try:
            await store()
        except RetriableError as error:
            log.debug("Kafka is waited for.", error=str(error))
            await asyncio.sleep(PUBLISH_PAUSE)
        else:
            return


def adapters(http: httpx.AsyncClient, payload_fields: Collection[str]) -> Callable[[str], PullAdapter]:
    """Makes each pull adapter once. Raises ConfigurationError for a name that none has."""
    made: dict[str, PullAdapter] = {}
    tools = Tools(http, secret, payload_fields)

    def adapter(name: str) -> PullAdapter:
        if name not in made:
            made[name] = create_pull_adapter(name, tools)
        return made[name]

    return adapter


def http_client(settings: PullSettings) -> httpx.AsyncClient:
    """The client that every adapter shares. Proxies of the environment are not for devices."""
    limits = httpx.Limits(max_connections=2 * settings.concurrency, max_keepalive_connections=settings.concurrency)
    return httpx.AsyncClient(timeout=settings.timeout, limits=limits, trust_env=False, follow_redirects=False)


async def run(
    kafka: KafkaSettings,
    settings: PullSettings,
    registry: Registry,
    payload_fields: Collection[str],
    metrics: Metrics,
    stop: asyncio.Event,
) -> None:
    """Ask this process's share of the fleet until `stop` is set.

    Raises:
        ConfigurationError: a device is to be asked and there is no adapter for it.
    """
    for device in registry:
        if is_asked(device) and device.adapter not in PULL_ADAPTERS:
            known = ", ".join(sorted(PULL_ADAPTERS))
            raise ConfigurationError(f"{device.device_id}: adapter {device.adapter!r} is none that asks: {known}")
    producer = Producer(kafka, f"{kafka.topic_prefix}-pull")
    publisher = Publisher(producer, kafka.topics, metrics, settings.max_in_flight)
    topic = kafka.topics["cursors"]
    async with http_client(settings) as http:
        scheduler = Scheduler(
            registry,
            adapters(http, payload_fields),
            publisher,
            producer.send,
            topic,
            settings,
            metrics,
        )
        asking = asyncio.create_task(
            follow_share(kafka, topic, kafka.group("pull"), scheduler, client_id=f"{kafka.topic_prefix}-pull")
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                asking.result()
        finally:
            asking.cancel()
            stopping.cancel()
            await asyncio.gather(asking, stopping, return_exceptions=True)
            scheduler.lost()
            await publisher.stop()
