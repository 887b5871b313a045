"""Waiting punches flow by themselves: the stream as its own process, on real brokers."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from attendance.records.raw_event import RawEvent
from attendance.records.user_map import Employee, UserMapping
from attendance.settings import KafkaSettings
from operations.audit import audit
from operations.log import KafkaLog
from stream_process import DEADLINE, KILLER, Stream, punch

pytestmark = pytest.mark.broker

EMPLOYEE = Employee("HR-EMP-1", "Active")
MAPPED = UserMapping("*", "1", "HR-EMP-1", "erpnext")


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
    report = asyncio.run(audit(KafkaLog(stream.kafka, "audit")))
    assert (report.raw, report.undelivered, report.waiting, report.undecided) == (35, 30, 5, 0)
    assert "Released waiting punches." in stream.log.read_text()


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
    killed = stream.start("-c", KILLER, "checkins.v1", "1")
    stream.punches(*events)
    stream.until(lambda: len(stream.waiting()) == 20)
    stream.know(MAPPED)
    assert killed.wait(DEADLINE) == -signal.SIGKILL
    assert len(stream.checkins()) == 20
    assert len(stream.waiting()) == 20

    stream.start()
    stream.until(lambda: stream.waiting() == [])

    # Two of each at least: where the kill forestalled the commit, the raw records are decided again as well.
    copies = Counter(checkin.event_id for checkin in stream.checkins())
    assert set(copies) == set(ids(events))
    assert min(copies.values()) >= 2
    assert len(set(stream.checkins())) == 20


def test_two_workers_share_what_waits_and_one_takes_over_from_the_other(stream: Stream) -> None:
    users = [str(number) for number in range(1, 9)]
    events = {user: [punch(n, user) for n in range(10)] for user in users}
    first, _ = stream.start(), stream.start()
    stream.until(lambda: stream.log.read_text().count("[^Worker]: Ready") == 2)
    stream.punches(*(event for own in events.values() for event in own))
    stream.until(lambda: len(stream.waiting()) == 80)
    # Or the survivor decides the last of them again, now that their users are mapped, and they come before the others.
    stream.until(lambda: len(stream.committed()) == 80)

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
