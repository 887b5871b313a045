"""The stream as its own process, on real brokers."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attendance.checkin import Checkin
from attendance.dead_letter import DeadLetter
from attendance.event import RawEvent, Source
from attendance.kafka import OutRecord, Producer, snapshot
from attendance.outcomes import Dropped, Waiting
from attendance.settings import KafkaSettings
from attendance.topics import Name
from attendance.user_map import Employee, UserMapping
from streams.app import EXIT_FAULT

pytestmark = pytest.mark.broker

START = datetime(2026, 3, 2, 5, tzinfo=UTC)
DEADLINE = 45

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


# A fault of ours in the middle of a step, which Faust by itself would acknowledge the records of.
FAULTY = """
import sys
from punchstream.cli import main
from streams.step import Step
step = Step.__call__
async def fail(self, partition, records):
    await step(self, partition, records[:1])
    raise RuntimeError("a fault in a step")
Step.__call__ = fail
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


@pytest.fixture
def stream(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Stream]:
    stream = Stream(kafka, tmp_path)
    stream.know(Employee("HR-EMP-1", "Active"), UserMapping("*", "1", "HR-EMP-1", "erpnext"))
    yield stream
    stream.kill_all()


def test_every_punch_reaches_the_topic_of_its_outcome(stream: Stream) -> None:
    kept = [punch(n) for n in range(40)]
    stranger = punch(100, user="stranger")
    second_taps = [replace(p, event_time=p.event_time + timedelta(seconds=9)) for p in kept[:3] if p.event_time]
    stream.punches(*kept, *kept[:10], *second_taps, stranger)
    stream.send("raw", (b"D1", b"poison"))
    stream.start()

    stream.until(lambda: len(stream.checkins()) >= 40 and len(stream.dead_letters()) >= 1)
    stream.until(lambda: len(stream.values("dropped")) >= 13 and len(stream.values("unmapped")) >= 1)

    assert Counter(c.event_id for c in stream.checkins()) == Counter(p.event_id for p in kept)
    dropped = Counter(Dropped.decode(value).reason.value for value in stream.values("dropped"))
    assert dropped == {"duplicate": 10, "repeat": 3}
    assert [Waiting.decode(value).event for value in stream.values("unmapped")] == [stranger]
    assert [letter.value for letter in stream.dead_letters()] == [b"poison"]


def test_one_poison_record_in_a_thousand_leaves_999_checkins_and_one_dead_letter(stream: Stream) -> None:
    good = [punch(n) for n in range(999)]
    records = [(event.key, event.encode()) for event in good]
    stream.send("raw", *records[:500], (b"D1", b"\x00poison"), *records[500:])
    stream.start()

    stream.until(lambda: len(stream.checkins()) >= 999 and len(stream.dead_letters()) >= 1)

    assert Counter(c.event_id for c in stream.checkins()) == Counter(event.event_id for event in good)
    assert [letter.value for letter in stream.dead_letters()] == [b"\x00poison"]


@pytest.mark.parametrize(("topic", "records"), [("checkins.v1", 15), ("dedup-state.v1", 8)])
def test_killed_between_output_and_commit_nothing_is_lost_and_no_punch_is_taken_for_its_own_duplicate(
    stream: Stream, topic: str, records: int
) -> None:
    kept = [punch(n) for n in range(60)]
    stream.punches(*kept)
    killed = stream.start("-c", KILLER, topic, str(records))
    assert killed.wait(DEADLINE) == -signal.SIGKILL
    at_the_kill = len(stream.checkins())
    assert 0 < at_the_kill < 60

    stream.start()
    stream.until(lambda: {c.event_id for c in stream.checkins()} == {p.event_id for p in kept})

    # What was sent twice has the same id and the same content, so the sink can tell.
    assert len(set(stream.checkins())) == 60
    assert stream.values("dropped") == []


def test_a_fault_in_a_step_ends_the_process_and_its_records_come_again(stream: Stream) -> None:
    kept = [punch(n) for n in range(30)]
    stream.punches(*kept)
    assert stream.start("-c", FAULTY).wait(DEADLINE) == EXIT_FAULT

    stream.start()
    stream.until(lambda: {c.event_id for c in stream.checkins()} == {p.event_id for p in kept})

    assert stream.values("dropped") == []


def test_a_stream_that_is_stopped_and_started_again_remembers_what_it_kept(stream: Stream) -> None:
    kept = [punch(n) for n in range(10)]
    stream.punches(*kept)
    first = stream.start()
    stream.until(lambda: len(stream.checkins()) >= 10 and len(stream.values("dedup_state")) >= 5)
    first.terminate()
    assert first.wait(30) == 0

    stream.punches(*kept)
    stream.start()
    stream.until(lambda: len(stream.values("dropped")) >= 10)

    assert len(stream.checkins()) == 10


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_when_one_of_two_workers_ends_the_other_takes_over_and_nothing_is_lost(
    stream: Stream, end: signal.Signals
) -> None:
    events = [punch(n) for n in range(120)]
    first, _ = stream.start(), stream.start()
    stream.until(lambda: stream.log.read_text().count("[^Worker]: Ready") == 2)
    stream.punches(*events[:40])
    stream.until(lambda: len({c.event_id for c in stream.checkins()}) == 40)

    stream.punches(*events[40:80])
    first.send_signal(end)
    stream.punches(*events[80:])
    stream.until(lambda: {c.event_id for c in stream.checkins()} == {event.event_id for event in events})

    assert stream.values("dropped") == []
    # The other worker recovered the memory of the partitions that it took over.
    stream.punches(*events)
    stream.until(lambda: len(stream.values("dropped")) >= 120)
    assert len({c.event_id for c in stream.checkins()}) == 120
