"""The stream's wiring, without Faust's worker: what a step gets, what is acknowledged when, and what ends the process.

Faust hands over chunks and keeps the group; both are played here. The rest is the application, on a broker in memory.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
import pytest
import yaml
from aiokafka import TopicPartition
from fake_guard import standing
from msgspec.structs import replace

from attendance.guards import Guards
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.registry import Registry
from attendance.settings import KafkaSettings, StreamSettings
from attendance.times import now
from memory_broker import install
from streams import app as module
from streams.app import create_app, end_process_on_fault, faust_settings, run
from virtual_time import run_in_virtual_time

BEGIN = now().replace(microsecond=0) - timedelta(days=1)
EVENT = RawEvent(
    device_id="D1",
    site="hq",
    device_user_id="1",
    event_type="IN",
    event_time=BEGIN,
    device_time=None,
    device_timezone="UTC",
    received_at=now(),
    source=Source("push", "json"),
)

LATER_STATE = b"\x02 of a later version: what was kept cannot be known"


class Chunks:
    """Faust's stream: hands over chunks, and has acknowledged what it was told to."""

    def __init__(self) -> None:
        self.is_noack = False
        self.acknowledged: list[tuple[int, int]] = []
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def noack(self) -> "Chunks":
        self.is_noack = True
        return self

    async def events(self) -> AsyncIterator[Any]:
        while True:
            yield await self._queue.get()

    async def ack(self, event: Any) -> None:
        self.acknowledged.append((event.message.partition, event.message.offset))

    def hand_over(self, records: list[Any], generation: int) -> None:
        last = records[-1]
        message = SimpleNamespace(partition=last.partition, offset=last.offset, value=records, generation_id=generation)
        self._queue.put_nowait(SimpleNamespace(message=message))


class Stream:
    """One worker: its application, and Faust's part of it."""

    def __init__(self, scene: "Scene", *, guards: Guards | None = None, **settings: Any) -> None:
        self.faults = 0
        self.chunks = Chunks()
        metrics = Metrics()
        self.app = create_app(
            scene.kafka,
            StreamSettings(**settings),
            scene.registry,
            metrics,
            on_fault=self._fault,
            guards=guards or Guards(metrics),
        )
        self.assign(1, 0, 1)
        self._scene = scene

    def _fault(self) -> None:
        self.faults += 1

    def assign(self, generation: int, *partitions: int) -> None:
        tps = {TopicPartition("raw", number) for number in partitions}
        self.app.consumer = SimpleNamespace(assignment=lambda: tps)
        self.app.consumer_generation_id = generation

    def fetch(self, partition: int, *, begin: int = 0, generation: int = 1) -> None:
        """Hand over what the raw topic holds of a partition as one chunk."""
        records = self._scene.broker.topics[self._scene.kafka.topics["raw"]][partition].records[begin:]
        self.chunks.hand_over(records, generation)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        [agent] = self.app.agents.values()
        work = [asyncio.create_task(agent.fun(self.chunks))]
        # What `app.task` was given; the timer that looks at the fleet's file is the last, and sleeps in real time.
        work += [asyncio.create_task(each()) for each in self.app._app_tasks[:-1]]
        try:
            yield
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await self.app.on_before_shutdown.send()


class Scene:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.broker, self.kafka = install(monkeypatch)
        fleet = path / "devices.yaml"
        fleet.write_text(yaml.safe_dump([{"device_id": "D1", "site": "hq", "timezone": "UTC", "mode": "pull"}]))
        self.registry = Registry(fleet)

    def know(self, user: str = "1", employee: str = "E1") -> None:
        topic = self.kafka.topics["user_map"]
        for entry in (Employee(employee, "Active"), UserMapping("*", user, employee, "csv")):
            self.broker.put(topic, entry.encode(), entry.key)

    def punch(self, minutes: int = 0, *, user: str = "1", partition: int = 0) -> None:
        event = replace(EVENT, device_user_id=user, event_time=BEGIN + timedelta(minutes=minutes))
        self.broker.put(self.kafka.topics["raw"], event.encode(), b"D1", partition=partition)

    def count(self, name: str) -> int:
        return len(self.broker.records(self.kafka.topics[name]))

    @property
    def checkins(self) -> list[datetime]:
        values = self.broker.values(self.kafka.topics["checkins"])
        return sorted(Checkin.decode(value).event_time for value in values)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    return Scene(monkeypatch, tmp_path)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_in_virtual_time(asyncio.wait_for(story(), 600))


def test_a_chunk_is_acknowledged_once_its_outcomes_and_then_the_state_are_in_kafka(scene: Scene) -> None:
    scene.know()
    scene.punch(0)
    scene.punch(10)
    scene.broker.hold_acknowledgements()

    async def story() -> None:
        stream = Stream(scene)
        async with stream.running():
            assert stream.chunks.is_noack is False
            stream.fetch(0)
            await asyncio.sleep(1)
            assert stream.chunks.is_noack, "Faust would acknowledge what a step has not finished"
            assert (scene.count("checkins"), scene.count("dedup_state")) == (2, 0)
            scene.broker.acknowledge()
            scene.broker.hold_acknowledgements()
            await asyncio.sleep(1)
            assert (scene.count("dedup_state"), stream.chunks.acknowledged) == (1, [])
            scene.broker.acknowledge()
            await asyncio.sleep(1)
            assert stream.chunks.acknowledged == [(0, 1)]

    play(story)


def test_no_step_is_taken_before_the_user_map_is_known(scene: Scene) -> None:
    scene.punch()
    scene.know()
    scene.broker.go_away()

    async def story() -> None:
        stream = Stream(scene)
        async with stream.running():
            stream.fetch(0)
            await asyncio.sleep(60)
            assert stream.chunks.acknowledged == []
            scene.broker.come_back()
            await asyncio.sleep(5)
            assert scene.checkins == [BEGIN], "and not waiting for a mapping that was there all the time"

    play(story)


def test_what_was_fetched_before_a_rebalance_is_neither_decided_nor_acknowledged(scene: Scene) -> None:
    scene.know()
    scene.punch(0)
    scene.punch(0, partition=1, user="2")

    async def story() -> None:
        stream = Stream(scene)
        async with stream.running():
            stream.assign(2, 1)
            stream.fetch(0, generation=1)
            stream.fetch(1, generation=2)
            await asyncio.sleep(1)
            assert stream.chunks.acknowledged == [(1, 0)]
            assert (scene.count("checkins"), scene.count("unmapped")) == (0, 1)

    play(story)


def test_a_worker_that_rejoins_after_a_lost_commit_writes_the_same_checkin_again(scene: Scene) -> None:
    scene.know()
    scene.punch(0)

    async def story() -> None:
        stream = Stream(scene)
        async with stream.running():
            stream.fetch(0)
            await asyncio.sleep(1)
            scene.punch(10)
            stream.assign(2, 0, 1)
            stream.fetch(0, generation=2)
            await asyncio.sleep(1)
            assert stream.chunks.acknowledged == [(0, 0), (0, 1)]
        assert (scene.checkins, scene.count("dropped")) == ([BEGIN, BEGIN, BEGIN + timedelta(minutes=10)], 0)
        first, again, _ = scene.broker.values(scene.kafka.topics["checkins"])
        assert first == again, "the sink can tell that it is one"

    play(story)


def test_a_worker_that_takes_a_partition_over_knows_what_the_other_kept(scene: Scene) -> None:
    scene.know()
    scene.punch(0)

    async def story() -> None:
        first = Stream(scene)
        async with first.running():
            first.fetch(0)
            await asyncio.sleep(1)
        second = Stream(scene)
        second.assign(2, 1)
        async with second.running():
            await asyncio.sleep(1)
            second.assign(3, 0, 1)
            scene.punch(0)
            second.fetch(0, begin=1, generation=3)
            await asyncio.sleep(1)
            assert second.chunks.acknowledged == [(0, 1)]
        assert (scene.checkins, scene.count("dropped")) == ([BEGIN], 1)

    play(story)


def test_a_worker_reads_what_was_kept_as_soon_as_it_has_a_partition_and_not_when_a_chunk_comes(scene: Scene) -> None:
    scene.broker.put(scene.kafka.topics["dedup_state"], LATER_STATE, b"k")

    async def story() -> None:
        stream = Stream(scene)
        async with stream.running():
            await asyncio.sleep(1)
            assert stream.faults == 0
            await stream.app.on_partitions_assigned.send(set())
            await asyncio.sleep(1)
            assert stream.faults == 1

    play(story)


def test_while_one_step_is_under_way_the_next_one_gathers(scene: Scene) -> None:
    scene.know()
    for number in range(4):
        scene.punch(10 * number)
    raw = scene.kafka.topics["raw"]

    async def story() -> None:
        stream = Stream(scene)
        async with stream.running():
            scene.broker.hold_acknowledgements()
            for record in scene.broker.records(raw):
                stream.chunks.hand_over([record], 1)
                await asyncio.sleep(1)
            assert scene.count("checkins") == 1
            sends = len(scene.broker.log)
            scene.broker.acknowledge()
            await asyncio.sleep(1)
            assert scene.count("checkins") == 4
            assert len(scene.broker.log) - sends == 1 + 3 + 1, "one state record for the first, and one for the rest"
            assert stream.chunks.acknowledged == [(0, number) for number in range(4)]

    play(story)


def test_a_step_that_fails_ends_the_process_and_acknowledges_nothing(scene: Scene) -> None:
    scene.know()
    scene.punch()
    scene.broker.put(scene.kafka.topics["dedup_state"], LATER_STATE, b"k")

    async def story() -> None:
        stream = Stream(scene)
        async with stream.running():
            stream.fetch(0)
            await asyncio.sleep(1)
            assert (stream.faults, stream.chunks.acknowledged) == (1, [])
        assert scene.count("checkins") == 0

    play(story)


def test_what_waits_is_released_when_its_mapping_comes(scene: Scene) -> None:
    scene.punch()

    async def story() -> None:
        stream = Stream(scene)
        async with stream.running():
            stream.fetch(0)
            await asyncio.sleep(5)
            assert (scene.count("unmapped"), scene.checkins) == (1, [])
            scene.know()
            await asyncio.sleep(5)
            assert scene.checkins == [BEGIN]
            assert scene.broker.values(scene.kafka.topics["unmapped"])[-1] is None

    play(story)


def test_an_error_ends_the_process_and_a_cancellation_does_not() -> None:
    faults: list[str] = []

    async def fail() -> None:
        raise ValueError("broken")

    async def story() -> None:
        await end_process_on_fault(fail(), lambda: faults.append("fault"))
        assert faults == ["fault"]
        waiting = asyncio.create_task(end_process_on_fault(asyncio.sleep(3600), lambda: faults.append("cancelled")))
        await asyncio.sleep(1)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        assert faults == ["fault"]

    play(story)


def test_a_cancellation_that_nobody_asked_for_and_an_end_without_an_error_end_the_process_too() -> None:
    faults: list[str] = []

    async def cancelled_by_a_library() -> None:
        raise asyncio.CancelledError

    async def story() -> None:
        await end_process_on_fault(cancelled_by_a_library(), lambda: faults.append("cancelled"))
        await end_process_on_fault(asyncio.sleep(0), lambda: faults.append("ended"))

    play(story)
    assert faults == ["cancelled", "ended"]


def test_the_process_ends_at_once_and_with_the_status_of_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(module.os, "_exit", statuses.append)
    module.end_process()
    assert statuses == [70]


def test_faust_finds_the_brokers_and_keeps_the_groups_times() -> None:
    kafka = KafkaSettings.load(bootstrap_servers="a:1, b:2", session_timeout=30.0)
    settings = faust_settings(kafka, StreamSettings(stream_batch=70))
    assert settings["broker"] == ["kafka://a:1", "kafka://b:2"]
    assert settings["broker_max_poll_records"] == 70
    assert settings["broker_session_timeout"] < settings["broker_request_timeout"]
    assert "broker_credentials" not in settings


@pytest.mark.parametrize(
    ("protocol", "credentials"),
    [("SASL_PLAINTEXT", faust.SASLCredentials), ("SASL_SSL", faust.SASLCredentials), ("SSL", faust.SSLCredentials)],
)
def test_faust_logs_in_as_every_other_client_does(protocol: str, credentials: type) -> None:
    kafka = KafkaSettings.load(security_protocol=protocol, sasl_username="u", sasl_password="p")
    found = faust_settings(kafka, StreamSettings())["broker_credentials"]
    assert isinstance(found, credentials)
    if protocol.startswith("SASL"):
        assert (found.username, found.password, found.mechanism.value) == ("u", "p", kafka.sasl_mechanism)
    context = found.context if protocol == "SSL" else found.ssl_context
    assert (context is not None) == protocol.endswith("SSL")


def test_a_worker_starts_once_kafka_has_the_raw_topic(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Worker:
        spinner = "draws"

        def __init__(self, app: faust.App, **_: Any) -> None:
            said.append(app.conf.id)

        def execute_from_commandline(self) -> None:
            said.append(f"spinner {self.spinner}")

    monkeypatch.setattr(module.faust, "Worker", Worker)
    monkeypatch.setattr(module.uvloop, "install", lambda: None)
    monkeypatch.setattr(sys, "argv", ["punchstream"])
    app = create_app(scene.kafka, StreamSettings(), scene.registry, Metrics())
    with pytest.raises(SystemExit):
        run(app, scene.kafka)
    assert said == [scene.kafka.group("stream"), "spinner None"]


def test_a_worker_that_is_stopped_while_it_waits_for_kafka_exits_with_status_0(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def signalled(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "until_there", signalled)
    monkeypatch.setattr(module.uvloop, "install", lambda: None)
    app = create_app(scene.kafka, StreamSettings(), scene.registry, Metrics())
    with pytest.raises(SystemExit) as stopped:
        run(app, scene.kafka)
    assert stopped.value.code is None


def test_while_a_guard_stands_no_step_is_taken_and_then_each_record_is_decided_once(scene: Scene) -> None:
    scene.know()
    scene.punch(0)
    guard, guards = standing(Metrics())

    async def story() -> None:
        stream = Stream(scene, guards=guards)
        async with stream.running():
            await guards.ask()
            stream.fetch(0)
            await asyncio.sleep(120)
            assert (stream.chunks.acknowledged, scene.checkins) == ([], [])
            assert stream.app.transport.stands()
            guard.answer = None
            await guards.ask()
            await asyncio.sleep(1)
            assert not stream.app.transport.stands()
            assert (stream.chunks.acknowledged, scene.checkins) == ([(0, 0)], [BEGIN])

    play(story)
