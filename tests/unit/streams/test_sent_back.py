"""What the sink sent back waits until the user map knows better, and is not sent round in circles."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from msgspec.structs import replace

from attendance.errors import Reason
from attendance.fleet import Device
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.outcomes import SENT_BACK, Waiting
from attendance.records.raw_event import RAW_RECORD, RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.topics import Topics
from attendance.user_map import UserMap
from streams.waiting import Release
from tests.support.fake_records import UnmappedRecord

TOPICS = Topics("t")
HEADERS = ((RAW_RECORD, b"0:17"),)
TIME = datetime(2026, 3, 2, 5, tzinfo=UTC)
E1 = Employee("E1", "Active", created="2026-01-01 09:00:00.1")
MAPPED = UserMapping("*", "1", "E1", "erpnext")
PUNCH = RawEvent("D1", "s", "1", "IN", TIME, None, "UTC", TIME, Source("push", "json"))


@dataclass
class World:
    """The unmapped topic and the check-ins, a stream worker, and a clock."""

    users: UserMap = field(default_factory=UserMap)
    unmapped: list[UnmappedRecord] = field(default_factory=list)
    checkins: list[OutRecord] = field(default_factory=list)
    now: datetime = TIME + timedelta(days=1)
    sends_back_before_the_tombstone: bool = False
    device: Device | None = None
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.release = Release(
            self.users, lambda _: self.device, cast("Producer", self), TOPICS, self.metrics, lambda: self.now
        )
        self.read = 0

    async def send(self, *records: OutRecord) -> dict[tuple[str, int], int]:
        for record in records:
            if record.topic == TOPICS["checkins"]:
                self.checkins.append(record)
                if self.sends_back_before_the_tombstone:
                    self.send_back()
            else:
                self.unmapped.append(UnmappedRecord(record.key, record.value, record.partition or 0, headers=HEADERS))
        return {}

    def send_back(
        self, employee: Employee = E1, event: RawEvent = PUNCH, reason: Reason = Reason.UNKNOWN_EMPLOYEE
    ) -> None:
        """The sink's part: the newest check-in of the topic is not for ERPNext."""
        newest = dict(self.checkins[-1].headers) if self.checkins else {}
        waiting = Waiting(
            event,
            reason,
            employee.name,
            int(newest.get(SENT_BACK, b"0")) + 1,
            self.now,
            employee.created,
            "ERPNext has no employee E1",
            f"0:{len(self.checkins)}",
        )
        key, value, _ = waiting.record()
        self.unmapped.append(UnmappedRecord(key, value, headers=HEADERS))

    def wait(self) -> None:
        """The stream's own waiting record."""
        waiting = Waiting(PUNCH, Reason.UNMAPPED_USER)
        self.unmapped.append(UnmappedRecord(waiting.key, waiting.encode(), headers=HEADERS))

    def know(self, *entries: UserMapping | Employee) -> None:
        for entry in entries:
            self.release.learn(UnmappedRecord(entry.key, entry.encode()))

    def forget(self, *entries: UserMapping | Employee) -> None:
        for entry in entries:
            self.release.learn(UnmappedRecord(entry.key, None))

    def poll(self, **later: float) -> int:
        """Read what is new, some time later, and return how many check-ins that released."""
        before = len(self.checkins)
        self.now += timedelta(**later)
        for record in self.unmapped[self.read :]:
            self.release.take(record)
        self.read = len(self.unmapped)
        asyncio.run(self.release.caught_up())
        return len(self.checkins) - before

    def waiting(self) -> list[bytes | None]:
        newest = {record.key: record.value for record in self.unmapped}
        return [key for key, value in newest.items() if value is not None]

    def gauge(self) -> dict[str, float]:
        lines = [line for line in self.metrics.exposition().decode().splitlines() if "punchstream_waiting{" in line]
        return {line.split('"')[1]: float(line.split()[-1]) for line in lines if not line.endswith(" 0.0")}

    def last_checkin(self) -> Checkin:
        return Checkin.decode(self.checkins[-1].value)


@pytest.fixture
def world() -> World:
    world = World()
    world.know(E1, MAPPED)
    return world


def test_what_was_sent_back_is_not_released_again_to_the_same_employee(world: World) -> None:
    world.send_back()

    assert (world.poll(), world.poll(seconds=30)) == (0, 0)
    assert world.waiting() == [f"{PUNCH.event_id}:0:0".encode()]
    assert world.gauge() == {"unknown_employee": 1}


@pytest.mark.parametrize("restarts", [False, True])
def test_it_flows_at_once_when_the_map_names_another_employee(world: World, *, restarts: bool) -> None:
    world.send_back()
    world.poll()
    if restarts:
        world.restart()
    world.know(Employee("E9", "Active", created=E1.created), UserMapping("*", "1", "E9", "erpnext"))

    assert world.poll() == 1
    assert world.last_checkin().employee == "E9"
    assert dict(world.checkins[-1].headers)[RAW_RECORD] == b"0:17"
    assert SENT_BACK not in dict(world.checkins[-1].headers)
    assert world.waiting() == []


@pytest.mark.parametrize("restarts", [False, True])
def test_it_flows_at_once_when_somebody_else_has_the_number(world: World, *, restarts: bool) -> None:
    world.send_back()
    world.poll()
    world.know(Employee("E1", "Active", created="2026-02-27 11:00:00.2"))
    if restarts:
        world.restart()

    assert world.poll() == 1
    assert world.last_checkin().employee_created == "2026-02-27 11:00:00.2"


@pytest.mark.parametrize("news", [Employee("E1", "Active", branch="new", created=E1.created), MAPPED])
def test_it_flows_at_once_when_the_map_says_something_new_of_its_user_or_employee(
    world: World, news: Employee | UserMapping
) -> None:
    world.send_back()
    world.poll()
    world.forget(news)
    world.poll()
    assert world.gauge() == {"unmapped_user": 1}
    world.know(news)

    assert world.poll() == 1


def test_otherwise_it_is_tried_again_at_growing_intervals_also_across_restarts(world: World) -> None:
    world.send_back()
    for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
        world.poll()
        world.restart()
        assert world.poll(minutes=minutes - 0.1) == 0
        assert world.poll(minutes=0.1) == 1
        world.send_back()

    assert len(world.waiting()) == 1


def test_a_clock_of_the_sink_that_is_ahead_delays_nothing(world: World) -> None:
    world.now += timedelta(days=400)
    world.send_back()
    world.now -= timedelta(days=400)
    world.poll()

    assert world.poll(minutes=1) == 1


def test_the_tombstone_of_the_record_before_cannot_remove_what_the_sink_sent_back_meanwhile(world: World) -> None:
    world.wait()
    world.sends_back_before_the_tombstone = True

    assert world.poll() == 1

    assert [record.value is None for record in world.unmapped] == [False, False, True]
    assert world.waiting() == [f"{PUNCH.event_id}:0:1".encode()]
    assert (world.poll(), world.gauge()) == (0, {"unknown_employee": 1})
    world.know(Employee("E2", "Active"), UserMapping("*", "1", "E2", "erpnext"))
    world.sends_back_before_the_tombstone = False
    assert (world.poll(), world.waiting()) == (1, [])


def test_of_several_records_of_one_punch_the_newest_counts_and_the_others_go(world: World) -> None:
    """The stream decided its raw record again, and what it wrote before was not removed yet."""
    world.forget(MAPPED)
    world.wait()
    world.send_back()
    world.poll()

    assert world.waiting() == [f"{PUNCH.event_id}:0:0".encode()]
    assert world.gauge() == {"unmapped_user": 1}
    world.know(Employee("E2", "Active"), UserMapping("*", "1", "E2", "erpnext"))
    assert (world.poll(), world.waiting(), world.gauge()) == (1, [], {})


def test_what_a_sink_sends_back_a_second_time_after_it_was_killed_does_not_remove_what_came_back_since(
    world: World,
) -> None:
    world.send_back()
    first = world.unmapped[-1]
    world.poll(minutes=1)
    world.send_back()
    newest = world.unmapped[-1].key
    world.poll()

    world.unmapped.append(first)
    world.poll()
    assert world.waiting() == [newest]
    assert world.poll(minutes=2) == 1


def test_of_many_that_wait_for_one_cause_one_is_tried_and_the_others_follow_when_it_does_not_come_back(
    world: World,
) -> None:
    events = [replace(PUNCH, event_time=TIME + timedelta(minutes=minute)) for minute in range(50)]
    for event in events:
        world.send_back(event=event)
    world.poll()

    tried = world.poll(minutes=1)
    assert tried == 1
    world.send_back(event=next(e for e in events if e.event_id == world.last_checkin().event_id))
    assert (world.poll(), world.poll(seconds=59)) == (0, 0)
    # The second trial goes well.
    assert (world.poll(minutes=2), world.poll(minutes=1), world.poll(minutes=1)) == (1, 0, 49)
    assert world.waiting() == []
    assert len({checkin.key for checkin in world.checkins}) == 1


def test_thousands_that_wait_for_one_cause_for_a_day_cost_no_more_than_one(world: World) -> None:
    events = {
        each.event_id: each
        for each in (replace(PUNCH, event_time=TIME + timedelta(minutes=minute)) for minute in range(1000))
    }
    for event in events.values():
        world.send_back(event=event)
    for _ in range(24 * 60):
        for record in world.checkins[len(world.checkins) - world.poll(minutes=1) :]:
            world.send_back(event=events[Checkin.decode(record.value).event_id])

    assert len(world.waiting()) == 1000
    assert len(world.checkins) <= 6 + 24


def test_a_map_and_a_target_that_disagree_for_ever_cost_a_bounded_number_of_records(world: World) -> None:
    world.send_back()
    for _ in range(24 * 60):
        if world.poll(minutes=1):
            world.send_back()

    assert len(world.checkins) <= 6 + 24
    assert len(world.unmapped) <= 2 * (7 + 24)


GATE = Device(device_id="D1", site="s", timezone="UTC", serial="S1")
PLACED = GATE.model_copy(update={"latitude": 24.7, "longitude": 46.7})


def test_what_was_refused_for_want_of_coordinates_goes_with_those_that_the_fleet_has_by_then(world: World) -> None:
    world.device = GATE
    world.send_back(reason=Reason.COORDINATES_REFUSED)
    assert (world.poll(), world.gauge()) == (0, {"coordinates_refused": 1})

    world.device = PLACED
    assert world.poll(minutes=1) == 1
    assert (world.last_checkin().latitude, world.last_checkin().longitude) == (24.7, 46.7)


@pytest.mark.parametrize(("device", "tried"), [(GATE, 1), (PLACED, 2)])
def test_of_a_device_without_coordinates_one_punch_is_tried_and_of_one_too_far_one_for_each_employee(
    world: World, device: Device, tried: int
) -> None:
    another = Employee("E2", "Active", created="2026-01-01 09:00:00.2")
    world.know(another, UserMapping("*", "2", "E2", "erpnext"))
    world.device = device
    world.send_back(reason=Reason.COORDINATES_REFUSED)
    world.send_back(another, replace(PUNCH, device_user_id="2"), reason=Reason.COORDINATES_REFUSED)
    world.poll()
    assert world.poll(minutes=1) == tried
