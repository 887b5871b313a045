"""The audit on a broker: its accounts, and what is gone from a topic."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from attendance.kafka.admin import create_topics
from attendance.kafka.clients import create_admin
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.records.raw_event import RawEvent, Source
from attendance.settings import KafkaSettings
from operations.audit import audit
from operations.audit_report import Report
from operations.log import KafkaLog
from sandbox.broker import Broker

pytestmark = pytest.mark.broker
NOW = datetime(2026, 3, 2, 5, tzinfo=UTC)


async def punches(kafka: KafkaSettings, count: int) -> None:
    producer = Producer(kafka, "test")
    events = [
        RawEvent("D1", "s", str(user), "IN", NOW, None, "UTC", NOW, Source("push", "json")) for user in range(count)
    ]
    await producer.send(*(OutRecord(kafka.topics["raw"], *event.record(), 0) for event in events))
    await producer.stop()


def look(kafka: KafkaSettings) -> Report:
    return asyncio.run(audit(KafkaLog(kafka, "audit")))


async def admin(kafka: KafkaSettings, method: str, *arguments: Any) -> None:
    client = create_admin(kafka, "test")
    await client.start()
    try:
        await getattr(client, method)(*arguments)
    finally:
        await client.close()


def test_what_is_removed_from_a_topic_or_with_it_is_no_balance(kafka: KafkaSettings, broker: Broker) -> None:
    """One test of all: each look reads every topic."""
    asyncio.run(punches(kafka, 5))
    first = look(kafka)
    assert (first.undecided, first.faults, first.balanced) == (5, [], False)
    raw = kafka.topics["raw"]
    if broker.supports_idempotence:  # Apache Kafka
        asyncio.run(admin(kafka, "delete_records", {TopicPartition(raw, 0): RecordsToDelete(3)}))
        removed = look(kafka)
        assert [(each.kind, each.topic, each.first, each.through) for each in removed.faults] == [
            ("removed", raw, 0, 3)
        ]
        assert (removed.undecided, removed.balanced) == (2, False)
    asyncio.run(admin(kafka, "delete_topics", [raw]))
    asyncio.run(create_topics(kafka))
    anew = look(kafka)
    assert [(each.kind, each.partition) for each in anew.faults] == [("anew", 0)]
    assert not anew.balanced
