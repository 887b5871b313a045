"""The stream as its own process, for tests of its topics on a real broker."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attendance.checkin import Checkin
from attendance.dead_letter import DeadLetter
from attendance.event import RawEvent, Source
from attendance.kafka import OutRecord, Producer, snapshot
from attendance.outcomes import Waiting
from attendance.settings import KafkaSettings
from attendance.topics import Name
from attendance.user_map import Employee, UserMapping
from punchstream.users import waiting_now

START = datetime(2026, 3, 2, 5, tzinfo=UTC)
DEADLINE = 60

# Ends the process by SIGKILL when the stream has sent its nth record to a topic of the given suffix.
KILLER = """
import os, signal, sys
from attendance import kafka
from punchstream.cli import main
suffix, left = sys.argv[1], int(sys.argv[2])
send = kafka.Producer.send
async def send_then_die(self, *records):
    global left
    await send(self, *records)
    left -= sum(record.topic.endswith(suffix) for record in records)
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
kafka.Producer.send = send_then_die
sys.argv = ["punchstream", "stream"]
main()
"""


def punch(n: int, user: str = "1", **changes: object) -> RawEvent:
    event = RawEvent(
        device_id=f"D{n % 5}",
        site="s",
        device_user_id=user,
        event_type="IN",
        event_time=START + timedelta(minutes=2 * n),
        device_time=None,
        device_timezone="UTC",
        received_at=START + timedelta(days=7),
        source=Source("push", "json"),
    )
    return replace(event, **changes)  # type: ignore[arg-type]


class Stream:
    """The stream's topics, and its processes."""

    def __init__(self, kafka: KafkaSettings, directory: Path) -> None:
        self.kafka = kafka
        registry = directory / "devices.yaml"
        registry.write_text("[]")
        self.log = directory / "stream.log"
        self._env = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
            "KAFKA_SESSION_TIMEOUT": str(kafka.session_timeout),
            "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
            "KAFKA_PARTITIONS": str(kafka.partitions),
            "PUNCHSTREAM_DEVICES": str(registry),
            "STREAM_BATCH": "20",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            command = [sys.executable, *(argv or ("-m", "punchstream", "stream"))]
            process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def kill_all(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def send(self, topic: Name, *records: tuple[bytes, bytes], partition_key: bytes | None = None) -> None:
        async def send() -> None:
            producer = Producer(self.kafka, "test")
            name = self.kafka.topics[topic]
            await producer.send(*(OutRecord(name, key, value, partition_key=partition_key) for key, value in records))
            await producer.stop()

        asyncio.run(send())

    def know(self, *entries: Employee | UserMapping) -> None:
        self.send("user_map", *((entry.key, entry.encode()) for entry in entries))

    def punches(self, *events: RawEvent) -> None:
        self.send("raw", *((event.key, event.encode()) for event in events))

    def values(self, topic: Name) -> list[bytes]:
        records = asyncio.run(snapshot(self.kafka, self.kafka.topics[topic], "test"))
        return [record.value for record in records]

    def checkins(self) -> list[Checkin]:
        return [Checkin.decode(value) for value in self.values("checkins")]

    def dead_letters(self) -> list[DeadLetter]:
        records = asyncio.run(snapshot(self.kafka, self.kafka.topics["dead_letters"], "test"))
        return [DeadLetter.decode(record.key, record.value, record.headers) for record in records]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-5000:]
            time.sleep(0.3)

    def waiting(self) -> list[Waiting]:
        return waiting_now(asyncio.run(snapshot(self.kafka, self.kafka.topics["unmapped"], "test")))
