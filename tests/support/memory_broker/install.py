"""Puts the broker in the place of aiokafka's clients."""

from typing import Any

import pytest

from attendance.kafka import clients
from attendance.settings import KafkaSettings
from attendance.topics import TABLE, topic_configs
from memory_broker.admin import MemoryAdmin
from memory_broker.broker import MemoryBroker
from memory_broker.consumer import MemoryConsumer
from memory_broker.producer import MemoryProducer


def install(
    monkeypatch: pytest.MonkeyPatch,
    broker: MemoryBroker | None = None,
    *,
    partitions: int = 2,
    make_topics: bool = True,
    **settings: Any,
) -> tuple[MemoryBroker, KafkaSettings]:
    """Have every client that the product builds talk to a broker in memory, which has the product's topics.

    Args:
        monkeypatch: Takes it away again after the test.
        broker: One that exists already; otherwise one is made.
        partitions: Of each topic that may have several.
        make_topics: Whether the topics exist.
        settings: Other settings of Kafka than the usual ones.

    Returns:
        The broker, and settings that lead to it.
    """
    broker = broker or MemoryBroker()
    clients_of = {"WatchedConsumer": MemoryConsumer, "AIOKafkaProducer": MemoryProducer}
    clients_of["AIOKafkaAdminClient"] = MemoryAdmin
    for name, kind in clients_of.items():
        monkeypatch.setattr(clients, name, _bound(kind, broker))
    # Its address is no name that could be tried.
    monkeypatch.setattr(clients, "why_unreachable", _nobody_knows)
    kafka = KafkaSettings.load(
        **{"bootstrap_servers": "memory:9092", "session_timeout": 6.0, "partitions": partitions, **settings}
    )
    if make_topics:
        for name, topic in TABLE.items():
            configs = topic_configs(topic, kafka.retention_days)
            broker.create_topic(kafka.topics[name], topic.partitions or partitions, configs)
    return broker, kafka


async def _nobody_knows(*_: Any) -> None:
    return None


def _bound(kind: type, broker: MemoryBroker) -> Any:
    def build(*args: Any, **options: Any) -> Any:
        return kind(broker, *args, **options)

    return build
