"""Offsets that are gone, on a real broker: what the stream skips (nothing), what it says, and how it goes on."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from attendance.kafka.admin import create_topics
from attendance.kafka.readers import snapshot
from attendance.records.account import Account, decode
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from operations.log import KafkaLog
from operations.losses import accept_loss
from sandbox.broker import Broker
from stream_process import DEADLINE, Stream, administrator, punch

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    """Apache Kafka only: the embedded broker removes no record."""
    return kafka_broker


@pytest.fixture
def stream(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Stream]:
    stream = Stream(kafka, tmp_path)
    stream.know(Employee("HR-EMP-1", "Active"), UserMapping("*", "1", "HR-EMP-1", "erpnext"))
    yield stream
    stream.kill_all()


def accounts(kafka: KafkaSettings) -> dict[int, tuple[int, int]]:
    async def read() -> dict[int, tuple[int, int]]:
        records = await snapshot(kafka, kafka.topics["accounts"], "test")
        found = [decode(record.key, record.value) for record in records]
        return {
            each.partition: (each.first, each.through)
            for each in found
            if isinstance(each, Account) and each.topic == kafka.topics["raw"]
        }

    return asyncio.run(read())


def delete_before(kafka: KafkaSettings, partition: int, offset: int) -> None:
    """Move the beginning of a partition of the raw topic, as retention does."""

    async def delete() -> None:
        async with administrator(kafka) as admin:
            await admin.delete_records({TopicPartition(kafka.topics["raw"], partition): RecordsToDelete(offset)})

    asyncio.run(delete())


def make_anew(kafka: KafkaSettings) -> None:
    async def delete() -> None:
        async with administrator(kafka) as admin:
            await admin.delete_topics([kafka.topics["raw"]])

    asyncio.run(delete())
    deadline = time.monotonic() + DEADLINE
    while not asyncio.run(create_topics(kafka))[kafka.topics["raw"]]:
        assert time.monotonic() < deadline, "the topic is still there"


def test_a_stream_skips_nothing_that_is_gone_until_that_is_accepted(stream: Stream) -> None:
    kafka, raw = stream.kafka, stream.kafka.topics["raw"]
    punches = [punch(5 * n) for n in range(70)]  # of one device, so in one partition
    stream.punches(*punches[:10])
    process = stream.start()
    stream.until(lambda: len(stream.checkins()) >= 10)
    process.terminate()
    assert process.wait(30) == 0
    [(partition, account)] = [(each, at) for each, at in accounts(kafka).items() if at[1]]
    assert account == (0, 10)

    # Retention passes it while it is down.
    stream.punches(*punches[10:50])
    delete_before(kafka, partition, 40)
    stream.start()
    stream.until(lambda: stream.says(f"30 records of {raw}:{partition} are gone that stream has not read") > 0)
    assert len(stream.checkins()) == 10
    [loss] = asyncio.run(accept_loss(kafka, f"{raw}:{partition}", 40, "a test", "fatima"))
    assert (loss.first, loss.records) == (10, 30)
    stream.until(lambda: len(stream.checkins()) >= 20)
    assert {each.event_id for each in stream.checkins()[10:]} == {each.event_id for each in punches[40:50]}

    # The topic is made anew while it runs.
    make_anew(kafka)
    stream.punches(*punches[50:70])
    stream.until(lambda: stream.says(f"{raw}:{partition} was made anew or cut short") > 0)
    assert len(stream.checkins()) == 20
    asyncio.run(accept_loss(kafka, f"{raw}:{partition}", 0, "a test", "fatima"))
    stream.until(lambda: {each.event_id for each in stream.checkins()} >= {each.event_id for each in punches[50:70]})


def test_what_is_gone_before_a_stage_had_read_anything_is_missed_and_decided_when_it_comes_again(
    stream: Stream,
) -> None:
    kafka, raw = stream.kafka, stream.kafka.topics["raw"]
    process = stream.start()
    stream.until(stream.has_begun)
    process.kill()
    punches = [punch(5 * n) for n in range(20)]
    stream.punches(*punches)
    [partition] = [number for number, (_, end) in asyncio.run(KafkaLog(kafka, "test").extents("raw")).items() if end]
    delete_before(kafka, partition, 15)

    stream.start()
    stream.until(lambda: stream.says(f"15 records of {raw}:{partition} are gone that stream has not read") > 0)
    asyncio.run(accept_loss(kafka, f"{raw}:{partition}", 15, "a test", "fatima"))
    stream.until(lambda: len(stream.checkins()) >= 5)
    stream.punches(*punches[:15])
    stream.until(lambda: {each.event_id for each in stream.checkins()} == {each.event_id for each in punches})
