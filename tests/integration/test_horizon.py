"""A file of years is imported twice, and committed offsets are lost: no second tap becomes a row, however old it is."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from attendance.kafka.clients import create_consumer
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from sandbox.broker import Broker
from stream_process import DEADLINE, Stream

pytestmark = pytest.mark.broker

DAYS = 40
BEGIN = datetime(2021, 3, 1, 8, tzinfo=UTC)


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    return kafka_broker


@pytest.fixture
def stream(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Stream]:
    stream = Stream(kafka, tmp_path)
    stream.fleet({"device_id": "USB-1", "adapter": "attlog"})
    stream.know(Employee("HR-EMP-1", "Active"), UserMapping("*", "1", "HR-EMP-1", "erpnext"))
    yield stream
    stream.kill_all()


def take_in(stream: Stream, file: Path) -> None:
    assert stream.start("-m", "punchstream", "import", str(file), "--device", "USB-1").wait(DEADLINE) == 0


def decide(stream: Stream, count: int) -> None:
    """Have a new process decide until so many raw records are committed."""
    process = stream.start()
    stream.until(lambda: len(stream.committed()) == count)
    process.terminate()
    assert process.wait(DEADLINE) == 0


async def lose_offsets(kafka: KafkaSettings) -> None:
    consumer = create_consumer(kafka, client_id="test", group=kafka.group("stream"))
    await consumer.start()
    try:
        partitions = [TopicPartition(kafka.topics["raw"], number) for number in range(kafka.partitions)]
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, 0))
    finally:
        await consumer.stop()


def test_second_taps_of_years_ago_stay_dropped_at_a_second_import_and_after_offsets_are_lost(
    stream: Stream, tmp_path: Path
) -> None:
    times = [BEGIN + timedelta(days=45 * day, seconds=tap) for day in range(DAYS) for tap in (0, 20)]
    lines = [f"1\t{time:%Y-%m-%d %H:%M:%S}\t1\t0\t1\t0\n" for time in sorted(times, reverse=True)]
    (tmp_path / "years.dat").write_text("".join(lines))
    (tmp_path / "again.dat").write_text("".join(reversed(lines)))

    take_in(stream, tmp_path / "years.dat")
    decide(stream, 2 * DAYS)
    rows = Counter(checkin.event_id for checkin in stream.checkins())
    take_in(stream, tmp_path / "again.dat")
    decide(stream, 4 * DAYS)
    again = Counter(checkin.event_id for checkin in stream.checkins())
    asyncio.run(lose_offsets(stream.kafka))
    assert stream.committed() == []
    decide(stream, 4 * DAYS)

    assert len(rows) == rows.total() == DAYS
    assert again == rows
    # Each was emitted once more under the id that it had, and the sink finds it in ERPNext.
    assert Counter(checkin.event_id for checkin in stream.checkins()) == Counter(dict.fromkeys(rows, 2))
    assert stream.dead_letters() == []
