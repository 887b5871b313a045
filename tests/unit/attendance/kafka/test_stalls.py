"""A consumer of which nothing comes although the broker has more is found, and nobody else is taken for one."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaConnectionError

from attendance.kafka.stalls import LOOK_SECONDS, STALL_SECONDS, Stalled, StallWatch
from virtual_time import run_in_virtual_time

HERE, THERE = TopicPartition("t", 0), TopicPartition("t", 1)
POLL_SECONDS = 0.5


class Consumer:
    """aiokafka's consumer with two partitions, each at offset 5 and read to its end, as far as it is looked at."""

    def __init__(self) -> None:
        self._subscription = SubscriptionState()
        self._subscription.assign_from_user({HERE, THERE})
        self._fetcher = SimpleNamespace(_records={})
        self.ends = {HERE: 5, THERE: 5}
        self.answers = True
        self.questions = 0
        for tp in (HERE, THERE):
            self.move(tp, 5)

    def state(self, tp: TopicPartition) -> Any:
        return self._subscription.subscription.assignment.state_value(tp)

    def move(self, tp: TopicPartition, offset: int) -> None:
        self.state(tp).seek(offset)

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self.questions += 1
        if not self.answers:
            raise KafkaConnectionError("away")
        return {tp: self.ends[tp] for tp in partitions}


class Scene:
    """Who asks a consumer for records again and again."""

    def __init__(self) -> None:
        self.consumer, self.watch = Consumer(), StallWatch()

    async def ask(
        self, seconds: float, *partitions: TopicPartition, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        for _ in range(round(seconds / POLL_SECONDS)):
            await self.watch.look(self.consumer, partitions)
            meanwhile()
            await asyncio.sleep(POLL_SECONDS)


def play(story: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def scene() -> None:
        await story(Scene())

    run_in_virtual_time(scene())


def test_a_partition_that_stands_before_its_end_is_found_after_five_minutes_and_not_before() -> None:
    async def story(scene: Scene) -> None:
        await scene.ask(3600)
        scene.consumer.ends[HERE] = 8
        await scene.ask(STALL_SECONDS - LOOK_SECONDS)
        with pytest.raises(Stalled, match="t:0 is not read from offset 5 on"):
            await scene.ask(2 * LOOK_SECONDS + POLL_SECONDS)

    play(story)


def test_so_is_one_while_others_are_read() -> None:
    async def story(scene: Scene) -> None:
        scene.consumer.ends = {HERE: 8, THERE: 10**6}
        with pytest.raises(Stalled, match="t:0"):
            await scene.ask(
                2 * STALL_SECONDS,
                meanwhile=lambda: scene.consumer.move(THERE, scene.consumer.state(THERE).position + 1),
            )

    play(story)


def test_one_whose_records_wait_their_turn_is_not() -> None:
    async def story(scene: Scene) -> None:
        scene.consumer.ends = {HERE: 8, THERE: 10**6}
        scene.consumer._fetcher._records[HERE] = "three records"
        await scene.ask(
            2 * STALL_SECONDS, meanwhile=lambda: scene.consumer.move(THERE, scene.consumer.state(THERE).position + 1)
        )
        with pytest.raises(Stalled, match="t:0"):
            await scene.ask(2 * STALL_SECONDS, HERE)

    play(story)


def test_one_that_is_always_behind_and_goes_on_is_not() -> None:
    async def story(scene: Scene) -> None:
        scene.consumer.ends[HERE] = 10**6
        for offset in range(6, 36):
            await scene.ask(STALL_SECONDS - LOOK_SECONDS)
            scene.consumer.move(HERE, offset)

    play(story)


def test_a_broker_that_does_not_answer_is_a_reason_and_five_minutes_begin_when_it_does() -> None:
    async def story(scene: Scene) -> None:
        scene.consumer.ends[HERE] = 8
        await scene.ask(STALL_SECONDS - LOOK_SECONDS)
        scene.consumer.answers = False
        await scene.ask(3600)
        scene.consumer.answers = True
        await scene.ask(STALL_SECONDS - LOOK_SECONDS)
        with pytest.raises(Stalled):
            await scene.ask(STALL_SECONDS)

    play(story)


def test_an_answer_that_never_comes_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(scene: Scene) -> None:
        monkeypatch.setattr(scene.consumer, "end_offsets", lambda _: asyncio.Event().wait())
        async with asyncio.timeout(2 * LOOK_SECONDS):
            await scene.watch.look(scene.consumer)

    play(story)


def test_a_cancellation_that_nobody_asked_for_is_no_answer_and_one_that_somebody_did_goes_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def cancelled(_: object) -> None:
        raise asyncio.CancelledError

    async def story(scene: Scene) -> None:
        monkeypatch.setattr(scene.consumer, "end_offsets", cancelled)
        await scene.watch.look(scene.consumer)
        monkeypatch.setattr(scene.consumer, "end_offsets", lambda _: asyncio.Event().wait())
        await asyncio.sleep(LOOK_SECONDS)
        looking = asyncio.create_task(scene.watch.look(scene.consumer))
        await asyncio.sleep(0)
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking

    play(story)


def test_what_is_paused_or_not_asked_for_or_has_no_place_yet_is_not_looked_at() -> None:
    async def story(scene: Scene) -> None:
        scene.consumer.ends = {HERE: 8, THERE: 8}
        scene.consumer.state(HERE).pause()
        scene.consumer.move(THERE, 8)
        await scene.ask(2 * STALL_SECONDS)
        scene.consumer.state(HERE).resume()
        await scene.ask(2 * STALL_SECONDS, THERE)
        scene.consumer.state(HERE).await_reset(-2)
        await scene.ask(2 * STALL_SECONDS, HERE)
        scene.consumer._subscription.unsubscribe()
        await scene.ask(2 * STALL_SECONDS)

    play(story)


def test_time_in_which_nobody_asks_does_not_count() -> None:
    async def story(scene: Scene) -> None:
        scene.consumer.ends[HERE] = 8
        for _ in range(3):
            await scene.ask(STALL_SECONDS - LOOK_SECONDS)
            await asyncio.sleep(STALL_SECONDS)
            await scene.ask(STALL_SECONDS - LOOK_SECONDS)
            scene.watch.rest()

    play(story)


def test_the_broker_is_asked_twice_a_minute() -> None:
    async def story(scene: Scene) -> None:
        await scene.ask(3600)
        assert scene.consumer.questions == 3600 / LOOK_SECONDS

    play(story)
