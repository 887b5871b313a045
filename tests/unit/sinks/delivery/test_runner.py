"""The sink's membership of its group: what it commits and when, and what becomes of records that change hands."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError, NotCoordinatorForGroupError
from fake_guard import WRONG, standing
from structlog.testing import capture_logs
from traces import Traces, ids, parent

from attendance.errors import ConfigurationError, KafkaUnavailable, ZoneInDoubt
from attendance.guards import ASK_SECONDS, Guards
from attendance.kafka.clients import create_consumer
from attendance.kafka.progress import CHECK_SECONDS, WRITE_SECONDS
from attendance.kafka.records import Headers, OutRecord
from attendance.metrics import Metrics
from attendance.records.account import AcceptedLoss, Account, decode
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Delivery, Waiting
from attendance.records.raw_event import RAW_RECORD, RawEvent, Source
from attendance.records.site import SiteZone
from attendance.records.user_map import Employee
from attendance.settings import SinkSettings
from attendance.site import ZoneStore
from attendance.tracing import OFF, Tracing
from memory_broker import install
from memory_broker.groups import Group
from sinks.delivery import runner
from sinks.delivery.runner import LEAVE_SECONDS, run
from sinks.delivery.timings import SinkTimings
from sinks.targets.base import Delivered, Result
from virtual_time import run_in_virtual_time

TIMINGS = SinkTimings(recheck=0, unknown=0, commit=1, stop=20)
EMPLOYEES = "ABCD"
NOW = datetime(2026, 1, 1, 5, tzinfo=UTC)


class HoldingTarget:
    """Stores check-ins by event id.

    It answers for those that are held only once they are released, and says of those that are postponed, after a
    second, that they were not tried.
    """

    name = "holding"
    max_batch = 200
    looks_up_employees = False

    def __init__(self) -> None:
        self.stored: Counter[str] = Counter()
        self.asked: list[str] = []
        self.held: set[str] = set()
        self.postponed: set[str] = set()
        self.is_closed = False
        self.wrong_setting = False
        self._released = asyncio.Event()
        self._has_stored = asyncio.Event()

    async def until_stored(self, name: str) -> None:
        while not self.stored[name]:
            self._has_stored.clear()
            await self._has_stored.wait()

    async def open(self) -> None:
        if self.wrong_setting:
            raise ConfigurationError("TARGET_SETTING: is wrong")

    async def deliver(self, checkins: Sequence[Checkin]) -> list[Result]:
        names = [checkin.event_id for checkin in checkins]
        self.asked += names
        while self.held.intersection(names):
            self._released.clear()
            await self._released.wait()
        results: list[Result] = []
        for name in names:
            if name in self.postponed:
                await asyncio.sleep(1)
                results.append(None)
                continue
            status = "already_there" if self.stored[name] else "created"
            self.stored[name] = 1
            self._has_stored.set()
            results.append(Delivered(f"DOC-{name}", status))
        return results

    async def close(self) -> None:
        self.is_closed = True

    def release(self) -> None:
        self.held.clear()
        self._released.set()


class Scene:
    """A broker with employees, and sinks that join and leave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broker, self.kafka = install(monkeypatch)
        self.topic = self.kafka.topics["checkins"]
        self.group = self.kafka.group("sink")
        self.target = HoldingTarget()
        self.metrics = Metrics()
        self.tracing: Tracing = OFF
        self.headers: dict[str, Headers] = {}  # of check-ins that are put
        self.settings: dict[str, Any] = {"concurrency": 4, "batch": 1}
        monkeypatch.setattr(runner, "stage_guards", lambda *_, own=(): Guards(self.metrics, own))

    def know(self, employees: str = EMPLOYEES) -> None:
        for name in employees:
            employee = Employee(name=name, status="Active")
            self.broker.put(self.kafka.topics["user_map"], employee.encode(), employee.key)

    def put(self, *names: str, partition: int = 0) -> None:
        """Check-ins named like `A1`: one of employee A."""
        for name in names:
            headers = self.headers.pop(name, ())
            checkin = Checkin(
                event_id=name,
                employee=name[0],
                event_time=datetime(2026, 1, 1, 5, tzinfo=UTC) + timedelta(minutes=int(name[1:])),
                log_type="IN",
                device_id="D1",
                device_user_id="7",
                site="HQ",
                device_timezone="Asia/Riyadh",
            )
            self.broker.put(self.topic, checkin.encode(), checkin.key, partition=partition, headers=headers)

    @asynccontextmanager
    async def sink(self, target: HoldingTarget | None = None) -> AsyncIterator["Running"]:
        """A sink, stopped at the end as SIGTERM stops it."""
        stop = asyncio.Event()
        task = asyncio.create_task(
            run(
                *(self.kafka, SinkSettings(**self.settings), target or self.target, self.metrics, stop),
                timings=TIMINGS,
                tracing=self.tracing,
            )
        )
        running = Running(task, stop)
        try:
            yield running
        finally:
            await running.end()

    @property
    def committed(self) -> dict[int, int]:
        """Of the partitions in which something was done."""
        return {each: at for each, at in self.broker.committed(self.group, self.topic).items() if at}

    @property
    def delivered(self) -> list[tuple[str, str]]:
        deliveries = [Delivery.decode(value) for value in self.broker.values(self.kafka.topics["deliveries"])]
        return sorted((delivery.event_id, delivery.status) for delivery in deliveries)


class Running:
    def __init__(self, task: asyncio.Task[None], stop: asyncio.Event) -> None:
        self.task = task
        self.stop = stop

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait({self.task})
        if not self.task.cancelled():
            self.task.exception()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene(monkeypatch)
    scene.know()
    return scene


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_in_virtual_time(asyncio.wait_for(story(), 3600))


def test_what_is_delivered_is_recorded_and_then_committed(scene: Scene) -> None:
    scene.put("A1", "B2")
    scene.put("C3", partition=1)

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(2)
            assert scene.delivered == [("A1", "created"), ("B2", "created"), ("C3", "created")]
            assert scene.committed == {0: 2, 1: 1}
            commits = sum(what == "commit" for what, _ in scene.broker.log)
            await asyncio.sleep(10)
            assert sum(what == "commit" for what, _ in scene.broker.log) == commits, "nothing new, nothing committed"

    play(story)


def test_a_traced_check_in_has_a_span_for_the_target_and_one_until_its_outcome_is_durable(scene: Scene) -> None:
    traces = Traces()
    scene.tracing = traces.tracing
    with traces.tracing.published([OutRecord(scene.topic, None, b"")]) as sent:
        scene.headers["A1"] = sent[0].headers
    scene.put("A1", "B2")

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(2)

    play(story)

    (decided,), (asked,), (delivered,) = (traces.spans[name] for name in ("publish", scene.target.name, "deliver"))
    assert parent(asked) == parent(delivered) == ids(decided)
    headers = {record.value: dict(record.headers) for record in scene.broker.records(scene.kafka.topics["deliveries"])}
    traced = {Delivery.decode(value).event_id: headers[value].get("traceparent") for value in headers}
    assert traced == {"A1": b"00-%032x-%016x-01" % ids(delivered), "B2": None}


def test_nothing_is_committed_behind_a_check_in_that_is_still_in_flight(scene: Scene) -> None:
    scene.put("A1", "B2", "C3", "D4")
    scene.target.postponed = {"B2"}

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
            assert set(scene.target.stored) == {"A1", "C3", "D4"}
            assert scene.committed == {0: 1}
            scene.target.postponed.clear()
            await asyncio.sleep(3)
            assert scene.committed == {0: 4}

    play(story)


def test_a_delivery_that_kafka_has_not_acknowledged_is_not_committed(scene: Scene) -> None:
    scene.put("A1")
    scene.broker.hold_acknowledgements()

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
            assert scene.target.stored == {"A1": 1}
            assert scene.committed == {}
            scene.broker.acknowledge()
            await asyncio.sleep(2)
            assert scene.committed == {0: 1}

    play(story)


def test_an_outcome_that_is_never_acknowledged_is_sent_again(scene: Scene) -> None:
    scene.put("A1")
    scene.broker.lose_acknowledgements()

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(scene.kafka.request_timeout / 2)
            scene.broker.acknowledge()
            assert scene.committed == {}
            await asyncio.sleep(scene.kafka.request_timeout + 5)
            assert scene.delivered == [("A1", "created")] * 2, "one of the two was never heard of"
            assert scene.committed == {0: 1}

    play(story)


def test_stopping_finishes_what_is_in_flight_commits_it_and_leaves_the_group(scene: Scene) -> None:
    scene.put("A1", "B2")
    scene.target.held = {"A1"}

    async def story() -> None:
        async with scene.sink() as sink:
            await asyncio.sleep(5)
            sink.stop.set()
            await asyncio.sleep(TIMINGS.stop / 2)
            assert not sink.task.done()
            scene.target.release()
            await sink.task
        assert scene.committed == {0: 1}
        assert scene.target.asked == ["A1"], "what is queued is left to the next owner"
        assert scene.broker.groups[scene.group].members == []
        assert scene.target.is_closed

    play(story)


def test_a_request_that_outlasts_the_stop_is_abandoned_and_its_check_in_comes_again(scene: Scene) -> None:
    scene.put("A1", "B2")
    scene.target.held = {"A1"}

    async def story() -> None:
        with capture_logs() as logs:
            async with scene.sink():
                await asyncio.sleep(5)
        assert any(line.get("requests") == 1 for line in logs)
        assert scene.committed == {}
        scene.target.release()
        async with scene.sink():
            await asyncio.sleep(2)
        assert scene.delivered == [("A1", "created"), ("B2", "created")]
        assert scene.committed == {0: 2}

    play(story)


def test_a_sink_that_joins_begins_behind_what_the_other_finished_before_it_gave_up(scene: Scene) -> None:
    scene.put("A1", "A2", "A3")
    scene.put("B1", "B2", "B3", partition=1)
    scene.target.held = {"A1"}
    second = HoldingTarget()

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
            async with scene.sink(second):
                await asyncio.sleep(0.5)
                scene.target.release()
                await asyncio.sleep(5)
                assert scene.target.asked == ["A1", "A2", "A3"], "what was in flight is not delivered again"
                assert second.asked == ["B1", "B2", "B3"]
                assert scene.committed == {0: 3, 1: 3}

    play(story)


def test_what_a_slow_target_did_not_finish_before_a_rebalance_is_the_next_owners(scene: Scene) -> None:
    scene.put("B1", partition=1)
    scene.target.held = {"B1"}
    second = HoldingTarget()

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
            async with scene.sink(second):
                await asyncio.sleep(LEAVE_SECONDS)
                assert (second.asked, scene.committed) == (["B1"], {1: 1})
                scene.put("A1", partition=0)
                scene.put("B2", partition=1)
                scene.target.release()
                await asyncio.sleep(3)
                assert (scene.target.asked, second.asked) == (["B1", "A1"], ["B1", "B2"])
                assert scene.committed == {0: 1, 1: 2}

    play(story)


def test_a_result_that_comes_after_its_partition_is_lost_commits_nothing(scene: Scene) -> None:
    scene.put("A1", "A2")
    scene.target.held = {"A1"}

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
            scene.broker.expel(scene.group, scene.kafka.client_id("sink"))
            await asyncio.sleep(scene.kafka.heartbeat_interval + LEAVE_SECONDS + 1)
            assert scene.target.asked == ["A1"], "an employee's request under way keeps the next one back"
            scene.put("A3")
            scene.target.release()
            await asyncio.sleep(3)
            assert scene.target.asked == ["A1", "A1", "A2", "A3"]
            assert scene.committed == {0: 3}

    play(story)


@pytest.mark.parametrize("error", [CommitFailedError("rebalanced"), NotCoordinatorForGroupError("elsewhere")])
def test_a_commit_that_fails_is_made_again_with_the_next_one(scene: Scene, error: KafkaError) -> None:
    scene.put("A1")
    scene.broker.fail("commit", error)

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(TIMINGS.commit * 1.5)
            assert scene.committed == {}
            await asyncio.sleep(TIMINGS.commit)
            assert scene.committed == {0: 1}

    play(story)


def test_a_sink_that_the_group_has_expelled_cannot_commit_over_its_successor(scene: Scene) -> None:
    scene.put("A1", "A2")

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(0.5)
            assert scene.delivered, "and nothing committed yet"
            scene.broker.expel(scene.group, scene.kafka.client_id("sink"))
            successor = create_consumer(scene.kafka, client_id="successor", group=scene.group)
            successor.subscribe([scene.topic])
            await successor.start()
            await asyncio.sleep(TIMINGS.commit * 0.6)
            assert scene.committed == {}
            await successor.stop()

    play(story)


def test_without_an_employee_nothing_is_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch)
    scene.put("A1")

    async def story() -> None:
        with capture_logs() as logs:
            async with scene.sink():
                await asyncio.sleep(60)
                assert (scene.target.asked, scene.committed) == ([], {})
                assert scene.broker.groups[scene.group].members == [scene.kafka.client_id("sink")]
                scene.know("A")
                await asyncio.sleep(3)
                assert scene.committed == {0: 1}
        assert sum("user map has no employee" in line["event"] for line in logs) == 1, "said once"

    play(story)


def test_an_employee_whom_the_directory_does_not_know_is_dead_lettered_and_committed(scene: Scene) -> None:
    scene.put("Z1")

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(3)
            assert scene.target.asked == []
            [letter] = scene.broker.records(scene.kafka.topics["dead_letters"])
            assert dict(letter.headers)["x-dead-letter-reason"] == b"unknown_employee"
            assert scene.committed == {0: 1}

    play(story)


def test_a_punch_of_an_unknown_employee_waits_again_as_its_raw_record_has_it(scene: Scene) -> None:
    raw = scene.kafka.topics["raw"]
    punches = [
        RawEvent("D1", "HQ", str(user), "IN", None, f"the {user}.", "UTC", NOW, Source("push", "json"))
        for user in range(40)
    ]
    for punch in punches:
        scene.broker.put(raw, punch.encode(), punch.key, partition=0)
    for offset in (3, 5, 37):
        checkin = Checkin(punches[offset].event_id, "Z", NOW, "IN", "D1", str(offset), "HQ", "UTC")
        headers = [(RAW_RECORD, f"0:{offset}".encode())]
        scene.broker.put(scene.topic, checkin.encode(), checkin.key, partition=0, headers=headers)
    beyond = Checkin("f" * 32, "Z", NOW, "IN", "D1", "7", "HQ", "UTC")
    scene.broker.put(scene.topic, beyond.encode(), beyond.key, partition=0, headers=[(RAW_RECORD, b"0:999")])

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
            waiting = [Waiting.decode(value) for value in scene.broker.values(scene.kafka.topics["unmapped"])]
            waiting.sort(key=lambda each: int(each.event.device_user_id))
            assert [each.event for each in waiting] == [punches[3], punches[5], punches[37]]
            [letter] = scene.broker.records(scene.kafka.topics["dead_letters"])
            assert letter.value == beyond.encode()
            assert scene.committed == {0: 4}

    play(story)


def test_a_sink_that_dies_after_it_sent_back_and_before_it_committed_writes_the_same_waiting_record_again(
    scene: Scene,
) -> None:
    punch = RawEvent("D1", "HQ", "7", "IN", NOW, None, "UTC", NOW, Source("push", "json"))
    unmapped = scene.kafka.topics["unmapped"]
    scene.broker.put(scene.kafka.topics["raw"], punch.encode(), punch.key, partition=0)
    for _ in range(2):
        checkin = Checkin(punch.event_id, "Z", NOW, "IN", "D1", "7", "HQ", "UTC")
        scene.broker.put(scene.topic, checkin.encode(), checkin.key, headers=[(RAW_RECORD, b"0:0")])

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(0.5)
            assert len(scene.broker.records(unmapped)) == 2, "and nothing committed yet"
            scene.broker.expel(scene.group, scene.kafka.client_id("sink"))
        assert scene.committed == {}
        async with scene.sink():
            await asyncio.sleep(60)
        keys = Counter(record.key for record in scene.broker.records(unmapped))
        assert keys == {f"{punch.event_id}:0:{offset}".encode(): 2 for offset in (0, 1)}
        assert scene.committed == {0: 2}

    play(story)


def test_a_record_that_is_no_check_in_is_dead_lettered_and_committed(scene: Scene) -> None:
    scene.broker.put(scene.topic, b"not a check-in", b"A")
    scene.put("A1")

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(3)
            [letter] = scene.broker.records(scene.kafka.topics["dead_letters"])
            assert letter.value == b"not a check-in"
            assert scene.committed == {0: 2}
            assert scene.delivered == [("A1", "created")]

    play(story)


def test_no_more_is_fetched_than_may_be_in_flight(scene: Scene) -> None:
    scene.settings |= {"max_in_flight": 2}
    scene.put("A1", "B2", "C3", "D4")
    scene.target.held = {"A1"}

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(30)
            assert b"punchstream_sink_in_flight 2.0" in scene.metrics.exposition()
            scene.target.release()
            await asyncio.sleep(3)
            assert scene.committed == {0: 4}

    play(story)


def test_kafka_is_waited_for_at_the_start(scene: Scene) -> None:
    scene.put("A1")
    scene.broker.go_away()

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(30)
            scene.broker.come_back()
            await asyncio.sleep(5)
            assert scene.committed == {0: 1}

    play(story)


def test_while_kafka_is_away_nothing_is_committed_and_afterwards_all_of_it(scene: Scene) -> None:
    scene.put("A1", "B2")
    scene.target.held = {"A1"}

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
            scene.broker.go_away()
            scene.target.release()
            await asyncio.sleep(300)
            assert scene.committed == {}
            scene.broker.come_back()
            await asyncio.sleep(scene.kafka.request_timeout + 5)
            assert scene.committed == {0: 2}
            assert set(scene.delivered) == {("A1", "created"), ("B2", "created")}

    play(story)


def test_a_consumer_that_fails_for_good_ends_the_sink_and_closes_the_target(scene: Scene) -> None:
    scene.put("A1")

    async def story() -> None:
        async with scene.sink() as sink:
            await asyncio.sleep(1)
            scene.broker.fail("fetch", KafkaError("not authorised"), client=scene.kafka.client_id("sink"))
            with pytest.raises(KafkaUnavailable, match="the consumer failed: memory:9092: KafkaError: not authorised"):
                await sink.task
        assert scene.target.is_closed
        assert scene.committed == {0: 1}, "what was delivered is committed on the way out"

    play(story)


def test_a_wrong_setting_of_the_target_ends_the_sink(scene: Scene) -> None:
    scene.target.wrong_setting = True

    async def story() -> None:
        async with scene.sink() as sink:
            with pytest.raises(ConfigurationError, match="TARGET_SETTING"):
                await sink.task
        assert scene.target.is_closed

    play(story)


@pytest.mark.parametrize(("session", "longest"), [(6, 2), (30, 8 / 3)])
def test_a_commit_that_hangs_holds_a_rebalance_up_no_longer_than_a_third_of_a_sinks_session(
    scene: Scene, session: float, longest: float
) -> None:
    scene.kafka = scene.kafka.model_copy(update={"session_timeout": session})
    scene.put("A1")

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(0.5)
            other = create_consumer(scene.kafka, client_id="other", group=scene.group)
            other.subscribe([scene.topic])
            scene.broker.hang("commit")
            began = asyncio.get_running_loop().time()
            await other.start()
            assert asyncio.get_running_loop().time() - began <= longest + 0.1
            assert len(other.assignment()) == 1
            await other.stop()
            scene.broker.go_on("commit")

    play(story)


def test_a_sink_that_was_killed_delivers_again_within_10_seconds_of_its_restart(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.kafka = scene.kafka.model_copy(update={"session_timeout": 30})
    scene.put("A1")

    async def story() -> None:
        async with scene.sink() as killed:
            await asyncio.sleep(2)
            # Of one that is killed the group does not hear.
            monkeypatch.setattr(Group, "leave", lambda *_: None)
            killed.task.cancel()
            await asyncio.wait({killed.task})
        scene.put("B2")
        async with asyncio.timeout(10), scene.sink():
            await scene.target.until_stored("B2")
        assert scene.target.asked == ["A1", "B2"]

    play(story)


def test_committing_asks_for_the_partitions_of_the_topic(scene: Scene) -> None:
    scene.put("A1", partition=1)

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(2)
        assert scene.broker.groups[scene.group].offsets == {
            TopicPartition(scene.topic, 0): 0,
            TopicPartition(scene.topic, 1): 1,
        }

    play(story)


class ZonedTarget(HoldingTarget):
    """A target that is in doubt of its zone as long as nothing, or something else, is recorded of it."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.opened = 0

    def use_zones(self, zones: ZoneStore, report: Callable[[str | None], object]) -> None:
        self.zones, self.report = zones, report

    async def look_at_zone(self) -> None:
        self.looks += 1

    async def open(self) -> None:
        self.opened += 1
        if self.zones.get("erp") is None:
            self.report("nobody has decided")
            raise ZoneInDoubt("nobody has decided")
        self.report(None)


def readiness(metrics: Metrics) -> bytes:
    return b"".join(metrics.answer({"PATH_INFO": "/readyz"}, lambda *_: None))  # type: ignore[arg-type,return-value]


def test_a_doubt_of_the_zone_keeps_the_records_and_is_told_by_readiness_until_it_is_decided(scene: Scene) -> None:
    zone = SiteZone("erp", "Asia/Riyadh", "accepted", datetime(2026, 1, 1, tzinfo=UTC), "fatima")
    target = ZonedTarget()
    scene.settings["retry_max"] = 0.01  # the circuit breaker's clock is the real one

    async def play() -> None:
        scene.put("A1")
        async with scene.sink(target):
            await asyncio.sleep(60)
            assert (scene.committed, scene.delivered) == ({}, [])
            assert b"zone in doubt: nobody has decided" in readiness(scene.metrics)
            assert scene.broker.values(scene.kafka.topics["dead_letters"]) == []
            scene.broker.put(scene.kafka.topics["site"], zone.encode(), zone.key)
            await asyncio.sleep(60)
            assert scene.delivered == [("A1", "created")]
            assert b"true" in readiness(scene.metrics)
        assert target.looks > 5

    run_in_virtual_time(play())


def test_a_target_is_not_opened_before_it_is_known_what_is_recorded_of_its_zone(scene: Scene) -> None:
    zone = SiteZone("erp", "Asia/Riyadh", "proven", datetime(2026, 1, 1, tzinfo=UTC), "another sink")
    scene.broker.put(scene.kafka.topics["site"], zone.encode(), zone.key)
    target = ZonedTarget()

    async def play() -> None:
        scene.put("A1")
        async with scene.sink(target):
            await asyncio.sleep(5)
        assert (target.opened, scene.delivered) == (1, [("A1", "created")])

    run_in_virtual_time(play())


def test_while_a_guard_stands_nothing_is_delivered_and_the_sink_stays_in_its_group(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, guards = standing(scene.metrics)
    monkeypatch.setattr(runner, "stage_guards", lambda *_, **__: guards)
    scene.put("A1")

    async def story() -> None:
        async with scene.sink() as sink:
            await asyncio.sleep(20 * ASK_SECONDS)
            assert (scene.target.asked, scene.committed) == ([], {})
            assert len(scene.broker.groups[scene.group].members) == 1
            guard.answer = None
            await asyncio.sleep(2 * ASK_SECONDS)
            assert (scene.delivered, scene.committed) == ([("A1", "created")], {0: 1})
            scene.put("A2")
            await asyncio.sleep(2)
            assert scene.committed == {0: 2}
            guard.answer = WRONG
            await asyncio.sleep(2 * ASK_SECONDS)
            scene.put("A3")
            await asyncio.sleep(60)
            sink.stop.set()
            async with asyncio.timeout(TIMINGS.stop / 2):
                await sink.task
        assert scene.committed == {0: 2}

    play(story)


def accounts(scene: Scene) -> dict[int, tuple[int, int]]:
    """What the sink has accounted for, by partition in which something was done."""
    found = [decode(record.key, record.value) for record in scene.broker.records(scene.kafka.topics["accounts"])]
    return {each.partition: (each.first, each.through) for each in found if isinstance(each, Account) and each.through}


def accept(scene: Scene, first: int, through: int, *, anew: bool = False) -> None:
    loss = AcceptedLoss(scene.topic, 0, first, through, 1, NOW, "fatima", "known", anew=anew)
    scene.broker.put(scene.kafka.topics["accounts"], loss.encode(), loss.key)


def test_the_sink_accounts_for_what_it_committed_each_minute_and_when_it_stops(scene: Scene) -> None:
    scene.put("A1", "B2")

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(WRITE_SECONDS + 2)
            assert accounts(scene) == {0: (0, 2)}
            scene.put("C3")
            await asyncio.sleep(3)
            assert accounts(scene) == {0: (0, 2)}
        assert accounts(scene) == {0: (0, 3)}

    play(story)


def test_a_sink_that_retention_has_passed_skips_nothing_until_the_loss_is_accepted(scene: Scene) -> None:
    scene.put("A1", "B2", "C3", "D4")
    scene.put("A5", partition=1)
    scene.broker.groups[scene.group].offsets[TopicPartition(scene.topic, 0)] = 1
    scene.broker.delete_before(scene.topic, 0, 3)

    async def story() -> None:
        async with scene.sink() as sink:
            await asyncio.sleep(180)
            assert not sink.task.done()
            assert "D4" not in scene.target.stored
            assert scene.committed == {0: 1}
            assert scene.metrics.exposition().decode().count('standing_still{cause="offsets"} 1.0') == 1
            accept(scene, 1, 3)
            await asyncio.sleep(60)
            assert set(scene.target.stored) == {"A5", "D4"}
            assert scene.committed == {0: 4, 1: 1}

    play(story)


def test_a_sink_misses_what_was_gone_before_it_had_read_anything(scene: Scene) -> None:
    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
        scene.put("A1", "B2", "C3")
        scene.broker.delete_before(scene.topic, 0, 2)
        async with scene.sink():
            await asyncio.sleep(5)
            assert not scene.target.stored
            assert scene.metrics.exposition().decode().count('standing_still{cause="offsets"} 1.0') == 1
            accept(scene, 0, 2)
            await asyncio.sleep(60)
            assert set(scene.target.stored) == {"C3"}

    play(story)


def test_a_partition_that_is_lost_in_a_rebalance_is_not_looked_at_while_the_client_still_names_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.put("A1", "B2", "C3")
    scene.broker.groups[scene.group].offsets[TopicPartition(scene.topic, 0)] = 1
    scene.broker.delete_before(scene.topic, 0, 3)
    sinks: list[runner._Runner] = []

    class Seen(runner._Runner):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            sinks.append(self)

    monkeypatch.setattr(runner, "_Runner", Seen)

    def stands() -> bool:
        return 'standing_still{cause="offsets"} 1.0' in scene.metrics.exposition().decode()

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
            assert stands()
            # A rebalance has begun, and others take their time.
            await sinks[0].on_partitions_revoked([])
            await asyncio.sleep(ASK_SECONDS + 1)
            assert not stands()
            await sinks[0].on_partitions_assigned([TopicPartition(scene.topic, 1)])
            await asyncio.sleep(ASK_SECONDS + 1)
            assert not stands()

    play(story)


def test_a_sink_that_retention_passes_while_it_runs_delivers_what_it_has_and_skips_nothing(scene: Scene) -> None:
    scene.settings["batch"] = 1
    scene.put("A1")
    scene.target.held = {"A1"}

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(3)
            scene.put("B2", "C3")
            scene.broker.delete_before(scene.topic, 0, 2)
            await asyncio.sleep(120)
            scene.target.release()
            await asyncio.sleep(5)
            assert (set(scene.target.stored), scene.committed) == ({"A1"}, {0: 1})
            accept(scene, 1, 2)
            await asyncio.sleep(60)
            assert (set(scene.target.stored), scene.committed) == ({"A1", "C3"}, {0: 3})

    play(story)


def test_a_loss_at_the_end_of_a_partition_is_committed_so_that_nobody_waits_for_it(scene: Scene) -> None:
    scene.put("A1", "B2")
    scene.broker.groups[scene.group].offsets[TopicPartition(scene.topic, 0)] = 1
    scene.broker.delete_before(scene.topic, 0, 2)
    accept(scene, 1, 2)

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
            assert scene.committed == {0: 2}

    play(story)


@pytest.mark.parametrize("grown", [("C3",), ("C3", "D4", "A6", "B7")], ids=["shorter", "longer"])
def test_a_topic_that_is_made_anew_under_a_sink_ends_it_and_the_next_waits(
    scene: Scene, grown: tuple[str, ...]
) -> None:
    scene.put("A1", "B2")

    async def story() -> None:
        async with scene.sink() as sink:
            await asyncio.sleep(WRITE_SECONDS + 2)
            scene.broker.create_topic(scene.topic, 2)
            del scene.broker.groups[scene.group].offsets[TopicPartition(scene.topic, 0)]
            scene.put(*grown)
            await asyncio.wait_for(asyncio.wait({sink.task}), CHECK_SECONDS + 5)
            assert isinstance(sink.task.exception(), KafkaUnavailable)
        async with scene.sink():
            await asyncio.sleep(30)
            assert not {"C3", "D4"} & set(scene.target.stored)
            accept(scene, 2, 0, anew=True)
            await asyncio.sleep(60)
            assert set(scene.target.stored) == {"A1", "B2", *grown}
        assert accounts(scene) == {0: (0, len(grown))}

    play(story)


def test_a_group_without_progress_goes_on_by_the_account(scene: Scene) -> None:
    scene.put("A1", "B2")

    async def story() -> None:
        async with scene.sink():
            await asyncio.sleep(5)
        scene.broker.groups[scene.group].offsets.clear()
        scene.put("C3")
        scene.target.asked.clear()
        async with scene.sink():
            await asyncio.sleep(5)
            assert scene.target.asked == ["C3"]
            assert scene.committed == {0: 3}

    play(story)
