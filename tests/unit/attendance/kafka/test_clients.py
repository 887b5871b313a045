"""No consumer relies on being told that a partition has another leader.

aiokafka 0.14 does not look for one when the old leader refuses to tell the offset to begin at: the partition then
stands still until the metadata are too old.
"""

import asyncio

from attendance.kafka.clients import create_consumer
from attendance.settings import KafkaSettings, StreamSettings
from streams.app import faust_settings

MOST_MS = 10_000


def test_a_consumer_looks_for_new_leaders_by_itself() -> None:
    async def age() -> float:
        consumer = create_consumer(KafkaSettings(_env_file=None), client_id="test")
        milliseconds: float = consumer._client._metadata_max_age_ms
        await consumer.stop()
        return milliseconds

    assert asyncio.run(age()) <= MOST_MS


def test_the_streams_consumer_looks_for_new_leaders_by_itself() -> None:
    assert (
        faust_settings(KafkaSettings(_env_file=None), StreamSettings(_env_file=None))["consumer_metadata_max_age_ms"]
        <= MOST_MS
    )
