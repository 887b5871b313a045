"""Reading what a topic holds now, while others go on writing to it."""

import asyncio
from contextlib import suppress

from attendance.kafka.producer import Producer
from attendance.kafka.readers import read
from attendance.kafka.records import OutRecord
from attendance.settings import KafkaSettings

COUNT = 3000


def test_only_the_partitions_that_are_named_are_read_whatever_arrives_in_the_others(kafka: KafkaSettings) -> None:
    topic = kafka.topics["raw"]

    async def story() -> None:
        producer = Producer(kafka, "test")

        async def go_on() -> None:
            while True:
                await producer.send(OutRecord(topic, b"k", b"another's", partition=1))

        await producer.send(*(OutRecord(topic, b"k", b"%d" % n, partition=0) for n in range(COUNT)))
        writing = asyncio.create_task(go_on())
        try:
            for begin in (None, 0, COUNT - 2):
                found = [record async for batch in read(kafka, topic, "test", begin={0: begin}) for record in batch]
                assert {record.partition for record in found} == {0}
                assert [record.offset for record in found] == list(range(begin or 0, COUNT))
            assert [batch async for batch in read(kafka, topic, "test", begin={})] == []
        finally:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
            await producer.stop()

    asyncio.run(story())
