"""The stream as its own process, for tests of its topics on a real broker."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from msgspec.structs import replace

from attendance.kafka.clients import create_consumer
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from attendance.topics import Name

START = datetime(2026, 3, 2, 5, tzinfo=UTC)
DEADLINE = 60

# Ends the process by SIGKILL when the stream has sent its nth record to a topic of the given suffix.
KILLER = """
import os, signal, sys
from attendance.kafka.producer import Producer
from punchstream.cli import main
suffix, left = sys.argv[1], int(sys.argv[2])
send = Producer.send
async def send_then_die(self, *records):
    global left
    offsets = await send(self, *records)
    left -= sum(record.topic.endswith(suffix) for record in records)
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return offsets
Producer.send = send_then_die
sys.argv = ["punchstream", "stream"]
main()
"""

# Has no record of the stream arrive at a topic of the given suffix, and no acknowledgement come, for ever. Says every
# second for how long, by which one knows that the process went on beside it.
HANGER = """
import asyncio, sys
from attendance.kafka.producer import Producer
from punchstream.cli import main
suffix = sys.argv[1]
send = Producer.send
async def send_or_hang(self, *records):
    seconds = 0
    while any(record.topic.endswith(suffix) for record in records):
        print(f"No acknowledgement for {seconds} s.", flush=True)
        await asyncio.sleep(1)
        seconds += 1
    return await send(self, *records)
Producer.send = send_or_hang
sys.argv = ["punchstream", "stream"]
main()
"""

# Raises what no step survives when a record of the stream for a topic of the given suffix is larger than so many bytes.
RAISER = """
import sys
from attendance.kafka.producer import Producer
from punchstream.cli import main
suffix, most = sys.argv[1], int(sys.argv[2])
send = Producer.send
async def send_or_raise(self, *records):
    if any(record.topic.endswith(suffix) and len(record.value or b"") > most for record in records):
        raise RuntimeError("a fault of the test's own")
    return await send(self, *records)
Producer.send = send_or_raise
sys.argv = ["punchstream", "stream"]
main()
"""

# Finds no coordinator for the stream's group, in a way that ends aiokafka's coordination for good.
OUTCAST = """
import sys
from aiokafka.client import AIOKafkaClient
from punchstream.cli import main
look_up = AIOKafkaClient.coordinator_lookup
async def look_up_or_fail(self, type_, name):
    assert not name.endswith(".stream"), "no broker is known yet"
    return await look_up(self, type_, name)
AIOKafkaClient.coordinator_lookup = look_up_or_fail
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


@asynccontextmanager
async def administrator(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


class Stream:
    """The stream's topics, and its processes."""

    def __init__(self, kafka: KafkaSettings, directory: Path, **settings: str) -> None:
        self.kafka = kafka
        self._fleet_file = directory / "devices.yaml"
        self.fleet()
        self.log = directory / "stream.log"
        self.env = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
            "KAFKA_SESSION_TIMEOUT": str(kafka.session_timeout),
            "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
            "KAFKA_PARTITIONS": str(kafka.partitions),
            "PUNCHSTREAM_DEVICES": str(self._fleet_file),
            "STREAM_BATCH": "20",
            **settings,
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def fleet(self, *devices: dict[str, object]) -> None:
        """Write the fleet file, which running processes take up: devices by what they have beside the necessary."""
        entries = [{"site": "s", "timezone": "UTC", "mode": "file"} | device for device in devices]
        self._fleet_file.write_text(json.dumps(entries))

    def start(self, *argv: str, **settings: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            command = [sys.executable, *(argv or ("-m", "punchstream", "stream"))]
            process = subprocess.Popen(command, env=self.env | settings, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def kill_all(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def send(self, topic: Name, *records: tuple[bytes | None, bytes | None]) -> None:
        async def send() -> None:
            producer = Producer(self.kafka, "test")
            await producer.send(*(OutRecord(self.kafka.topics[topic], key, value) for key, value in records))
            await producer.stop()

        asyncio.run(send())

    def know(self, *entries: Employee | UserMapping) -> None:
        self.send("user_map", *((entry.key, entry.encode()) for entry in entries))

    def punches(self, *events: RawEvent) -> None:
        self.send("raw", *((event.key, event.encode()) for event in events))

    def values(self, topic: Name) -> list[bytes]:
        records = asyncio.run(snapshot(self.kafka, self.kafka.topics[topic], "test"))
        return [record.value for record in records]

    def committed(self) -> list[bytes | None]:
        """The values of the raw records that the group's committed offsets have left behind."""

        async def committed() -> list[bytes | None]:
            ends = await self._offsets()
            records = await snapshot(self.kafka, self.kafka.topics["raw"], "test")
            return [record.value for record in records if record.offset < (ends[record.partition] or 0)]

        return asyncio.run(committed())

    def has_begun(self) -> bool:
        """Whether the stream has committed where it begins, in every partition."""
        return None not in asyncio.run(self._offsets()).values()

    async def _offsets(self) -> dict[int, int | None]:
        """By partition what the group has committed."""
        # By a consumer that does not join: the embedded broker does not tell an administrator.
        partitions = [TopicPartition(self.kafka.topics["raw"], number) for number in range(self.kafka.partitions)]
        consumer = create_consumer(self.kafka, client_id="test", group=self.kafka.group("stream"))
        await consumer.start()
        try:
            consumer.assign(partitions)
            return {tp.partition: await consumer.committed(tp) for tp in partitions}
        finally:
            await consumer.stop()

    def says(self, line: str) -> int:
        """How often the processes have logged it."""
        return self.log.read_text().count(line)

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
        newest = {
            record.key: record for record in asyncio.run(snapshot(self.kafka, self.kafka.topics["unmapped"], "test"))
        }
        return [Waiting.decode(record.value) for record in newest.values() if record.value is not None]
