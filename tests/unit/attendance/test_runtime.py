"""What every process does alike: it ends when it is told to, waits for Kafka, and backs off."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from attendance import runtime
from attendance.errors import KafkaUnavailable
from attendance.runtime import (
    STOP_SIGNALS,
    WorkEnded,
    end_at_stop_signals,
    full_jitter,
    made_anew,
    run_until_signalled,
    run_until_stopped,
    run_with_stop,
    until_available,
    wait_for_kafka,
)
from virtual_time import run_in_virtual_time


def longest_of(_low: float, high: float) -> float:
    return high


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were taken, none of which lasts."""
    taken: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        taken.append(seconds)
        await sleep(0)

    monkeypatch.setattr(runtime.asyncio, "sleep", at_once)
    return taken


class Worker:
    """Works until it is cancelled, and notes that it was."""

    def __init__(self) -> None:
        self.ended = False

    async def work(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended = True


async def fail() -> None:
    raise KafkaUnavailable("gone")


async def end() -> None:
    return


def test_work_goes_on_until_the_stop_and_has_ended_when_the_call_returns() -> None:
    workers = [Worker(), Worker()]

    async def scene() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(run_until_stopped(stop, *(worker.work() for worker in workers)))
        await asyncio.sleep(0)
        assert not running.done()
        stop.set()
        await running

    asyncio.run(scene())
    assert all(worker.ended for worker in workers)


async def be_cancelled_by_a_library() -> None:
    raise asyncio.CancelledError


async def be_wrong() -> None:
    raise ZeroDivisionError


ENDS = pytest.mark.parametrize(
    ("work", "error", "died"),
    [
        (fail, KafkaUnavailable, False),  # says by itself what is wrong
        (be_wrong, ZeroDivisionError, True),
        (end, WorkEnded, True),
        (be_cancelled_by_a_library, WorkEnded, True),
    ],
)


@ENDS
def test_whatever_ends_one_work_ends_the_others_first_and_then_the_process(
    work: Callable[[], Any], error: type[Exception], *, died: bool
) -> None:
    worker = Worker()

    async def scene() -> None:
        await run_until_stopped(asyncio.Event(), worker.work(), work())

    with structlog.testing.capture_logs() as logged, pytest.raises(error):
        asyncio.run(scene())
    assert worker.ended
    assert [each["log_level"] for each in logged] == ["critical"] * died


@ENDS
def test_work_beside_another_is_begun_anew_whatever_ended_it(
    work: Callable[[], Any],
    error: type[Exception],
    pauses: list[float],
    *,
    died: bool,
) -> None:
    begun: list[None] = []

    async def end_twice() -> None:
        begun.append(None)
        await (work() if len(begun) < 3 else asyncio.Event().wait())

    async def scene() -> None:
        task = asyncio.create_task(made_anew(end_twice))
        while len(begun) < 3:
            await sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    sleep = asyncio.sleep
    with structlog.testing.capture_logs() as logged:
        asyncio.run(scene())
    assert [(each["log_level"], each["part"].split(".")[-1]) for each in logged] == [("critical", "end_twice")] * 2
    assert all(pause <= bound for pause, bound in zip(pauses, (2, 4), strict=False))


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_the_work_and_not_the_process(number: signal.Signals) -> None:
    worker = Worker()

    async def signalled() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await worker.work()

    assert not run_until_signalled(signalled())
    assert worker.ended


@pytest.fixture
def handlers() -> Iterator[None]:
    """What handles signals now handles them again afterwards."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_before_work_after_it_and_between_two_a_signal_ends_the_process_without_a_failure(
    number: signal.Signals,
) -> None:
    async def stopped_at_once(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), number)
        await stop.wait()

    end_at_stop_signals()
    for before in (lambda: None, lambda: run_until_signalled(asyncio.sleep(0)), lambda: run_with_stop(stopped_at_once)):
        before()
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(number)
        assert ended.value.code is None, "status 0"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_as_the_work_ends_is_not_forgotten(number: signal.Signals) -> None:
    async def work() -> None:
        signal.raise_signal(number)

    assert not run_until_signalled(work())


def test_work_that_ends_by_itself_is_told_from_work_that_a_signal_ended() -> None:
    assert run_until_signalled(asyncio.sleep(0))


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_tells_work_to_stop_and_lets_it_finish(number: signal.Signals) -> None:
    done: list[str] = []

    async def work(stop: asyncio.Event) -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await stop.wait()
        done.append("what was in hand")

    run_with_stop(work)
    assert done == ["what was in hand"]


def test_work_that_needs_kafka_is_tried_until_it_succeeds_and_each_wait_is_logged(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Exception | int] = [KafkaUnavailable("no broker"), KafkaUnavailable("no leader"), 7]

    async def work() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(full_jitter, "__defaults__", (runtime.FIRST_BACKOFF_SECONDS, longest_of))
    with structlog.testing.capture_logs() as logged:
        assert asyncio.run(until_available(work)) == 7
    assert [(entry["event"], entry["error"]) for entry in logged] == [
        ("Waiting for Kafka.", "no broker"),
        ("Waiting for Kafka.", "no leader"),
    ]
    assert pauses == [runtime.KAFKA_RETRY_SECONDS, 2 * runtime.KAFKA_RETRY_SECONDS]


def test_an_error_that_waiting_does_not_mend_is_raised(pauses: list[float]) -> None:
    async def work() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        asyncio.run(until_available(work))
    assert not pauses


def test_the_bound_of_the_pause_doubles_with_each_failure_up_to_the_longest() -> None:
    bounds = [full_jitter(failures, 6, first=1, uniform=longest_of) for failures in range(5)]
    assert bounds == [1, 2, 4, 6, 6]
    assert full_jitter(3, 6, first=1, uniform=min) == 0


@given(st.integers(0, 10**6), st.floats(0, 3600), st.floats(0.01, 600))
def test_a_pause_is_never_longer_than_the_longest_however_often_it_failed(
    failures: int, longest: float, first: float
) -> None:
    assert 0 <= full_jitter(failures, longest, first) <= longest


def test_who_waits_for_kafka_says_so_once_a_minute_with_a_count_and_at_once_what_is_new() -> None:
    async def scene() -> None:
        for error in ["away"] * 130 + ["refused"]:
            await wait_for_kafka(KafkaUnavailable(error), topic="raw")
        await wait_for_kafka(KafkaUnavailable("refused"), topic="checkins")

    with structlog.testing.capture_logs() as logged:
        run_in_virtual_time(scene())
    assert [(each["topic"], each["error"], each["tries"]) for each in logged] == [
        ("raw", "away", 1),
        ("raw", "away", 60),
        ("raw", "away", 60),
        ("raw", "refused", 10),
        ("checkins", "refused", 1),
    ]
