"""Topics on Apache Kafka: what is wrong with them is found, set and moved while they are in use."""

import asyncio

import pytest
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from attendance.kafka.clients import create_admin
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.kafka.topic_facts import check_topics
from attendance.kafka.topic_repair import repair_topics
from attendance.settings import KafkaSettings
from sandbox.broker import Broker

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    """Only Apache Kafka has configurations, and deletes records."""
    return kafka_broker


async def until_wrong(kafka: KafkaSettings, topics: set[str]) -> None:
    """Return when the broker knows of what an operator changed."""
    while {each.topic for each in await check_topics(kafka)} != topics:  # noqa: ASYNC110 - the broker tells nobody
        await asyncio.sleep(0.1)


def test_what_an_operators_tool_changed_is_found_and_repaired(kafka: KafkaSettings) -> None:
    raw, users = kafka.topics["raw"], kafka.topics["user_map"]

    async def send(*records: OutRecord) -> None:
        producer = Producer(kafka, "a-stage")
        try:
            await producer.send(*records)
        finally:
            await producer.stop()

    async def go() -> None:
        assert await check_topics(kafka) == []
        await send(OutRecord(users, b"a", b"old"), OutRecord(users, b"b", b"old"))
        admin = create_admin(kafka, "an-operator")
        await admin.start()
        try:
            spoiled = {"cleanup.policy": "compact", "max.message.bytes": "1000", "compression.type": "zstd"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, raw, spoiled)])
            await admin.create_partitions({users: NewPartitions(total_count=3)})
        finally:
            await admin.close()
        await until_wrong(kafka, {raw, users})
        await send(OutRecord(users, b"a", b"new", partition=2), OutRecord(users, b"b", None, partition=1))
        assert {(each.topic, each.what) for each in await check_topics(kafka) if each.severity == "refuses"} == {
            (raw, "cleanup.policy"),
            (raw, "retention.ms"),
            (raw, "max.message.bytes"),
            (raw, "message.timestamp.type"),
            (users, "partitions"),
        }
        result = await repair_topics(kafka)
        assert [(each.topic, each.severity) for each in result.left] == [(users, "warns")]
        records = await snapshot(kafka, users, "a-reader")
        assert {each.partition for each in records} == {0}
        assert {each.key: each.value for each in records} == {b"a": b"new", b"b": None}

    asyncio.run(asyncio.wait_for(go(), timeout=120))
