"""A step makes outcomes durable before the memory, and both before the records may be acknowledged."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import cast

import pytest

from attendance import kafka as kafka_module
from attendance.errors import KafkaUnavailable
from attendance.event import RawEvent, Source
from attendance.kafka import OutRecord, Producer
from attendance.metrics import Metrics
from attendance.topics import Topics
from attendance.user_map import UserMap
from streams.pipeline import Pipeline, Rules
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

    async def send(self, *records: OutRecord) -> None:
        if self.failures:
            self.failures -= 1
            raise KafkaUnavailable("away")
        self.sent.append(list(records))


def make(producer: FakeProducer, memory: dict[bytes, bytes]) -> Step:
    pipeline = Pipeline(Rules(60, 3600, 300), UserMap(), lambda _: None)
    return Step(pipeline, memory, cast("Producer", producer), TOPICS, Metrics())


def test_outcomes_are_sent_before_the_memory() -> None:
    producer, memory = FakeProducer(), dict[bytes, bytes]()

    asyncio.run(make(producer, memory)(2, [Record()]))

    topics = [[(record.topic, record.partition) for record in batch] for batch in producer.sent]
    assert topics == [[(TOPICS["unmapped"], None)], [(TOPICS["dedup_state"], 2)]]
    assert memory == {record.key: record.value for record in producer.sent[1]}


def test_what_waits_for_one_mapping_goes_to_one_partition_whatever_its_key() -> None:
    producer = FakeProducer()
    other = replace(EVENT, device_id="D2")

    asyncio.run(make(producer, {})(2, [Record(), Record(other.encode(), offset=1)]))

    waiting = producer.sent[0]
    assert [record.key for record in waiting] == [EVENT.event_id.encode(), other.event_id.encode()]
    assert [record.partition_key for record in waiting] == [b"1", b"1"]


def test_the_memory_does_not_hold_a_punch_whose_outcome_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    producer, memory = FakeProducer(failures=1), dict[bytes, bytes]()
    seen: list[dict[bytes, bytes]] = []

    async def look(_: float) -> None:
        seen.append(dict(memory))

    monkeypatch.setattr(kafka_module.asyncio, "sleep", look)
    asyncio.run(make(producer, memory)(2, [Record()]))

    assert seen == [{}]


def test_while_kafka_is_away_a_step_waits_and_then_sends_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    producer, waits = FakeProducer(failures=3), list[float]()

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(kafka_module.asyncio, "sleep", wait)
    asyncio.run(make(producer, {})(2, [Record()]))

    assert len(waits) == 3
    assert [len(batch) for batch in producer.sent] == [1, 1]
