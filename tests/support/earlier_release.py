"""What an installation of an earlier release has: its topics as it made them, and what its stages wrote there.

`tests/fixtures/earlier-release` was recorded from the stages of the release before `accounts` and `unread`: their
records, what their groups had committed, and ERPNext's documents, once half of the punches had come (`before`), and
what was written after that (`meanwhile`).
"""

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic

from attendance.kafka.clients import create_admin, create_consumer, create_producer
from attendance.settings import KafkaSettings
from attendance.topics import TABLE, Name

FIXTURE = Path(__file__).parents[1] / "fixtures" / "earlier-release"
OLD: tuple[Name, ...] = (
    "raw",
    "user_map",
    "checkins",
    "dropped",
    "unmapped",
    "dead_letters",
    "dead_letter_actions",
    "deliveries",
    "dedup_state",
    "device_status",
    "sequences",
    "other_events",
    "cursors",
    "terminals",
    "probe",
)
"""The topics that it had."""
READ_BY: Mapping[str, Name] = {"stream": "raw", "sink": "checkins"}


class Written(NamedTuple):
    """A record, and when it was written, in milliseconds before the last one."""

    topic: Name
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    ago: int


def written(part: str) -> list[Written]:
    """What the stages wrote, topic by topic, in the order of each partition.

    Args:
        part: `before` or `meanwhile`.
    """
    rows = {each: _lines(FIXTURE / f"{each}.jsonl") for each in ("before", "meanwhile")}
    last = max(row["timestamp"] for each in rows.values() for row in each)
    return [
        Written(
            row["topic"],
            row["partition"],
            _bytes(row["key"]),
            _bytes(row["value"]),
            [(name, _bytes(value) or b"") for name, value in row["headers"]],
            last - row["timestamp"],
        )
        for row in rows[part]
    ]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _bytes(shown: str | Mapping[str, str] | None) -> bytes | None:
    if shown is None:
        return None
    return shown.encode() if isinstance(shown, str) else b64decode(shown["base64"])


async def make_topics(kafka: KafkaSettings) -> None:
    """Make the topics that it had, with the configuration that it gave them."""
    admin = create_admin(kafka, "earlier")
    await admin.start()
    topics = [NewTopic(kafka.topics[name], kafka.partitions_of(name), 1, topic_configs=_configs(name)) for name in OLD]
    await admin.create_topics(topics)
    await admin.close()


def _configs(name: Name) -> dict[str, str]:
    keeps = TABLE[name].cleanup == "compact" or name in ("dead_letters", "dead_letter_actions")
    return {
        "cleanup.policy": TABLE[name].cleanup,
        "retention.ms": "-1" if keeps else "34560000000",
        "message.timestamp.type": "CreateTime",
        "max.message.bytes": str(2 * 1024 * 1024),
    }


async def write(kafka: KafkaSettings, records: Iterable[Written]) -> None:
    """Write records in this order, each at its own partition and as long ago as it was."""
    at = int(time.time() * 1000)
    producer = create_producer(kafka, "earlier")
    await producer.start()
    try:
        for topic, partition, key, value, headers, ago in records:
            await producer.send_and_wait(
                kafka.topics[topic], value, key, partition=partition, headers=headers, timestamp_ms=at - ago
            )
    finally:
        await producer.stop()


async def commit(kafka: KafkaSettings) -> None:
    """Have its groups stand where they stood when half of the punches had come."""
    committed = json.loads((FIXTURE / "committed.json").read_text())
    for stage, topic in READ_BY.items():
        consumer = create_consumer(kafka, client_id="earlier", group=kafka.group(stage))
        await consumer.start()
        try:
            partitions = {TopicPartition(kafka.topics[topic], int(each)): at for each, at in committed[stage].items()}
            consumer.assign(list(partitions))
            await consumer.commit({tp: at for tp, at in partitions.items() if at is not None})
        finally:
            await consumer.stop()


def run(work: Any) -> Any:
    """Run it to its end, within four minutes."""
    return asyncio.run(asyncio.wait_for(work, timeout=240))
