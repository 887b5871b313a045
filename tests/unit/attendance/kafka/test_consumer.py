"""A consumer whose own tasks died says so, instead of returning nothing for ever; a stopped one keeps no records."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher as Real
from aiokafka.consumer.group_coordinator import GroupCoordinator, NoGroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import ConsumerStoppedError, KafkaConnectionError

from attendance.kafka.consumer import TaskDied, WatchedConsumer
from attendance.kafka.stalls import Stalled

HERE = TopicPartition("t", 0)


class Fetcher:
    """Fetches until it is let die."""

    def __init__(self) -> None:
        self._records: dict[TopicPartition, object] = {HERE: b"fetched, and never asked for"}
        self._pending_tasks: set[asyncio.Task[bool]] = set()
        self.error: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fetch_task = asyncio.ensure_future(self._fetch())

    async def _fetch(self) -> None:
        await self.error

    async def fetched_records(self, *_: Any, **__: Any) -> dict[TopicPartition, list[Any]]:
        return {}

    async def close(self) -> None:
        self._fetch_task.cancel()


class Coordinator:
    def check_errors(self) -> None: ...

    async def close(self) -> None: ...


def play(story: Callable[[WatchedConsumer], Coroutine[Any, Any, None]]) -> None:
    """A consumer as it is once it has started, of a cluster that never answers."""

    async def scene() -> None:
        consumer = WatchedConsumer(bootstrap_servers="127.0.0.1:1")
        consumer._fetcher, consumer._coordinator = Fetcher(), Coordinator()
        consumer._client._sync_task = asyncio.create_task(asyncio.Event().wait())
        consumer.assign([HERE])
        try:
            await story(consumer)
        finally:
            await consumer.stop()

    asyncio.run(scene())


async def some_turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_consumer_whose_fetching_died_says_so_and_names_the_cause() -> None:
    async def story(consumer: WatchedConsumer) -> None:
        assert await consumer.getmany() == {}
        consumer._fetcher.error.set_exception(AssertionError("a response that nobody thought of"))
        await some_turns()
        with pytest.raises(TaskDied, match="nobody thought of"):
            await consumer.getmany()

    play(story)


@pytest.mark.parametrize(
    "die", [lambda consumer: consumer._fetcher._fetch_task, lambda consumer: consumer._client._sync_task]
)
def test_so_does_one_of_which_a_task_was_cancelled(die: Callable[[WatchedConsumer], "asyncio.Task[Any]"]) -> None:
    async def story(consumer: WatchedConsumer) -> None:
        die(consumer).cancel()
        await some_turns()
        with pytest.raises(TaskDied):
            await consumer.getmany()

    play(story)


def test_who_waits_for_a_position_does_not_wait_for_a_task_that_died(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attendance.kafka.consumer.CHECK_SECONDS", 0.001)

    async def story(consumer: WatchedConsumer) -> None:
        asking = asyncio.create_task(consumer.position(HERE))
        await some_turns()
        consumer._fetcher._fetch_task.cancel()
        with pytest.raises(TaskDied):
            await asking

    play(story)


def test_who_asks_for_records_hears_that_none_come_although_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attendance.kafka.stalls.STALL_SECONDS", 0.0)

    async def ends(partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 6)

    async def story(consumer: WatchedConsumer) -> None:
        consumer._fetcher._records.clear()
        consumer._subscription.seek(HERE, 5)
        monkeypatch.setattr(consumer, "end_offsets", ends)
        with pytest.raises(Stalled, match="t:0"):
            await consumer.getmany()

    play(story)


def test_a_stopped_consumer_keeps_no_records_and_is_not_called_dead() -> None:
    async def story(consumer: WatchedConsumer) -> None:
        fetcher = consumer._fetcher
        await consumer.stop()
        assert not fetcher._records
        with pytest.raises(ConsumerStoppedError):
            await consumer.getmany()

    play(story)


def test_one_that_never_started_can_be_stopped() -> None:
    async def scene() -> None:
        consumer = WatchedConsumer(bootstrap_servers="127.0.0.1:1")
        await consumer.stop()

    asyncio.run(scene())


def test_one_that_is_stopped_before_its_tasks_had_a_turn_cancels_nobody() -> None:
    async def scene() -> None:
        consumer = WatchedConsumer(bootstrap_servers="127.0.0.1:1")
        consumer._coordinator = NoGroupCoordinator(consumer._client, consumer._subscription)
        await consumer.stop()

    asyncio.run(scene())


def test_one_that_is_stopped_while_a_fetch_pauses_after_a_failure_cancels_nobody_and_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: object) -> None:
        raise KafkaConnectionError("the broker is away")

    async def scene() -> None:
        consumer = WatchedConsumer(bootstrap_servers="127.0.0.1:1")
        client, subscription = consumer._client, consumer._subscription
        consumer._coordinator = NoGroupCoordinator(client, subscription)
        consumer._fetcher = fetcher = Real(client, subscription, retry_backoff_ms=60_000)
        closed: list[str] = []

        async def close() -> None:
            closed.append("the client")

        monkeypatch.setattr(client, "send", away)
        monkeypatch.setattr(client, "close", close)
        await some_turns()
        fetch = asyncio.create_task(fetcher._proc_fetch_request(None, 1, SimpleNamespace(topics=[])))
        fetcher._pending_tasks.add(fetch)
        await some_turns()
        assert not fetch.done(), "it pauses"
        await consumer.stop()
        assert fetch.cancelled()
        assert closed == ["the client"]

    asyncio.run(scene())


def test_every_task_that_is_looked_at_is_there_in_the_real_client() -> None:
    async def scene() -> None:
        client, subscription = AIOKafkaClient(bootstrap_servers="127.0.0.1:1"), SubscriptionState()
        assert client._sync_task is None
        fetcher = Real(client, subscription)
        coordinator = GroupCoordinator(client, subscription, group_id="g")
        assert isinstance(fetcher._fetch_task, asyncio.Task)
        assert isinstance(fetcher._records, dict)
        assert isinstance(fetcher._pending_tasks, set)
        assert isinstance(coordinator._coordination_task, asyncio.Task)
        for task in (fetcher._fetch_task, coordinator._coordination_task):
            task.cancel()

    asyncio.run(scene())
