"""What the partitions of a topic have, from which offset to which, and how far a consumer group has come."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from attendance.kafka.clients import create_admin, create_consumer, unavailable
from attendance.kafka.readers import begin_reading
from attendance.settings import KafkaSettings

COORDINATOR_TRIES: Final = 40
COORDINATOR_SECONDS: Final = 0.5


async def extents(settings: KafkaSettings, topic: str, client_id: str) -> dict[int, tuple[int, int]]:
    """By partition the offset of the first record that is there, and the one that the next record will have.

    Args:
        settings: How to reach Kafka.
        topic: The full name.
        client_id: As whom.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    consumer = create_consumer(settings, topic, client_id=client_id)
    try:
        partitions = await begin_reading(consumer, topic)
        consumer.pause(*partitions)
        first: Mapping[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        end: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
        return {tp.partition: (first[tp], end[tp]) for tp in partitions}
    except KafkaError as error:
        raise await unavailable(settings, error, operation="Describe", topics=[topic]) from error
    finally:
        await consumer.stop()


async def committed(settings: KafkaSettings, topic: str, group: str, client_id: str) -> dict[int, int | None]:
    """By partition the offset that a consumer group has committed; None where it has none.

    Args:
        settings: How to reach Kafka.
        topic: The full name.
        group: The full name of the group.
        client_id: As whom.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    consumer = create_consumer(settings, topic, client_id=client_id)
    admin = create_admin(settings, client_id)
    try:
        partitions = await begin_reading(consumer, topic)
        await admin.start()
        found = await _offsets(admin, group, partitions)
        at = {tp.partition: found[tp].offset if tp in found else -1 for tp in partitions}
        return {number: offset if offset >= 0 else None for number, offset in at.items()}
    except KafkaError as error:
        raise await unavailable(settings, error, operation="Describe", topics=[topic]) from error
    finally:
        await consumer.stop()
        await admin.close()


async def _offsets(
    admin: AIOKafkaAdminClient, group: str, partitions: Sequence[TopicPartition]
) -> Mapping[TopicPartition, OffsetAndMetadata]:
    # In a cluster that never had a group, the first who asks has its topic of offsets made.
    for _ in range(COORDINATOR_TRIES - 1):
        with suppress(GroupCoordinatorNotAvailableError):
            return dict(await admin.list_consumer_group_offsets(group, partitions=list(partitions)))
        await asyncio.sleep(COORDINATOR_SECONDS)
    return dict(await admin.list_consumer_group_offsets(group, partitions=list(partitions)))
