"""Deliverer: asks the target to store check-ins, retries, dead-letters. It does not know where they come from."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from math import inf, isinf
from typing import Final

import structlog

from attendance.errors import (
    AccessDenied,
    InvalidRecord,
    PermissionDenied,
    Reason,
    RequestAbandoned,
    ServerError,
    TargetUnavailable,
    ZoneInDoubt,
)
from attendance.guards import Guards
from attendance.kafka.records import Record
from attendance.metrics import Metrics
from attendance.settings import SinkSettings
from attendance.tracing import OFF
from sinks.delivery.answers import sort_answers
from sinks.delivery.breaker import CircuitBreaker
from sinks.delivery.concurrency import Concurrency
from sinks.delivery.isolation import Isolation
from sinks.delivery.limit import DeadLetterLimit
from sinks.delivery.notices import Notices
from sinks.delivery.outcomes import Decided, Outcome, OutcomeWriter
from sinks.delivery.queue import EmployeeQueues, QueuedCheckin
from sinks.delivery.timings import SinkTimings
from sinks.targets.base import Delivered, FailedTogether, Result, SentBack, Target

log = structlog.get_logger(__name__)


STANDING_SECONDS: Final = 1.0  # between two looks at the guards while one stands
TRIAL: Final = 8  # the most check-ins of a request that finds out whether the target has recovered


class Deliverer:
    """Delivers what is added to it. Several tasks may `work` at once.

    One record never holds up those of other employees. What the target cannot take now is tried for as long as it
    takes; only what the target itself finds wrong becomes a dead letter. Where that is nearly everything, the cause is
    not in the records: no more dead letters are written then, and one check-in at a time is tried until one is
    delivered. What was added stays here until it is done; the caller adds no more while that is too much.
    """

    def __init__(
        self,
        target: Target,
        settings: SinkSettings,
        metrics: Metrics,
        *,
        employee_exists: Callable[[str], bool | None],
        writer: OutcomeWriter,
        timings: SinkTimings | None = None,
        clock: Callable[[], float] = time.monotonic,
        guards: Guards | None = None,
    ) -> None:
        """Nothing is asked of the target yet.

        Args:
            target: Where check-ins are delivered to.
            settings: Batch size, pauses, tries, limits.
            metrics: What is counted.
            employee_exists: Whether the user map has an employee; None while it has none at all. Not asked for a target
                that looks its employees up.
            writer: Makes outcomes durable.
            timings: How long the sink waits.
            clock: Seconds, monotonic.
            guards: What may keep it from asking the target; None is nothing.
        """
        self._guards = guards or Guards(metrics)
        self.tracing = OFF
        self._target = target
        self._settings = settings
        self._metrics = metrics
        self._employee_exists = employee_exists
        self._writer = writer
        self._timings = timings or SinkTimings()
        self._breaker = CircuitBreaker(min(settings.retry_max, self._timings.recovery), clock=clock)
        self._concurrency = Concurrency(settings.concurrency)
        self._limit = DeadLetterLimit(settings.dead_letter_run, settings.dead_letter_ratio)
        self._clock = clock
        self._queues = EmployeeQueues()
        self._isolation = Isolation(self._queues, settings, metrics, self._timings, self._is_reachable, clock)
        self._notices = Notices(clock)
        self._suspect_places = max(1, settings.concurrency // 4)
        self._suspects_in_flight = 0
        self._undecodable: deque[tuple[Record, InvalidRecord]] = deque()
        self._changed = asyncio.Event()
        self._opened = False
        self._why_unavailable = f"{target.name} was not asked yet"
        self._epoch = 0
        self._notify()

    def __len__(self) -> int:
        """Records that are queued or in flight."""
        return len(self._queues) + len(self._undecodable)

    @property
    def workers(self) -> int:
        """How many tasks may find something to do at the same time."""
        return self._concurrency.most + self._suspect_places

    @property
    def room(self) -> int:
        """How many more records may be added. Those of suspects fill a room of their own first."""
        apart = min(self._queues.queued_of_suspects, self._settings.max_in_flight)
        return max(0, self._settings.max_in_flight - len(self) + apart)

    def add(self, queued: QueuedCheckin) -> None:
        """Deliver this, after what was added before for the same employee."""
        queued.epoch = self._epoch
        self._queues.add(queued)
        self._notify()

    def add_undecodable(self, record: Record, problem: InvalidRecord) -> None:
        """Dead-letter a record that holds no check-in.

        Args:
            record: As it was fetched.
            problem: Why it cannot be decoded.
        """
        self._undecodable.append((record, problem))
        self._notify()

    def revoke(self) -> None:
        """Drop what is queued: its partitions are revoked. What is in flight is finished, but not tried again."""
        self._epoch += 1
        self._queues.clear()
        self._undecodable.clear()
        self._isolation.clear()
        self._notify()

    async def wait_until_idle(self) -> None:
        """Return when nothing is in flight."""
        while self._queues.in_flight:
            await self._wait_for_change(inf)

    def wake(self) -> None:
        """Let workers see that they are to stop."""
        self._changed.set()

    async def work(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set (and `wake` was called); the request in flight then is finished."""
        while not stop.is_set():
            wait = STANDING_SECONDS if self._guards.standing else await self.send_next()
            if wait:
                await self._wait_for_change(wait)

    async def send_next(self) -> float:
        """Send at most one request.

        Returns:
            For how many seconds there is nothing to do; infinity: until something changes.

        Raises:
            ConfigurationError: A setting of the target is wrong (from `Target.open`).
        """
        await self._dead_letter_undecodable()
        wait = self._breaker.delay()
        if wait:
            return wait
        if not self._opened:
            await self._open()
            return 0.0
        now = self._clock()
        batch, suspect = self._take(now)
        if not batch:
            return min(self._queues.next_due(now), self._concurrency.next_overdue(now)) - now
        self._suspects_in_flight += suspect
        try:
            await self._deliver(batch, suspect=suspect)
        finally:
            self._suspects_in_flight -= suspect
        return 0.0

    def _take(self, now: float) -> tuple[list[QueuedCheckin], bool]:
        """The next batch, and whether it is of a suspect, which is tried alone and takes no place of the others."""
        most = 1 if self._limit.reached else min(self._settings.batch, self._target.max_batch)
        if not self._breaker.is_closed:
            most = min(most, TRIAL)
        batch: list[QueuedCheckin] = []
        if self._concurrency.has_room(now):
            batch = self._queues.take(most, now)
        if not batch and self._suspects_in_flight < self._suspect_places:
            batch = self._queues.take_suspect(now, trial=not self._breaker.is_closed)
            return batch, bool(batch)
        return batch, False

    async def _open(self) -> None:
        ticket = self._breaker.acquire()
        failure: TargetUnavailable | AccessDenied | None = None
        try:
            await self._target.open()
            self._opened = True
        except (TargetUnavailable, AccessDenied) as error:
            failure = error
        self._update_breaker(ticket, failure, served=failure is None)

    async def _deliver(self, batch: list[QueuedCheckin], *, suspect: bool) -> None:
        retries: dict[QueuedCheckin, float] = {}
        outcomes: list[Decided] = []
        known: list[QueuedCheckin] = []
        for queued in batch:
            exists = self._target.looks_up_employees or self._employee_exists(queued.checkin.employee)
            if exists:
                known.append(queued)
            elif queued.employee_missing and exists is not None:
                message = f"the user map has no employee {queued.checkin.employee!r}"
                outcomes.append((queued, SentBack(Reason.UNKNOWN_EMPLOYEE, message)))
            else:
                queued.employee_missing = exists is not None
                retries[queued] = self._clock() + self._timings.unknown
        if known:
            await self._ask(known, outcomes, retries, suspect=suspect)
        await self._record(self._within_limit(await self._writer.prepare(outcomes), retries))
        self._queues.give_back(batch, {queued: due for queued, due in retries.items() if queued.epoch == self._epoch})
        self._notify()

    async def _ask(
        self,
        batch: list[QueuedCheckin],
        outcomes: list[Decided],
        retries: dict[QueuedCheckin, float],
        *,
        suspect: bool,
    ) -> None:
        """Call the target once; each check-in goes to `outcomes` or to `retries`."""
        was_closed = self._breaker.is_closed
        written_before = self._isolation.written
        ticket = self._breaker.acquire()
        results, seconds = await self._call(batch, suspect=suspect)
        answers = sort_answers(batch, results, rejections_serve=not self._limit.reached)
        outcomes += answers.outcomes
        for queued in batch:
            queued.attempts += queued not in answers.untried
        together = [queued for queued, _ in answers.together]
        retries |= dict.fromkeys((*answers.untried, *answers.unserved, *together), -inf)
        self._isolation.add_written(answers.written)
        self._isolation.add_served(answers, seconds, self._concurrency.overdue_after)
        # What belongs to the next owner of its partition by now says nothing here.
        suspects = [(queued, error) for queued, error in answers.alone if queued.epoch == self._epoch]
        found = await self._isolation.find_failure(answers, suspects, written_before)
        failure = answers.failure or found
        in_doubt = bool(suspects) and self._isolation.in_doubt
        self._update_breaker(ticket, failure, served=answers.served, in_doubt=in_doubt)
        if failure is None:
            self._isolation.divide(answers)
        healthy = was_closed and self._breaker.is_closed
        decisions = await self._isolation.decide(
            suspects,
            healthy=healthy,
            alone=seconds if len(batch) == 1 else 0.0,
            slow_after=self._concurrency.overdue_after,
        )
        for queued, decision in decisions.items():
            if isinstance(decision, InvalidRecord):
                outcomes.append((queued, decision))
            else:
                retries[queued] = self._clock() + decision

    async def _call(self, batch: list[QueuedCheckin], *, suspect: bool) -> tuple[Sequence[Result], float]:
        """The results, and how many seconds they took."""
        began = self._clock()
        request = None if suspect else self._concurrency.begin(began)
        try:
            with self.tracing.asked(self._target.name, (queued.record for queued in batch)):
                results: Sequence[Result] = await self._target.deliver([queued.checkin for queued in batch])
        except (ServerError, PermissionDenied, RequestAbandoned) as error:
            results = [error] if len(batch) == 1 else [FailedTogether(error, len(batch))] * len(batch)
        except (TargetUnavailable, AccessDenied) as error:
            results = [error] * len(batch)
        now = self._clock()
        self._metrics.observe("punchstream_delivery_seconds", now - began)
        if request is None:
            return results, now - began
        if all(isinstance(result, Delivered) and result.status == "created" for result in results):
            self._concurrency.served(request, now, len(batch))
        elif any(isinstance(result, TargetUnavailable) and not isinstance(result, ServerError) for result in results):
            self._concurrency.overloaded(request)
        else:
            self._concurrency.ignore(request)  # a look-up or a divided batch: that it took longer is not the load
        return results, now - began

    def _update_breaker(
        self,
        ticket: int,
        failure: TargetUnavailable | AccessDenied | None,
        *,
        served: bool,
        in_doubt: bool = False,
    ) -> None:
        """Tell the circuit breaker what a request showed."""
        had_failed = self._breaker.has_failed
        if failure is not None or in_doubt:
            self._why_unavailable = (
                f"{self._target.name} takes no check-ins: {failure or 'it fails on one after another'}"
            )
        match failure:
            case AccessDenied():
                self._say_unavailable("denied", failure)
                self._metrics.count("punchstream_target_errors_total", kind="refused")
                self._opened = False
                self._breaker.record_failure(ticket, self._timings.recheck)
            case TargetUnavailable():
                self._say_unavailable("unavailable", failure)
                self._metrics.count("punchstream_target_errors_total", kind="unavailable")
                self._breaker.record_failure(ticket, min(failure.retry_after or 0.0, self._timings.retry_after))
            case None if in_doubt:
                self._breaker.record_failure(ticket, longest=self._timings.doubt)
            case None if served:
                self._breaker.record_success(ticket)
            case None:
                self._breaker.release(ticket)
        if had_failed and self._breaker.is_closed:
            self._notices.clear()
            log.info("Target recovered.", target=self._target.name)
        self._notify()

    def _say_unavailable(self, about: str, failure: TargetUnavailable | AccessDenied) -> None:
        withheld = self._notices.due(about, str(failure))
        if withheld is None:
            return
        if about == "denied":
            log.error(
                "The target's time zone is in doubt; nothing is delivered until that is decided."
                if isinstance(failure, ZoneInDoubt)
                else "The target denied access; nothing is delivered until that is repaired.",
                target=self._target.name,
                error=str(failure),
                recheck_seconds=self._timings.recheck,
                not_logged=withheld,
            )
        else:
            log.warning("Waiting for the target.", target=self._target.name, error=str(failure), not_logged=withheld)

    async def _is_reachable(self) -> bool:
        try:
            await self._target.open()
        except (TargetUnavailable, AccessDenied):
            return False
        return True

    def _within_limit(self, outcomes: Sequence[Outcome], retries: dict[QueuedCheckin, float]) -> list[Outcome]:
        """What may be recorded. A dead letter beyond the limit goes to `retries`, and the target is left alone."""
        for _, result in outcomes:
            if isinstance(result, Delivered):
                self._limit.delivered()
        within: list[Outcome] = []
        for queued, result in outcomes:
            if not isinstance(result, InvalidRecord) or self._limit.admit(result):
                within.append((queued, result))
            else:
                retries[queued] = self._clock() + self._timings.recheck
        if len(within) < len(outcomes):
            self._why_unavailable = f"nearly every check-in fails at {self._target.name}"
            self._breaker.record_failure(self._breaker.acquire(), self._timings.recheck)
        return within

    async def _dead_letter_undecodable(self) -> None:
        admitted: list[tuple[Record, InvalidRecord]] = []
        while self._undecodable and self._limit.admit(self._undecodable[0][1]):
            admitted.append(self._undecodable.popleft())
        if admitted:
            await self._writer.write_undecodable(admitted)
            self._notify()

    async def _record(self, outcomes: Sequence[Outcome]) -> None:
        await self._writer.write(outcomes)
        for queued, _ in outcomes:
            self._isolation.discard(queued)

    def _notify(self) -> None:
        """Show the present state in the metrics, and wake whoever waits for a change."""
        available = self._breaker.is_closed
        self._metrics.gauge("punchstream_target_available", float(available))
        self._metrics.ready("target", None if available else self._why_unavailable)
        self._metrics.gauge("punchstream_sink_in_flight", len(self))
        self._metrics.gauge("punchstream_sink_concurrency", self._concurrency.limit)
        self._metrics.gauge("punchstream_sink_suspects", len(self._queues.suspects))
        self._metrics.gauge("punchstream_sink_stopped", float(self._limit.reached))
        self._changed.set()

    async def _wait_for_change(self, seconds: float) -> None:
        """Return after so many seconds, or when something has changed."""
        self._changed.clear()
        try:
            async with asyncio.timeout(None if isinf(seconds) else seconds):
                await self._changed.wait()
        except TimeoutError:
            return
