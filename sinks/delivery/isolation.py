"""Isolation: keeps what fails away from what does not, and finds out whether the target is the cause."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from attendance.errors import InvalidRecord, PermissionDenied, RequestAbandoned, TargetUnavailable
from attendance.metrics import Metrics
from attendance.runtime import full_jitter
from attendance.settings import SinkSettings
from sinks.delivery.answers import Answers
from sinks.delivery.notices import Notices
from sinks.delivery.queue import EmployeeQueues, QueuedCheckin
from sinks.delivery.timings import SinkTimings
from sinks.poison import IN_DOUBT, Doubt, PoisonDetector, Undecided, as_dead_letter

log = structlog.get_logger(__name__)

PARTS: Final = 8  # into which a request is divided that failed as a whole
REST: Final = 3.0  # times what a suspect's request took, it rests: it may have held up the target for others

Suspects = Sequence[tuple[QueuedCheckin, Undecided]]
"""Check-ins on which the target failed while they were alone in their request, with what it answered."""
Decisions = dict[QueuedCheckin, InvalidRecord | float]


class Isolation:
    """Says whose check-ins are tried alone, when, and which of them are the cause of the failures.

    An employee on whose check-in the target failed is a suspect: its check-ins are tried one by one, each alone. Where
    a request with others failed as a whole, they are tried in smaller ones. While the target stores nothing at all,
    nobody is to blame: it is in doubt, until it stores something.
    """

    def __init__(
        self,
        queues: EmployeeQueues,
        settings: SinkSettings,
        metrics: Metrics,
        timings: SinkTimings,
        is_reachable: Callable[[], Awaitable[bool]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing failed yet.

        Args:
            queues: Where suspects are kept apart.
            settings: How often a check-in is tried, and how long is waited between.
            metrics: What is counted.
            timings: How long the sink waits.
            is_reachable: Whether the target can be opened, which is asked of it at once.
            clock: Seconds, monotonic.
        """
        self._queues = queues
        self._settings = settings
        self._metrics = metrics
        self._timings = timings
        self._is_reachable = is_reachable
        self._clock = clock
        self._poison = PoisonDetector[QueuedCheckin](settings.error_attempts, is_reachable, clock)
        self._doubt = Doubt[QueuedCheckin]()
        self._notices = Notices(clock)

    @property
    def written(self) -> int:
        """How many check-ins the target has stored."""
        return self._poison.stored

    @property
    def in_doubt(self) -> bool:
        """Whether the target fails on one employee after the other, and stores nothing."""
        return self._doubt.exists

    def add_written(self, count: int) -> None:
        """The target has stored so many check-ins now: it is not the cause of what failed."""
        if not count:
            return
        failed = self._doubt.end()
        if len(failed) >= IN_DOUBT:
            blameless = {name for name, queued in failed.items() if not self._poison.has_evidence(queued)}
            self._queues.reconsider(blameless)
        self._poison.stored += count
        self._notices.forget("doubt")

    def add_served(self, answers: Answers, seconds: float, slow_after: float) -> None:
        """Those that were served share requests again, unless the target took long for them.

        Args:
            answers: What one call showed.
            seconds: How long it took.
            slow_after: From how many seconds on that is long.
        """
        served = list(dict.fromkeys(queued.checkin.employee for queued, _ in answers.outcomes))
        if seconds > slow_after and len(served) == 1 and not (answers.alone or answers.together):
            self._queues.suspect(served[0], holds_up=True)
            return
        for employee in served:
            if seconds > slow_after:
                # Their next requests tell which of them it is. Where it is none, they share again after those.
                self._queues.divide(employee, 1)
                continue
            self._queues.clear_suspicion(employee)
            if self._notices.forget(employee):
                log.info("The target has done with the check-in on which it failed.", employee=employee)

    def divide(self, answers: Answers) -> None:
        """Those whose request failed as a whole are tried in smaller ones."""
        for queued, failed in answers.together:
            self._queues.divide(queued.checkin.employee, failed.size // PARTS)
        for _, failed in answers.together[:1]:
            if (withheld := self._notices.due("together", str(failed.error))) is not None:
                log.warning(
                    "The target failed on a request for several check-ins; sending them in smaller ones.",
                    checkins=failed.size,
                    error=str(failed.error),
                    not_logged=withheld,
                )

    async def find_failure(self, answers: Answers, suspects: Suspects, written_before: int) -> TargetUnavailable | None:
        """Find out whether the target is the cause of what failed in one call.

        Args:
            answers: What the call showed.
            suspects: Those of its check-ins that are still ours.
            written_before: How many the target had stored before the call.

        Returns:
            The target's failure, if it stores nothing else and does not answer.
        """
        self._poison.suspect((queued for queued, _ in suspects), written_before)
        if self._poison.stored > written_before:
            return None
        for queued, _ in (*suspects, *answers.together[:1]):
            if not self._poison.has_evidence(queued):
                self._doubt.add(queued.checkin.employee, queued)
        errors = [error for _, error in suspects] + [failed.error for _, failed in answers.together[:1]]
        given_up = next((error for error in errors if isinstance(error, RequestAbandoned)), None)
        if given_up is not None and not await self._is_reachable():
            return TargetUnavailable(str(given_up))
        return None

    async def decide(self, suspects: Suspects, *, healthy: bool, alone: float, slow_after: float) -> Decisions:
        """Decide what becomes of the suspects of one call, which `find_failure` got.

        Args:
            suspects: Those that are still ours.
            healthy: Whether the circuit breaker was closed before the call and still is.
            alone: How many seconds a suspect's own request took; 0 where it was in one with others.
            slow_after: From how many seconds on that is long.

        Returns:
            Why a check-in is the cause and is dead-lettered, or after how many seconds it is tried again.
        """
        decisions: Decisions = {}
        for queued, error in suspects:
            kind = "forbidden" if isinstance(error, PermissionDenied) else "fault"
            self._metrics.count("punchstream_target_errors_total", kind=kind)
            self._queues.suspect(queued.checkin.employee, holds_up=alone > slow_after)
            if await self._poison.is_poison(queued, error, healthy=healthy):
                decisions[queued] = as_dead_letter(error)
                continue
            decisions[queued] = pause = max(REST * alone, full_jitter(queued.attempts, self._longest(healthy=healthy)))
            self._say(queued, error, pause)
        return decisions

    def discard(self, queued: QueuedCheckin) -> None:
        """The check-in has its outcome."""
        self._poison.discard(queued)

    def clear(self) -> None:
        """Forget all that failed: it is another process's now."""
        self._poison.clear()
        self._doubt.end()
        self._notices.clear()

    def _longest(self, *, healthy: bool) -> float:
        if healthy:
            return self._settings.retry_max
        # Suspects take turns to find out whether the target stores something again, however many there are.
        return min(self._settings.retry_max, self._timings.recovery * max(1.0, self._doubt.employees / 3))

    def _say(self, queued: QueuedCheckin, error: Undecided, pause: float) -> None:
        checkin = queued.checkin
        if self._doubt.exists:
            if (withheld := self._notices.due("doubt")) is not None:
                log.error(
                    "The target fails on one employee after the other; sending one request at a time until it stores "
                    "something.",
                    employees=self._doubt.employees,
                    error=str(error),
                    not_logged=withheld,
                )
        elif (withheld := self._notices.due(checkin.employee, str(error))) is not None:
            log.warning(
                "The target fails on a check-in or forbids it; it is tried again alone, and only its employee waits.",
                employee=checkin.employee,
                event_id=checkin.event_id,
                error=str(error),
                attempts=queued.attempts,
                retry_seconds=round(pause, 1),
                not_logged=withheld,
            )
