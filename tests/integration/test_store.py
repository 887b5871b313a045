"""The deduplication state on disk, as processes on Apache Kafka see it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from attendance.errors import Reason
from attendance.kafka.admin import create_topics
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from sandbox.broker import Broker
from stream_process import DEADLINE, Stream, administrator, punch

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    return kafka_broker


@pytest.fixture
def stream(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Stream]:
    stream = Stream(kafka, tmp_path, DEDUP_STORE="rocksdb", DEDUP_DIRECTORY=str(tmp_path / "store"))
    stream.know(Employee("HR-EMP-1", "Active"), UserMapping("*", "1", "HR-EMP-1", "erpnext"))
    yield stream
    stream.kill_all()


def read(stream: Stream) -> int:
    """How many records of the changelog the processes have read."""
    written = stream.log.read_text().splitlines()
    lines = [orjson.loads(line) for line in written if '"Deduplication state is up to date."' in line]
    return sum(line["read"] for line in lines)


def test_a_stream_that_starts_again_reads_the_rest_of_the_changelog_and_knows_every_duplicate(stream: Stream) -> None:
    kept = [punch(n) for n in range(30)]
    stream.punches(*kept)
    process = stream.start()
    stream.until(lambda: len(stream.committed()) == 30)
    process.terminate()
    assert process.wait(DEADLINE) == 0

    stream.punches(*kept)
    stream.start()
    stream.until(lambda: len(stream.committed()) == 60)

    assert read(stream) == 0
    assert len(stream.checkins()) == 30
    assert len(stream.values("dropped")) == 30


def test_a_store_of_a_changelog_that_was_made_anew_is_rebuilt(stream: Stream) -> None:
    kept = [punch(n) for n in range(30)]
    stream.punches(*kept)
    process = stream.start()
    stream.until(lambda: len(stream.committed()) == 30)
    process.terminate()
    assert process.wait(DEADLINE) == 0
    changelog = stream.kafka.topics["dedup_state"]
    asyncio.run(delete(stream.kafka, changelog))
    stream.until(lambda: not asyncio.run(exists(stream.kafka, changelog)))
    asyncio.run(create_topics(stream.kafka))

    stream.punches(*kept)
    stream.start()
    stream.until(lambda: len(stream.committed()) == 60)

    assert stream.says("Stores do not match the changelog") == 1
    # Nobody knows any more that they were kept, so a person decides.
    assert Counter(checkin.event_id for checkin in stream.checkins()) == {event.event_id: 1 for event in kept}
    assert [letter.reason for letter in stream.dead_letters()] == [Reason.BEYOND_HORIZON] * 30


async def delete(kafka: KafkaSettings, topic: str) -> None:
    async with administrator(kafka) as admin:
        await admin.delete_topics([topic])


async def exists(kafka: KafkaSettings, topic: str) -> bool:
    async with administrator(kafka) as admin:
        return topic in await admin.list_topics()


def test_workers_of_one_machine_pass_on_what_is_on_disk(stream: Stream) -> None:
    kept = [punch(n) for n in range(30)]
    stream.punches(*kept)
    first = stream.start()
    stream.until(lambda: len(stream.committed()) == 30)
    second = stream.start()
    stream.until(lambda: stream.says("Deduplication state is up to date.") >= 3)

    stream.punches(*kept)
    stream.until(lambda: len(stream.committed()) == 60)
    second.terminate()
    assert second.wait(DEADLINE) == 0
    stream.punches(*kept)
    stream.until(lambda: len(stream.committed()) == 90)

    assert first.poll() is None
    assert read(stream) == 0
    assert len(stream.checkins()) == 30
