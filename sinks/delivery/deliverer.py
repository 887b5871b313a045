"""Deliverer: asks the target to store check-ins, retries, dead-letters. It does not know where they come from."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isinf

import structlog

from attendance.errors import (
    AccessDenied,
    InvalidRecord,
    PermissionDenied,
    Reason,
    ServerError,
    TargetUnavailable,
    ZoneInDoubt,
)
from attendance.kafka.records import Record
from attendance.metrics import Metrics
from attendance.runtime import full_jitter
from attendance.settings import SinkSettings
from sinks.delivery.breaker import CircuitBreaker
from sinks.delivery.concurrency import Concurrency
from sinks.delivery.limit import DeadLetterLimit
from sinks.delivery.outcomes import Decided, Outcome, OutcomeWriter
from sinks.delivery.queue import EmployeeQueues, QueuedCheckin
from sinks.poison import PoisonDetector, Undecided, as_dead_letter
from sinks.targets.base import Delivered, Result, SentBack, Target

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SinkTimings:
    """How long the sink waits, in seconds.

    Attributes:
        recheck: Before a target that denied access is asked again, and between tries while the limit of dead letters is
            reached.
        unknown: For the user map to learn of an employee: it may be a little behind the stream, which knows them
            already.
        commit: Between two commits.
        stop: For the requests that are in flight when the process is to stop.
    """

    recheck: float = 30
    unknown: float = 5
    commit: float = 1
    stop: float = 20


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
        """
        self._target = target
        self._settings = settings
        self._metrics = metrics
        self._employee_exists = employee_exists
        self._writer = writer
        self._timings = timings or SinkTimings()
        self._breaker = CircuitBreaker(settings.retry_max, clock=clock)
        self._concurrency = Concurrency(settings.concurrency)
        self._limit = DeadLetterLimit(settings.dead_letter_run, settings.dead_letter_ratio)
        self._poison = PoisonDetector[QueuedCheckin](settings.error_attempts, self._is_reachable)
        self._clock = clock
        self._queues = EmployeeQueues()
        self._undecodable: deque[tuple[Record, InvalidRecord]] = deque()
        self._changed = asyncio.Event()
        self._opened = False
        self._epoch = 0
        self._notify()

    def __len__(self) -> int:
        """Records that are queued or in flight."""
        return len(self._queues) + len(self._undecodable)

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
        self._poison.clear()
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
            wait = await self.send_next()
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
        if not self._concurrency.has_room:
            return inf
        most = 1 if self._limit.reached else min(self._settings.batch, self._target.max_batch)
        batch = self._queues.take(most, self._clock())
        if not batch:
            return self._queues.next_due() - self._clock()
        await self._deliver(batch)
        return 0.0

    async def _open(self) -> None:
        ticket = self._breaker.acquire()
        failure: TargetUnavailable | AccessDenied | None = None
        try:
            await self._target.open()
            self._opened = True
        except (TargetUnavailable, AccessDenied) as error:
            failure = error
        self._update_breaker(ticket, failure, served=failure is None)

    async def _deliver(self, batch: list[QueuedCheckin]) -> None:
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
            await self._ask(known, outcomes, retries)
        await self._record(self._within_limit(await self._writer.prepare(outcomes), retries))
        self._queues.give_back(batch, {queued: due for queued, due in retries.items() if queued.epoch == self._epoch})
        self._notify()

    async def _ask(
        self, batch: list[QueuedCheckin], outcomes: list[Decided], retries: dict[QueuedCheckin, float]
    ) -> None:
        """Call the target once; each check-in goes to `outcomes` or to `retries`."""
        was_closed = self._breaker.is_closed
        stored_before = self._poison.stored
        ticket = self._breaker.acquire()
        results = await self._call(batch)
        self._poison.stored += sum(isinstance(result, Delivered) and result.status == "created" for result in results)
        failure: TargetUnavailable | AccessDenied | None = None
        suspects: list[tuple[QueuedCheckin, Undecided]] = []
        for queued, result in zip(batch, results, strict=True):
            if result is None:
                retries[queued] = -inf
                continue
            queued.attempts += 1
            match result:
                case Delivered() | SentBack() | InvalidRecord():
                    outcomes.append((queued, result))
                case ServerError() | PermissionDenied():
                    if queued.epoch == self._epoch:  # otherwise it is the next owner's
                        queued.alone = True
                        suspects.append((queued, result))
                case TargetUnavailable() | AccessDenied():
                    failure = result
                    retries[queued] = -inf
        failure = self._add_failures(suspects, stored_before) or failure
        # Before any await: the others must not go on asking a target that just failed.
        self._update_breaker(ticket, failure, served=any(self._shows_service(result) for result in results))
        healthy = was_closed and self._breaker.is_closed
        for queued, error in suspects:
            if await self._poison.is_poison(queued, error, healthy=healthy):
                outcomes.append((queued, as_dead_letter(error)))
            elif isinstance(failure, AccessDenied):
                retries[queued] = self._clock() + self._timings.recheck  # after those that came in the meantime
            else:
                retries[queued] = self._clock() + full_jitter(queued.attempts, self._settings.retry_max)

    def _add_failures(
        self, failures: Sequence[tuple[QueuedCheckin, Undecided]], stored_before: int
    ) -> PermissionDenied | None:
        for _, error in failures:
            kind = "fault" if isinstance(error, ServerError) else "forbidden"
            self._metrics.count("punchstream_target_errors_total", kind=kind)
        return self._poison.add_failures(failures, stored_before)

    async def _call(self, batch: list[QueuedCheckin]) -> Sequence[Result]:
        request = self._concurrency.begin(self._clock())
        try:
            results: Sequence[Result] = await self._target.deliver([queued.checkin for queued in batch])
        except (TargetUnavailable, AccessDenied) as error:
            results = [error] * len(batch)
        now = self._clock()
        self._metrics.observe("punchstream_delivery_seconds", now - request.started)
        if all(isinstance(result, Delivered) and result.status == "created" for result in results):
            self._concurrency.served(request, now, len(batch))
        elif any(isinstance(result, TargetUnavailable) and not isinstance(result, ServerError) for result in results):
            self._concurrency.overloaded(request)
        else:
            self._concurrency.ignore(request)  # a look-up or a divided batch: that it took longer is not the load
        return results

    def _shows_service(self, result: Result) -> bool:
        # Where everything is rejected, a rejection does not show that the target is healthy.
        return isinstance(result, Delivered) or (isinstance(result, InvalidRecord) and not self._limit.reached)

    def _update_breaker(self, ticket: int, failure: TargetUnavailable | AccessDenied | None, *, served: bool) -> None:
        """Tell the circuit breaker what a request showed."""
        had_failed = self._breaker.has_failed
        match failure:
            case AccessDenied():
                log.error(
                    "The target's time zone is in doubt; nothing is delivered until that is decided."
                    if isinstance(failure, ZoneInDoubt)
                    else "The target denied access; nothing is delivered until that is repaired.",
                    target=self._target.name,
                    error=str(failure),
                    recheck_seconds=self._timings.recheck,
                )
                self._metrics.count("punchstream_target_errors_total", kind="refused")
                self._opened = False
                self._breaker.record_failure(ticket, self._timings.recheck)
            case TargetUnavailable():
                log.warning("Waiting for the target.", target=self._target.name, error=str(failure))
                self._metrics.count("punchstream_target_errors_total", kind="unavailable")
                self._breaker.record_failure(ticket, failure.retry_after or 0.0)
            case None if served:
                self._breaker.record_success(ticket)
            case None:
                self._breaker.release(ticket)
        if had_failed and self._breaker.is_closed:
            log.info("Target recovered.", target=self._target.name)
        self._notify()

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
            self._poison.discard(queued)

    def _notify(self) -> None:
        """Show the present state in the metrics, and wake whoever waits for a change."""
        self._metrics.gauge("punchstream_target_available", float(self._breaker.is_closed))
        self._metrics.gauge("punchstream_sink_in_flight", len(self))
        self._metrics.gauge("punchstream_sink_concurrency", self._concurrency.limit)
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
