import asyncio
import gc
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber
from aiokafka.structs import RecordMetadata
from example_records import UNREAD

from attendance.errors import KafkaUnavailable, Overloaded, Reason
from attendance.kafka.producer import Producer
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.raw_event import RawEvent, Source
from attendance.records.unread import UnreadRequest
from attendance.sealing import Seal
from attendance.settings import KafkaSettings
from attendance.topics import Topics
from memory_broker import install
from producers.publisher import PROBE_SECONDS, Publisher
from virtual_time import run_in_virtual_time

NOW = datetime(2026, 3, 2, 5, tzinfo=UTC)
MAX_IN_FLIGHT = 10_000
Stored = tuple[str, bytes | None, bytes | None]
ACKNOWLEDGED = RecordMetadata("t", 0, TopicPartition("t", 0), 0, 0, 0, 0)


@dataclass
class Kafka:
    """What the brokers hold, and how they behave: they answer, hang, are away, or break the producer's sequence."""

    state: str = "answers"
    records: list[Stored] = field(default_factory=list)
    hanging: list[tuple[asyncio.Future[RecordMetadata], Stored]] = field(default_factory=list)
    clients: int = 0

    def connect(self, *_: object) -> "Client":
        self.clients += 1
        return Client(self)

    def answer(self) -> None:
        self.state = "answers"
        for future, record in self.hanging:
            self.records.append(record)
            future.set_result(ACKNOWLEDGED)
        self.hanging.clear()

    def topic(self, suffix: str) -> list[bytes | None]:
        return [value for topic, _, value in self.records if topic.endswith(suffix)]


class Batch(list[tuple[bytes, bytes]]):
    """A batch that is never full."""

    def append(self, *, key: bytes, value: bytes, **_: Any) -> bool:  # type: ignore[override]
        super().append((key, value))
        return True


@dataclass
class Client:
    """An aiokafka producer. A broken sequence breaks it for good."""

    kafka: Kafka
    broken: bool = False

    async def start(self) -> None:
        if self.kafka.state == "is away":
            raise KafkaConnectionError

    async def stop(self) -> None: ...

    async def partitions_for(self, _: str) -> set[int]:
        return {0}

    async def send(self, topic: str, *, value: bytes, key: bytes, **_: Any) -> Awaitable[RecordMetadata]:
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        record = (topic, key, value)
        self.broken |= self.kafka.state == "breaks"
        if self.broken:
            future.set_exception(OutOfOrderSequenceNumber())
        elif self.kafka.state == "is away":
            future.set_exception(KafkaConnectionError())
        elif self.kafka.state == "hangs":
            self.kafka.hanging.append((future, record))
        else:
            self.kafka.records.append(record)
            future.set_result(ACKNOWLEDGED)
        return future

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Awaitable[RecordMetadata]:
        return [await self.send(topic, key=key, value=value, partition=partition) for key, value in batch][-1]


class Bench:
    """A publisher on such brokers. A send counts as not acknowledged almost at once."""

    def __init__(self) -> None:
        settings = KafkaSettings.load(request_timeout=0.01, topic_prefix="t", partitions=1)
        self.kafka = Kafka()
        self.metrics = Metrics()
        self.seconds = 0.0
        self.producer = Producer(settings, "test", self.kafka.connect)
        self.publisher = Publisher(
            self.producer, settings.topics, self.metrics, MAX_IN_FLIGHT, clock=lambda: self.seconds
        )

    def counts(self) -> set[str]:
        lines = self.metrics.exposition().decode().splitlines()
        return {line for line in lines if line.startswith("punchstream_") and "_created" not in line}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def punch(user: str = "1") -> RawEvent:
    return RawEvent("D1", "s", user, "IN", NOW, None, "UTC", NOW, Source("push", "json"))


def letter(value: bytes = b"poison") -> DeadLetter:
    return DeadLetter("push", Reason.INVALID_EVENT, "no user_id", NOW, b"D1", value, where="http:/v1/events")


def test_events_and_dead_letters_are_in_kafka_when_publish_returns(bench: Bench) -> None:
    asyncio.run(bench.publisher.publish([punch("1"), punch("2")], [letter()]))
    assert bench.kafka.records == [
        ("t.raw.v1", b"D1", punch("1").encode()),
        ("t.raw.v1", b"D1", punch("2").encode()),
        ("t.dead-letters.v1", b"D1", b"poison"),
    ]


def test_what_was_not_understood_is_sealed_before_kafka_has_it(bench: Bench) -> None:
    key = Seal([b"k" * 32])
    publisher = Publisher(bench.producer, Topics("t"), bench.metrics, MAX_IN_FLIGHT, seal=key)
    asyncio.run(publisher.publish([], [], (), [UNREAD]))
    [(topic, _, value)] = bench.kafka.records
    sealed = UnreadRequest.decode(value)
    assert topic == "t.unread.v1"
    assert b"deviceKey" not in value + sealed.body
    assert key.open(sealed) == UNREAD


def test_what_waits_for_a_topic_that_is_refused_adds_one_copy_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.refused.add(kafka.topics["dead_letters"])
    metrics = Metrics()
    publisher = Publisher(Producer(kafka, "test"), kafka.topics, metrics, MAX_IN_FLIGHT)

    async def story() -> None:
        publishing = asyncio.create_task(publisher.publish_until_acknowledged([punch()], [letter()]))
        await asyncio.sleep(600)
        assert not publishing.done()
        assert len(broker.values(kafka.topics["raw"])) == 1
        assert b"punchstream_events_received_total{" not in metrics.exposition()
        broker.refused.clear()
        await publishing
        assert len(broker.values(kafka.topics["raw"])) == len(broker.values(kafka.topics["dead_letters"])) == 1
        assert b"punchstream_events_received_total{" in metrics.exposition()
        await publisher.stop()

    run_in_virtual_time(story())


def test_only_what_kafka_acknowledged_is_counted(bench: Bench) -> None:
    async def story() -> None:
        await bench.publisher.publish([punch("1"), punch("2")], [letter()])
        bench.kafka.state = "is away"
        with pytest.raises(KafkaUnavailable):
            await bench.publisher.publish([punch("3")], [letter()])

    asyncio.run(story())
    assert {
        'punchstream_events_received_total{adapter="json",site="s",transport="push"} 2.0',
        'punchstream_dead_letters_total{reason="invalid_event",stage="push"} 1.0',
        "punchstream_in_flight_bytes 0.0",
    } <= bench.counts()


def test_nothing_to_publish_needs_no_kafka(bench: Bench) -> None:
    bench.kafka.state = "is away"
    asyncio.run(bench.publisher.publish([]))
    assert bench.kafka.clients == 0


def test_no_photograph_passes_as_a_dead_letter(bench: Bench) -> None:
    photo = b"A1b2" * 1000
    asyncio.run(bench.publisher.publish([], [letter(b'{"photo": "' + photo + b'"')]))
    assert bench.kafka.topic("dead-letters.v1") == [b'{"photo": "[4000 bytes redacted]"']


@pytest.mark.parametrize("state", ["is away", "hangs", "breaks"])
def test_what_kafka_does_not_acknowledge_is_not_published(bench: Bench, state: str) -> None:
    bench.kafka.state = state
    with pytest.raises(KafkaUnavailable):
        asyncio.run(bench.publisher.publish([punch()]))
    assert bench.kafka.records == []


def test_after_a_broken_sequence_the_next_try_succeeds(bench: Bench) -> None:
    async def story() -> None:
        bench.kafka.state = "breaks"
        with pytest.raises(KafkaUnavailable):
            await bench.publisher.publish([punch()])
        bench.kafka.state = "answers"
        await bench.publisher.publish([punch()])

    asyncio.run(story())
    assert bench.kafka.topic("raw.v1") == [punch().encode()]


def test_after_the_first_failure_no_other_stays_unobserved(bench: Bench) -> None:
    unobserved: list[Any] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unobserved.append(context))
        bench.kafka.state = "breaks"
        with pytest.raises(KafkaUnavailable):
            await bench.publisher.publish([punch("1"), punch("2"), punch("3")])
        gc.collect()

    asyncio.run(story())
    assert unobserved == []


async def give_up(bench: Bench) -> None:
    with pytest.raises(KafkaUnavailable):
        await bench.publisher.publish([punch()])


def test_bytes_that_timed_out_count_until_kafka_takes_them(bench: Bench) -> None:
    async def story() -> None:
        bench.kafka.state = "hangs"
        await give_up(bench)
        fitting = MAX_IN_FLIGHT // bench.producer.in_flight_bytes
        for _ in range(fitting - 1):
            await give_up(bench)
        with pytest.raises(Overloaded):
            await bench.publisher.publish([punch()])
        assert len(bench.kafka.hanging) == fitting

        bench.kafka.answer()
        for _ in range(10):  # turns of the loop, in which the acknowledgements arrive
            await asyncio.sleep(0)
        assert bench.producer.in_flight_bytes == 0
        await bench.publisher.publish([punch()])
        assert len(bench.kafka.topic("raw.v1")) == fitting + 1

    asyncio.run(story())


def test_a_send_whose_caller_is_cancelled_goes_on_by_itself(bench: Bench) -> None:
    async def story() -> None:
        bench.kafka.state = "hangs"
        caller = asyncio.create_task(bench.publisher.publish([punch()]))
        for _ in range(10):  # turns of the loop, in which it is sent
            await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert not bench.kafka.hanging[0][0].cancelled()

        bench.kafka.answer()
        await bench.publisher.stop()
        assert len(bench.kafka.topic("raw.v1")) == 1
        assert bench.producer.in_flight_bytes == 0

    asyncio.run(story())


def test_nothing_of_an_overload_is_sent(bench: Bench) -> None:
    async def story() -> None:
        bench.kafka.state = "hangs"
        await give_up(bench)
        with pytest.raises(Overloaded):
            await bench.publisher.publish([punch("2")] * 100)
        assert len(bench.kafka.hanging) == 1

    asyncio.run(story())


def test_what_is_larger_than_the_limit_goes_when_nothing_else_waits(bench: Bench) -> None:
    asyncio.run(bench.publisher.publish([punch()] * 100))
    assert sum(len(value or b"") for value in bench.kafka.topic("raw.v1")) > MAX_IN_FLIGHT


def test_a_probe_is_a_record_that_kafka_acknowledges_on_a_topic_of_its_own(bench: Bench) -> None:
    asyncio.run(bench.publisher.probe())
    assert [topic for topic, _, _ in bench.kafka.records] == ["t.probe.v1"]


def test_a_probe_fails_where_a_post_would_and_not_where_only_the_probe_is_refused(bench: Bench) -> None:
    refused: set[str] = set()

    async def ask(topics: Sequence[str]) -> set[str]:
        assert {"t.raw.v1", "t.dead-letters.v1", "t.terminals.v1", "t.probe.v1"} < set(topics)
        return set(refused)

    publisher = Publisher(bench.producer, Topics("t"), bench.metrics, MAX_IN_FLIGHT, lambda: bench.seconds, ask)

    async def story() -> None:
        await publisher.probe()
        refused.add("t.dead-letters.v1")
        bench.seconds += PROBE_SECONDS
        with pytest.raises(KafkaUnavailable, match=r"needs Write on the topics t\.dead-letters\.v1$"):
            await publisher.probe()
        refused.clear()
        refused.add("t.probe.v1")
        bench.seconds += PROBE_SECONDS
        await publisher.probe()
        assert [topic for topic, _, _ in bench.kafka.records] == ["t.probe.v1"]

    asyncio.run(story())


def test_a_storm_of_probes_is_one_record_a_second(bench: Bench) -> None:
    async def story() -> None:
        await asyncio.gather(*(bench.publisher.probe() for _ in range(50)))
        assert len(bench.kafka.records) == 1
        bench.seconds += 0.9
        await bench.publisher.probe()
        assert len(bench.kafka.records) == 1
        bench.seconds += 0.1
        await bench.publisher.probe()
        assert len(bench.kafka.records) == 2

    asyncio.run(story())


def test_a_storm_of_probes_during_an_outage_is_one_record_a_second_too(bench: Bench) -> None:
    async def story() -> None:
        bench.kafka.state = "hangs"
        answers = await asyncio.gather(*(bench.publisher.probe() for _ in range(50)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {KafkaUnavailable}
        assert len(bench.kafka.hanging) == 1
        bench.kafka.answer()
        bench.seconds += 1
        await bench.publisher.probe()

    asyncio.run(story())
