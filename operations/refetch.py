"""Refetch: asks devices for a day again, each by the way that its protocol has."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple

import structlog

from attendance.errors import ConfigurationError, DeviceRefused, DeviceUnavailable
from attendance.fleet import Device
from attendance.metrics import Metrics
from attendance.records.raw_event import RawEvent
from attendance.settings import PullSettings, PushSettings
from attendance.times import midnight, now, to_wall_clock
from operations.device_settings import adapters
from operations.devices import order_backfill
from operations.log import Log, Skipped
from operations.own_counts import whole_day
from operations.publishing import check_clock, create_publisher
from operations.reconcile import Fetched
from operations.verification import verify
from producers.clocks import Clocks
from producers.devices.contract import Fetch, Page, PullAdapter, Rejected
from producers.devices.zkteco import adms as zkteco_adms
from producers.intake import Intake, Place
from producers.pull.sources import PullSource, sources

log = structlog.get_logger(__name__)

CLIENT: Final = "reconcile"
CHUNK: Final = 2_000
"""Events whose acknowledgements are awaited together."""

Publish = Callable[[Sequence[RawEvent]], Awaitable[object]]
"""Returns when Kafka has the events. Raises KafkaUnavailable."""


class Days(NamedTuple):
    """The days that are asked for, both included."""

    first: date
    last: date

    def __str__(self) -> str:
        return "day" if self.first == self.last else "days"


@dataclass(slots=True)
class _Answer:
    """What a source gave of the days: events by device, each once, and how many records can be no punch."""

    events: dict[str, dict[str, RawEvent]] = field(default_factory=lambda: defaultdict(dict))
    rejected: int = 0


class Refetch:
    """Asks devices again. See `operations.reconcile.Fetch`.

    A device that is asked gives all that it has from the beginning of the day on. Those punches of the day that Kafka
    does not have are published, as the pull stage would have published them. A ZKTeco terminal that pushes gets two
    commands, to send the day again and to count it, and answers when it next asks. Others cannot be asked.
    """

    def __init__(
        self,
        log: Log,
        fleet: Iterable[Device],
        settings: PullSettings,
        adapter_of: Callable[[Device], PullAdapter],
        publish: Publish,
        skipped: Skipped,
    ) -> None:
        """Nothing is asked yet.

        Args:
            log: The topics.
            fleet: Every entry: a server may hold the records of a device.
            settings: Those of the pull stage.
            adapter_of: Speaks the protocol of a device; raises ConfigurationError.
            publish: Puts events on the raw topic.
            skipped: Where the records are counted that cannot be read.
        """
        self._log = log
        self._sources = sources(fleet)
        self._settings = settings
        self._adapter_of = adapter_of
        self._publish = publish
        self._skipped = skipped
        self._intake = Intake("pull", Clocks(Metrics()))
        self._at_once = asyncio.Semaphore(settings.concurrency)
        self._publishing = asyncio.Lock()

    async def __call__(
        self, devices: Sequence[Device], day: date, known: Mapping[str, frozenset[str]]
    ) -> dict[str, Fetched]:
        """See `operations.reconcile.Fetch`.

        Raises:
            KafkaUnavailable: Kafka does not take the events; some may be there.
        """
        found: dict[str, Fetched] = {}
        by_source: dict[str, list[Device]] = defaultdict(list)
        for device in devices:
            if (device.via or device.device_id) in self._sources and not device.disabled:
                by_source[device.via or device.device_id].append(device)
            else:
                found[device.device_id] = await self._without_asking(device, day)
        asked = [self._ask(self._sources[name], its, Days(day, day), known) for name, its in by_source.items()]
        for each in await asyncio.gather(*asked):
            found |= each
        return found

    async def days(
        self, device: Device, days: Days, known: Mapping[str, frozenset[str]], pages: Callable[[int], None]
    ) -> Fetched:
        """Ask one device for several days, as `__call__` does for one.

        Args:
            device: One that can be asked.
            days: On the clock of its zone.
            known: The ids of its punches of these days that Kafka has, by device_id.
            pages: Is given how many pages have come, whenever one does.

        Raises:
            ConfigurationError: it cannot be asked, or not now.
            KafkaUnavailable: Kafka does not take the events; some may be there.
        """
        source = self._sources.get(device.via or device.device_id)
        if source is None or device.disabled:
            raise ConfigurationError(f"{device.device_id} cannot be asked")
        return (await self._ask(source, [device], days, known, pages))[device.device_id]

    async def _without_asking(self, device: Device, day: date) -> Fetched:
        name = device.device_id
        if device.disabled or device.paused:
            return Fetched(None, f"{name} is {'disabled' if device.disabled else 'paused'}: it was not asked.")
        if device.via is not None:
            return Fetched(None, f"{name} cannot be asked: {device.via} holds its records, and is not asked for any.")
        if device.mode == "file":
            return Fetched(None, f"{name} cannot be asked: import its file again (punchstream import).")
        if device.adapter != zkteco_adms.NAME:
            return Fetched(None, f"{name} cannot be asked: it pushes by {device.adapter}, which has no such question.")
        first, last = whole_day(day)
        order = await order_backfill(self._log, device, first, last, self._skipped)
        said = f"{name} is to send the day again when it next asks (command {order.id})."
        try:
            counting = await verify(self._log, device, first, last, self._skipped, again=True)
        except ConfigurationError:  # an access terminal does not count
            return Fetched(None, said)
        return Fetched(None, f"{said[:-1]} and to count it (command {counting.order.id}): run this again then.")

    async def _ask(
        self,
        source: PullSource,
        devices: Sequence[Device],
        days: Days,
        known: Mapping[str, frozenset[str]],
        pages: Callable[[int], None] = lambda _: None,
    ) -> dict[str, Fetched]:
        try:
            async with self._at_once:
                answer = await self._read(source, devices, days, pages)
        except (DeviceUnavailable, DeviceRefused, ConfigurationError) as error:
            return _failed(devices, str(error))
        except Exception as error:
            # An adapter that fails on one device must not keep the others from being asked.
            log.exception("An adapter failed on a device.", device_id=source.device.device_id)
            return _failed(devices, f"its adapter failed: {type(error).__name__}")
        found = {}
        for device in devices:
            its = answer.events[device.device_id]
            missing = [event for event_id, event in its.items() if event_id not in known[device.device_id]]
            # One after the other: no more may wait for Kafka than the publisher takes.
            async with self._publishing:
                for begin in range(0, len(missing), CHUNK):
                    await self._publish(missing[begin : begin + CHUNK])
            said = f"{device.device_id} gave {len(its):,} punches of the {days}."
            if missing:
                said += f" Kafka lacked {len(missing):,} of them, and has them now: run this again in a minute."
            if answer.rejected:
                # Nobody knows of which day they are. The pull stage keeps them.
                said += f" Records that can be no punch, of whatever day: {answer.rejected:,}."
            found[device.device_id] = Fetched(frozenset(its), said, new=len(missing))
        return found

    async def _read(
        self, source: PullSource, devices: Sequence[Device], days: Days, came: Callable[[int], None]
    ) -> _Answer:
        """What a source gives of the days.

        Raises:
            DeviceUnavailable, DeviceRefused: as `PullAdapter.fetch` has it.
            ConfigurationError: the entry cannot work.
        """
        zones = {each.device_id: each.timezone for each in devices}
        since = min(midnight(days.first, zone) for zone in zones.values())
        adapter = self._adapter_of(source.device)
        pages = adapter.fetch(Fetch(source.device, source.terminals, None, since, now()))
        answer = _Answer()
        count = 0
        try:
            while (page := await self._next(source.device, pages)) is not None:
                came(count := count + 1)
                records = self._intake.to_records(page, source.device, adapter, now(), _place)
                answer.rejected += len(page.rejected)
                for event in records.events:
                    zone = zones.get(event.device_id)
                    if zone is not None and _is_of(event, days, zone):
                        answer.events[event.device_id][event.event_id] = event
        finally:
            if isinstance(pages, AsyncGenerator):
                await pages.aclose()
        return answer

    async def _next(self, device: Device, pages: AsyncIterator[Page]) -> Page | None:
        seconds = self._settings.page_timeout
        try:
            async with asyncio.timeout(seconds):
                return await anext(pages, None)
        except TimeoutError as error:
            raise DeviceUnavailable(f"{device.device_id}: no page within {seconds:g} s") from error


@asynccontextmanager
async def refetching(log: Log, fleet: Iterable[Device], skipped: Skipped) -> AsyncIterator[Refetch]:
    """A `Refetch` with the settings of the pull stage, while the context lasts.

    Args:
        log: The topics.
        fleet: Every entry.
        skipped: Where the records are counted that cannot be read.

    Raises:
        ConfigurationError: a setting is wrong.
        StandingStill: this machine's clock is wrong; nothing is asked.
        KafkaUnavailable: Kafka does not answer.
    """
    settings = PullSettings.load()
    publisher, clock = create_publisher(CLIENT, Metrics())
    try:
        await check_clock(clock)
        async with adapters(settings, PushSettings.load().payload_fields) as made:
            yield Refetch(log, fleet, settings, made.of, publisher.publish, skipped)
    finally:
        await publisher.stop()


def _failed(devices: Sequence[Device], why: str) -> dict[str, Fetched]:
    return {each.device_id: Fetched(None, f"{each.device_id} was not asked: {why}", failed=True) for each in devices}


def _is_of(event: RawEvent, days: Days, zone: str) -> bool:
    try:
        return event.event_time is not None and days.first <= to_wall_clock(event.event_time, zone).date() <= days.last
    except OverflowError:
        return False


def _place(rejected: Rejected) -> Place:
    return Place(f"record {rejected.index} of a page", f"pull:{CLIENT}")
