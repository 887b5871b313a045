"""An acknowledgement is one, whatever Kafka does in between."""

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import NotEnoughReplicasError, OutOfOrderSequenceNumber
from structlog.testing import capture_logs

from attendance.errors import InvalidRecord, KafkaUnavailable
from attendance.kafka import clients
from attendance.kafka.causes import LONGEST
from attendance.kafka.clients import create_producer
from attendance.kafka.producer import BATCHED, LONGEST_ON_ITS_WAY, Producer, send_until_acknowledged
from attendance.kafka.records import MAX_RECORD_BYTES, OutRecord
from attendance.kafka.sending import NotAcknowledged
from attendance.runtime import KAFKA_RETRY_LONGEST
from attendance.settings import KafkaSettings
from memory_broker import install
from memory_broker.producer import MemoryProducer
from virtual_time import run_in_virtual_time

TOPIC = "attendance.raw.v1"
OTHER = "attendance.dead-letters.v1"


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_in_virtual_time(asyncio.wait_for(story(), 3600))


def record(value: bytes = b"v", partition: int | None = 0) -> OutRecord:
    return OutRecord(TOPIC, b"k", value, partition=partition)


def test_a_record_is_in_flight_until_it_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.hold_acknowledgements()

    async def story() -> None:
        producer = Producer(kafka, "c")
        sending = asyncio.create_task(producer.send(record()))
        await asyncio.sleep(kafka.request_timeout / 2)
        assert not sending.done()
        assert producer.in_flight_bytes == record().size
        broker.acknowledge()
        assert await sending == {(TOPIC, 0): 0}
        assert producer.in_flight_bytes == 0
        await producer.stop()

    play(story)


def test_a_topic_that_does_not_exist_is_named_and_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    _, kafka = install(monkeypatch)

    async def story() -> None:
        producer = Producer(kafka, "c")
        missing = asyncio.create_task(producer.send(OutRecord("attendance.unheard-of.v1", b"k", b"v")))
        assert await producer.send(record()) == {(TOPIC, 0): 0}
        with pytest.raises(KafkaUnavailable, match=r"no topic attendance\.unheard-of\.v1; `punchstream topics create`"):
            await missing
        assert await producer.send(record()) == {(TOPIC, 0): 1}
        await producer.stop()

    play(story)


def test_what_is_never_acknowledged_is_given_up_after_the_timeout_and_may_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    broker.lose_acknowledgements()

    async def story() -> None:
        producer = Producer(kafka, "c")
        began = asyncio.get_running_loop().time()
        with pytest.raises(KafkaUnavailable):
            await producer.send(record())
        assert asyncio.get_running_loop().time() - began == pytest.approx(kafka.request_timeout, abs=0.1)
        assert broker.values(TOPIC) == [b"v"]
        await producer.stop()

    play(story)


def test_what_is_not_acknowledged_in_time_is_said_with_the_cause_and_nobody_waits_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    broker.lose_acknowledgements()
    cause = "memory:9092: the broker refuses the client certificate"

    def create(*settings: Any) -> Any:
        producer: Any = create_producer(*settings)
        producer.client.send = lambda *_: asyncio.Event().wait()
        producer.client.get_random_node = lambda: 0
        return producer

    async def try_the_servers(*_: Any) -> str:
        await asyncio.sleep(LONGEST)
        return cause

    monkeypatch.setattr(clients, "why_unreachable", try_the_servers)

    async def story() -> None:
        producer = Producer(kafka, "c", create)
        began = asyncio.get_running_loop().time()
        with pytest.raises(NotAcknowledged, match=r"no acknowledgement within [0-9]+ s$"):
            await producer.send(record())
        assert asyncio.get_running_loop().time() - began == pytest.approx(kafka.request_timeout, abs=0.1)
        with pytest.raises(NotAcknowledged, match=f"; {cause}$"):
            await producer.send(record())
        with pytest.raises(KafkaUnavailable, match=f"; {cause}$"):
            await producer.append(record())
        with pytest.raises(KafkaUnavailable, match=f"no answer within .*; {cause}$"):
            await producer.refused([TOPIC])
        with pytest.raises(KafkaUnavailable, match=f"no topic .*; {cause}$"):
            await producer.send(OutRecord("attendance.unheard-of.v1", b"k", b"v"))
        await producer.stop()

    with capture_logs() as logged:
        play(story)
    assert [each["cause"] for each in logged if "cause" in each] == [cause]


def test_a_producer_that_stops_asks_for_no_cause_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.lose_acknowledgements()

    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(clients, "why_unreachable", never)

    async def story() -> None:
        before, producer = asyncio.all_tasks(), Producer(kafka, "c")
        with pytest.raises(NotAcknowledged):
            await producer.send(record())
        await producer.stop()
        assert asyncio.all_tasks() == before

    play(story)


def test_records_are_sent_until_kafka_has_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.go_away()

    async def story() -> None:
        producer = Producer(kafka, "c")
        sending = asyncio.create_task(send_until_acknowledged(producer, [record(b"1"), record(b"2", 1)]))
        await asyncio.sleep(600)
        assert not sending.done()
        broker.come_back()
        await sending
        assert broker.values(TOPIC) == [b"1", b"2"]
        await producer.stop()

    play(story)


def test_what_kafka_has_is_not_sent_again_while_it_refuses_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.refused.add(OTHER)

    async def story() -> None:
        producer = Producer(kafka, "c")
        records = [record(b"1"), OutRecord(OTHER, b"k", b"x", partition=0), record(b"2", 1)]
        sending = asyncio.create_task(send_until_acknowledged(producer, records))
        await asyncio.sleep(600)
        assert not sending.done()
        assert broker.values(TOPIC) == [b"1", b"2"]
        assert 600 / KAFKA_RETRY_LONGEST < broker.log.count(("refused", OTHER)) < 300, "the pauses grow, up to a bound"
        broker.refused.clear()
        assert await sending == {(TOPIC, 0): 0, (OTHER, 0): 0, (TOPIC, 1): 0}
        assert broker.values(TOPIC) == [b"1", b"2"]
        assert broker.values(OTHER) == [b"x"]
        await producer.stop()

    play(story)


def test_who_sends_the_same_again_adds_nothing_to_other_topics_while_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    broker.refused.add(OTHER)

    async def story() -> None:
        producer = Producer(kafka, "c")
        records = [record(b"1"), OutRecord(OTHER, b"k", b"x", partition=0)]
        for _ in range(5):
            with pytest.raises(KafkaUnavailable, match=r"Write on the topic attendance\.dead-letters\.v1"):
                await producer.send(*records)
        assert broker.values(TOPIC) == [b"1"]
        assert await producer.send(record(b"2")), "what needs only the other topics goes on"
        broker.refused.clear()
        await producer.send(*records)
        assert broker.values(TOPIC) == [b"1", b"2", b"1"]
        assert broker.values(OTHER) == [b"x"]
        await producer.stop()

    play(story)


def test_what_follows_a_record_that_failed_in_its_partition_follows_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    arrive = MemoryProducer._arrive

    def refuse_the_first(self: Any, tp: TopicPartition, messages: Any, acknowledgement: asyncio.Future[Any]) -> None:
        monkeypatch.setattr(MemoryProducer, "_arrive", arrive)
        acknowledgement.set_exception(NotEnoughReplicasError())

    monkeypatch.setattr(MemoryProducer, "_arrive", refuse_the_first)

    async def story() -> None:
        producer = Producer(kafka, "c")
        await send_until_acknowledged(producer, [record(b"1"), record(b"2"), record(b"other", 1)])
        assert broker.values(TOPIC) == [b"2", b"1", b"2", b"other"]
        await producer.stop()

    play(story)


def test_what_may_still_arrive_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.hold_acknowledgements()
    # Of an idempotent producer nothing expires.
    monkeypatch.setattr("memory_broker.producer._expire", lambda _: None)

    async def story() -> None:
        producer = Producer(kafka, "c")
        sending = asyncio.create_task(send_until_acknowledged(producer, [record(b"1")]))
        await asyncio.sleep(LONGEST_ON_ITS_WAY - 1)
        assert not sending.done()
        broker.acknowledge()
        assert await sending == {(TOPIC, 0): 0}
        assert broker.values(TOPIC) == [b"1"]
        await producer.stop()

    play(story)


def test_a_record_with_neither_key_nor_value_is_sent_with_an_empty_value(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)

    async def story() -> None:
        producer = Producer(kafka, "c")
        await producer.send(OutRecord(TOPIC, None, None, partition=0))
        assert broker.values(TOPIC) == [b""]
        await producer.stop()

    play(story)


def test_a_broken_producer_is_replaced_for_the_next_send(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.fail("send", OutOfOrderSequenceNumber())

    async def story() -> None:
        producer = Producer(kafka, "c")
        with pytest.raises(KafkaUnavailable, match="OutOfOrderSequenceNumber"):
            await producer.send(record())
        assert await producer.send(record()) == {(TOPIC, 0): 0}
        await producer.stop()

    play(story)


def test_a_batch_keeps_the_order_and_refuses_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)

    async def story() -> None:
        producer = Producer(kafka, "c", batches=True)
        values = [b"%03d" % number * 20_000 for number in range(BATCHED)]
        await producer.send(*map(record, values))
        assert broker.values(TOPIC) == values
        sends = [what for what, _ in broker.log].count("send")
        assert 1 < sends < BATCHED, "several batches, none of one record"
        with pytest.raises(InvalidRecord):
            await producer.send(*map(record, [*values, bytes(MAX_RECORD_BYTES)]))
        await producer.stop()

    play(story)


def test_a_topic_that_takes_less_than_it_has_to_is_named_and_the_next_record_goes_once_it_is_mended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    right, broker.configs[TOPIC] = broker.configs[TOPIC], {"max.message.bytes": "1000"}

    async def story() -> None:
        producer = Producer(kafka, "c")
        await producer.send(record())
        with pytest.raises(KafkaUnavailable, match=rf"max\.message\.bytes of {TOPIC} .*topics repair"):
            await producer.send(record(bytes(2000)))
        broker.configs[TOPIC] = right
        await producer.send(record(bytes(2000)))
        assert broker.values(TOPIC) == [b"v", bytes(2000)]
        await producer.stop()

    play(story)


def test_keys_stay_where_they_were_whatever_partitions_somebody_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    users, keys = kafka.topics["user_map"], [b"%d" % number for number in range(20)]

    async def story() -> None:
        for _ in range(2):
            producer = Producer(kafka, "c")
            await producer.send(*(OutRecord(topic, key, b"v") for key in keys for topic in (TOPIC, users)))
            await producer.stop()
            broker.add_partitions(TOPIC, 6)
            broker.add_partitions(users, 2)
        for topic in (TOPIC, users):
            places = {(each.key, each.partition) for each in broker.records(topic)}
            assert len(places) == len(keys)
        assert {each.partition for each in broker.records(users)} == {0}

    play(story)


def test_nothing_is_sent_to_a_topic_whose_partitions_do_not_fit_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.add_partitions(TOPIC, 3)
    broker.put(TOPIC, b"by an earlier release", b"k", partition=2)
    broker.create_topic(kafka.topics["checkins"], 1)

    async def story() -> None:
        producer = Producer(kafka, "c")
        with pytest.raises(KafkaUnavailable, match=r"partitions is 3, with 1 record beyond"):
            await producer.send(record())
        with pytest.raises(KafkaUnavailable, match=r"partitions is 1, wanted is 2 \(KAFKA_PARTITIONS\)"):
            await producer.send(OutRecord(kafka.topics["checkins"], b"k", b"v"))
        with pytest.raises(KafkaUnavailable, match="has no partition 2"):
            await producer.send(OutRecord(kafka.topics["dedup_state"], b"k", b"v", partition=2))
        await producer.stop()

    play(story)
    assert len(broker.records(TOPIC)) == 1


def test_nothing_to_send_needs_no_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.go_away()
    play(lambda: _sends_nothing(Producer(kafka, "c")))


async def _sends_nothing(producer: Producer) -> None:
    assert await producer.send() == {}
    await producer.stop()


def test_a_producer_of_which_a_task_died_is_replaced_before_the_next_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, kafka = install(monkeypatch)
    made: list[Any] = []

    def create(*settings: Any) -> Any:
        made.append(create_producer(*settings))
        made[-1].client = SimpleNamespace(_sync_task=asyncio.create_task(asyncio.Event().wait()))
        return made[-1]

    async def story() -> None:
        producer = Producer(kafka, "c", create)
        await producer.send(record())
        await producer.send(record())
        made[0].client._sync_task.cancel()
        await asyncio.sleep(0)
        assert await producer.send(record()) == {(TOPIC, 0): 2}
        await producer.stop()

    with capture_logs() as logged:
        play(story)
    assert len(made) == 2
    assert [each["task"] for each in logged if each["log_level"] == "critical"] == ["metadata"]


def test_a_sending_that_is_cancelled_is_an_error_of_kafka_and_no_cancellation_of_who_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    broker.hold_acknowledgements()

    async def story() -> None:
        producer = Producer(kafka, "c")
        sending = asyncio.create_task(producer.send(record()))
        await asyncio.sleep(1)
        for task in producer._sending:
            task.cancel()
        with pytest.raises(KafkaUnavailable, match="stopped"):
            await sending
        await producer.stop()

    play(story)


def test_every_task_of_a_producer_that_is_looked_at_is_there_in_the_real_one() -> None:
    async def story() -> None:
        producer = create_producer(KafkaSettings.load(bootstrap_servers="127.0.0.1:1"), "c")
        assert producer.client._sync_task is None
        assert producer._sender.sender_task is None
        await producer.stop()

    asyncio.run(story())
