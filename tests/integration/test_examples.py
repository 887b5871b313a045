"""What `examples/` shows, as processes of their own on a real broker."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from example_records import EVENT
from msgspec.structs import replace

from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.records.raw_event import RawEvent
from attendance.settings import KafkaSettings
from sandbox.broker import Broker

pytestmark = [pytest.mark.broker]

ROOT = Path(__file__).parents[2]
LATER = replace(EVENT, event_time=EVENT.event_time + timedelta(hours=8), event_type="OUT")  # type: ignore[operator]
RIGHT = replace(LATER, event_time=LATER.event_time + timedelta(hours=1), supersedes=LATER.event_id)  # type: ignore[operator]


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    return embedded_broker


async def send(kafka: KafkaSettings, *records: tuple[bytes, bytes, list[tuple[str, bytes]]]) -> None:
    producer = Producer(kafka, "test")
    try:
        await producer.send(*(OutRecord(kafka.topics["raw"], *record) for record in records))
    finally:
        await producer.stop()


def consumed(kafka: KafkaSettings, group: str, database: Path) -> tuple[dict[str, str], str]:
    """What the example has in its table after it has read the topic to its end, and what it said."""
    script, topic = str(ROOT / "examples" / "consume.py"), kafka.topics["raw"]
    options = ["--bootstrap", kafka.bootstrap_servers, "--topic", topic, "--group", f"{group}.{topic}"]
    command = [sys.executable, script, *options, "--database", str(database), "--until-end"]
    # As whoever has installed the wheel.
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True, timeout=60
    )
    with sqlite3.connect(database) as connection:
        rows = dict(connection.execute("SELECT event_id, event_time FROM punches"))
    connection.close()
    return rows, done.stderr


def times(*events: RawEvent) -> dict[str, str | None]:
    return {each.event_id: each.event_time and each.event_time.isoformat() for each in events}


def test_the_example_counts_each_punch_once_and_a_correction_instead_of_what_was_wrong(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    database = tmp_path / "punches.sqlite"
    again = replace(EVENT, sequence=None)
    foreign = (EVENT.key, b"no event", [])

    asyncio.run(send(kafka, EVENT.record(), again.record(), foreign, LATER.record()))
    rows, said = consumed(kafka, "analytics.one", database)
    assert rows == times(EVENT, LATER)
    assert "is skipped: not a raw event" in said

    key, value, headers = LATER.record()
    asyncio.run(send(kafka, RIGHT.record(), (key, value, [*headers, ("x-replay-of", b"0:3")])))
    # From the beginning once more, into the same table.
    rows, _ = consumed(kafka, "analytics.another", database)
    assert rows == times(EVENT, RIGHT)
