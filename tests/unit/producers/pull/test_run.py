"""The pull stage as a member of its group: who asks whom, and where they go on, on a broker in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from attendance.errors import ConfigurationError
from attendance.metrics import Metrics
from attendance.records.raw_event import RawEvent
from attendance.registry import Registry
from attendance.settings import PullSettings
from memory_broker import install
from producers.pull import share as module
from pulling import FakeAdapter, device, numbered
from virtual_time import run_in_virtual_time

DEVICES = ("D1", "D2", "D3", "D4")


class Scene:
    """A fleet, and processes that share it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.broker, self.kafka = install(monkeypatch, partitions=4)
        self.fleet = path / "devices.yaml"
        entries = [device(name).model_dump(exclude_defaults=True) for name in DEVICES]
        self.fleet.write_text(yaml.safe_dump(entries))
        self.adapters: list[FakeAdapter] = []
        self.users = ["1", "2", "3"]
        monkeypatch.setattr(module, "Adapters", self._adapters_of_the_newest_process)

        async def refreshed(registry: Registry) -> bool:
            changed = registry.refresh()
            if registry.topic.caught_up.is_set():
                registry.whole.set()
            return changed

        # Otherwise in a thread, while which virtual time passes.
        monkeypatch.setattr(Registry, "refreshed", refreshed)
        monkeypatch.setattr(module, "create_client", nothing)

    def _adapters_of_the_newest_process(self, _: object) -> SimpleNamespace:
        adapter = self.adapters[-1]
        return SimpleNamespace(of=lambda _: adapter)

    @asynccontextmanager
    async def process(self) -> AsyncIterator[FakeAdapter]:
        adapter = FakeAdapter(numbered(self.users))
        self.adapters.append(adapter)
        stop = asyncio.Event()
        registry = Registry(self.fleet)
        running = asyncio.create_task(module.run(self.kafka, PullSettings.load(), registry, (), Metrics(), stop))
        await asyncio.sleep(0)
        try:
            yield adapter
        finally:
            stop.set()
            await running

    def users_heard(self) -> set[str]:
        return {RawEvent.decode(value).device_user_id for value in self.broker.values(self.kafka.topics["raw"])}


@asynccontextmanager
async def nothing(**_: Any) -> AsyncIterator[None]:
    yield None


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    return Scene(monkeypatch, tmp_path)


def test_a_process_alone_asks_the_whole_fleet_and_leaves_its_group_at_the_end(scene: Scene) -> None:
    async def story() -> None:
        async with scene.process() as adapter:
            await asyncio.sleep(120)
            assert set(adapter.asked) == set(DEVICES)
            assert scene.users_heard() == {"1", "2", "3"}
            assert scene.broker.groups[scene.kafka.group("pull")].members == [scene.kafka.client_id("pull")]
        assert scene.broker.groups[scene.kafka.group("pull")].members == []

    run_in_virtual_time(story())


def test_a_second_process_takes_over_a_part_and_goes_on_at_its_cursors(scene: Scene) -> None:
    async def story() -> None:
        async with scene.process() as first:
            await asyncio.sleep(120)
            async with scene.process() as second:
                await asyncio.sleep(5)
                first.asked.clear()
                second.asked.clear()
                await asyncio.sleep(600)
                assert set(first.asked) | set(second.asked) == set(DEVICES)
                assert not set(first.asked) & set(second.asked)
                assert all(wanted.cursor for wanted in second.wanted), "where the first has left off"
            first.asked.clear()
            await asyncio.sleep(600)
            assert set(first.asked) == set(DEVICES)

    run_in_virtual_time(story())


def test_a_process_that_starts_later_reads_only_what_is_new(scene: Scene) -> None:
    async def story() -> None:
        async with scene.process():
            await asyncio.sleep(120)
        scene.users.append("4")
        async with scene.process() as later:
            await asyncio.sleep(120)
        assert all(wanted.cursor for wanted in later.wanted)
        assert scene.users_heard() == {"1", "2", "3", "4"}

    run_in_virtual_time(story())


def test_while_kafka_is_away_nobody_is_asked(scene: Scene) -> None:
    scene.broker.go_away()

    async def story() -> None:
        async with scene.process() as adapter:
            await asyncio.sleep(120)
            assert adapter.asked == {}
            scene.broker.come_back()
            await asyncio.sleep(120)
            assert scene.users_heard() == {"1", "2", "3"}

    run_in_virtual_time(story())


def test_an_entry_that_cannot_work_ends_the_start(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_: object) -> None:
        raise ConfigurationError("D1: adapter: there is none of this name")

    monkeypatch.setattr(module, "Adapters", lambda _: SimpleNamespace(of=wrong))

    async def story() -> None:
        with pytest.raises(ConfigurationError, match="D1: adapter"):
            await module.run(scene.kafka, PullSettings.load(), Registry(scene.fleet), (), Metrics(), asyncio.Event())

    run_in_virtual_time(story())
