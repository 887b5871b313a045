"""Guards: what keeps a running stage from working, asked now and then. Loads no Kafka library."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal, NoReturn, Protocol, get_args

import structlog

from attendance.errors import KafkaUnavailable, RetriableError, StandingStill
from attendance.health import KAFKA, STARTING
from attendance.metrics import Metrics

log = structlog.get_logger(__name__)

Cause = Literal["topics", "offsets", "clock", "fleet"]

ASK_SECONDS: Final = 60.0
"""Between two questions to a guard."""
UNKNOWN_SECONDS: Final = 1.0
"""Until the next question where a guard has not answered yet: the whole stage waits for it."""
SILENT_SECONDS: Final = 10.0
"""Until the next question where a guard has answered before, and does not now."""
ANSWER_SECONDS: Final = 30.0
"""For one answer. A guard that takes longer gave none."""


class Guard(Protocol):
    """Knows one thing without which a stage may not work."""

    @property
    def cause(self) -> Cause:
        """What it looks at."""

    async def find_reason(self) -> str | None:
        """Why the stage may not work now: a sentence for a person, which says what to do. None where it may.

        Raises:
            RetriableError: that cannot be found out now. What it found before holds.
        """


class Guards:
    """The guards of one stage. While a reason stands, the stage takes nothing in, decides nothing and commits nothing.

    A stage does not end for a reason: it goes on by itself once the guard that gave it gives none. Until a guard has
    answered for the first time, the stage waits for that too.
    """

    def __init__(
        self,
        metrics: Metrics,
        guards: Sequence[Guard] = (),
        *,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Nobody is asked yet. Without guards no reason ever stands.

        Args:
            metrics: Show what stands: `punchstream_standing_still`, and `/readyz`.
            guards: Those to ask, in this order.
            pause: Waits for so many seconds between two questions.
        """
        self._metrics = metrics
        self._guards = tuple(guards)
        self._pause = pause
        self._reasons: dict[Guard, str] = {}
        self._unknown: dict[Guard, str] = dict.fromkeys(self._guards, "it was not looked at yet")
        self._silent: dict[Guard, str] = {}
        self._clear = asyncio.Event()
        self._show()

    @property
    def standing(self) -> bool:
        """Whether the stage may not work now."""
        return bool(self._reasons or self._unknown)

    @property
    def reasons(self) -> Mapping[Cause, str]:
        """What stands, by its cause: sentences for a person. What is not known yet is among them."""
        found: dict[Cause, str] = {}
        for guard, why in self._unknown.items():
            found[guard.cause] = f"It is not known yet whether this stage may work ({guard.cause}): {why}."
        for guard, why in self._reasons.items():
            found[guard.cause] = f"{found[guard.cause]} {why}" if guard.cause in found else why
        return found

    def check(self) -> None:
        """Return where no reason stands.

        Raises:
            StandingStill: one stands.
            KafkaUnavailable: whether one stands is not known yet.
        """
        if self._reasons:
            raise StandingStill(" ".join(self._reasons.values()))
        if self._unknown:
            raise KafkaUnavailable(" ".join(self.reasons.values()))

    async def until_clear(self) -> None:
        """Return when no reason stands."""
        await self._clear.wait()

    async def repeat(self, work: Callable[[], Awaitable[float]]) -> NoReturn:
        """Do something again and again for ever, while no reason stands.

        Args:
            work: Returns the seconds until it is to be done again.
        """
        while True:
            await self.until_clear()
            await asyncio.sleep(await work())

    async def keep(self) -> NoReturn:
        """Ask every guard now, until all have answered once a second, and then once a minute, for ever."""
        self._metrics.health.watch_loop()
        while True:
            await self.ask()
            self._metrics.ready(STARTING, None)
            if self._unknown:
                await self._pause(UNKNOWN_SECONDS)
            else:
                await self._pause(SILENT_SECONDS if self._silent else ASK_SECONDS)

    async def ask(self) -> None:
        """Ask every guard once. What stands is logged, and that it does not any more."""
        for guard in self._guards:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    reason = await guard.find_reason()
            except (RetriableError, TimeoutError) as error:
                self._silent[guard] = self._unanswered(guard, error)
            except Exception as error:
                # A fault of ours in what only looks must not stop what works.
                log.exception("A guard failed; what it found before holds.", cause=guard.cause)
                self._unanswered(guard, error)
            else:
                self._answered(guard, reason)
        self._show()

    def _unanswered(self, guard: Guard, error: Exception) -> str:
        """Why there is no answer, which is logged while nothing is known of the guard."""
        why = str(error) or type(error).__name__
        if self._unknown.get(guard, why) != why:
            self._unknown[guard] = why
            log.warning("Waiting until it is known whether this stage may work.", cause=guard.cause, error=why)
        return why

    def _answered(self, guard: Guard, reason: str | None) -> None:
        self._unknown.pop(guard, None)
        self._silent.pop(guard, None)
        before = self._reasons.pop(guard, None)
        if reason is not None:
            self._reasons[guard] = reason
            log.error("This stage stands still.", cause=guard.cause, reason=reason)
        elif before is not None:
            log.info("This stage goes on.", cause=guard.cause)

    def _show(self) -> None:
        reasons = self.reasons
        standing = {guard.cause for guard in self._reasons}
        for cause in get_args(Cause):
            self._metrics.gauge("punchstream_standing_still", cause in standing, cause=cause)
            self._metrics.ready(f"guard of {cause}", reasons.get(cause))
        # What was found before holds; but without Kafka, or another that is asked, the stage cannot do its work.
        away = [why for guard, why in self._silent.items() if guard not in self._unknown]
        self._metrics.ready(KAFKA, " ".join(dict.fromkeys(away)) or None)
        if self.standing:
            self._clear.clear()
        else:
            self._clear.set()
