"""A member's share of a compacted topic, by a consumer group."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
)

from attendance.errors import KafkaUnavailable
from attendance.kafka.clients import create_admin, create_consumer, unavailable
from attendance.kafka.producer import partition_of
from attendance.kafka.readers import begin_reading
from attendance.runtime import wait_for_kafka
from attendance.settings import KafkaSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """The partitions of a topic that one member of a consumer group has, and how many there are in all."""

    partitions: frozenset[int]
    total: int

    def has(self, key: bytes) -> bool:
        """Whether a record with this key is, or would be, in one of them."""
        return partition_of(key, self.total) in self.partitions


class Share(Protocol):
    """What one member of a consumer group holds of a compacted topic: the records of its share of the partitions."""

    def lost(self) -> None:
        """Forget every record: other members may have the partitions from now on."""

    def take(self, record: ConsumerRecord) -> None:
        """Take in one record."""

    async def caught_up(self) -> None:
        """Act on what is held. Called between reads, once all that was there at the assignment has been taken in."""


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells a share that its partitions are gone, and notes that it has others."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self.is_new = False

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - always all of them
        self._share.lost()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # noqa: ARG002 - see assignment()
        self.is_new = True


async def follow_share(
    settings: KafkaSettings,
    topic: str,
    group: str,
    share: Share,
    *,
    client_id: str,
    assigned: Callable[[Assignment], object] | None = None,
) -> None:
    """Keep `share` fed with the partitions of a compacted topic that this member of the group has, for ever.

    No offset is ever committed, so each assignment begins at the first record of each partition. `caught_up` is called
    about twice a second, or after each batch of records; no record is taken in while it runs, but `lost` may be called.
    Before its first call for an assignment `assigned` is called with it. While Kafka is away, this waits.
    """
    while True:
        consumer = create_consumer(settings, client_id=client_id, group=group)
        rebalance = _Rebalance(share)
        missing: dict[TopicPartition, int] = {}
        try:
            await consumer.start()
            consumer.subscribe([topic], listener=rebalance)
            while True:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        share.take(record)
                try:
                    if rebalance.is_new:
                        rebalance.is_new = False
                        partitions = consumer.assignment()
                        missing = dict(await consumer.end_offsets(list(partitions)))
                        if assigned is not None:
                            total = len(consumer.partitions_for_topic(topic) or ())
                            assigned(Assignment(frozenset(tp.partition for tp in partitions), total))
                    missing = {tp: end for tp, end in missing.items() if await consumer.position(tp) < end}
                except IllegalStateError:  # not ours any more: a rebalance is under way
                    continue
                if not missing and not rebalance.is_new:
                    await share.caught_up()
        except (KafkaError, KafkaUnavailable) as error:
            share.lost()
            await wait_for_kafka(error, topic=topic)
        finally:
            await consumer.stop()


async def until_through(settings: KafkaSettings, topic: str, group: str, client_id: str) -> None:
    """Return when a consumer group has committed all that the topic holds at the time of the call.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    consumer = create_consumer(settings, topic, client_id=client_id)
    admin = create_admin(settings, client_id)
    try:
        partitions = await begin_reading(consumer, topic)
        await admin.start()
        first: Mapping[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        # Where nothing is held there may never have been anything to commit.
        missing = {tp: end for tp, end in (await consumer.end_offsets(partitions)).items() if end > first[tp]}
        while True:
            if missing:
                committed = await admin.list_consumer_group_offsets(group, partitions=list(missing))
                missing = {tp: end for tp, end in missing.items() if tp not in committed or committed[tp].offset < end}
            if not missing:
                return
            log.debug("Waiting for a consumer group.", topic=topic, group=group, partitions=len(missing))
            await asyncio.sleep(1)
    except KafkaError as error:
        raise unavailable(settings, error) from error
    finally:
        await consumer.stop()
        await admin.close()
