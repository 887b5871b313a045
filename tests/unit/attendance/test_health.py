"""Health: a process whose event loop does not turn is dead, and one that cannot do its work says why."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from attendance import health as module
from attendance.health import Health


@pytest.fixture
def health() -> Health:
    return Health()


def in_loop(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


def test_a_process_that_has_only_begun_lives(health: Health) -> None:
    assert health.why_dead() is None


def test_it_lives_while_its_event_loop_turns_and_not_after_that(health: Health) -> None:
    async def story() -> None:
        health.watch_loop()
        assert await asyncio.to_thread(health.why_dead) is None

    in_loop(story)
    assert health.why_dead() == "the event loop has ended"


def test_an_event_loop_that_does_not_turn_is_dead(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)
    found: list[str | None] = []

    async def story() -> None:
        health.watch_loop()
        # The loop itself waits for the answer, and so cannot give it.
        asking = threading.Thread(target=lambda: found.append(health.why_dead()))
        asking.start()
        asking.join()

    in_loop(story)
    assert found == ["the event loop has not turned for 0 s"]


def test_what_is_not_ready_is_told_until_it_is(health: Health) -> None:
    health.ready("zone", "zone in doubt")
    with health.not_ready("user map", "not read yet"):
        assert health.reasons() == ["zone in doubt", "not read yet"]
    health.ready("zone", None)
    assert health.reasons() == []


def test_what_broke_off_is_still_not_ready(health: Health) -> None:
    def read() -> None:
        with health.not_ready("user map", "not read yet"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()
    assert health.reasons() == ["not read yet"]


def test_a_part_that_is_asked_answers_for_itself(health: Health) -> None:
    answers: list[str | None] = ["no brokers", None]

    async def check() -> str | None:
        return answers.pop(0)

    health.ready("kafka", "what was told of it")
    health.ask("kafka", check)
    assert health.reasons() == ["kafka: not asked yet"], "there is no loop to ask it in"

    async def story() -> None:
        health.watch_loop()
        assert await asyncio.to_thread(health.reasons) == ["no brokers"]
        assert await asyncio.to_thread(health.reasons) == []

    in_loop(story)
    assert health.reasons() == ["the event loop has ended"]


def test_a_part_that_gives_no_answer_is_not_ready(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)
    answered = asyncio.Event()

    async def check() -> str | None:
        await answered.wait()
        return None

    async def story() -> None:
        health.watch_loop()
        health.ask("kafka", check)
        assert await asyncio.to_thread(health.reasons) == ["kafka: no answer within 0 s"]
        answered.set()
        assert await asyncio.to_thread(health.reasons) == []

    in_loop(story)
