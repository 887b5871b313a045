"""A process's share of the fleet: who asks whom, after a rebalance and after a change of the fleet file."""

import asyncio
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, Self, cast

import pytest
import yaml
from structlog.testing import capture_logs

from attendance.errors import ConfigurationError, DeviceRefused
from attendance.fleet import Device
from attendance.kafka.groups import Assignment
from attendance.metrics import Metrics
from attendance.registry import Registry
from producers.devices.contract import Fetch, Page, PullAdapter
from producers.pull import share as pull_module
from producers.pull.puller import Puller
from producers.pull.share import NAMED, Pull
from pulling import HOUR, FakeAdapter, Scene, device, in_virtual_time, nothing_new, numbered, scene

ALL = Assignment(frozenset(range(4)), 4)


class Fleet:
    """A fleet file that changes."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "devices.yaml"
        self.entries: dict[str, dict[str, Any]] = {}
        self.sites: list[dict[str, str]] = []
        self._written = 0

    def write(self, *names: str, **fields: Any) -> None:
        """Add or change devices; those with `gone` are removed."""
        for name in names:
            entry = self.entries.get(name) or device(name).model_dump(exclude_defaults=True)
            self.entries[name] = entry | fields
        shown = [entry for entry in self.entries.values() if not entry.get("gone")]
        self._written += 1
        self.path.write_text(yaml.safe_dump({"sites": self.sites, "devices": shown}) + "#" * self._written)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    async def at_once(work: Any) -> Any:
        return work()

    # Virtual time passes while a thread works.
    monkeypatch.setattr(pull_module.asyncio, "to_thread", at_once)
    return Fleet(tmp_path)


class Process:
    """One process of the group, which watches the fleet file for as long as it is entered."""

    def __init__(self, fleet: Fleet, stage: Scene) -> None:
        self.stage = stage
        # Minutes pass between two looks at the file.
        self.pull = Pull(Registry(fleet.path, count(0, 100).__next__), self._adapter_of, stage.context)

    def _adapter_of(self, asked: Device) -> PullAdapter:
        if asked.options.get("wrong"):
            raise ConfigurationError(f"{asked.device_id}: options.wrong: it is")
        return self.stage.adapter

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self.pull.watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self.pull.stop()

    async def take_over(self, assignment: Assignment = ALL) -> None:
        """What the group does at a rebalance, with the topic as it is on the wire."""
        for record in self.stage.wire.of("cursors"):
            self.pull.take(cast("Any", record))
        self.pull.assigned(assignment)
        await self.pull.caught_up()

    def asked(self) -> set[str]:
        return {name for name, times in self.stage.adapter.asked.items() if times}


def test_each_device_is_asked_by_exactly_one_process(fleet: Fleet) -> None:
    names = [f"D{number}" for number in range(200)]
    fleet.write(*names)

    @in_virtual_time
    async def test() -> None:
        shares = [Assignment(frozenset(partitions), 12) for partitions in ({0, 5, 7}, {1, 2, 3, 4}, {6, 8, 9, 10, 11})]
        asked = []
        for share in shares:
            async with Process(fleet, scene(nothing_new)) as process:
                await process.take_over(share)
                await asyncio.sleep(100)
                asked.append(process.asked())
        assert sorted(name for share in asked for name in share) == sorted(names)
        assert all(asked)

    test()


def test_nobody_is_asked_before_there_is_an_assignment_or_after_it_is_lost(fleet: Fleet) -> None:
    fleet.write("D1")

    @in_virtual_time
    async def test() -> None:
        async with Process(fleet, scene(nothing_new)) as process:
            await process.pull.caught_up()
            await asyncio.sleep(HOUR)
            assert not process.asked()
            await process.take_over()
            await asyncio.sleep(100)
            assert process.asked()
            process.pull.lost()
            fleet.write("D2")
            process.stage.adapter.asked.clear()
            await process.pull.caught_up()
            await asyncio.sleep(HOUR)
            assert not process.asked()

    test()


def test_what_one_process_loses_another_goes_on_with(fleet: Fleet) -> None:
    fleet.write("D1")
    users = ["1", "2", "3"]

    @in_virtual_time
    async def test() -> None:
        first, second = scene(numbered(users)), scene(numbered(users))
        async with Process(fleet, first) as one, Process(fleet, second) as two:
            await one.take_over()
            await asyncio.sleep(100)
            one.pull.lost()
            users.append("4")
            second.wire.records = first.wire.records
            await two.take_over()
            await asyncio.sleep(100)
        assert first.wire.users() == ["1", "2", "3", "4"]
        assert second.adapter.wanted[0].cursor == {"id": 3}

    test()


def test_a_device_that_comes_back_keeps_its_turn_and_is_never_asked_twice_at_once(fleet: Fleet) -> None:
    fleet.write("D1")
    at_once = most = 0

    async def slow_to_stop(adapter: FakeAdapter, _: Fetch) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            await asyncio.sleep(5 if len(adapter.wanted) > 1 else 0)
            yield Page({"id": 1})
        finally:
            await asyncio.sleep(30)
            at_once -= 1

    @in_virtual_time
    async def test() -> None:
        async with Process(fleet, scene(slow_to_stop)) as process:
            await process.take_over()
            while len(process.stage.adapter.wanted) < 2:  # noqa: ASYNC110 - time is virtual
                await asyncio.sleep(1)
            for _ in range(3):
                process.pull.lost()
                await process.take_over()
                await asyncio.sleep(1)
            before = len(process.stage.adapter.wanted)
            await asyncio.sleep(70)
            assert len(process.stage.adapter.wanted) > before
        assert most == 1

    test()


def test_the_registry_file_is_taken_up_while_it_runs(fleet: Fleet) -> None:
    fleet.write("stays", "goes", "off")

    @in_virtual_time
    async def test() -> None:
        async with Process(fleet, scene(nothing_new)) as process:
            await process.take_over()
            await asyncio.sleep(100)
            assert process.asked() == {"stays", "goes", "off"}
            fleet.write("goes", gone=True)
            fleet.write("off", disabled=True)
            fleet.write("comes")
            await asyncio.sleep(3)
            process.stage.adapter.asked.clear()
            await asyncio.sleep(100)
            assert process.asked() == {"stays", "comes"}

    test()


def test_a_device_that_refused_is_asked_when_its_entry_changes(fleet: Fleet) -> None:
    fleet.write("D1")

    async def refusing(_: FakeAdapter, wanted: Fetch) -> Any:
        if wanted.source.host is None:
            raise DeviceRefused("D1: its entry names no host")
        yield Page({"id": 1})

    @in_virtual_time
    async def test() -> None:
        async with Process(fleet, scene(refusing)) as process:
            with capture_logs():
                await process.take_over()
                await asyncio.sleep(600)
                fleet.write("another")
                await asyncio.sleep(600)
            assert len(process.stage.adapter.asked["D1"]) == 1
            fleet.write("D1", host="10.0.0.1")
            await asyncio.sleep(63)
            assert process.stage.wire.cursors()[-1].cursor == {"id": 1}

    test()


def test_a_wrong_entry_stops_the_start_and_later_only_its_device(fleet: Fleet) -> None:
    fleet.write("D1", options={"wrong": True})

    @in_virtual_time
    async def test() -> None:
        with pytest.raises(ConfigurationError, match=r"D1: options\.wrong"):
            Process(fleet, scene(nothing_new))
        fleet.write("D1", options={})
        async with Process(fleet, scene(nothing_new)) as process:
            await process.take_over()
            with capture_logs() as logs:
                fleet.write("D1", options={"wrong": True})
                fleet.write("D2")
                await asyncio.sleep(3)
                process.stage.adapter.asked.clear()
                await asyncio.sleep(100)
            assert process.asked() == {"D2"}
            assert [each["error"] for each in logs if each["log_level"] == "error"] == ["D1: options.wrong: it is"]

    test()


def shown(metrics: Metrics, name: str) -> Mapping[str, float]:
    lines = [line for line in metrics.exposition().decode().splitlines() if line.startswith(f"{name}{{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


def test_the_metrics_show_states_and_no_more_than_a_hundred_devices(fleet: Fleet) -> None:
    fleet.write(*(f"dead-{number}" for number in range(NAMED + 50)))
    fleet.write("lives")

    async def answer(_: FakeAdapter, wanted: Fetch) -> Any:
        if wanted.source.device_id != "lives" and wanted.source.name != "repaired":
            raise DeviceRefused("no")
        yield Page({})

    @in_virtual_time
    async def test() -> None:
        metrics = Metrics()
        with capture_logs():
            async with Process(fleet, scene(answer, metrics=metrics)) as process:
                await process.take_over()
                await asyncio.sleep(200)
                states = shown(metrics, "punchstream_pull_devices")
                assert (states["ok"], states["refused"], states["new"]) == (1, NAMED + 50, 0)
                assert not shown(metrics, "punchstream_pull_behind_timestamp_seconds")
                await asyncio.sleep(200)
                behind = shown(metrics, "punchstream_pull_behind_timestamp_seconds")
                assert len(behind) == NAMED
                assert "lives" not in behind
                fleet.write(*(f"dead-{number}" for number in range(NAMED + 50)), name="repaired")
                await asyncio.sleep(100)
                assert not shown(metrics, "punchstream_pull_behind_timestamp_seconds")

    test()


def test_a_device_is_behind_by_the_working_hours_of_its_site_only(fleet: Fleet) -> None:
    # It begins at noon of a Friday, UTC.
    fleet.sites += [
        {"site": "works", "working_hours": "fri 12:00-13:00"},
        {"site": "rests", "working_hours": "sat 08:00-16:00"},
    ]
    fleet.write("D1", site="works")
    fleet.write("D2", site="rests")

    async def answer(_: FakeAdapter, __: Fetch) -> Any:
        raise DeviceRefused("no")
        yield

    @in_virtual_time
    async def test() -> None:
        metrics = Metrics()
        with capture_logs():
            async with Process(fleet, scene(answer, metrics=metrics)) as process:
                await process.take_over()
                await asyncio.sleep(0.5 * HOUR)
        assert shown(metrics, "punchstream_pull_behind_timestamp_seconds").keys() == {"D1"}

    test()


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ZeroDivisionError()])
def test_a_device_whose_asking_died_of_what_nobody_thought_of_is_asked_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    fleet.write("D1", "D2")
    conclude, ends = Puller._conclude, [error]

    def die_once(puller: Puller, *outcome: Any) -> None:
        if puller.source.device.device_id == "D1" and ends:
            raise ends.pop()
        conclude(puller, *outcome)

    monkeypatch.setattr(Puller, "_conclude", die_once)

    @in_virtual_time
    async def test() -> None:
        async with Process(fleet, scene(nothing_new)) as process:
            await process.take_over()
            await asyncio.sleep(HOUR)
            asked = process.stage.adapter.asked
            assert not ends
            assert len(asked["D1"]) > len(asked["D2"]) / 2

    with capture_logs() as logged:
        test()
    [critical] = [each for each in logged if each["log_level"] == "critical"]
    assert (critical["device_id"], critical["part"]) == ("D1", "Puller.run")
