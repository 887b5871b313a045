"""The guard of the clock on Apache Kafka, which says when it wrote a record."""

import asyncio
from datetime import datetime, timedelta

import pytest

from attendance.kafka.clock_guard import ClockGuard
from attendance.kafka.producer import Producer
from attendance.settings import ClockSettings, KafkaSettings
from attendance.times import now
from sandbox.broker import Broker

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    """Only Apache Kafka dates records."""
    return kafka_broker


def test_a_clock_that_is_an_hour_off_is_found_and_one_that_is_right_is_not(kafka: KafkaSettings) -> None:
    async def go() -> list[str | None]:
        producer = Producer(kafka, "a-stage")
        reasons = []
        for wrong_by in (timedelta(), timedelta(hours=1), timedelta(hours=-1)):

            def clock(wrong_by: timedelta = wrong_by) -> datetime:
                return now() + wrong_by

            reasons.append(await ClockGuard(kafka, ClockSettings(), producer, clock=clock).find_reason())
        await producer.stop()
        return reasons

    right, fast, slow = asyncio.run(go())
    assert right is None
    assert "that of the broker is 1 h behind" in (fast or "")
    assert "that of the broker is 1 h ahead" in (slow or "")
