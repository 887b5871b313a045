"""What Faust throws away at a rebalance is fetched again, also where nothing was ever committed; and nothing waits
longer than it must."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.exceptions import ConsumerNotStarted
from faust.transport.consumer import Fetcher
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from attendance.kafka.clients import FETCH_MAX_WAIT_MS
from attendance.kafka.consumer import TaskDied
from attendance.kafka.stalls import LOOK_SECONDS, STALL_SECONDS, Stalled, StallWatch
from attendance.settings import KafkaSettings
from streams.app import HANDED_OVER
from streams.transport import Consumer
from virtual_time import run_in_virtual_time

COMMITTED, NEVER, BEGUN = TP("raw", 0), TP("raw", 1), TP("raw", 2)


class Thread:
    """The client's positions, as the thread has them that Faust runs it in."""

    def __init__(self, committed: Mapping[TP, int | None], beginnings: Mapping[TP, int]) -> None:
        self._committed = committed
        self._beginnings = beginnings
        self.positions = dict.fromkeys(committed, 500)  # what was fetched and thrown away

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        # As aiokafka does it.
        self.positions |= {tp: offset for tp, offset in self._committed.items() if offset}
        return self._committed

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self._beginnings[tp] for tp in partitions}

    async def seek_wait(self, positions: Mapping[TP, int]) -> None:
        self.positions |= positions


def consumer_on(thread: Thread) -> Consumer:
    """A consumer as far as seeking goes; all of it needs an application, and that an event loop of its own."""
    consumer: Consumer = object.__new__(Consumer)
    consumer._thread = thread
    consumer.transport = SimpleNamespace(placement=SimpleNamespace(revoke=lambda: None, placed={0, 1, 2}))
    consumer._read_offset = defaultdict(lambda: None)
    consumer._committed_offset = defaultdict(lambda: None)
    return consumer


def test_after_a_rebalance_each_partition_begins_where_it_was_committed_or_at_its_beginning() -> None:
    async def rebalance() -> dict[TP, int]:
        thread = Thread({COMMITTED: 36, NEVER: None, BEGUN: 0}, {NEVER: 12, BEGUN: 0})
        await consumer_on(thread).perform_seek()
        return thread.positions

    assert asyncio.run(rebalance()) == {COMMITTED: 36, NEVER: 12, BEGUN: 0}


def test_before_the_client_is_started_nothing_lags_and_nothing_fails() -> None:
    def not_started() -> set[TP]:
        raise ConsumerNotStarted("Consumer thread not yet started")

    async def done() -> list[Mapping[int, int | None]]:
        thread = Thread({}, {})
        consumer = consumer_on(thread)
        consumer.transport.placement.placed = set()
        thread.assignment = not_started  # type: ignore[attr-defined]
        before = consumer._done()
        consumer.transport.placement.placed = {0, 1}
        consumer._committed_offset[COMMITTED] = 36
        thread.assignment = lambda: {COMMITTED, NEVER, BEGUN}  # type: ignore[attr-defined]
        return [before, consumer._done()]

    assert asyncio.run(done()) == [{}, {0: 36, 1: None}]


def test_an_offset_whose_commit_failed_is_not_gone_by() -> None:
    async def rebalance() -> list[int | None]:
        consumer = consumer_on(Thread({COMMITTED: 36, NEVER: None}, {NEVER: 0}))
        consumer._committed_offset.update({COMMITTED: 40, NEVER: 500})
        await consumer.perform_seek()
        return [consumer._committed_offset[COMMITTED], consumer._committed_offset[NEVER]]

    assert asyncio.run(rebalance()) == [36, None]


def test_a_partition_that_is_behind_waits_for_no_long_fetch_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def waits() -> list[int]:
        theirs = AIOKafkaConsumer(fetch_max_wait_ms=1500)
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_create_worker_consumer", lambda *_: theirs)
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "__init__", lambda *_, **__: None)
        before: int = theirs._fetch_max_wait_ms
        consumer = consumer_on(Thread({}, {}))
        consumer.loop = consumer.beacon = None
        ours = consumer._new_consumer_thread()._create_worker_consumer(
            SimpleNamespace(kafka=KafkaSettings.load(_env_file=None))
        )
        await ours.stop()
        return [before, ours._fetch_max_wait_ms]

    assert asyncio.run(waits()) == [1500, FETCH_MAX_WAIT_MS]


def test_a_partition_whose_queue_is_full_stays_active() -> None:
    async def active() -> tuple[set[TP], set[TP]]:
        actives = []
        for kind in (driver.Consumer, Consumer):
            consumer = object.__new__(kind)
            consumer.app = SimpleNamespace(in_recovery=False)
            consumer._active_partitions = {NEVER}
            consumer._buffered_partitions = set()
            flow = FlowControlEvent(initially_suspended=False)
            queue = ThrowableQueue(maxsize=HANDED_OVER, flow_control=flow)
            full, drop = partial(consumer.on_buffer_full, NEVER), partial(consumer.on_buffer_drop, NEVER)
            for chunk in range(HANDED_OVER):
                queue.put_nowait_enhanced(chunk, on_pressure_high=full, on_pressure_drop=drop)
            actives.append(consumer._active_partitions)
        return actives[0], actives[1]

    assert asyncio.run(active()) == (set(), {NEVER})


def client_of(subscription: SubscriptionState) -> SimpleNamespace:
    """aiokafka's consumer, as far as its tasks go. To be called in its event loop."""
    tasks = [asyncio.create_task(asyncio.Event().wait()) for _ in range(2)]
    return SimpleNamespace(
        _subscription=subscription,
        _coordinator=SimpleNamespace(check_errors=lambda: None),
        _closed=False,
        _fetcher=SimpleNamespace(_fetch_task=tasks[0]),
        _client=SimpleNamespace(_sync_task=tasks[1]),
    )


def test_a_task_of_the_client_that_died_ends_the_membership() -> None:
    async def story() -> None:
        client = client_of(SubscriptionState())
        consumer: Consumer = object.__new__(Consumer)
        consumer._thread = SimpleNamespace(_ensure_consumer=lambda: client, call_thread=lambda work: work())
        consumer.transport = SimpleNamespace(stands=lambda: False)
        await consumer._look_at_membership()
        client._fetcher._fetch_task.cancel()
        await asyncio.sleep(0)
        with pytest.raises(TaskDied):
            await consumer._look_at_membership()

    asyncio.run(story())


class Scene:
    """A consumer with Faust's own fetcher, whose draining is played. To be made in an event loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.faults = 0
        self.broken = asyncio.get_running_loop().create_future()
        self.app = SimpleNamespace(should_stop=False, rebalancing=False)
        self.consumer: Consumer = object.__new__(Consumer)
        self.consumer.app, self.consumer._drains = self.app, 0
        self.consumer.transport = SimpleNamespace(on_fault=self._fault)
        self.app.consumer = self.consumer
        self.app._fetcher = Fetcher(self.app)

        async def drain(_self: object, _fetcher: object) -> None:
            await self.broken

        monkeypatch.setattr(driver.Consumer, "_drain_messages", drain)
        monkeypatch.setattr(Consumer, "should_stop", False)

    def _fault(self) -> None:
        self.faults += 1

    def look_twice(self) -> int:
        was_idle = self.consumer._look_at_fetching(was_idle=False)
        self.consumer._look_at_fetching(was_idle=was_idle)
        return self.faults


def test_a_fetcher_of_fausts_that_ended_by_itself_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        scene = Scene(monkeypatch)
        fetcher = scene.app._fetcher
        await fetcher.start()
        await asyncio.sleep(0)
        assert scene.look_twice() == 0
        for task in fetcher._futures:
            task.cancel()
        await asyncio.wait(fetcher._futures)
        assert scene.look_twice() == 1

    asyncio.run(story())


def test_a_fetcher_of_fausts_that_fails_ends_the_stream_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        scene = Scene(monkeypatch)
        scene.broken.set_exception(AssertionError("nobody thought of it"))
        with pytest.raises(AssertionError):
            await scene.consumer._drain_messages(scene.app._fetcher)
        assert scene.faults == 1

    asyncio.run(story())


def test_a_fetcher_that_faust_stopped_or_has_not_begun_again_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        scene = Scene(monkeypatch)
        fetcher = scene.app._fetcher
        await fetcher.start()
        await asyncio.sleep(0)
        await fetcher.stop()
        assert scene.look_twice() == 0
        fetcher.service_reset()
        assert scene.look_twice() == 0

    asyncio.run(story())


@pytest.mark.parametrize("stands", [True, False])
def test_a_stream_that_stands_still_looks_for_its_places_and_fetches_nothing_that_would_block_the_look(
    *, stands: bool
) -> None:
    done: list[str] = []

    async def take_places() -> None:
        done.append("look")

    async def getmany(wanted: set[TP], _timeout: float) -> dict[TP, list[int]]:
        done.append("fetch")
        return {tp: [1] for tp in wanted}

    async def sleep(_seconds: float) -> None: ...

    consumer = consumer_on(Thread({}, {}))
    consumer._thread.getmany = getmany
    consumer._take_places, consumer.sleep = take_places, sleep
    consumer.transport.stands = lambda: stands
    fetched = asyncio.run(consumer._getmany({BEGUN}, 1.0))
    assert (done, fetched) == ((["look"], {}) if stands else (["look", "fetch"], {BEGUN: [[1]]}))


@pytest.mark.parametrize("stands", [True, False])
def test_only_a_stream_that_stands_still_on_purpose_counts_as_one_that_fetches(*, stands: bool) -> None:
    async def story() -> float:
        subscription = SubscriptionState()
        subscription._last_fetch_ended -= 3600
        client = client_of(subscription)
        consumer: Consumer = object.__new__(Consumer)
        consumer._thread = SimpleNamespace(_ensure_consumer=lambda: client, call_thread=lambda work: work())
        consumer.transport = SimpleNamespace(stands=lambda: stands)
        await consumer._look_at_membership()
        return float(subscription.fetcher_idle_time)

    # aiokafka leaves the group of a consumer that is idle for `max_poll_interval_ms`.
    assert (asyncio.run(story()) < 60) == stands


class Watched:
    """A consumer whose one partition has more than it reads. Calls do not get their turn in its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stands = self.is_full = False
        subscription = SubscriptionState()
        subscription.assign_from_user({BEGUN})
        subscription.seek(BEGUN, 5)
        client = SimpleNamespace(
            _subscription=subscription, _fetcher=SimpleNamespace(_records={}), end_offsets=self._ends
        )
        self.consumer: Consumer = object.__new__(Consumer)
        self.consumer._stalls = StallWatch()
        self.consumer._thread = SimpleNamespace(_consumer=client, thread_loop=loop)
        self.consumer.transport = SimpleNamespace(stands=lambda: self.stands, is_full=lambda: self.is_full)

    async def _ends(self, partitions: list[TP]) -> dict[TP, int]:
        return dict.fromkeys(partitions, 6)

    async def look(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            await self.consumer._look_at_progress()
            await asyncio.sleep(1)


def test_a_stream_that_reads_nothing_although_there_is_more_ends_its_membership() -> None:
    async def story() -> None:
        scene = Watched(asyncio.get_running_loop())
        with pytest.raises(Stalled):
            await scene.look(2 * STALL_SECONDS)

    run_in_virtual_time(story())


def test_a_look_that_fails_ends_the_stream_unless_it_is_ending_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise Stalled

    async def story() -> None:
        scene = Scene(monkeypatch)
        await scene.consumer._end_where_it_fails(fail())
        assert scene.faults == 1
        scene.app.should_stop = True
        await scene.consumer._end_where_it_fails(fail())
        assert scene.faults == 1

    asyncio.run(story())


@pytest.mark.parametrize("reason", ["stands", "is_full"])
def test_one_that_takes_nothing_in_for_a_reason_does_not_and_begins_anew_after_it(reason: str) -> None:
    async def story() -> None:
        scene = Watched(asyncio.get_running_loop())
        await scene.look(STALL_SECONDS - LOOK_SECONDS)
        setattr(scene, reason, True)
        await scene.look(2 * STALL_SECONDS)
        setattr(scene, reason, False)
        await scene.look(STALL_SECONDS - LOOK_SECONDS)

    run_in_virtual_time(story())
