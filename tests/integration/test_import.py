"""`punchstream import` as its own process, on a broker: a file twice, and a watched folder."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from attendance.kafka.admin import create_topics
from attendance.kafka.readers import snapshot
from attendance.records.dead_letter import DeadLetter
from attendance.records.raw_event import RawEvent
from attendance.settings import KafkaSettings
from sandbox.broker import Broker

pytestmark = pytest.mark.broker

DEADLINE = 30
REGISTRY = "- {device_id: USB-1, site: HQ, timezone: Asia/Riyadh, mode: file, adapter: attlog}\n"
LINES = "1\t2026-03-04 08:00:00\t1\t0\t1\t0\ngarbage\n2\t2026-03-04 08:01:00\t1\t1\t1\t0\n"


def test_a_file_is_in_kafka_when_the_command_ends_and_a_watched_folder_is_emptied(
    embedded_broker: Broker, tmp_path: Path
) -> None:
    kafka = KafkaSettings.load(
        bootstrap_servers=embedded_broker.bootstrap_servers,
        enable_idempotence=embedded_broker.supports_idempotence,
        topic_prefix=f"test-{uuid4().hex[:8]}",
        partitions=1,
    )
    asyncio.run(create_topics(kafka))
    (tmp_path / "devices.yaml").write_text(REGISTRY)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "2.dat").write_text(LINES)
    (folder / "2.dat.done").touch()
    (tmp_path / "1.dat").write_text(LINES)
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_PARTITIONS": str(kafka.partitions),
        "PUNCHSTREAM_DEVICES": str(tmp_path / "devices.yaml"),
    }
    command = (sys.executable, "-m", "punchstream", "import", "--device", "USB-1")
    watching = subprocess.Popen((*command, "--watch", str(folder)), env=environment, cwd=tmp_path)
    try:
        once = subprocess.run(  # noqa: PLW1510 - the status is looked at below
            (*command, "1.dat"), env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE
        )
        deadline = time.monotonic() + DEADLINE
        while not (folder / "done" / "2.dat").exists():
            assert time.monotonic() < deadline
            assert watching.poll() is None
            time.sleep(0.05)
    finally:
        watching.send_signal(signal.SIGTERM)
        assert watching.wait(DEADLINE) == 0
    assert once.returncode == 1, once.stderr
    assert "1.dat: 3 rows, 2 punches, 1 rejected" in once.stdout
    records = asyncio.run(snapshot(kafka, kafka.topics["raw"], "test-import"))
    events = [RawEvent.decode(record.value) for record in records if record.value is not None]
    assert len(events) == 4
    assert len({event.event_id for event in events}) == 2
    letters = [
        DeadLetter.decode(record.key, record.value, record.headers)
        for record in asyncio.run(snapshot(kafka, kafka.topics["dead_letters"], "test-import"))
    ]
    assert sorted(letter.where or "" for letter in letters) == ["file:1.dat:2", "file:2.dat:2"]
