"""One step: decide the records of a partition, make the outcomes durable, then the memory. Knows no Faust."""

from collections.abc import MutableMapping, Sequence

from attendance.checkin import Checkin
from attendance.dead_letter import DeadLetter, Record
from attendance.kafka import OutRecord, Producer, send_until_acknowledged
from attendance.metrics import Metrics
from attendance.outcomes import Dropped, Waiting
from attendance.times import now
from attendance.topics import Topics
from streams.pipeline import Decisions, Outcome, Pipeline


class Step:
    """Takes records of one partition from decided to durable."""

    def __init__(
        self,
        pipeline: Pipeline,
        memory: MutableMapping[bytes, bytes],
        producer: Producer,
        topics: Topics,
        metrics: Metrics,
    ) -> None:
        self._pipeline = pipeline
        self._memory = memory
        self._producer = producer
        self._topics = topics
        self._metrics = metrics

    async def __call__(self, partition: int, records: Sequence[Record]) -> None:
        """Return when the records may be acknowledged: their outcomes, and after them the memory, are in Kafka.

        While Kafka is away this waits. Memory ahead of the output would turn a redelivered record into a duplicate of
        itself and lose it; memory behind it only has the record decided again, with the same result.
        """
        decisions = self._pipeline.decide(records, self._memory, now())
        await send_until_acknowledged(
            self._producer, [to_record(outcome, self._topics) for outcome in decisions.outcomes]
        )
        changelog = self._topics["dedup_state"]
        await send_until_acknowledged(
            self._producer,
            [OutRecord(changelog, key, value, partition=partition) for key, value in decisions.state.items()],
        )
        self._memory.update(decisions.state)
        count(decisions, self._metrics)


def to_record(outcome: Outcome, topics: Topics) -> OutRecord:
    """The record of an outcome, for the topic of its kind."""
    match outcome:
        case Checkin():
            return OutRecord(topics["checkins"], outcome.key, outcome.encode(), outcome.headers())
        case Dropped():
            return OutRecord(topics["dropped"], outcome.key, outcome.encode())
        case Waiting():
            user = outcome.event.device_user_id.encode()
            return OutRecord(topics["unmapped"], outcome.key, outcome.encode(), partition_key=user)
        case DeadLetter():
            return outcome.to_record(topics["dead_letters"])


def count(decisions: Decisions, metrics: Metrics) -> None:
    """Count outcomes that are in Kafka."""
    for outcome in decisions.outcomes:
        match outcome:
            case Checkin():
                metrics.count("punchstream_outcomes_total", outcome="checkin")
            case Dropped() | Waiting():
                metrics.count("punchstream_outcomes_total", outcome=outcome.reason)
            case DeadLetter():
                metrics.count("punchstream_outcomes_total", outcome="dead_letter")
                metrics.count("punchstream_dead_letters_total", stage=outcome.stage, reason=outcome.reason)
