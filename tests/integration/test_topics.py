"""Topics on Apache Kafka: what is wrong with them is found, set and moved while they are in use."""

import asyncio
import time
from datetime import UTC, datetime

import pytest
from aiokafka.admin import NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from example_records import CHECKIN, DELIVERY, DROPPED, EVENT
from msgspec.structs import replace

from attendance.kafka.admin import create_topics
from attendance.kafka.clients import create_admin, create_producer
from attendance.kafka.producer import Producer, partition_of
from attendance.kafka.readers import read, snapshot
from attendance.kafka.records import OutRecord
from attendance.kafka.topic_facts import check_topics
from attendance.kafka.topic_repair import repair_topics
from attendance.settings import KafkaSettings
from attendance.topics import TABLE, Name
from operations.audit import audit
from operations.log import KafkaLog
from sandbox.broker import Broker

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    """Only Apache Kafka has configurations, and deletes records."""
    return kafka_broker


async def send(kafka: KafkaSettings, *records: OutRecord) -> None:
    producer = Producer(kafka, "a-stage")
    try:
        await producer.send(*records)
    finally:
        await producer.stop()


async def until_wrong(kafka: KafkaSettings, topics: set[str]) -> None:
    """Return when the broker knows of what an operator changed."""
    while {each.topic for each in await check_topics(kafka)} != topics:  # noqa: ASYNC110 - the broker tells nobody
        await asyncio.sleep(0.1)


def test_what_an_operators_tool_changed_is_found_and_repaired(kafka: KafkaSettings) -> None:
    raw, users = kafka.topics["raw"], kafka.topics["user_map"]

    async def go() -> None:
        assert await check_topics(kafka) == []
        await send(kafka, OutRecord(users, b"a", b"old"), OutRecord(users, b"b", b"old"))
        admin = create_admin(kafka, "an-operator")
        await admin.start()
        try:
            spoiled = {"cleanup.policy": "compact", "max.message.bytes": "1000", "compression.type": "zstd"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, raw, spoiled)])
            await admin.create_partitions({users: NewPartitions(total_count=3)})
        finally:
            await admin.close()
        await until_wrong(kafka, {raw, users})
        await send(kafka, OutRecord(users, b"a", b"new", partition=2), OutRecord(users, b"b", None, partition=1))
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


OF_AN_EARLIER_RELEASE = {"message.timestamp.type": "CreateTime", "max.message.bytes": str(2 * 1024 * 1024)}


def test_topics_of_an_earlier_release_are_taken_over_with_all_they_hold(broker: Broker) -> None:
    kafka = KafkaSettings.load(bootstrap_servers=broker.bootstrap_servers, topic_prefix="earlier", partitions=4)
    raw = kafka.topics["raw"]
    old = [name for name in TABLE if name not in ("accounts", "unread")]

    def configs(name: Name) -> dict[str, str]:
        cleanup = TABLE[name].cleanup
        keeps = "-1" if cleanup == "compact" or name in ("dead_letters", "dead_letter_actions") else "34560000000"
        return {"cleanup.policy": cleanup, "retention.ms": keeps, **OF_AN_EARLIER_RELEASE}

    async def make() -> None:
        admin = create_admin(kafka, "earlier")
        await admin.start()
        topics = [
            NewTopic(kafka.topics[name], kafka.partitions_of(name), 1, topic_configs=configs(name)) for name in old
        ]
        await admin.create_topics(topics)
        await admin.close()

    async def fill() -> None:
        producer = create_producer(kafka, "earlier")
        await producer.start()
        hour, event = 3_600_000, EVENT
        at = int(time.time() * 1000)
        key, value, headers = event.record()
        partition = partition_of(key, 4)
        # One by a clock that was an hour ahead.
        for when in (at - hour, at + hour):
            await producer.send_and_wait(raw, value, key, partition=partition, headers=headers, timestamp_ms=when)
        checkin, dropped = CHECKIN, replace(DROPPED, event_id=event.event_id, kept_event_id=event.event_id)
        await producer.send_and_wait(kafka.topics["checkins"], checkin.encode(), checkin.key, headers=checkin.headers())
        await producer.send_and_wait(
            kafka.topics["dropped"], dropped.encode(), dropped.key, headers=dropped.headers(())
        )
        await producer.send_and_wait(kafka.topics["deliveries"], DELIVERY.encode(), DELIVERY.key)
        await producer.stop()

    async def everything() -> list[tuple[str, int, int, int, bytes]]:
        return [
            (each.topic, each.partition, each.offset, each.timestamp, each.value)
            for name in old
            for each in await snapshot(kafka, kafka.topics[name], "a-reader")
        ]

    async def go() -> None:
        await make()
        await fill()
        before = await everything()
        assert any(each.severity == "refuses" and each.what != "topic" for each in await check_topics(kafka))
        await create_topics(kafka)
        await repair_topics(kafka)
        assert await check_topics(kafka) == []
        assert await everything() == before
        report = await audit(KafkaLog(kafka, "audit"))
        assert report.balanced, report
        since = datetime.now(UTC)
        await send(kafka, OutRecord(raw, EVENT.device_id.encode(), b"arrives now"))
        found = [each async for batch in read(kafka, raw, "a-reader", since) for each in batch]
        assert found[-1].value == b"arrives now"
        assert found[-1].timestamp_type == 1, "by the broker's clock"

    asyncio.run(asyncio.wait_for(go(), timeout=120))
