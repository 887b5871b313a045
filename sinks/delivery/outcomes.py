"""OutcomeWriter: makes what became of check-ins durable, as delivery records and dead letters."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from attendance.errors import InvalidRecord
from attendance.kafka.records import OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Delivery
from attendance.times import now
from attendance.topics import Topics
from sinks.delivery.queue import QueuedCheckin
from sinks.targets.base import Delivered

log = structlog.get_logger(__name__)

STAGE: Final = "sink"

Outcome = tuple[QueuedCheckin, Delivered | InvalidRecord]
"""A check-in that is done: the target holds it, or it is to be dead-lettered."""
Publish = Callable[[Sequence[tuple[Record, OutRecord]]], Awaitable[None]]
"""Makes the outcome of each record durable, and returns when they all are."""


class OutcomeWriter:
    """Writes outcomes and counts them."""

    def __init__(self, target: str, topics: Topics, metrics: Metrics, publish: Publish) -> None:
        """Nothing is written yet.

        Args:
            target: The target's word, which every delivery has.
            topics: Where outcomes go.
            metrics: What is counted.
            publish: Makes them durable.
        """
        self._target = target
        self._topics = topics
        self._metrics = metrics
        self._publish = publish

    async def write(self, outcomes: Sequence[Outcome]) -> None:
        """Return when the outcomes of these check-ins are durable; only then are their records done."""
        if not outcomes:
            return
        await self._publish([(queued.record, self._to_record(queued, result)) for queued, result in outcomes])
        for _, result in outcomes:
            if isinstance(result, Delivered):
                self._metrics.count("punchstream_deliveries_total", status=result.status)
                if result.late is not None:
                    self._metrics.count("punchstream_late_deliveries_total", shift_type=result.late.shift_type or "")
            else:
                self._metrics.count("punchstream_dead_letters_total", stage=STAGE, reason=result.reason)

    async def write_undecodable(self, letters: Sequence[tuple[Record, InvalidRecord]]) -> None:
        """Return when the dead letters of these records, which hold no check-in, are durable."""
        await self._publish([(record, dead_letter(self._topics, record, problem)) for record, problem in letters])
        for _, problem in letters:
            self._metrics.count("punchstream_dead_letters_total", stage=STAGE, reason=problem.reason)

    def _to_record(self, queued: QueuedCheckin, result: Delivered | InvalidRecord) -> OutRecord:
        checkin = queued.checkin
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
