"""The stream as its own process, on real brokers."""

import signal
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from attendance.records.outcomes import Dropped, Waiting
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from stream_process import DEADLINE, KILLER, Stream, punch
from streams.app import EXIT_FAULT

pytestmark = pytest.mark.broker

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


@pytest.mark.parametrize(("topic", "records"), [("checkins.v1", 15), ("dedup-state.v1", 1)])
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


def test_a_stream_that_is_stopped_and_started_again_knows_what_it_kept(stream: Stream) -> None:
    kept = [punch(n) for n in range(10)]
    stream.punches(*kept)
    first = stream.start()
    stream.until(lambda: len(stream.checkins()) >= 10 and len(stream.values("dedup_state")) >= 1)
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
    # The other worker restored the state of the partitions that it took over.
    stream.punches(*events)
    stream.until(lambda: len(stream.values("dropped")) >= 120)
    assert len({c.event_id for c in stream.checkins()}) == 120
