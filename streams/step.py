"""One step: decide chunks of records, make the outcomes durable, then the deduplication state. Knows no Faust."""

from asyncio import TaskGroup
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.producer import Producer, send_until_acknowledged
from attendance.kafka.records import MAX_VALUE_BYTES, OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import SENT_BACK, Dropped, Waiting
from attendance.records.raw_event import IGNORED_BY, RAW_RECORD
from attendance.times import now
from attendance.topics import Topics
from attendance.tracing import OFF, Tracing
from streams.ignoring import STAGE, ignoring_id
from streams.pipeline import Decisions, Outcome, Pipeline
from streams.state import DeduplicationState
from streams.store import HistoryNeeded


class Step:
    """Takes records from decided to durable."""

    def __init__(
        self,
        pipeline: Pipeline,
        state: DeduplicationState,
        producer: Producer,
        topics: Topics,
        metrics: Metrics,
        tracing: Tracing = OFF,
    ) -> None:
        """Wire a step.

        Args:
            pipeline: Decides.
            state: The kept punches, and their changelog.
            producer: Sends the outcomes.
            topics: Their names.
            metrics: Counts outcomes that are in Kafka.
            tracing: Of what is decided.
        """
        self._pipeline = pipeline
        self._state = state
        self._producer = producer
        self._topics = topics
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, chunks: Mapping[int, Sequence[Record]]) -> None:
        """Return when the records may be acknowledged: their outcomes, and after them the state, are in Kafka.

        While Kafka is away this waits. State that is ahead of the output would turn a redelivered record into a
        duplicate of itself and lose it. State that is behind only has the record decided again, with the same result.

        Args:
            chunks: Records by partition, in offset order.

        Raises:
            StoreFailed: the state cannot be read or written.
            CancelledError: also where a write was cancelled by nobody of ours.
        """
        decided = {partition: await self._decide(partition, records) for partition, records in chunks.items()}
        pairs = (
            (record, to_record(outcome, self._topics, record))
            for partition, decisions in decided.items()
            for record, outcome in zip(chunks[partition], decisions.outcomes, strict=True)
        )
        with self._tracing.carried("decide", pairs) as outcomes:
            await send_until_acknowledged(self._producer, outcomes)
        async with TaskGroup() as group:
            writes = [
                group.create_task(self._state.add(partition, decisions.kept, decisions.lists))
                for partition, decisions in decided.items()
            ]
        for write in writes:
            write.result()  # a group takes one that was cancelled for one that is done
        count((outcome for decisions in decided.values() for outcome in decisions.outcomes), self._metrics)

    async def _decide(self, partition: int, records: Sequence[Record]) -> Decisions:
        await self._state.begin(partition, records[0])
        while True:
            try:
                return self._pipeline.decide(records, self._state[partition], now())
            except HistoryNeeded:
                await self._state.recall(partition)


def to_record(outcome: Outcome, topics: Topics, record: Record) -> OutRecord:
    """The record of an outcome, for the topic of its kind.

    Args:
        outcome: What was decided.
        topics: The names of the topics.
        record: The raw record that it was decided of.
    """
    match outcome:
        case Checkin():
            return checkin_record(outcome, topics, _raw_record(record))
        case Dropped():
            return OutRecord(topics["dropped"], outcome.key, outcome.encode(), outcome.headers(record.headers or ()))
        case Waiting():
            user = outcome.event.device_user_id.encode()
            key, value, headers = outcome.record()
            if len(value) > MAX_VALUE_BYTES:
                # A number that Kafka had as 1e15 is written out. Kafka would refuse the record for ever.
                error = InvalidRecord(Reason.UNDECODABLE_RECORD, f"{len(value)} bytes when it is written again")
                return DeadLetter.of(record, STAGE, error, now()).to_record(topics["dead_letters"])
            headers.append((RAW_RECORD, _raw_record(record)))
            ignored_before = ignoring_id(record.headers)
            if ignored_before is not None:
                headers.append((IGNORED_BY, ignored_before))
            return OutRecord(topics["unmapped"], key, value, headers, partition_key=user)
        case DeadLetter():
            return outcome.to_record(topics["dead_letters"])


def checkin_record(checkin: Checkin, topics: Topics, raw_record: bytes | None, sent_back: int = 0) -> OutRecord:
    """The record of a check-in.

    Args:
        checkin: The check-in.
        topics: The names of the topics.
        raw_record: Where its raw record is, `partition:offset`; None if nobody knows.
        sent_back: How often in a row the sink sent it back for the same employee.
    """
    headers = checkin.headers()
    if raw_record is not None:
        headers.append((RAW_RECORD, raw_record))
    if sent_back:
        headers.append((SENT_BACK, b"%d" % sent_back))
    return OutRecord(topics["checkins"], checkin.key, checkin.encode(), headers)


def _raw_record(record: Record) -> bytes:
    return b"%d:%d" % (record.partition, record.offset)


def count(outcomes: Iterable[Outcome], metrics: Metrics) -> None:
    """Count outcomes.

    Args:
        outcomes: They are in Kafka.
        metrics: Where they are counted.
    """
    kinds: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for outcome in outcomes:
        match outcome:
            case Checkin():
                kinds["checkin"] += 1
            case Dropped() | Waiting():
                kinds[outcome.reason] += 1
            case DeadLetter():
                kinds["dead_letter"] += 1
                reasons[outcome.reason] += 1
    for kind, amount in kinds.items():
        metrics.count("punchstream_outcomes_total", amount, outcome=kind)
    for reason, amount in reasons.items():
        metrics.count("punchstream_dead_letters_total", amount, stage=STAGE, reason=reason)
