"""A person is erased on Apache Kafka: the stream goes on, knows everybody else, and holds what comes again of them.

A ledger forgets the person too.
"""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from attendance.errors import Reason
from attendance.kafka.clients import create_consumer
from attendance.kafka.removal import KafkaCluster
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from operations.log import KafkaLog
from sandbox.broker import Broker
from stream_process import DEADLINE, Stream

pytestmark = pytest.mark.broker

BEGIN = datetime(2021, 3, 1, 8, tzinfo=UTC)
DAYS = 30


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    return kafka_broker


@pytest.fixture
def stream(kafka: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    monkeypatch.setenv("DEDUP_STORE", "rocksdb")
    monkeypatch.setenv("DEDUP_DIRECTORY", str(tmp_path / "stores"))
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/ledger.sqlite")
    monkeypatch.setenv("LEDGER_DAYS", "36500")
    stream = Stream(kafka, tmp_path)
    stream.fleet({"device_id": "USB-1", "adapter": "attlog"})
    for number in ("17", "170"):
        employee = f"HR-EMP-{number}"
        stream.know(Employee(employee, "Active"), UserMapping("*", number, employee, "erpnext"))
    yield stream
    stream.kill_all()


def take_in(stream: Stream, file: Path, count: int) -> None:
    """Import a file, and have a new process decide until so many raw records are committed."""
    assert stream.start("-m", "punchstream", "import", str(file), "--device", "USB-1").wait(DEADLINE) == 0
    process = stream.start()
    stream.until(lambda: len(stream.committed()) == count)
    process.terminate()
    assert process.wait(DEADLINE) == 0


async def deliver(kafka: KafkaSettings) -> None:
    """The sink has come to the end."""
    ends = {number: end for number, (_, end) in (await KafkaLog(kafka, "test").extents("checkins")).items()}
    consumer = create_consumer(kafka, client_id="test", group=kafka.group("sink"))
    await consumer.start()
    try:
        consumer.assign([TopicPartition(kafka.topics["checkins"], number) for number in ends])
        await consumer.commit({TopicPartition(kafka.topics["checkins"], number): end for number, end in ends.items()})
    finally:
        await consumer.stop()


async def members_are_seen(kafka: KafkaSettings) -> tuple[bool, bool]:
    """Whether a member of the stream's group is seen while it is there, and after it has left."""
    group, cluster = kafka.group("stream"), KafkaCluster(kafka, "test")
    consumer = create_consumer(kafka, client_id="test", group=group)
    await consumer.start()
    try:
        consumer.subscribe([kafka.topics["raw"]])
        while not consumer.assignment():
            await consumer.getmany(timeout_ms=100)
        while_there = await cluster.has_members(group)
    finally:
        await consumer.stop()
    return while_there, await cluster.has_members(group)


def employees_of_ledger(directory: Path) -> Counter[str]:
    with closing(sqlite3.connect(directory / "ledger.sqlite")) as connection:
        try:
            return Counter(dict(connection.execute("select employee, count(*) from checkins group by employee")))
        except sqlite3.OperationalError:
            return Counter()  # it has no tables yet


def trace(stream: Stream, employee: str, *source: str) -> tuple[int, int]:
    """The exit status, and how many punches it shows, of the day of the first punch."""
    command = "-m", "punchstream", "trace", "--employee", employee, "--day", f"{BEGIN:%Y-%m-%d}", "--json", *source
    run = subprocess.run([sys.executable, *command], env=stream.env, capture_output=True, check=False, timeout=DEADLINE)
    return run.returncode, len(json.loads(run.stdout or "[]"))


def test_the_stream_goes_on_without_an_erased_person_and_holds_what_comes_again_of_them(
    stream: Stream, tmp_path: Path
) -> None:
    times = [BEGIN + timedelta(days=60 * day) for day in range(DAYS)]
    lines = [f"{number}\t{time:%Y-%m-%d %H:%M:%S}\t1\t0\t1\t0\n" for time in times for number in (17, 170)]
    (tmp_path / "years.dat").write_text("".join(lines))
    (tmp_path / "again.dat").write_text("".join(reversed(lines)))
    take_in(stream, tmp_path / "years.dat", 2 * DAYS)
    rows = Counter(checkin.employee for checkin in stream.checkins())
    assert rows == {"HR-EMP-17": DAYS, "HR-EMP-170": DAYS}
    asyncio.run(deliver(stream.kafka))
    stream.start("-m", "punchstream", "ledger")
    stream.until(lambda: employees_of_ledger(tmp_path) == rows)
    for source in ((), ("--from-topics",)):
        assert trace(stream, "HR-EMP-17", *source) == (0, 1)

    assert asyncio.run(members_are_seen(stream.kafka)) == (True, False)
    command = ("-m", "punchstream", "privacy", "erase", "--employee", "HR-EMP-17")
    assert stream.start(*command).wait(DEADLINE) == 0
    assert list((tmp_path / "stores").rglob("CURRENT")) == []
    stream.until(lambda: employees_of_ledger(tmp_path) == {"HR-EMP-170": DAYS})
    assert trace(stream, "HR-EMP-17") == (1, 0)
    assert trace(stream, "HR-EMP-170") == (0, 1)

    take_in(stream, tmp_path / "again.dat", 4 * DAYS)
    assert Counter(checkin.employee for checkin in stream.checkins()) == rows
    assert Counter(letter.reason for letter in stream.dead_letters()) == {Reason.ERASED: DAYS}
    files = [each for each in (tmp_path / "stores").rglob("*") if each.is_file()]
    assert any(b'["USB-1","170"]' in each.read_bytes() for each in files)
    assert not any(b'["USB-1","17"]' in each.read_bytes() for each in files)
