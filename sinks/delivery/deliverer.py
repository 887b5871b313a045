"""Deliverer: takes check-ins from fetched to settled: asks the target, retries, dead-letters. Knows no consumer."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf, isinf
from typing import Final

import structlog

from attendance.errors import AccessDenied, InvalidRecord, PermissionDenied, Reason, ServerError, TargetUnavailable
from attendance.kafka.records import OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Delivery
from attendance.runtime import full_jitter
from attendance.settings import SinkSettings
from attendance.times import now
from attendance.topics import Topics
from sinks.delivery.breaker import Gate
from sinks.delivery.concurrency import Concurrency
from sinks.delivery.limit import DeadLetterLimit
from sinks.delivery.poison import PoisonDetector
from sinks.delivery.queue import Entry, Lanes
from sinks.targets.base import Delivered, Result, Target

log = structlog.get_logger(__name__)

STAGE: Final = "sink"


@dataclass(frozen=True, slots=True)
class SinkTimings:
    """How long things are waited for, in seconds."""

    recheck: float = 30
    """Before a target that refused us is asked again, and between tries where the limit of dead letters is reached."""
    unknown: float = 5
    """For the user map to learn of an employee: it may be a little behind the stream, which already knows them."""
    commit: float = 1
    """Between two commits."""
    stop: float = 20
    """For the requests that are under way when the process is to stop."""


class Deliverer:
    """Delivers what is added to it. Several tasks may `work` at once.

    One record never holds up those of other employees, and what the target cannot take now is tried for as long as it
    takes; only what the target itself finds wrong becomes a dead letter. Where that is nearly everything, the cause is
    not in the records: no more dead letters are written then, and one check-in at a time is tried until one is
    delivered. What is in hand stays so, and the caller fetches no more when its hands are full.
    """

    def __init__(
        self,
        target: Target,
        settings: SinkSettings,
        topics: Topics,
        metrics: Metrics,
        *,
        knows: Callable[[str], bool | None],
        settle: Callable[[Sequence[tuple[Record, OutRecord]]], Awaitable[None]],
        patience: SinkTimings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked of the target yet.

        Args:
            target: Where to.
            settings: Batch size, pauses, tries, limits.
            topics: Where outcomes go.
            metrics: What is counted.
            knows: Whether the directory knows an employee; None while the directory itself is not known. ERPNext would
                store the check-ins of an employee that does not exist.
            settle: Makes the outcome of each record durable, and returns when they all are.
            patience: How long things are waited for.
            clock: Seconds, monotonic.
        """
        self._target = target
        self._settings = settings
        self._topics = topics
        self._metrics = metrics
        self._knows = knows
        self._settle = settle
        self._patience = patience or SinkTimings()
        self._gate = Gate(settings.retry_max, clock=clock)
        self._concurrency = Concurrency(settings.concurrency)
        self._limit = DeadLetterLimit(settings.dead_letter_run, settings.dead_letter_ratio)
        self._blame = PoisonDetector(settings.error_attempts, self._opens)
        self._clock = clock
        self._lanes = Lanes()
        self._undecodable: deque[tuple[Record, InvalidRecord]] = deque()
        self._changed = asyncio.Event()
        self._opened = False
        self._epoch = 0
        self._announce()

    def __len__(self) -> int:
        """Records that are queued or in flight."""
        return len(self._lanes) + len(self._undecodable)

    def add(self, entry: Entry) -> None:
        """Deliver this, after what was added before for the same employee."""
        entry.epoch = self._epoch
        self._lanes.add(entry)
        self._announce()

    def refuse(self, record: Record, problem: InvalidRecord) -> None:
        """Dead-letter a record that holds no check-in."""
        self._undecodable.append((record, problem))
        self._announce()

    def forget(self) -> None:
        """Drop what is queued: its partitions are taken away. What is in flight is finished, but not tried again."""
        self._epoch += 1
        self._lanes.clear()
        self._undecodable.clear()
        self._blame.clear()
        self._announce()

    async def idle(self) -> None:
        """Return when nothing is in flight."""
        while self._lanes.in_flight:
            await self._change(inf)

    def wake(self) -> None:
        """Let workers see that they are to stop."""
        self._changed.set()

    async def work(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set (and `wake` was called); the request under way then is finished."""
        while not stop.is_set():
            wait = await self.step()
            if wait:
                await self._change(wait)

    async def step(self) -> float:
        """Send at most one request. Returns how many seconds there is nothing to do; infinity: until something changes.

        Raises:
            ConfigurationError: what `Target.open` raises.
        """
        await self._dead_letter_undecodable()
        wait = self._gate.delay()
        if wait:
            return wait
        if not self._opened:
            await self._open()
            return 0.0
        if not self._concurrency.has_room:
            return inf
        most = 1 if self._limit.reached else min(self._settings.batch, self._target.max_batch)
        batch = self._lanes.take(most, self._clock())
        if not batch:
            return self._lanes.next_due() - self._clock()
        await self._deliver(batch)
        return 0.0

    async def _open(self) -> None:
        ticket = self._gate.enter()
        trouble: TargetUnavailable | AccessDenied | None = None
        try:
            await self._target.open()
            self._opened = True
        except (TargetUnavailable, AccessDenied) as error:
            trouble = error
        self._judge(ticket, trouble, served=trouble is None)

    async def _deliver(self, batch: list[Entry]) -> None:
        again: dict[Entry, float] = {}
        settled: list[tuple[Entry, Delivered | InvalidRecord]] = []
        known: list[Entry] = []
        for entry in batch:
            exists = self._knows(entry.checkin.employee)
            if exists:
                known.append(entry)
            elif entry.unknown and exists is not None:
                message = f"the directory knows no employee {entry.checkin.employee!r}"
                settled.append((entry, InvalidRecord(Reason.UNKNOWN_EMPLOYEE, message)))
            else:
                entry.unknown = exists is not None
                again[entry] = self._clock() + self._patience.unknown
        if known:
            await self._ask(known, settled, again)
        await self._record(self._within_limit(settled, again))
        self._lanes.settle(batch, {entry: due for entry, due in again.items() if entry.epoch == self._epoch})
        self._announce()

    async def _ask(
        self,
        entries: list[Entry],
        settled: list[tuple[Entry, Delivered | InvalidRecord]],
        again: dict[Entry, float],
    ) -> None:
        """One call of the target; each entry goes to one of the two."""
        was_open = self._gate.is_open
        stored_before = self._blame.stored
        ticket = self._gate.enter()
        results = await self._call(entries)
        self._blame.stored += sum(isinstance(result, Delivered) and result.status == "created" for result in results)
        trouble: TargetUnavailable | AccessDenied | None = None
        suspects: list[tuple[Entry, ServerError | PermissionDenied]] = []
        for entry, result in zip(entries, results, strict=True):
            if result is None:
                again[entry] = -inf
                continue
            entry.attempts += 1
            match result:
                case Delivered() | InvalidRecord():
                    settled.append((entry, result))
                case ServerError() | PermissionDenied():
                    if entry.epoch == self._epoch:  # otherwise it is the next owner's
                        suspects.append((entry, result))
                case TargetUnavailable() | AccessDenied():
                    trouble = result
                    again[entry] = -inf
        trouble = self._accuse(suspects, stored_before) or trouble
        # Before any await: the others must not go on asking a target that just failed.
        self._judge(ticket, trouble, served=any(self._is_service(result) for result in results))
        well = was_open and self._gate.is_open
        for entry, error in suspects:
            if await self._blame.falls_on(entry, error, well=well):
                settled.append((entry, _conviction(error)))
            elif isinstance(trouble, AccessDenied):
                again[entry] = self._clock() + self._patience.recheck  # after those that came in the meantime
            else:
                again[entry] = self._clock() + full_jitter(entry.attempts, self._settings.retry_max)

    def _accuse(
        self, suspects: Sequence[tuple[Entry, ServerError | PermissionDenied]], stored_before: int
    ) -> PermissionDenied | None:
        """Returns what has to be taken for a refusal of everything, because nothing else was stored either."""
        refusal: PermissionDenied | None = None
        for entry, error in suspects:
            self._blame.accuse(entry, stored_before)
            if isinstance(error, ServerError):
                self._metrics.count("punchstream_target_errors_total", kind="fault")
            else:
                self._metrics.count("punchstream_target_errors_total", kind="forbidden")
                refusal = refusal if self._blame.others_stored(entry) else error
        return refusal

    async def _call(self, entries: list[Entry]) -> Sequence[Result]:
        request = self._concurrency.begin(self._clock())
        try:
            results: Sequence[Result] = await self._target.deliver([entry.checkin for entry in entries])
        except (TargetUnavailable, AccessDenied) as error:
            results = [error] * len(entries)
        now = self._clock()
        self._metrics.observe("punchstream_delivery_seconds", now - request.started)
        if all(isinstance(result, Delivered) and result.status == "created" for result in results):
            self._concurrency.served(request, now, len(entries))
        elif any(isinstance(result, TargetUnavailable) and not isinstance(result, ServerError) for result in results):
            self._concurrency.overloaded(request)
        else:
            self._concurrency.left(request)  # a look-up or a divided batch: that it took longer is not the load
        return results

    def _is_service(self, result: Result) -> bool:
        # Where everything is rejected, a rejection does not show that the target serves.
        return isinstance(result, Delivered) or (isinstance(result, InvalidRecord) and not self._limit.reached)

    def _judge(self, ticket: int, trouble: TargetUnavailable | AccessDenied | None, *, served: bool) -> None:
        """Open or shut the gate by what a request showed."""
        was_open = self._gate.is_open
        match trouble:
            case AccessDenied():
                log.error(
                    "The target refuses us; nothing is delivered until this is repaired.",
                    target=self._target.name,
                    error=str(trouble),
                    recheck_seconds=self._patience.recheck,
                )
                self._metrics.count("punchstream_target_errors_total", kind="refused")
                self._opened = False
                self._gate.failed(ticket, self._patience.recheck)
            case TargetUnavailable():
                log.warning("The target is waited for.", target=self._target.name, error=str(trouble))
                self._metrics.count("punchstream_target_errors_total", kind="unavailable")
                self._gate.failed(ticket, trouble.retry_after or 0.0)
            case None if served:
                self._gate.succeeded(ticket)
            case None:
                self._gate.left(ticket)
        if self._gate.is_open and not was_open:
            log.info("The target serves.", target=self._target.name)
        self._announce()

    async def _opens(self) -> bool:
        try:
            await self._target.open()
        except (TargetUnavailable, AccessDenied):
            return False
        return True

    def _within_limit(
        self, settled: Sequence[tuple[Entry, Delivered | InvalidRecord]], again: dict[Entry, float]
    ) -> list[tuple[Entry, Delivered | InvalidRecord]]:
        """What may be recorded; a dead letter beyond the limit goes to the other, and the target is left alone."""
        for _, result in settled:
            if isinstance(result, Delivered):
                self._limit.delivered()
        within: list[tuple[Entry, Delivered | InvalidRecord]] = []
        for entry, result in settled:
            if isinstance(result, Delivered) or self._limit.admit(result):
                within.append((entry, result))
            else:
                again[entry] = self._clock() + self._patience.recheck
        if len(within) < len(settled):
            self._gate.failed(self._gate.enter(), self._patience.recheck)
        return within

    async def _dead_letter_undecodable(self) -> None:
        admitted: list[tuple[Record, InvalidRecord]] = []
        while self._undecodable and self._limit.admit(self._undecodable[0][1]):
            admitted.append(self._undecodable.popleft())
        if admitted:
            await self._settle([(record, dead_letter(self._topics, record, problem)) for record, problem in admitted])
            for _, problem in admitted:
                self._metrics.count("punchstream_dead_letters_total", stage=STAGE, reason=problem.reason)
            self._announce()

    async def _record(self, settled: Sequence[tuple[Entry, Delivered | InvalidRecord]]) -> None:
        """Make outcomes durable; only then are their records done."""
        if not settled:
            return
        await self._settle([(entry.record, self._to_record(entry, result)) for entry, result in settled])
        for entry, result in settled:
            self._blame.acquit(entry)
            if isinstance(result, Delivered):
                self._metrics.count("punchstream_deliveries_total", status=result.status)
                if result.late is not None:
                    self._metrics.count("punchstream_late_deliveries_total", shift_type=result.late.shift_type or "")
            else:
                self._metrics.count("punchstream_dead_letters_total", stage=STAGE, reason=result.reason)

    def _to_record(self, entry: Entry, result: Delivered | InvalidRecord) -> OutRecord:
        checkin = entry.checkin
        if isinstance(result, InvalidRecord):
            log.warning(
                "A check-in is dead-lettered.", event_id=checkin.event_id, reason=result.reason, error=result.message
            )
            return dead_letter(
                self._topics, entry.record, result, attempts=max(entry.attempts, 1), event_id=checkin.event_id
            )
        delivery = Delivery(
            event_id=checkin.event_id,
            employee=checkin.employee,
            document=result.document,
            status=result.status,
            target=self._target.name,
            delivered_at=now(),
            attempts=entry.attempts,
            late=result.late,
            supersedes=checkin.supersedes,
        )
        return OutRecord(self._topics["deliveries"], delivery.key, delivery.encode())

    def _announce(self) -> None:
        self._metrics.gauge("punchstream_target_available", float(self._gate.is_open))
        self._metrics.gauge("punchstream_sink_in_flight", len(self))
        self._metrics.gauge("punchstream_sink_concurrency", self._concurrency.limit)
        self._metrics.gauge("punchstream_sink_stopped", float(self._limit.reached))
        self._changed.set()

    async def _change(self, seconds: float) -> None:
        """Return after so many seconds, or when something has changed."""
        self._changed.clear()
        try:
            async with asyncio.timeout(None if isinf(seconds) else seconds):
                await self._changed.wait()
        except TimeoutError:
            return


def _conviction(error: ServerError | PermissionDenied) -> InvalidRecord:
    if isinstance(error, PermissionDenied):
        return InvalidRecord(Reason.TARGET_FORBIDDEN, f"the target takes others, and forbids this check-in: {error}")
    return InvalidRecord(Reason.TARGET_ERROR, f"the target fails whenever it gets this check-in: {error}")


def dead_letter(
    topics: Topics, record: Record, error: InvalidRecord, *, attempts: int = 1, event_id: str | None = None
) -> OutRecord:
    """The dead letter of a consumed record, ready to send."""
    letter = DeadLetter.of(record, STAGE, error, now(), attempts=attempts, event_id=event_id)
    return letter.to_record(topics["dead_letters"])
