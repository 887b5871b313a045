"""Fixtures for tests on a real broker: each test has its own topics and groups."""

import asyncio
from uuid import uuid4

import pytest

from attendance.kafka.admin import create_topics
from attendance.settings import KafkaSettings
from sandbox.broker import Broker


@pytest.fixture
def kafka(broker: Broker) -> KafkaSettings:
    """Settings that lead to the broker under test, with every topic made under a prefix of the test's own."""
    settings = KafkaSettings.load(
        bootstrap_servers=broker.bootstrap_servers,
        enable_idempotence=broker.supports_idempotence,
        session_timeout=6.0,
        topic_prefix=f"test-{uuid4().hex[:8]}",
        partitions=4,
    )
    asyncio.run(create_topics(settings))
    return settings
