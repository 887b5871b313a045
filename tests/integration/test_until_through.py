"""How far a consumer group is, asked of real brokers."""

import asyncio

import pytest
from aiokafka import TopicPartition

from attendance.kafka.clients import create_consumer
from attendance.kafka.groups import GroupProgress
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.settings import KafkaSettings

pytestmark = pytest.mark.broker


async def commit(kafka: KafkaSettings, topic: str, offsets: dict[int, int]) -> None:
    consumer = create_consumer(kafka, client_id="test", group="g")
    consumer.assign([TopicPartition(topic, partition) for partition in offsets])
    await consumer.start()
    await consumer.commit({TopicPartition(topic, partition): offset for partition, offset in offsets.items()})
    await consumer.stop()


async def produce(kafka: KafkaSettings, topic: str, *partitions: int) -> None:
    producer = Producer(kafka, "test")
    await producer.send(*(OutRecord(topic, None, b"x", partition=partition) for partition in partitions))
    await producer.stop()


def test_a_group_is_through_once_it_has_committed_all_that_there_is(kafka: KafkaSettings) -> None:
    topic = kafka.topics["checkins"]

    async def scene() -> None:
        await produce(kafka, topic, 0, 0, 2)
        await commit(kafka, topic, {0: 1})
        progress = GroupProgress(kafka, "test")
        waiting = asyncio.create_task(progress.until_through(topic, "g"))
        await asyncio.wait({waiting}, timeout=2)
        assert not waiting.done(), "of one partition nothing is committed"
        await commit(kafka, topic, {2: 1})
        await asyncio.wait({waiting}, timeout=2)
        assert not waiting.done(), "one record is not committed"
        await commit(kafka, topic, {0: 2})
        await asyncio.wait_for(waiting, 30)
        await produce(kafka, topic, 0)
        again = asyncio.create_task(progress.until_through(topic, "g"))
        await asyncio.wait({again}, timeout=2)
        assert not again.done(), "what came since is not committed"
        await commit(kafka, topic, {0: 3})
        await asyncio.wait_for(again, 30)
        await progress.close()

    asyncio.run(scene())


def test_where_there_is_nothing_every_group_is_through(kafka: KafkaSettings) -> None:
    async def scene() -> None:
        progress = GroupProgress(kafka, "test")
        await asyncio.wait_for(progress.until_through(kafka.topics["checkins"], "g"), 30)
        await progress.close()

    asyncio.run(scene())
