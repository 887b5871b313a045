"""A restore on Apache Kafka: topics made anew of a copy, at other offsets, with which the stages go on."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import RecordsToDelete

from attendance.kafka.admin import create_topics
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from attendance.topics import TABLE, Name
from operations.adoption_traits import NAMING
from operations.audit import audit
from operations.audit_report import Report
from operations.log import KafkaLog
from sandbox.broker import Broker
from stream_process import DEADLINE, Stream, administrator, punch

pytestmark = pytest.mark.broker

COPIED: Final[tuple[Name, ...]] = (*NAMING, "deliveries", "accounts")
"""Of the others, nothing is stored by offset."""
FILLED: Final = tuple(name for name in COPIED if TABLE[name].cleanup == "delete")


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    """Apache Kafka only: the embedded broker removes no record."""
    return kafka_broker


@pytest.fixture
def stages(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Stream]:
    stages = Stream(kafka, tmp_path, SINK_TARGET="jsonl", SINK_JSONL_PATH=str(tmp_path / "rows.jsonl"))
    stages.know(Employee("HR-EMP-1", "Active"), UserMapping("*", "1", "HR-EMP-1", "erpnext"))
    yield stages
    stages.kill_all()


def restore(kafka: KafkaSettings) -> None:
    """Copy every topic, delete it, and fill it again: what may be filled up before it does not begin at offset 0."""

    async def copy() -> dict[Name, list[ConsumerRecord]]:
        return {name: await snapshot(kafka, kafka.topics[name], "test") for name in COPIED}

    async def delete() -> None:
        async with administrator(kafka) as admin:
            await admin.delete_topics([kafka.topics[name] for name in COPIED])

    async def fill(copies: dict[Name, list[ConsumerRecord]]) -> None:
        producer = Producer(kafka, "test")
        async with administrator(kafka) as admin:
            before: dict[TopicPartition, RecordsToDelete] = {}
            for name, records in copies.items():
                topic = kafka.topics[name]
                if name in FILLED:
                    partitions = 1 if TABLE[name].partitions == 1 else kafka.partitions
                    filling = (
                        OutRecord(topic, b"x", b"x", (), number % partitions) for number in range(5 * partitions)
                    )
                    await producer.send(*filling)
                    before |= {TopicPartition(topic, number): RecordsToDelete(5) for number in range(partitions)}
                copied = (OutRecord(topic, each.key, each.value, [*each.headers], each.partition) for each in records)
                await producer.send(*copied)
            await admin.delete_records(before)
        await producer.stop()

    copies = asyncio.run(copy())
    asyncio.run(delete())
    deadline = time.monotonic() + DEADLINE
    made: set[str] = set()
    while len(made) < len(COPIED):
        assert time.monotonic() < deadline, "a topic is still there"
        made |= {name for name, is_new in asyncio.run(create_topics(kafka)).items() if is_new}
    asyncio.run(fill(copies))


def adopt(stages: Stream, *arguments: str) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "punchstream", "topics", "adopt", *arguments]
    done = subprocess.run(command, env=stages.env, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def look(kafka: KafkaSettings) -> Report:
    return asyncio.run(audit(KafkaLog(kafka, "audit")))


@pytest.mark.timeout(400)  # it makes ten topics twice
def test_stages_go_on_after_a_restore_and_the_audit_names_it(stages: Stream, tmp_path: Path) -> None:
    kafka, rows = stages.kafka, tmp_path / "rows.jsonl"

    def delivered() -> int:
        return len(rows.read_text().splitlines()) if rows.exists() else 0

    def start() -> list[subprocess.Popen[bytes]]:
        return [stages.start("-m", "punchstream", stage) for stage in ("stream", "sink")]

    def stop(processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.terminate()
        assert [process.wait(60) for process in processes] == [0, 0]

    punches = [punch(n) for n in range(30)]
    stages.punches(*punches[:20], punches[0], punches[7])
    stages.send("raw", (b"D1", b"not a record"))
    processes = start()
    stages.until(lambda: delivered() >= 20)
    code, said = adopt(stages, "--note", "too early")
    assert (code, len(said)) == (2, 1)
    assert "is running" in said[0]
    stop(processes)
    assert look(kafka).balanced

    restore(kafka)
    code, said = adopt(stages, "--note", "restored from the copy of Tuesday")
    assert (code, said[-1]) == (0, "Adopted. Start the stages, and run `punchstream audit`."), said

    stages.punches(*punches)  # the terminals send everything again, and what is new
    processes = start()
    stages.until(lambda: delivered() >= 30)
    stages.until(lambda: look(kafka).balanced)
    stop(processes)
    assert delivered() == 30
    found = look(kafka)
    assert (found.raw, found.delivered, found.dead_lettered, found.balanced) == (53, 30, 1, True)
    assert [each.note for each in found.adoptions] == ["restored from the copy of Tuesday"]
    code, said = adopt(stages, "--note", "once more")
    assert (code, len(said)) == (2, 1)
    assert "every record is where it was" in said[0]
