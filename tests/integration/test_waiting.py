"""Waiting punches flow by themselves: the stream as its own process, on real brokers."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attendance.checkin import Checkin
from attendance.event import RawEvent, Source
from attendance.kafka import OutRecord, Producer, snapshot
from attendance.outcomes import Waiting
from attendance.settings import KafkaSettings
from attendance.topics import Name
from attendance.user_map import Employee, UserMapping
from punchstream.audit import audit
from punchstream.users import waiting_now

pytestmark = pytest.mark.broker

START = datetime(2026, 3, 2, 5, tzinfo=UTC)
DEADLINE = 60
EMPLOYEE = Employee("HR-EMP-1", "Active")
MAPPED = UserMapping("*", "1", "HR-EMP-1", "erpnext")

# Ends the process by SIGKILL when the stream has had its nth record acknowledged on the check-ins topic.
KILLER = """
import os, signal, sys
from attendance import kafka
from punchstream.cli import main
left = int(sys.argv[1])
send = kafka.Producer.send
async def send_then_die(self, *records):
    global left
    await send(self, *records)
    left -= sum(record.topic.endswith("checkins.v1") for record in records)
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
kafka.Producer.send = send_then_die
sys.argv = ["punchstream", "stream"]
main()
"""


def punch(n: int, user: str = "1") -> RawEvent:
    return RawEvent(
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

    def send(self, topic: Name, *records: tuple[bytes, bytes]) -> None:
        async def send() -> None:
            producer = Producer(self.kafka, "test")
            await producer.send(*(OutRecord(self.kafka.topics[topic], key, value) for key, value in records))
            await producer.stop()

        asyncio.run(send())

    def know(self, *entries: Employee | UserMapping) -> None:
        self.send("user_map", *((entry.key, entry.encode()) for entry in entries))

    def punches(self, *events: RawEvent) -> None:
        self.send("raw", *((event.key, event.encode()) for event in events))

    def checkins(self) -> list[Checkin]:
        records = asyncio.run(snapshot(self.kafka, self.kafka.topics["checkins"], "test"))
        return [Checkin.decode(record.value) for record in records]

    def waiting(self) -> list[Waiting]:
        return waiting_now(asyncio.run(snapshot(self.kafka, self.kafka.topics["unmapped"], "test")))

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-5000:]
            time.sleep(0.3)


@pytest.fixture
def stream(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Stream]:
    stream = Stream(kafka, tmp_path)
    stream.know(EMPLOYEE)
    yield stream
    stream.kill_all()


def ids(events: list[RawEvent]) -> list[str]:
    return [event.event_id for event in events]


def test_when_their_user_is_mapped_the_waiting_punches_flow_once_in_time_order(stream: Stream) -> None:
    events, strangers = [punch(n) for n in range(30)], [punch(n, user="stranger") for n in range(5)]
    stream.start()
    # Each device sends its own in order, but one device after the other.
    stream.punches(*sorted(events, key=lambda event: event.device_id), *strangers)
    stream.until(lambda: len(stream.waiting()) == 35)
    assert stream.checkins() == []

    stream.know(MAPPED)
    stream.until(lambda: len(stream.waiting()) == 5)

    assert [checkin.event_id for checkin in stream.checkins()] == ids(events)
    assert Counter(waiting.event.event_id for waiting in stream.waiting()) == Counter(ids(strangers))
    report = asyncio.run(audit(stream.kafka))
    assert (report.raw, report.undelivered, report.waiting, report.undecided) == (35, 30, 5, 0)
    assert "Waiting punches are released." in stream.log.read_text()


def test_punches_that_waited_before_the_stream_was_started_flow_as_well(stream: Stream) -> None:
    events = [punch(n) for n in range(20)]
    first = stream.start()
    stream.punches(*events)
    stream.until(lambda: len(stream.waiting()) == 20)
    first.terminate()
    assert first.wait(30) == 0

    stream.know(MAPPED)
    stream.start()
    stream.until(lambda: stream.waiting() == [])

    assert [checkin.event_id for checkin in stream.checkins()] == ids(events)


def test_punches_flow_when_their_employee_becomes_active_again(stream: Stream) -> None:
    stream.know(Employee("HR-EMP-1", "Suspended"), MAPPED)
    events = [punch(n) for n in range(3)]
    stream.start()
    stream.punches(*events)
    stream.until(lambda: len(stream.waiting()) == 3)

    stream.know(EMPLOYEE)
    stream.until(lambda: stream.waiting() == [])

    assert [checkin.event_id for checkin in stream.checkins()] == ids(events)


def test_killed_between_checkins_and_tombstones_nothing_is_lost_and_the_second_copy_is_the_same(
    stream: Stream,
) -> None:
    events = [punch(n) for n in range(20)]
    killed = stream.start("-c", KILLER, "1")
    stream.punches(*events)
    stream.until(lambda: len(stream.waiting()) == 20)
    stream.know(MAPPED)
    assert killed.wait(DEADLINE) == -signal.SIGKILL
    assert len(stream.checkins()) == 20
    assert len(stream.waiting()) == 20

    stream.start()
    stream.until(lambda: stream.waiting() == [])

    assert [checkin.event_id for checkin in stream.checkins()] == ids(events) * 2
    assert len(set(stream.checkins())) == 20


def test_two_workers_share_what_waits_and_one_takes_over_from_the_other(stream: Stream) -> None:
    users = [str(number) for number in range(1, 9)]
    events = {user: [punch(n, user) for n in range(10)] for user in users}
    first, _ = stream.start(), stream.start()
    stream.until(lambda: stream.log.read_text().count("[^Worker]: Ready") == 2)
    stream.punches(*(event for own in events.values() for event in own))
    stream.until(lambda: len(stream.waiting()) == 80)

    def mapped(user: str) -> UserMapping:
        return UserMapping("*", user, f"HR-EMP-{user}", "erpnext")

    stream.know(*(Employee(f"HR-EMP-{user}", "Active") for user in users), *map(mapped, users[:4]))
    stream.until(lambda: len(stream.waiting()) == 40)
    first.kill()
    stream.know(*map(mapped, users[4:]))
    stream.until(lambda: stream.waiting() == [])

    released = stream.checkins()
    for user in users:
        own = [checkin.event_id for checkin in released if checkin.employee == f"HR-EMP-{user}"]
        # A rebalance may have had some released twice; each first time is in order.
        assert list(dict.fromkeys(own)) == ids(events[user])
