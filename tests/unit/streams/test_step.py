"""A step makes outcomes durable before the deduplication state, and both before the records may be acknowledged."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import pytest
from known_punches import KnownPunches
from msgspec.structs import replace
from traces import Traces, ids, parent

from attendance.errors import KafkaUnavailable
from attendance.kafka import producer as kafka_module
from attendance.kafka.producer import Producer
from attendance.kafka.records import MAX_VALUE_BYTES, OutRecord
from attendance.metrics import Metrics
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.topics import Topics
from attendance.tracing import OFF, Tracing
from attendance.user_map import UserMap
from streams.dedup import Kept
from streams.pipeline import Pipeline, Rules
from streams.state import DeduplicationState, encode
from streams.step import Step

TOPICS = Topics("t")
EVENT = RawEvent(
    device_id="D1",
    site="s",
    device_user_id="1",
    event_type="IN",
    event_time=datetime(2026, 3, 2, 5, tzinfo=UTC),
    device_time=None,
    device_timezone="UTC",
    received_at=datetime(2026, 3, 2, 5, tzinfo=UTC),
    source=Source("push", "json"),
)


@dataclass
class Record:
    value: bytes | None = field(default_factory=EVENT.encode)
    offset: int = 0
    partition: int = 2
    topic: str = "t.raw.v1"
    timestamp: int = 0
    key: bytes | None = b"D1"
    headers: Sequence[tuple[str, bytes]] = ()


class FakeProducer:
    """Keeps what it acknowledged; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.sent: list[list[OutRecord]] = []
        self.failures = failures

    async def send(self, *records: OutRecord) -> dict[tuple[str, int | None], int]:
        if self.failures:
            self.failures -= 1
            raise KafkaUnavailable("away")
        self.sent.append(list(records))
        return {(record.topic, record.partition): 0 for record in records}


class FakeState:
    """Writes through the same producer, as the real one does, and says what it took when."""

    def __init__(self, producer: FakeProducer) -> None:
        self._producer = producer
        self.lists: dict[int, KnownPunches] = defaultdict(KnownPunches)

    def __getitem__(self, partition: int) -> KnownPunches:
        return self.lists[partition]

    async def begin(self, partition: int, first: Record) -> None:
        """Nothing was ever forgotten."""

    async def add(self, partition: int, punches: Sequence[Kept], lists: Mapping[bytes, bytes]) -> None:
        if not punches:
            return
        await self._producer.send(OutRecord("changelog", None, encode(punches), partition=partition))
        self.lists[partition].update(lists)


def make(
    producer: FakeProducer, state: FakeState | None = None, users: UserMap | None = None, tracing: Tracing = OFF
) -> Step:
    pipeline = Pipeline(Rules(60, 3600, 300, 600), users or UserMap(), lambda _: None)
    kept = cast("DeduplicationState", state or FakeState(producer))
    return Step(pipeline, kept, cast("Producer", producer), TOPICS, Metrics(), tracing)


def test_outcomes_are_sent_before_the_state() -> None:
    producer = FakeProducer()
    state = FakeState(producer)

    asyncio.run(make(producer, state)({2: [Record()]}))

    topics = [[(record.topic, record.partition) for record in batch] for batch in producer.sent]
    assert topics == [[(TOPICS["unmapped"], None)], [("changelog", 2)]]
    assert [len(lists) for lists in state.lists.values()] == [1]


def test_a_step_whose_state_was_not_written_because_a_library_cancelled_it_is_not_done() -> None:
    class Cancelled(FakeState):
        async def add(self, partition: int, punches: Sequence[Kept], lists: Mapping[bytes, bytes]) -> None:
            if partition == 3:
                raise asyncio.CancelledError
            await super().add(partition, punches, lists)

    producer = FakeProducer()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(make(producer, Cancelled(producer))({2: [Record()], 3: [Record(partition=3)]}))


def test_the_chunks_of_all_partitions_are_made_durable_together_and_written_apart() -> None:
    producer = FakeProducer()
    state = FakeState(producer)

    asyncio.run(make(producer, state)({2: [Record()], 3: [Record(partition=3), Record(partition=3, offset=1)]}))

    assert [len(batch) for batch in producer.sent] == [3, 1, 1]
    assert [(batch[0].topic, batch[0].partition) for batch in producer.sent[1:]] == [("changelog", 2), ("changelog", 3)]
    assert set(state.lists) == {2, 3}


def test_the_outcome_of_a_traced_record_carries_its_trace_and_differs_in_nothing_else() -> None:
    traces, traced, plain = Traces(), FakeProducer(), FakeProducer()
    with traces.tracing.published([OutRecord("t.raw.v1", *EVENT.record())]) as raw:
        records = [Record(headers=raw[0].headers), Record(offset=1), Record(value=b"poison", headers=raw[0].headers)]
    own = EVENT.headers()
    without = [Record(headers=own), Record(offset=1), Record(value=b"poison", headers=own)]

    asyncio.run(make(traced, tracing=traces.tracing)({2: records}))
    asyncio.run(make(plain)({2: without}))

    spans = traces.spans["decide"]
    assert [parent(span) for span in spans] == [ids(traces.spans["publish"][0])] * 2
    outcomes = traced.sent[0]
    context = [b"00-%032x-%016x-01" % ids(span) for span in spans]
    assert [dict(each.headers).get("traceparent") for each in outcomes] == [context[0], None, context[1]]
    for outcome, other in zip(outcomes, plain.sent[0], strict=True):
        assert outcome[:3] == other[:3]
        names = [name for name, _ in outcome.headers if name != "traceparent"]
        assert names == [name for name, _ in other.headers]


def test_a_step_that_keeps_nothing_writes_no_state() -> None:
    producer = FakeProducer()

    asyncio.run(make(producer)({2: [Record(value=b"poison")]}))

    assert [[record.topic for record in batch] for batch in producer.sent] == [[TOPICS["dead_letters"]]]


def test_what_waits_for_one_mapping_goes_to_one_partition_whatever_its_key() -> None:
    producer = FakeProducer()
    other = replace(EVENT, device_id="D2")

    asyncio.run(make(producer)({2: [Record(), Record(other.encode(), offset=1)]}))

    waiting = producer.sent[0]
    assert [record.key for record in waiting] == [EVENT.event_id.encode(), other.event_id.encode()]
    assert [record.partition_key for record in waiting] == [b"1", b"1"]


def test_a_check_in_and_what_waits_to_be_one_name_the_raw_record_that_they_were_made_from() -> None:
    producer = FakeProducer()
    users = UserMap()
    for entry in (Employee("E1", "Active"), UserMapping("*", "1", "E1", "csv")):
        users.apply(entry.key, entry.encode())
    unknown = replace(EVENT, device_user_id="2")

    asyncio.run(make(producer, users=users)({2: [Record(offset=7), Record(unknown.encode(), offset=8)]}))

    checkin, waiting = producer.sent[0]
    assert (checkin.topic, dict(checkin.headers)["x-raw-record"]) == (TOPICS["checkins"], b"2:7")
    assert (waiting.topic, dict(waiting.headers)["x-raw-record"]) == (TOPICS["unmapped"], b"2:8")


def test_a_waiting_punch_that_would_be_too_large_when_it_is_written_again_is_a_dead_letter() -> None:
    producer = FakeProducer()
    payload = ",".join(f'"{number}":1e15' for number in range(100_000))
    value = EVENT.encode().replace(b'"payload":{}', b'"payload":{%b}' % payload.encode())

    asyncio.run(make(producer)({2: [Record(value)]}))

    assert len(value) < MAX_VALUE_BYTES
    assert [record.topic for record in producer.sent[0]] == [TOPICS["dead_letters"]]


def test_a_dropped_record_has_the_source_of_its_raw_record_or_else_the_device() -> None:
    producer = FakeProducer()
    first, named, unnamed = Record(), Record(offset=1, headers=EVENT.headers()), Record(offset=2)

    asyncio.run(make(producer)({2: [first, named, unnamed]}))

    dropped = [dict(record.headers) for record in producer.sent[0] if record.topic == TOPICS["dropped"]]
    assert [each["ce_source"] for each in dropped] == [b"/sites/s/devices/D1", b"/devices/D1"]
    assert {each["ce_type"] for each in dropped} == {b"punchstream.attendance.dropped.v1"}


def test_the_state_does_not_hold_a_punch_whose_outcome_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = FakeProducer(failures=1)
    state = FakeState(producer)
    seen: list[dict[bytes, bytes]] = []

    async def look(_: float) -> None:
        seen.append(dict(state[2]))

    monkeypatch.setattr(kafka_module.asyncio, "sleep", look)
    asyncio.run(make(producer, state)({2: [Record()]}))

    assert seen == [{}]


def test_while_kafka_is_away_a_step_waits_and_then_sends_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    producer, waits = FakeProducer(failures=3), list[float]()

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(kafka_module.asyncio, "sleep", wait)
    asyncio.run(make(producer)({2: [Record()]}))

    assert len(waits) == 3
    assert [len(batch) for batch in producer.sent] == [1, 1]
