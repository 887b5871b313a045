"""A fleet of fakes that is asked, in virtual time, and what Kafka has of it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple, cast

from attendance.errors import KafkaUnavailable
from attendance.fleet import Device
from attendance.guards import Guards
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.cursor import SavedCursor
from attendance.records.device_status import DeviceStatus
from attendance.records.raw_event import RawEvent, Source
from attendance.settings import KafkaSettings, PullSettings
from producers.clocks import Clocks
from producers.devices.contract import Fetch, Page, Probed
from producers.intake import Intake
from producers.publisher import Publisher
from producers.pull.context import ConcurrencyLimit, PullContext
from producers.pull.cursors import Cursors
from producers.pull.puller import Puller
from producers.pull.sources import PullSource
from virtual_time import run_in_virtual_time

TOPICS = KafkaSettings.load().topics
BEGIN = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
HOUR = 3600.0
DAY = 24 * HOUR


def device(name: str = "D1", **fields: Any) -> Device:
    return Device.model_validate(
        {"device_id": name, "site": "HQ", "timezone": "UTC", "mode": "pull", "adapter": "fake", **fields}
    )


def event(user: str, at: datetime = BEGIN, of: Device | None = None) -> RawEvent:
    owner = of or device()
    return RawEvent(owner.device_id, owner.site, user, "IN", at, str(at), owner.timezone, at, Source("pull", "fake"))


class Wire:
    """Stands for the producer: what Kafka has, in the order in which it was acknowledged."""

    def __init__(self) -> None:
        self.records: list[OutRecord] = []
        self.in_flight_bytes = 0
        self.sends = 0
        self.last: int | None = None  # after so many nothing is taken any more
        self.away = False
        self.away_for: set[str] = set()

    async def send(self, *records: OutRecord) -> dict[tuple[str, int], int]:
        await asyncio.sleep(0)
        if self.away or self.sends == self.last or self.away_for & {record.topic for record in records}:
            raise KafkaUnavailable("away")
        self.records += records
        self.sends += 1
        return {}

    def of(self, name: Any) -> list[OutRecord]:
        return [record for record in self.records if record.topic == TOPICS[name]]

    def users(self) -> list[str]:
        return [RawEvent.decode(record.value).device_user_id for record in self.of("raw")]

    def cursors(self) -> list[SavedCursor]:
        return [SavedCursor.decode(record.value) for record in self.of("cursors")]

    def statuses(self) -> list[DeviceStatus]:
        return [DeviceStatus.decode(record.value) for record in self.of("device_status")]


Answer = Callable[["FakeAdapter", Fetch], AsyncIterator[Page]]


@dataclass
class FakeAdapter:
    """Answers as it is told, and remembers when it was asked for what."""

    answer: Answer
    name: str = "fake"
    version: str = "1"
    verified_on: str = "none"
    asked: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wanted: list[Fetch] = field(default_factory=list)
    closed: int = 0

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        if wanted.since is None:
            self.asked[wanted.source.device_id].append(asyncio.get_running_loop().time())
        self.wanted.append(wanted)
        try:
            async for page in self.answer(self, wanted):
                yield page
        finally:
            self.closed += 1

    def read_again(self, raw: bytes, wanted: Fetch) -> Page:
        raise NotImplementedError

    async def probe(self, source: Device) -> Probed:
        raise NotImplementedError

    def gaps(self, device_id: str) -> list[float]:
        times = self.asked[device_id]
        return [after - before for before, after in pairwise(times)]

    def sweeps(self) -> list[Fetch]:
        return [wanted for wanted in self.wanted if wanted.since is not None]


class Scene(NamedTuple):
    context: PullContext
    wire: Wire
    adapter: FakeAdapter

    def puller(self, of: Device | None = None) -> Puller:
        return Puller(PullSource(of or device(), {}), self.adapter, self.context)

    def counted(self, **labels: str) -> float:
        wanted = ",".join(f'{name}="{value}"' for name, value in labels.items())
        return sum(
            float(line.rpartition(" ")[2])
            for line in self.context.metrics.exposition().decode().splitlines()
            if line.startswith("punchstream_pulls_total") and wanted in line
        )


def scene(answer: Answer, *, metrics: Metrics | None = None, guards: Guards | None = None, **settings: Any) -> Scene:
    """A process on the fake wire. Has to be made inside the loop."""
    loop, wire, shown = asyncio.get_running_loop(), Wire(), metrics or Metrics()
    producer = cast("Producer", wire)
    chosen = PullSettings.load(**settings)
    context = PullContext(
        settings=chosen,
        publisher=Publisher(producer, TOPICS, shown, 1_000_000, clock=loop.time),
        cursors=Cursors(producer, TOPICS["cursors"]),
        intake=Intake("pull", Clocks(shown)),
        metrics=shown,
        concurrency=ConcurrencyLimit(chosen.concurrency),
        now=lambda: BEGIN + timedelta(seconds=loop.time()),
        guards=guards or Guards(shown),
    )
    return Scene(context, wire, FakeAdapter(answer))


@contextmanager
def asking(*pullers: Puller) -> Iterator[list[asyncio.Task[Any]]]:
    tasks = [asyncio.create_task(puller.run()) for puller in pullers]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def for_a_while(seconds: float, *pullers: Puller) -> None:
    """Have them ask for so long."""
    with asking(*pullers) as tasks:
        await asyncio.sleep(seconds)
    await asyncio.gather(*tasks, return_exceptions=True)


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        run_in_virtual_time(cast("Any", test()))

    run.__name__ = test.__name__
    return run


async def nothing_new(_: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
    yield Page(wanted.cursor or {"id": 0}, complete_until=wanted.now)


def numbered(users: list[str]) -> Answer:
    """A device whose memory holds one record for each user; its cursor counts them. Two go into a page."""

    async def answer(_: FakeAdapter, wanted: Fetch) -> AsyncIterator[Page]:
        start = (wanted.cursor or {"id": 0})["id"] if wanted.since is None else 0
        known = (wanted.cursor or {"id": 0})["id"]
        for first in range(start, len(users), 2):
            page = users[first : first + 2]
            yield Page({"id": max(known, first + len(page))}, [event(user) for user in page])

    return answer
