"""Health: whether a process lives, and whether it can do its work. What orchestrators and people are answered."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

PORTS: Final[Mapping[str, int]] = {
    "push": 9641,
    "pull": 9642,
    "directory": 9643,
    "stream": 9644,
    "sink": 9645,
    "completeness": 9646,
    "ledger": 9647,
    "console": 9648,
}
"""Where each stage serves health and metrics, if `METRICS_PORT` is not set."""

ANSWER_SECONDS: Final = 5.0
"""For an answer from the event loop. One that takes longer does no work, or is asked again."""
STARTING: Final = "starting"
"""The part that is not ready from the start of a process until its work begins."""
KAFKA: Final = "kafka"
"""The part that is not ready while Kafka does not answer."""

Check = Callable[[], Awaitable[str | None]]
"""Finds out why a part cannot do its work; None where it can."""


class Health:
    """The health of one process. All but `watch_loop` may be called from any thread."""

    def __init__(self) -> None:
        """Alive, and ready but for what it is told."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reasons: dict[str, str] = {}
        self._checks: dict[str, Check] = {}

    def watch_loop(self) -> None:
        """From now on the process lives only while the running event loop turns. Begins no task."""
        self._loop = asyncio.get_running_loop()

    def ready(self, part: str, reason: str | None) -> None:
        """Say whether a part of this process can do its work.

        Args:
            part: Its name, such as `zone`.
            reason: Why it cannot, for a person; None where it can.
        """
        if reason is None:
            self._reasons.pop(part, None)
        else:
            self._reasons[part] = reason

    @contextmanager
    def not_ready(self, part: str, reason: str) -> Iterator[None]:
        """Have a part not be ready for as long as the context lasts without an error, as `ready` has it."""
        self.ready(part, reason)
        yield
        self.ready(part, None)

    def ask(self, part: str, check: Check) -> None:
        """Have a part say whether it can do its work whenever somebody asks, instead of what `ready` said of it.

        Args:
            part: Its name.
            check: Runs in the event loop of `watch_loop`. Asked again before it has answered, it runs twice.
        """
        self._checks[part] = check

    def why_dead(self) -> str | None:
        """Why this process is of no use any more: its event loop does not turn. None where it does.

        Takes up to `ANSWER_SECONDS`. Must not be called in the event loop.
        """
        if self._loop is None:
            return None  # it has only begun
        turned: Future[None] = Future()
        try:
            self._loop.call_soon_threadsafe(turned.set_result, None)
            turned.result(ANSWER_SECONDS)
        except TimeoutError:
            return f"the event loop has not turned for {ANSWER_SECONDS:.0f} s"
        except RuntimeError:
            return "the event loop has ended"
        return None

    def reasons(self) -> list[str]:
        """Why this process cannot do its work: sentences for a person, none where it can.

        Takes up to `ANSWER_SECONDS` for each part that is asked. Must not be called in the event loop.
        """
        said = {part: reason for part, reason in list(self._reasons.items()) if part not in self._checks}
        asked = [(part, self._answer(part, check)) for part, check in list(self._checks.items())]
        return [*said.values(), *(reason for _, reason in asked if reason is not None)]

    def _answer(self, part: str, check: Check) -> str | None:
        if self._loop is None:
            return f"{part}: not asked yet"
        running = _run(check)
        try:
            # It is not cancelled where it takes long: what it has begun, such as a record to Kafka, is under way.
            return asyncio.run_coroutine_threadsafe(running, self._loop).result(ANSWER_SECONDS)
        except TimeoutError:
            return f"{part}: no answer within {ANSWER_SECONDS:.0f} s"
        except RuntimeError:
            running.close()
            return "the event loop has ended"


async def _run(check: Check) -> str | None:
    return await check()
