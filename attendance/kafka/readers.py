"""Reads topics without a consumer group: all of one, or one that is followed for ever."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from attendance.errors import KafkaUnavailable
from attendance.kafka.clients import create_consumer, unavailable, wait_for_cause
from attendance.kafka.consumer import WatchedConsumer
from attendance.kafka.following import Contact, Entries
from attendance.settings import KafkaSettings
from attendance.wire import Place

log = structlog.get_logger(__name__)

PLACES_AT_ONCE: Final = 100  # records of one fetch that are looked at


async def begin_reading(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Start a consumer without a group, and return its partitions.

    Raises:
        KafkaError: Kafka does not answer.
        KafkaUnavailable: there is no such topic.
    """
    with suppress(UnknownTopicOrPartitionError):
        await consumer.start()
    return assigned_partitions(consumer, topic)


def assigned_partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """All partitions of a topic, as a consumer without a group knows them now.

    Raises:
        KafkaUnavailable: there is no such topic, or not any more.
    """
    partitions = [each for each in consumer.assignment() if each.topic == topic]
    if not partitions:
        if topic in consumer._client.cluster.unauthorized_topics:  # noqa: SLF001 - nothing else says so
            raise TopicAuthorizationFailedError(topic)
        raise KafkaUnavailable(f"topic {topic} does not exist; `punchstream topics create` makes it")
    return partitions


async def why_missing(settings: KafkaSettings, topic: str, client_id: str) -> str | None:
    """Why a topic cannot be read although Kafka answers: there is none, or it may not be read. None where it can.

    Raises:
        KafkaUnavailable: Kafka does not answer.
    """
    consumer = create_consumer(settings, topic, client_id=client_id)
    try:
        await begin_reading(consumer, topic)
    except TopicAuthorizationFailedError:
        return f"this process needs Read on the topic {topic}"
    except KafkaUnavailable as error:
        return str(error)
    except KafkaError as error:
        raise await unavailable(settings, error, operation="Read", topics=[topic]) from error
    finally:
        await consumer.stop()
    return None


async def until_there(settings: KafkaSettings, topic: str, client_id: str) -> None:
    """Return when Kafka answers and has the topic."""
    while True:
        consumer = create_consumer(settings, topic, client_id=client_id)
        try:
            await begin_reading(consumer, topic)
            return
        except (KafkaError, KafkaUnavailable) as error:
            await wait_for_cause(settings, error, topic=topic)
        finally:
            await consumer.stop()


async def follow(
    settings: KafkaSettings,
    topic: str,
    apply: Callable[[ConsumerRecord], object],
    *,
    client_id: str,
    caught_up: asyncio.Event | None = None,
) -> None:
    """Give every record of a compacted topic to `apply`, from the first, for ever; without a consumer group.

    `caught_up` is set once everything that was there at the start has been applied. Where Kafka is not there yet it is
    waited for. After a long silence the topic is read again as a whole: what it has changed is applied once that is
    done, and what it does not have any more as a record without a value.
    """
    entries = Entries(topic, apply)
    while True:
        consumer = create_consumer(settings, topic, client_id=client_id)
        contact = Contact()
        try:
            missing = dict(await consumer.end_offsets(await begin_reading(consumer, topic)))
            entries.begin()
            while not contact.was_lost(consumer):
                if not entries.is_whole:
                    missing = {tp: end for tp, end in missing.items() if await consumer.position(tp) < end}
                    if not missing:
                        entries.complete()
                        if caught_up is not None:
                            caught_up.set()
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        entries.take(record)
            log.info("Reading a topic again as a whole, after a long silence.", topic=topic)
        except (KafkaError, KafkaUnavailable) as error:
            await wait_for_cause(settings, error, topic=topic)
        finally:
            await consumer.stop()


async def read(
    settings: KafkaSettings,
    topic: str,
    client_id: str,
    since: datetime | None = None,
    begin: Mapping[int, int | None] | None = None,
    until: datetime | None = None,
) -> AsyncGenerator[list[ConsumerRecord], None]:
    """Every record that a topic holds now, in batches, in offset order within a partition.

    With `since`, from the first record of that time on. With `begin`, only the partitions that it names, each from the
    offset given there, if one is. With `until`, up to the first record of that time; later ones may be among them, and
    so may records that arrive meanwhile.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    consumer = create_consumer(settings, topic, client_id=client_id)
    try:
        partitions = await begin_reading(consumer, topic)
        others = [tp for tp in partitions if begin is not None and tp.partition not in begin]
        # Somebody may go on writing to them.
        consumer.pause(*others)
        ends = await consumer.end_offsets(set(partitions) - set(others))
        if until is not None:
            times = dict.fromkeys(ends, int(until.timestamp() * 1000))
            later = await consumer.offsets_for_times(times)
            ends = {tp: end if (found := later[tp]) is None else found.offset for tp, end in ends.items()}
        if since is not None:
            times = dict.fromkeys(ends, int(since.timestamp() * 1000))
            for tp, found in (await consumer.offsets_for_times(times)).items():
                consumer.seek(tp, ends[tp] if found is None else found.offset)
        for tp, end in ends.items():
            offset = begin[tp.partition] if begin is not None else None
            if offset is not None:
                # Never beyond the end: from there a consumer goes back to the earliest record.
                consumer.seek(tp, min(offset, end))
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            # By name, for what was fetched before the others were paused is still there.
            for batch in (await consumer.getmany(*ends, timeout_ms=500)).values():
                yield batch
    except KafkaError as error:
        raise await unavailable(settings, error, operation="Read", topics=[topic]) from error
    finally:
        await consumer.stop()


class OnwardReader:
    """Reads a topic on, again and again, with one consumer, which it makes when it is first asked."""

    def __init__(self, settings: KafkaSettings, topic: str, client_id: str) -> None:
        """Nothing is connected yet.

        Args:
            settings: How to reach Kafka.
            topic: Which topic.
            client_id: As whom.
        """
        self._settings = settings
        self._topic = topic
        self._client_id = client_id
        self._consumer: WatchedConsumer | None = None

    async def read_on(self, begin: Mapping[int, int]) -> AsyncGenerator[list[ConsumerRecord], None]:
        """Every record that the topic holds now from these offsets on; of other partitions, from the first.

        In batches, in offset order within a partition. Records that arrive meanwhile may be among them. For one caller
        at a time, who closes what this returns.

        Raises:
            KafkaUnavailable: Kafka does not answer, or there is no such topic.
        """
        try:
            consumer = await self._connected()
            partitions = assigned_partitions(consumer, self._topic)
            first = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            for tp, end in ends.items():
                # Never beyond the end, nor before the beginning: the consumer would choose another offset.
                consumer.seek(tp, min(max(begin.get(tp.partition, 0), first[tp]), end))
            consumer.resume(*partitions)
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for batch in (await consumer.getmany(*partitions, timeout_ms=500)).values():
                    yield batch
        except KafkaError as error:
            await self.close()
            raise await unavailable(self._settings, error, operation="Read", topics=[self._topic]) from error
        except KafkaUnavailable:
            await self.close()
            raise
        finally:
            # Until the next time it fetches nothing: nobody would take it.
            if self._consumer is not None:
                self._consumer.pause(*self._consumer.assignment())

    async def close(self) -> None:
        """Let go of the consumer. Whoever reads on afterwards has another."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _connected(self) -> WatchedConsumer:
        if self._consumer is None:
            self._consumer = create_consumer(self._settings, self._topic, client_id=self._client_id)
            self._consumer.pause(*await begin_reading(self._consumer, self._topic))
        return self._consumer


class Extent(NamedTuple):
    """What a partition has: the offset of its first record, and the one that the next record will have."""

    first: int
    end: int


class PlaceReader:
    """Reads single records of a topic by where they are, with one consumer, which it makes when it is first asked."""

    def __init__(self, settings: KafkaSettings, topic: str, client_id: str) -> None:
        """Nothing is connected yet.

        Args:
            settings: How to reach Kafka.
            topic: Which topic.
            client_id: As whom.
        """
        self._settings = settings
        self._topic = topic
        self._client_id = client_id
        self._consumer: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()

    async def __call__(self, places: Collection[Place]) -> dict[Place, ConsumerRecord]:
        """The records at these places. While Kafka is away, this waits.

        Args:
            places: Partition and offset of each.

        Returns:
            The records by their places. One that the topic does not have, or not any more, is left out.
        """
        async with self._lock:
            while True:
                try:
                    return await self._read(places)
                except (KafkaError, KafkaUnavailable) as error:
                    await self.close()
                    await wait_for_cause(self._settings, error, topic=self._topic)

    async def extents(self, partitions: Collection[int]) -> dict[int, Extent]:
        """What these partitions have. While Kafka is away, or has no such partition, this waits.

        Args:
            partitions: Their numbers.
        """
        async with self._lock:
            while True:
                try:
                    return await self._extents([TopicPartition(self._topic, number) for number in partitions])
                except (KafkaError, KafkaUnavailable) as error:
                    await self.close()
                    await wait_for_cause(self._settings, error, topic=self._topic)

    async def _extents(self, partitions: Collection[TopicPartition]) -> dict[int, Extent]:
        consumer = await self._started()
        if not consumer.assignment().issuperset(partitions):
            raise KafkaUnavailable(f"topic {self._topic} has not all of these partitions yet")
        first: Mapping[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        end: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
        return {tp.partition: Extent(first[tp], end[tp]) for tp in partitions}

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = create_consumer(self._settings, self._topic, client_id=self._client_id)
            self._consumer.pause(*await begin_reading(self._consumer, self._topic))
        return self._consumer

    async def close(self) -> None:
        """Let go of the consumer."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _read(self, places: Collection[Place]) -> dict[Place, ConsumerRecord]:
        consumer = await self._started()
        wanted: dict[TopicPartition, set[int]] = defaultdict(set)
        for partition, offset in places:
            wanted[TopicPartition(self._topic, partition)].add(offset)
        found: dict[Place, ConsumerRecord] = {}
        for tp in wanted.keys() & consumer.assignment():
            first, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
            consumer.resume(tp)
            for offset in sorted(wanted[tp]):
                if first <= offset < end and (tp.partition, offset) not in found:
                    # Those that come next are often among the wanted.
                    records = await _from(consumer, tp, offset)
                    found |= {(tp.partition, each.offset): each for each in records if each.offset in wanted[tp]}
            consumer.pause(tp)
        return found


async def _from(consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> list[ConsumerRecord]:
    """Some records from that offset on, of which the topic has at least one."""
    consumer.seek(tp, offset)
    records: list[ConsumerRecord] = []
    # A record that is no event moves the position and is not returned.
    while not records and await consumer.position(tp) <= offset:
        records = (await consumer.getmany(tp, timeout_ms=500, max_records=PLACES_AT_ONCE)).get(tp, [])
    return records


async def snapshot(settings: KafkaSettings, topic: str, client_id: str) -> list[ConsumerRecord]:
    """All that `read` gives, at once. For topics that are known to be small.

    Raises:
        KafkaUnavailable: see `read`.
    """
    return [record async for batch in read(settings, topic, client_id) for record in batch]
