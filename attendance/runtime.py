"""What every process does alike: run until stopped, wait for Kafka, back off. Loads no Kafka library."""

import asyncio
import random
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from math import inf
from typing import Any, Final, NoReturn, TypeVar
from weakref import WeakKeyDictionary

import structlog

from attendance.errors import KafkaUnavailable, PunchstreamError

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
KAFKA_RETRY_SECONDS: Final = 1.0
KAFKA_RETRY_LONGEST: Final = 8.0
FIRST_BACKOFF_SECONDS: Final = 0.5
SAY_AGAIN_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Before work that died is begun anew."""


def raise_file_limit() -> int:
    """Let this process open as many files and connections as it may, and return how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def end_at_stop_signals() -> None:
    """From now on SIGTERM and SIGINT end this process with status 0, until its work takes them over."""

    def end(*_: object) -> None:
        raise SystemExit

    for number in STOP_SIGNALS:
        signal.signal(number, end)


@contextmanager
def on_stop_signal(act: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Have SIGTERM and SIGINT call `act` in the running event loop, and do nothing else, while the context lasts.

    The loop's own way would leave them to the system afterwards, which kills the process.

    Yields:
        Whether there was such a signal.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def handle(*_: object) -> None:
        nonlocal asked
        asked = True
        loop.call_soon_threadsafe(act)

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_until_signalled(work: Coroutine[Any, Any, None]) -> bool:
    """Run a coroutine in an event loop of its own until it ends, or is cancelled by SIGTERM or SIGINT.

    Returns:
        Whether it ended by itself, and no signal came meanwhile.
    """

    async def until_stopped() -> bool:
        task = asyncio.ensure_future(work)
        with on_stop_signal(task.cancel) as asked:
            with suppress(asyncio.CancelledError):
                await task
            return not (task.cancelled() or asked())

    return asyncio.run(until_stopped())


def run_with_stop(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run work in an event loop of its own until it ends. SIGTERM and SIGINT set the event that it is given."""

    async def until_stopped() -> None:
        stop = asyncio.Event()
        with on_stop_signal(stop.set):
            await work(stop)

    asyncio.run(until_stopped())


class WorkEnded(Exception):
    """Work that was to go on for ever ended by itself, without an error."""


def was_cancelled() -> bool:
    """Whether the running task was asked to end. A cancellation that nobody asked for comes out of a library."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def raise_why_ended(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Raise what ended one of these tasks, none of which was to end, and log it: the process does not go on without it.

    Args:
        tasks: Those that have ended count.

    Raises:
        PunchstreamError: what one of them raised, which says by itself what is wrong.
        Exception: what one of them raised that nobody thought of.
        WorkEnded: one of them ended without an error, or was cancelled by nobody of ours.
    """
    for task in tasks:
        if not task.done():
            continue
        error = WorkEnded(f"{_name(task)} ended by itself") if task.cancelled() else task.exception()
        error = error or WorkEnded(f"{_name(task)} ended by itself")
        if not isinstance(error, PunchstreamError):
            log.critical("A part of this process has died; the process ends.", part=_name(task), error=repr(error))
        raise error


def _name(task: "asyncio.Task[Any]") -> str:
    return getattr(task.get_coro(), "__qualname__", task.get_name())


async def made_anew(work: Callable[[], Awaitable[object]], **about: object) -> NoReturn:
    """Do work that goes on for ever; whenever it ends by itself, log that, and begin it anew after a pause.

    Args:
        work: Can be begun again.
        about: What the log line names beside it, such as `device_id`.
    """
    failures = 0
    while True:
        begun = asyncio.get_running_loop().time()
        error: BaseException
        try:
            await work()
            error = WorkEnded("it ended by itself")
        except Exception as raised:  # noqa: BLE001 - whatever it is, the work goes on
            error = raised
        except asyncio.CancelledError as cancelled:
            if was_cancelled():
                raise
            error = cancelled
        lasted = asyncio.get_running_loop().time() - begun
        failures = 0 if lasted > LONGEST_PAUSE_SECONDS else failures + 1
        name = getattr(work, "__qualname__", None) or getattr(getattr(work, "func", work), "__qualname__", repr(work))
        log.critical("A part of this process has died; it is begun anew.", part=name, exc_info=error, **about)
        await asyncio.sleep(full_jitter(failures, LONGEST_PAUSE_SECONDS, first=1.0))


async def run_until_stopped(stop: asyncio.Event, *work: Coroutine[Any, Any, object]) -> None:
    """Run coroutines side by side until `stop` is set or one of them ends; then cancel the others and await them.

    Args:
        stop: Set by whoever wants them to end.
        work: Coroutines that run for ever. One that ends, ends all.

    Raises:
        Exception: what one of them raised.
        WorkEnded: one of them ended without an error.
    """
    working = [asyncio.create_task(each) for each in work]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({*working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        raise_why_ended(working)
    finally:
        for task in (*working, stopping):
            task.cancel()
        await asyncio.gather(*working, stopping, return_exceptions=True)


def full_jitter(
    failures: int,
    longest: float,
    first: float = FIRST_BACKOFF_SECONDS,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """How long to wait after failures in a row, so that processes that failed together do not return together.

    Args:
        failures: How many there were.
        longest: The bound of the pause, in seconds.
        first: The bound after no failure, in seconds; each failure doubles it.
        uniform: Draws from between two numbers.

    Returns:
        Seconds, anywhere between 0 and the bound.
    """
    # Beyond 32 doublings any bound is reached, and a float would overflow later.
    return uniform(0, min(longest, first * 2 ** min(failures, 32)))


class _Repeats:
    """What was said of a wait, so that it is said once a minute and not once a second."""

    def __init__(self) -> None:
        self._error = ""
        self._said_at = -inf
        self._waits = 0

    def are_due(self, error: str, at: float) -> int:
        """How many waits there were since the last line, this one included, if it is time for a line; otherwise 0."""
        self._waits += 1
        if error == self._error and at - self._said_at < SAY_AGAIN_SECONDS:
            return 0
        waits, self._waits = self._waits, 0
        self._error, self._said_at = error, at
        return waits


_repeats: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Repeats]] = WeakKeyDictionary()


def say_waiting(error: Exception, **about: object) -> None:
    """Log that Kafka does not answer: at once, and once a minute while that lasts.

    Args:
        error: What Kafka's client said. If it says something else than before, that is logged at once.
        about: What the log line names beside it, such as `topic`.
    """
    loop = asyncio.get_running_loop()
    said = _repeats.setdefault(loop, {}).setdefault(repr(sorted(about.items())), _Repeats())
    if tries := said.are_due(str(error), loop.time()):
        log.warning("Waiting for Kafka.", error=str(error), tries=tries, **about)


async def wait_for_kafka(error: Exception, **about: object) -> None:
    """Say that Kafka does not answer, as `say_waiting` does, and pause before the next try, which costs Kafka little.

    Args:
        error: What Kafka's client said.
        about: What the log line names beside it, such as `topic`.
    """
    say_waiting(error, **about)
    await asyncio.sleep(KAFKA_RETRY_SECONDS)


def pause_for_kafka(failures: int) -> float:
    """How long to wait before something is asked of Kafka again, in seconds.

    Args:
        failures: How often in a row it failed before.
    """
    return full_jitter(failures, KAFKA_RETRY_LONGEST, KAFKA_RETRY_SECONDS)


async def until_available(work: Callable[[], Awaitable[_T]]) -> _T:
    """Do what needs Kafka, as often as it takes until Kafka is there for all of it, and return what that gave.

    Args:
        work: May be done again. Records are sent by `send_until_acknowledged` instead, which does not send again what
            Kafka has.
    """
    failures = 0
    while True:
        try:
            return await work()
        except KafkaUnavailable as error:
            say_waiting(error)
            await asyncio.sleep(pause_for_kafka(failures))
            failures += 1


@asynccontextmanager
async def background(works: Iterable[Callable[[], Awaitable[object]]]) -> AsyncIterator[None]:
    """Have work go on for as long as the context lasts, each begun anew whenever it ends by itself.

    Args:
        works: Each can be begun again.
    """
    tasks = [asyncio.create_task(made_anew(work)) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
