"""Records of somebody else on every topic of a broker: the commands read on."""

import asyncio
from pathlib import Path

import pytest
from foreign_records import REGISTRY, TOOLS, foreign, own
from typer.testing import CliRunner

from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.settings import KafkaSettings
from attendance.topics import TABLE, Name
from punchstream.cli import app

pytestmark = pytest.mark.broker


@pytest.fixture
def kafka(kafka: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
    """Topics that each command finds something on, and somebody else's records behind that."""
    registry = tmp_path / "devices.yaml"
    registry.write_text(REGISTRY)
    monkeypatch.setenv("PUNCHSTREAM_DEVICES", str(registry))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    monkeypatch.setenv("KAFKA_ENABLE_IDEMPOTENCE", str(kafka.enable_idempotence))
    monkeypatch.setenv("KAFKA_TOPIC_PREFIX", kafka.topic_prefix)
    monkeypatch.setenv("KAFKA_PARTITIONS", str(kafka.partitions))
    return kafka


def send(kafka: KafkaSettings, *records: OutRecord) -> None:
    async def send() -> None:
        producer = Producer(kafka, "test")
        await producer.send(*records)
        await producer.stop()

    asyncio.run(send())


def foreign_for(kafka: KafkaSettings, topic: Name) -> list[OutRecord]:
    """What somebody else may write to the topic. Apache Kafka refuses a record without a key on a compacted one."""
    needs_key = kafka.enable_idempotence and TABLE[topic].cleanup == "compact"
    return [record for record in foreign(kafka.topics, topic) if record.key is not None or not needs_key]


def run(command: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, command.split(), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_every_command_reads_on_behind_what_it_cannot_read(kafka: KafkaSettings) -> None:
    send(kafka, *own(kafka.topics))
    before = {command: run(command) for command, _ in TOOLS}
    assert {status for status, _, _ in before.values()} == {0, 1}  # of dead letters, one cannot be replayed

    others: list[Name] = [topic for topic in TABLE if topic != "raw"]
    send(kafka, *(record for topic in others for record in foreign_for(kafka, topic)))
    for command, read in TOOLS:
        status, shown, said = run(command)
        assert (status, shown) == before[command][:2]
        assert all(kafka.topics[topic] in said for topic in read - {"raw"})

    send(kafka, *foreign(kafka.topics, "raw"))
    status, shown, _ = run("audit")
    assert (status, "NOT balanced" in shown) == (1, True)
