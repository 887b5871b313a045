"""Reads topics without a consumer group: all of one, or one that is followed for ever."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from attendance.errors import KafkaUnavailable
from attendance.kafka.clients import create_consumer, unavailable
from attendance.runtime import wait_for_kafka
from attendance.settings import KafkaSettings


async def begin_reading(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Start a consumer without a group, and return its partitions.

    Raises:
        KafkaError: Kafka does not answer.
        KafkaUnavailable: there is no such topic.
    """
    await consumer.start()
    partitions = list(consumer.assignment())
    if not partitions:
        raise KafkaUnavailable(f"topic {topic} does not exist; `punchstream topics create` makes it")
    return partitions


async def until_there(settings: KafkaSettings, topic: str, client_id: str) -> None:
    """Return when Kafka answers and has the topic."""
    while True:
        consumer = create_consumer(settings, topic, client_id=client_id)
        try:
            await begin_reading(consumer, topic)
            return
        except (KafkaError, KafkaUnavailable) as error:
            await wait_for_kafka(error, topic=topic)
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
    waited for.
    """
    while True:
        consumer = create_consumer(settings, topic, client_id=client_id)
        try:
            missing = dict(await consumer.end_offsets(await begin_reading(consumer, topic)))
            while True:
                if caught_up is not None and not caught_up.is_set():
                    missing = {tp: end for tp, end in missing.items() if await consumer.position(tp) < end}
                    if not missing:
                        caught_up.set()
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        apply(record)
        except (KafkaError, KafkaUnavailable) as error:
            await wait_for_kafka(error, topic=topic)
        finally:
            await consumer.stop()


async def read(
    settings: KafkaSettings,
    topic: str,
    client_id: str,
    since: datetime | None = None,
    begin: Mapping[int, int | None] | None = None,
) -> AsyncGenerator[list[ConsumerRecord], None]:
    """Every record that a topic holds now, in batches, in offset order within a partition.

    With `since`, from the first record of that time on. With `begin`, only the partitions that it names, each from the
    offset given there, if one is. Records that arrive meanwhile may be among them.

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
        raise unavailable(settings, error) from error
    finally:
        await consumer.stop()


async def snapshot(settings: KafkaSettings, topic: str, client_id: str) -> list[ConsumerRecord]:
    """All that `read` gives, at once. For topics that are known to be small.

    Raises:
        KafkaUnavailable: see `read`.
    """
    return [record async for batch in read(settings, topic, client_id) for record in batch]
