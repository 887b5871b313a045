"""misplaced: whether the punches on the raw topic are where `KAFKA_PARTITIONS` puts them.

The number may have been changed together with the topics. Then a device's earlier punches, and what was kept of them,
are in another partition than its next ones, and every second tap would become a check-in.
"""

from collections.abc import Collection, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from attendance.errors import InvalidRecord
from attendance.kafka.clients import create_consumer, unavailable
from attendance.kafka.producer import partition_of
from attendance.kafka.readers import begin_reading
from attendance.records.raw_event import RawEvent
from attendance.settings import KafkaSettings

LOOKED_AT: Final = 200  # records of each partition: its first and its last
PART: Final = 0.25
"""Of the devices. Another number of partitions moves half of them at least; a program of somebody else a few."""


async def misplaced(settings: KafkaSettings, client_id: str) -> str | None:
    """Why the stream may not decide: one line that says which number the topic was written with; None where it may.

    Args:
        settings: How to reach Kafka, and `KAFKA_PARTITIONS`.
        client_id: As whom to ask.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    topic = settings.topics["raw"]
    consumer = create_consumer(settings, topic, client_id=client_id)
    places: set[tuple[bytes, int]] = set()
    try:
        partitions = await begin_reading(consumer, topic)
        first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for back in (end, dict.fromkeys(partitions, LOOKED_AT)):
            begin = {tp: max(first[tp], end[tp] - back[tp]) for tp in partitions if first[tp] < end[tp]}
            places |= await _devices(consumer, begin)
    except KafkaError as error:
        raise await unavailable(settings, error, operation="Read", topics=[topic]) from error
    finally:
        await consumer.stop()
    devices = {key for key, _ in places}
    wrong = sorted({key for key, place in places if partition_of(key, settings.partitions) != place})
    if len(wrong) <= PART * len(devices):
        return None
    return (
        f"topic {topic}: punches of {len(wrong)} of {len(devices)} devices, such as {wrong[0].decode()}, are not where "
        f"KAFKA_PARTITIONS={settings.partitions} puts them; {_advice(places, len(partitions))}; see docs/topics.md"
    )


async def _devices(consumer: AIOKafkaConsumer, begin: Mapping[TopicPartition, int]) -> set[tuple[bytes, int]]:
    """The devices of some records from these offsets on, each with its partition."""
    found: set[tuple[bytes, int]] = set()
    for tp, offset in begin.items():
        consumer.seek(tp, offset)
    waiting = set(begin)
    while waiting:
        for tp, records in (await consumer.getmany(*waiting, timeout_ms=500)).items():
            found |= {(key, tp.partition) for key in map(_device, records[:LOOKED_AT]) if key is not None}
        waiting = {tp for tp in waiting if await consumer.position(tp) <= begin[tp]}
    return found


def _device(record: ConsumerRecord) -> bytes | None:
    """The key of a punch; None where it is none of ours."""
    try:
        key = RawEvent.decode(record.value).device_id.encode()
    except InvalidRecord:
        return None
    return key if record.key == key else None


def _advice(places: Collection[tuple[bytes, int]], partitions: int) -> str:
    for number in range(1, partitions + 1):
        if all(partition_of(key, number) == place for key, place in places):
            return f"they were written with {number}: set KAFKA_PARTITIONS={number} for every process"
    return "set it for every process to the number with which the topic was created"
