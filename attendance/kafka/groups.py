"""A member's share of a compacted topic, by a consumer group."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
)

from attendance.errors import KafkaUnavailable
from attendance.kafka.clients import create_admin, create_consumer, unavailable, wait_for_cause
from attendance.kafka.consumer import WatchedConsumer
from attendance.kafka.following import Contact
from attendance.kafka.producer import partition_of
from attendance.kafka.readers import assigned_partitions, begin_reading
from attendance.settings import KafkaSettings

log = structlog.get_logger(__name__)

TURN: Final = 500  # records that are taken in before others of the event loop have their turn


@dataclass(frozen=True, slots=True)
class Assignment:
    """The partitions of a topic that one member of a consumer group has, and over how many its keys are spread."""

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
        self._contact = Contact()
        self.is_new = False

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - always all of them
        self._share.lost()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # noqa: ARG002 - see assignment()
        self.is_new = True

    async def notice_silence(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        """After a long silence, go back to the first record of every partition, as if they were others.

        The group may not have noticed it, if it was the broker that was away.
        """
        if not self._contact.was_lost(consumer):
            return
        log.info("Reading a topic again as a whole, after a long silence.", topic=topic)
        self._share.lost()
        await consumer.seek_to_beginning()
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
    Before its first call for an assignment `assigned` is called with it. While Kafka is away, this waits. After a long
    silence the share is lost, and begins anew.
    """
    while True:
        consumer = create_consumer(settings, client_id=client_id, group=group)
        rebalance = _Rebalance(share)
        missing: dict[TopicPartition, int] = {}
        try:
            await consumer.start()
            consumer.subscribe([topic], listener=rebalance)
            while True:
                for records in (await consumer.getmany(timeout_ms=500, max_records=TURN)).values():
                    for record in records:
                        share.take(record)
                try:
                    await rebalance.notice_silence(consumer, topic)
                    if rebalance.is_new:
                        rebalance.is_new = False
                        partitions = consumer.assignment()
                        missing = dict(await consumer.end_offsets(list(partitions)))
                        if assigned is not None:
                            there = len(consumer.partitions_for_topic(topic) or ())
                            total = settings.partitions_used(topic, there)
                            assigned(Assignment(frozenset(tp.partition for tp in partitions), total))
                    missing = {tp: end for tp, end in missing.items() if await consumer.position(tp) < end}
                except IllegalStateError:  # not ours any more: a rebalance is under way
                    continue
                if not missing and not rebalance.is_new:
                    await share.caught_up()
        except (KafkaError, KafkaUnavailable) as error:
            share.lost()
            await wait_for_cause(settings, error, topic=topic)
        finally:
            await consumer.stop()


class GroupProgress:
    """Waits for consumer groups, with clients that it makes when it is first asked, and keeps for the next time."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        """Nothing is connected yet.

        Args:
            settings: How to reach Kafka.
            client_id: As whom.
        """
        self._settings = settings
        self._client_id = client_id
        self._consumers: dict[str, WatchedConsumer] = {}
        self._admin: AIOKafkaAdminClient | None = None

    async def until_through(self, topic: str, group: str) -> None:
        """Return when a group has committed all that the topic holds at the time of the call.

        Where a group has committed an offset that a partition does not have, it stands still, and this waits. For one
        caller at a time.

        Args:
            topic: Its full name.
            group: Its full name.

        Raises:
            KafkaUnavailable: Kafka does not answer, or there is no such topic.
        """
        try:
            consumer = await self._reading(topic)
            admin = await self._connected()
            partitions = assigned_partitions(consumer, topic)
            first: Mapping[TopicPartition, int] = await consumer.beginning_offsets(partitions)
            missing = dict(await consumer.end_offsets(partitions))
            while missing:
                committed = await _committed(admin, group, list(missing))
                # After those, for an end that was asked for before may have moved since.
                ends: Mapping[TopicPartition, int] = await consumer.end_offsets(list(missing))
                for tp, at in committed.items():
                    # Where nothing is there may never have been anything to commit.
                    if missing[tp] <= at <= ends[tp] if at is not None else missing[tp] <= first[tp]:
                        del missing[tp]
                if missing:
                    log.debug("Waiting for a consumer group.", topic=topic, group=group, partitions=len(missing))
                    await asyncio.sleep(1)
        except KafkaError as error:
            await self.close()
            raise await unavailable(self._settings, error, operation="Read", topics=[topic]) from error
        except KafkaUnavailable:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the clients. Whoever asks afterwards has others."""
        consumers, self._consumers = self._consumers, {}
        admin, self._admin = self._admin, None
        for consumer in consumers.values():
            await consumer.stop()
        if admin is not None:
            await admin.close()

    async def _reading(self, topic: str) -> WatchedConsumer:
        """The consumer of a topic. It is asked for offsets only: what it fetched would stay in memory."""
        if topic not in self._consumers:
            self._consumers[topic] = create_consumer(self._settings, topic, client_id=self._client_id)
            await begin_reading(self._consumers[topic], topic)
        consumer = self._consumers[topic]
        consumer.pause(*assigned_partitions(consumer, topic))
        return consumer

    async def _connected(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            self._admin = create_admin(self._settings, self._client_id)
            await self._admin.start()
        return self._admin


async def _committed(
    admin: AIOKafkaAdminClient, group: str, partitions: list[TopicPartition]
) -> dict[TopicPartition, int | None]:
    found = await admin.list_consumer_group_offsets(group, partitions=partitions) if partitions else {}
    return {tp: found[tp].offset if tp in found and found[tp].offset >= 0 else None for tp in partitions}
