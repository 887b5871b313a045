"""The scheduler, with devices that answer from memory and a Kafka that fails on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from attendance.device_status import DeviceStatus
from attendance.errors import (
    ConfigurationError,
    DeviceRefused,
    DeviceUnavailable,
    KafkaUnavailable,
    Reason,
    UnreadableAnswer,
)
from attendance.event import RawEvent, Source
from attendance.kafka import OutRecord, Partitions
from attendance.metrics import Metrics
from attendance.registry import Device, Registry
from attendance.settings import PullSettings
from attendance.topics import Topics
from producers.cursors import Position
from producers.devices.base import Cursor, Fetch, Heard, Other, Page, Probed, Rejected
from producers.publisher import Publisher
from producers.pull import RECENT, Scheduler, due_sweep, is_asked, secret

TOPICS = Topics("t")
ALL = Partitions(frozenset({0}), 1)
NONE = Partitions(frozenset(), 1)
START = datetime(2026, 3, 2, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def entry(device_id: str, **fields: object) -> dict[str, object]:
    return {"device_id": device_id, "site": "hq", "timezone": "UTC", "mode": "pull", "adapter": "fake"} | fields


def punch(device: Device, number: int) -> RawEvent:
    return RawEvent(
        device_id=device.device_id,
        site=device.site,
        device_user_id="7",
        event_type="IN",
        event_time=START + number * MINUTE,
        device_time=str(number),
        device_timezone="UTC",
        received_at=START,
        source=Source("pull", "fake"),
    )


@dataclass
class FakeAdapter:
    """Devices that hold so many punches each, handed over two to a page, with the last one again at the next fetch."""

    punches: dict[str, int] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)
    hang: set[str] = field(default_factory=set)
    asked: list[Fetch] = field(default_factory=list)
    complete_until: datetime | None = None
    heard: Heard | None = None
    name = "fake"
    version = "1"
    verified_on = "none"

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        self.asked.append(wanted)
        device = wanted.source
        if device.device_id in self.hang:
            await asyncio.Event().wait()
        begin = max(0, wanted.cursor["read"] - 1) if wanted.cursor and wanted.since is None else 0
        for first in range(begin, self.punches.get(device.device_id, 0), 2):
            if fault := self.faults.get(device.device_id):
                raise fault
            upto = min(first + 2, self.punches[device.device_id])
            events = [punch(device, number) for number in range(first, upto)]
            yield Page({"read": upto}, events, complete_until=self.complete_until, heard=self.heard)
        if fault := self.faults.get(device.device_id):
            raise fault

    async def probe(self, source: Device) -> Probed:
        return Probed(source.serial, Heard())


@dataclass
class FakeProducer:
    """Keeps what it acknowledges, after as many refusals as there are `failures`."""

    failures: int = 0
    records: list[OutRecord] = field(default_factory=list)
    in_flight_bytes: int = 0

    async def send(self, *records: OutRecord) -> Mapping[tuple[str, int], int]:
        if self.failures:
            self.failures -= 1
            raise KafkaUnavailable("no brokers")
        self.records += records
        return {}

    async def stop(self) -> None: ...

    def topics(self) -> list[str]:
        return [record.topic.partition(".")[2] for record in self.records]

    def events(self) -> list[RawEvent]:
        return [RawEvent.decode(record.value) for record in self.records if record.topic == TOPICS["raw"]]

    def positions(self) -> list[Position]:
        return [Position.decode(record.value) for record in self.records if record.topic == TOPICS["cursors"]]


class Record(NamedTuple):
    """A record of the cursors topic."""

    key: bytes
    value: bytes | None
    topic: str = TOPICS["cursors"]
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    headers: list[tuple[str, bytes]] = []  # noqa: RUF012 - a tuple's default, never changed


class House:
    """A fleet, its scheduler, and a clock that jumps to the next thing that happens."""

    def __init__(self, directory: Path, *entries: dict[str, object], **settings: object) -> None:
        self.file = directory / "devices.yaml"
        self.write(*entries)
        self.adapter = FakeAdapter()
        self.kafka = FakeProducer()
        self.metrics = Metrics()
        self.registry = Registry(self.file)
        publisher = Publisher(self.kafka, TOPICS, self.metrics, 10**9)  # type: ignore[arg-type]
        self.scheduler = Scheduler(
            self.registry,
            self._adapter,
            publisher,
            self.kafka.send,
            TOPICS["cursors"],
            PullSettings.load(**settings),
            self.metrics,
        )

    def _adapter(self, name: str) -> FakeAdapter:
        if name != "fake":
            raise ConfigurationError(f"no adapter {name}")
        return self.adapter

    def write(self, *entries: dict[str, object]) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(yaml.safe_dump(list(entries)))
        new.replace(self.file)

    def play(self, seconds: float, *acts: Callable[[], Any]) -> None:
        """Run for so many seconds of a virtual clock; each act is done once, at an even share of them."""

        async def story() -> None:
            await self.scheduler.caught_up(ALL)
            for act in (*acts, lambda: None):
                await asyncio.sleep(seconds / (len(acts) + 1))
                if act() == "look":
                    await self.scheduler.caught_up(ALL)
            self.scheduler.lost()

        loop = asyncio.SelectorEventLoop()
        _skip_time(loop)
        try:
            loop.run_until_complete(story())
        finally:
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    def count(self, result: str) -> int:
        line = f'punchstream_fetches_total{{adapter="fake",result="{result}"}} '
        lines = self.metrics.exposition().decode().splitlines()
        return next((int(float(each.removeprefix(line))) for each in lines if line in each), 0)


def _skip_time(loop: asyncio.SelectorEventLoop) -> None:
    """Have a loop that would wait for its next timer be at that timer's time at once."""
    skipped = 0.0
    real_time, real_select = loop.time, loop._selector.select  # type: ignore[attr-defined]

    def select(timeout: float | None) -> Any:
        nonlocal skipped
        # What waits for a thread has no timer, or is soon answered.
        found = real_select(0 if timeout else timeout)
        if not found and timeout:
            skipped += timeout
        return found

    loop.time = lambda: real_time() + skipped  # type: ignore[method-assign]
    loop._selector.select = select  # type: ignore[attr-defined]


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def here(work: Callable[[], Any]) -> Any:
        return work()

    monkeypatch.setattr("producers.pull.asyncio.to_thread", here)
    monkeypatch.setattr("producers.pull.REFRESH_SECONDS", -1.0)


pytestmark = pytest.mark.usefixtures("no_thread")


def test_a_cursor_moves_only_after_kafka_has_the_page(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE"))
    house.adapter.punches["GATE"] = 3
    house.play(60)
    assert house.kafka.topics() == ["raw.v1", "raw.v1", "cursors.v1", "raw.v1", "cursors.v1", "cursors.v1"]
    assert [position.cursor for position in house.kafka.positions()] == [{"read": 2}, {"read": 3}, {"read": 3}]


def test_what_kafka_does_not_take_is_kept_until_it_does(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE"))
    house.adapter.punches["GATE"] = 2
    house.kafka.failures = 30
    house.play(120)
    assert len(house.kafka.events()) == 2
    assert next(position.cursor for position in house.kafka.positions()) == {"read": 2}


def test_a_device_is_asked_once_an_interval_and_what_overlaps_is_published_once(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE", interval=10))
    house.adapter.punches["GATE"] = 5
    house.play(100.5)
    assert 9 <= len(house.adapter.asked) <= 11
    assert len(house.kafka.events()) == 5
    assert [fetch.cursor for fetch in house.adapter.asked[:2]] == [None, {"read": 5}]


def test_a_fetch_begins_at_the_cursor_that_kafka_has(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE"))
    house.adapter.punches["GATE"] = 9
    position = Position("GATE", "fake", "1", {"read": 8})
    house.scheduler.take(Record(position.key, position.encode()))
    house.play(60)
    assert house.adapter.asked[0].cursor == {"read": 8}


@pytest.mark.parametrize(
    "value", [b"garbage", Position("GATE", "other", "1", {"x": 1}).encode(), Position("GATE", "fake", "0", {}).encode()]
)
def test_a_cursor_that_is_not_the_adapters_is_not_used(tmp_path: Path, value: bytes) -> None:
    house = House(tmp_path, entry("GATE"))
    house.adapter.punches["GATE"] = 2
    house.scheduler.take(Record(b"GATE", value))
    house.play(60)
    assert house.adapter.asked[0].cursor is None
    assert len(house.kafka.events()) == 2


def test_dead_devices_delay_no_live_one(tmp_path: Path) -> None:
    names = [f"D{number}" for number in range(40)]
    house = House(tmp_path, *(entry(name, interval=30) for name in names), concurrency=4, timeout=20)
    house.adapter.hang = set(names[:20])
    house.play(1800)
    asked = [fetch.source.device_id for fetch in house.adapter.asked]
    # While they are new, dead ones take the places of live ones; from then on they have their own.
    assert min(asked.count(name) for name in names[20:]) >= 50


def test_a_device_that_fails_is_asked_less_and_less_often(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE", interval=10), retry_max=600)
    house.adapter.faults["GATE"] = DeviceUnavailable("no route")
    house.play(3600)
    assert 5 <= house.count("unavailable") <= 40


def test_a_device_that_answers_again_goes_on_where_it_was(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE", interval=10), retry_max=20)
    house.adapter.punches["GATE"] = 4
    house.adapter.faults["GATE"] = DeviceUnavailable("no route")
    house.play(400, house.adapter.faults.clear)
    assert len(house.kafka.events()) == 4


def test_a_refused_password_is_not_tried_again_for_a_long_while(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE", interval=10), refused_pause=1800)
    house.adapter.faults["GATE"] = DeviceRefused("wrong password")
    house.play(1700)
    assert house.count("refused") == 1


def test_a_changed_entry_is_tried_at_once(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE", interval=10))
    house.adapter.faults["GATE"] = DeviceRefused("wrong password")

    def repair() -> str:
        house.adapter.faults.clear()
        house.write(entry("GATE", interval=10, host="10.0.0.7"))
        return "look"

    house.play(100, repair)
    assert house.count("refused") == 1
    assert house.count("ok") >= 3


def test_an_answer_that_cannot_be_right_moves_no_cursor(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE", interval=10))
    house.adapter.faults["GATE"] = UnreadableAnswer("7 records, and it said 9")
    house.play(60)
    assert house.count("unreadable") >= 1
    assert not house.kafka.positions()


def test_an_adapter_that_does_not_exist_holds_up_no_other(tmp_path: Path) -> None:
    house = House(tmp_path, entry("TYPO", adapter="fak"), entry("GATE"))
    house.adapter.punches["GATE"] = 1
    house.play(60)
    assert len(house.kafka.events()) == 1


def test_a_fault_of_an_adapter_holds_up_no_other_and_is_tried_again(tmp_path: Path) -> None:
    house = House(tmp_path, entry("BAD", interval=10), entry("GATE", interval=10))
    house.adapter.punches["GATE"] = 1
    house.adapter.faults["BAD"] = ZeroDivisionError()
    house.play(300)
    assert house.count("failed") >= 2
    assert len(house.kafka.events()) == 1


def test_devices_of_other_members_are_not_asked(tmp_path: Path) -> None:
    house = House(tmp_path, *(entry(f"D{number}") for number in range(20)))

    async def story() -> list[int]:
        counts = []
        for ours in ({0, 1}, {1}, set()):
            await house.scheduler.caught_up(Partitions(frozenset(ours), 2))
            counts.append(len(house.scheduler._asked))
        return counts

    both, one, none = asyncio.run(story())
    assert (both, none) == (20, 0)
    assert 0 < one < 20


def test_the_registry_file_is_followed(tmp_path: Path) -> None:
    house = House(tmp_path, entry("OLD", interval=10), entry("GATE", interval=10))

    def change() -> str:
        house.write(entry("NEW", interval=10), entry("GATE", interval=10, disabled=True))
        return "look"

    house.play(200, change)
    asked = [fetch.source.device_id for fetch in house.adapter.asked]
    assert set(asked[-5:]) == {"NEW"}


def test_rejected_records_become_dead_letters_and_others_go_to_their_topic(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE"))

    async def fetch(wanted: Fetch) -> AsyncIterator[Page]:
        cursor: Cursor = {"read": 1}
        yield Page(cursor, [], [Rejected(3, Reason.INVALID_EVENT, "no user", b"{}")], [Other("stranger", b"{}")])

    house.adapter.fetch = fetch  # type: ignore[method-assign, assignment]
    house.play(60)
    assert house.kafka.topics()[:3] == ["dead-letters.v1", "other-events.v1", "cursors.v1"]


def test_a_page_tells_how_far_its_device_is_complete_and_how_its_clock_goes(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE"))
    house.adapter.punches["GATE"] = 1
    house.adapter.complete_until = START
    house.adapter.heard = Heard(device_time=datetime.now(UTC) - timedelta(hours=1))
    house.play(60)
    [status] = [
        DeviceStatus.decode(each.value) for each in house.kafka.records if each.topic == TOPICS["device_status"]
    ]
    assert status.complete_until == START
    assert status.clock_skew is not None
    assert abs(status.clock_skew + 3600) <= 5
    assert house.kafka.events()[0].clock_skew is not None


def test_only_so_many_ids_are_remembered_of_a_device(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE", interval=10))
    house.adapter.punches["GATE"] = RECENT + 50
    house.play(30)
    assert len(house.kafka.events()) == RECENT + 50


def device(**fields: object) -> Device:
    return Device.model_validate(entry("GATE", **fields))


def test_a_sweep_is_due_once_a_night_by_the_devices_clock() -> None:
    asked = device(timezone="Asia/Riyadh")
    evening = datetime(2026, 3, 2, 18, tzinfo=UTC)  # 21:00 there
    position = Position("GATE", "fake", "1", {}, evening.date())
    assert due_sweep(asked, Position("GATE", "fake", "1"), evening) is None
    due = [hour for hour in range(24) if due_sweep(asked, position, evening + timedelta(hours=hour))]
    # From some time between one and five in the morning, and from then on until it is done.
    assert 4 <= due[0] <= 8
    assert due == list(range(due[0], 24))
    assert due_sweep(asked, position, evening + timedelta(hours=12)) == datetime(2026, 3, 3, tzinfo=UTC).date()


def test_a_sweep_reads_what_the_cursor_has_passed(tmp_path: Path) -> None:
    house = House(tmp_path, entry("GATE"), sweep_days=3)
    house.adapter.punches["GATE"] = 2
    position = Position("GATE", "fake", "1", {"read": 2}, datetime(2026, 1, 1, tzinfo=UTC).date())
    house.scheduler.take(Record(position.key, position.encode()))
    house.play(60)
    [swept] = [fetch for fetch in house.adapter.asked if fetch.since is not None]
    assert swept.now - swept.since == timedelta(days=3)  # type: ignore[operator]
    assert house.kafka.positions()[-1].swept_on is not None


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, True),
        ({"disabled": True}, False),
        ({"via": "SERVER"}, False),
        ({"mode": "file"}, False),
        ({"mode": "push", "serial": "1"}, False),
        ({"mode": "push", "serial": "1", "interval": 900}, True),
    ],
)
def test_who_is_asked(fields: dict[str, object], asked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert is_asked(device(**fields)) is asked


def test_a_secret_is_in_the_environment_under_the_name_that_the_entry_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_PASSWORD", "s3cret")
    asked = device(credentials={"password": "GATE_PASSWORD", "user": "GATE_USER"})
    assert secret(asked, "password") == "s3cret"
    for name in ("user", "token"):
        with pytest.raises(DeviceRefused, match=name):
            secret(asked, name)


def test_a_position_decodes_to_what_was_encoded() -> None:
    position = Position("GATE", "fake", "1", {"id": 7}, START.date())
    assert Position.decode(position.encode()) == position
