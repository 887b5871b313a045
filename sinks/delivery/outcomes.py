"""OutcomeWriter: makes what became of check-ins durable, as delivery records, waiting records and dead letters."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Delivery, Late
from attendance.times import now
from attendance.topics import Topics
from sinks.delivery.queue import QueuedCheckin
from sinks.delivery.sent_back import ReadRaw, SentBackRecords
from sinks.targets.base import Delivered, SentBack

log = structlog.get_logger(__name__)

STAGE: Final = "sink"

Decided = tuple[QueuedCheckin, Delivered | SentBack | InvalidRecord]
"""A check-in that is done: the target holds it, its punch is to wait again, or it is to be dead-lettered."""


@dataclass(frozen=True, slots=True)
class Waits:
    """A punch waits again. `record` is its waiting record, ready to be sent."""

    reason: Reason
    record: OutRecord


Outcome = tuple[QueuedCheckin, Delivered | Waits | InvalidRecord]
"""A check-in with what is to be written of it."""
Publish = Callable[[Sequence[tuple[Record, OutRecord]]], Awaitable[None]]
"""Makes the outcome of each record durable, and returns when they all are."""


class OutcomeWriter:
    """Writes outcomes and counts them."""

    def __init__(self, target: str, topics: Topics, metrics: Metrics, publish: Publish, read_raw: ReadRaw) -> None:
        """Nothing is written yet.

        Args:
            target: The target's word, which every delivery has.
            topics: Where outcomes go.
            metrics: What is counted.
            publish: Makes them durable.
            read_raw: Reads the raw records of what is to wait again.
        """
        self._target = target
        self._topics = topics
        self._metrics = metrics
        self._publish = publish
        self._sent_back = SentBackRecords(topics, read_raw)

    async def prepare(self, decided: Sequence[Decided]) -> list[Outcome]:
        """The outcomes of check-ins. What cannot wait again, because its raw record is gone, is a dead letter."""
        sent_back = [(queued, result) for queued, result in decided if isinstance(result, SentBack)]
        outcomes: list[Outcome] = [(queued, result) for queued, result in decided if not isinstance(result, SentBack)]
        for (queued, result), made in zip(sent_back, await self._sent_back.make(sent_back), strict=True):
            outcomes.append((queued, made if isinstance(made, InvalidRecord) else Waits(result.reason, made)))
        return outcomes

    async def write(self, outcomes: Sequence[Outcome]) -> None:
        """Return when the outcomes of these check-ins are durable; only then are their records done."""
        if not outcomes:
            return
        await self._publish([(queued.record, self._to_record(queued, result)) for queued, result in outcomes])
        for _, result in outcomes:
            if isinstance(result, Delivered):
                self._metrics.count("punchstream_deliveries_total", status=result.status)
                if result.late is not None:
                    self._count_late(result.late)
            elif isinstance(result, Waits):
                self._metrics.count("punchstream_sent_back_total", reason=result.reason)
            else:
                self._metrics.count("punchstream_dead_letters_total", stage=STAGE, reason=result.reason)

    def _count_late(self, late: Late) -> None:
        if late.shift_type is None:
            self._metrics.count("punchstream_lateness_unknown_total")
        else:
            self._metrics.count("punchstream_late_deliveries_total", shift_type=late.shift_type)

    async def write_undecodable(self, letters: Sequence[tuple[Record, InvalidRecord]]) -> None:
        """Return when the dead letters of these records, which hold no check-in, are durable."""
        await self._publish([(record, dead_letter(self._topics, record, problem)) for record, problem in letters])
        for _, problem in letters:
            self._metrics.count("punchstream_dead_letters_total", stage=STAGE, reason=problem.reason)

    def _to_record(self, queued: QueuedCheckin, result: Delivered | Waits | InvalidRecord) -> OutRecord:
        checkin = queued.checkin
        if isinstance(result, Waits):
            return result.record
        if isinstance(result, InvalidRecord):
            log.warning(
                "Dead-lettering a check-in.", event_id=checkin.event_id, reason=result.reason, error=result.message
            )
            return dead_letter(
                self._topics, queued.record, result, attempts=max(queued.attempts, 1), event_id=checkin.event_id
            )
        delivery = Delivery(
            event_id=checkin.event_id,
            employee=checkin.employee,
            document=result.document,
            status=result.status,
            target=self._target,
            delivered_at=now(),
            attempts=queued.attempts,
            late=result.late,
            supersedes=checkin.supersedes,
        )
        headers = delivery.headers(checkin.site, checkin.device_id)
        return OutRecord(self._topics["deliveries"], delivery.key, delivery.encode(), headers)


def dead_letter(
    topics: Topics, record: Record, error: InvalidRecord, *, attempts: int = 1, event_id: str | None = None
) -> OutRecord:
    """The dead letter of a consumed record, ready to send.

    Args:
        topics: Whose dead letters' topic it is for.
        record: As it was consumed.
        error: Why it is dead-lettered.
        attempts: How often the target was asked to store it.
        event_id: That of its check-in, where it holds one.

    Returns:
        A record for the dead letters' topic.
    """
    letter = DeadLetter.of(record, STAGE, error, now(), attempts=attempts, event_id=event_id)
    return letter.to_record(topics["dead_letters"])
