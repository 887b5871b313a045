"""What waits is released once the user map lets it: every punch, in order, check-in before tombstone."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import cast

import pytest
import structlog
from fake_guard import standing
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from msgspec import structs
from msgspec.structs import replace

from attendance.errors import KafkaUnavailable, Reason
from attendance.kafka import producer as kafka_module
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.discard import DiscardedWaiting
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.topics import Topics
from attendance.user_map import UserMap
from streams import waiting as waiting_module
from streams.mapping import assign
from streams.waiting import REASONS, Release
from tests.support.fake_records import UnmappedRecord

TOPICS = Topics("t")
TIME = datetime(2026, 3, 2, 5, tzinfo=UTC)
MAPPED = UserMapping("*", "1", "E1", "erpnext")
ACTIVE = Employee("E1", "Active")


def punch(minute: int = 0, user: str = "1", device: str = "D1") -> RawEvent:
    return RawEvent(
        device_id=device,
        site="s",
        device_user_id=user,
        event_type="IN",
        event_time=TIME + timedelta(minutes=minute),
        device_time=None,
        device_timezone="UTC",
        received_at=TIME,
        source=Source("push", "json"),
    )


class Crash(Exception):
    """The process was killed."""


@dataclass
class World:
    """Kafka, and a stream worker that is fed from it."""

    users: UserMap = field(default_factory=UserMap)
    metrics: Metrics = field(default_factory=Metrics)
    unmapped: list[UnmappedRecord] = field(default_factory=list)
    checkins: list[Checkin] = field(default_factory=list)
    sent: list[list[OutRecord]] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    # Called after each acknowledgement: what happens meanwhile.
    meanwhile: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process: it knows the user map, and has read nothing of what waits."""
        self.release = Release(self.users, self.look_up, cast("Producer", self), TOPICS, self.metrics)
        self.read = 0

    def rebalance(self) -> None:
        self.release.lost()
        self.read = 0

    def look_up(self, device_id: str) -> None:
        self.looked_at.append(device_id)

    async def send(self, *records: OutRecord) -> dict[tuple[str, int], int]:
        """The producer's part."""
        for record in records:
            if record.topic == TOPICS["checkins"]:
                self.checkins.append(Checkin.decode(record.value))
            else:
                assert record.topic == TOPICS["unmapped"]
                assert record.partition is not None
                self.unmapped.append(UnmappedRecord(record.key, record.value, record.partition))
        self.sent.append(list(records))
        if self.meanwhile:
            self.meanwhile()
        return {}

    def wait(self, *events: RawEvent, reason: Reason = Reason.UNMAPPED_USER, partition: int = 0) -> None:
        records = [Waiting(event, reason) for event in events]
        self.unmapped += [UnmappedRecord(record.key, record.encode(), partition) for record in records]

    def know(self, *entries: UserMapping | Employee) -> None:
        for entry in entries:
            self.release.learn(UnmappedRecord(entry.key, entry.encode()))

    def forget(self, entry: UserMapping | Employee) -> None:
        self.release.learn(UnmappedRecord(entry.key, None))

    def poll(self) -> None:
        """What the consumer does: give what is new, and then say so."""
        while self.read < len(self.unmapped):
            self.release.take(self.unmapped[self.read])
            self.read += 1
        asyncio.run(self.release.caught_up())

    def waiting(self) -> dict[bytes, RawEvent]:
        newest = {record.key or b"": record.value for record in self.unmapped}
        return {key: Waiting.decode(value).event for key, value in newest.items() if value is not None}

    def gauge(self, reason: Reason) -> float:
        line = f'punchstream_waiting{{reason="{reason}"}} '
        return float(self.metrics.exposition().decode().split(line)[1].split()[0])

    def released(self) -> list[str]:
        return [checkin.event_id for checkin in self.checkins]


@pytest.fixture
def world() -> World:
    return World()


def ids(*events: RawEvent) -> list[str]:
    return [event.event_id for event in events]


def test_when_a_mapping_arrives_the_punches_of_that_user_become_checkins_in_time_order(world: World) -> None:
    late, early, middle, strangers = punch(9), punch(1, device="D2"), punch(5), punch(3, user="stranger")
    world.wait(late, early, strangers, middle)
    world.poll()
    assert world.checkins == []

    world.know(ACTIVE, MAPPED)
    world.poll()

    assert world.released() == ids(early, middle, late)
    assert list(world.waiting().values()) == [strangers]


def test_each_punch_flows_once(world: World) -> None:
    world.know(ACTIVE, MAPPED)
    world.wait(punch(1), punch(2))
    for _ in range(3):
        world.poll()
    world.know(replace(MAPPED, scope="site:s"))
    world.poll()

    assert world.released() == ids(punch(1), punch(2))


def test_checkins_are_acknowledged_before_the_tombstones_are_sent_where_the_records_are(world: World) -> None:
    world.know(ACTIVE, MAPPED)
    world.wait(punch(1), partition=3)
    world.poll()

    shape = [[(r.topic, r.key, r.partition) for r in records] for records in world.sent]
    assert shape == [[(TOPICS["checkins"], b"E1", None)], [(TOPICS["unmapped"], punch(1).event_id.encode(), 3)]]


def test_a_check_in_names_the_raw_record_that_waited_unless_an_older_version_let_it_wait_without(world: World) -> None:
    world.know(ACTIVE, MAPPED)
    world.wait(punch(1), punch(5))
    world.unmapped[0].headers = [("x-raw-record", b"3:7")]
    world.poll()

    assert [dict(record.headers).get("x-raw-record") for record in world.sent[0]] == [b"3:7", None]


def test_many_flow_in_batches_and_an_employees_stay_in_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_module, "BATCH", 3)
    events = [punch(n, user=user) for n in range(5) for user in ("2", "1")]
    world.know(ACTIVE, MAPPED, Employee("E2", "Active"), UserMapping("*", "2", "E2", "csv"))
    world.wait(*reversed(events))
    with structlog.testing.capture_logs() as logs:
        world.poll()

    assert [len(records) for records in world.sent] == [3, 3, 3, 3, 3, 3, 1, 1]
    for employee, user in (("E1", "1"), ("E2", "2")):
        own = [checkin.event_id for checkin in world.checkins if checkin.employee == employee]
        assert own == ids(*(punch(n, user=user) for n in range(5)))
    assert [(line["punches"], line["employees"]) for line in logs][:3] == [
        (3, "E1"),
        (3, "E2"),
        (3, "E1, E2"),
    ]


def test_the_many_punches_of_one_employee_do_not_hold_up_those_of_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "BATCH", 3)
    world.know(ACTIVE, MAPPED, Employee("E2", "Active"), UserMapping("*", "2", "E2", "csv"))
    world.wait(*(punch(n, user="1") for n in range(30)), punch(59, user="2"))
    world.poll()

    assert [checkin.employee for checkin in world.checkins].index("E2") == 3


def test_one_call_releases_a_bounded_number_and_the_next_one_goes_on_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "BATCH", 3)
    monkeypatch.setattr(waiting_module, "BATCHES", 2)
    world.know(ACTIVE, MAPPED)
    world.wait(*(punch(n) for n in reversed(range(1, 10))))
    world.poll()
    assert len(world.checkins) == 6
    world.wait(punch(0))
    world.poll()

    assert world.released() == ids(*(punch(n) for n in (1, 2, 3, 4, 5, 6, 0, 7, 8, 9)))
    assert world.waiting() == {}


def test_what_the_map_says_during_a_release_is_for_the_next_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_module, "BATCH", 1)
    second = replace(MAPPED, device_user_id="2")
    world.know(ACTIVE, MAPPED)
    world.wait(punch(5), punch(6), punch(1, user="2"))
    news = [UserMapping("*", "1", "E1", "csv"), second]

    def say_something_new() -> None:
        if news:
            world.know(news.pop())

    world.meanwhile = say_something_new
    world.poll()
    assert world.released() == ids(punch(5))
    world.poll()
    assert world.released() == ids(punch(5), punch(1, user="2"), punch(6))


def test_of_an_unknown_user_nothing_is_looked_at_again(world: World) -> None:
    world.wait(*(punch(user=f"made-up-{n}", device="flooded") for n in range(50)))
    world.poll()
    world.looked_at.clear()
    world.wait(punch(user="1", device="other"))
    world.know(ACTIVE, MAPPED)
    world.poll()

    assert (world.released(), set(world.looked_at)) == (ids(punch(user="1", device="other")), {"other"})


def test_two_users_of_one_employee_are_released_in_one_order(world: World) -> None:
    world.know(ACTIVE)
    world.wait(punch(1, user="1"), punch(3, user="1"), punch(2, user="2"), punch(4, user="2"))
    world.know(MAPPED, replace(MAPPED, device_user_id="2"))
    world.poll()

    assert [checkin.event_time for checkin in world.checkins] == sorted(c.event_time for c in world.checkins)


def test_a_record_that_arrives_after_its_mapping_flows_at_once(world: World) -> None:
    """The agent decided it with the map as it was; the mapping was there before the record was read."""
    world.poll()
    world.know(ACTIVE, MAPPED)
    world.poll()
    world.wait(punch())
    world.poll()

    assert world.released() == ids(punch())


def test_killed_between_checkins_and_tombstones_the_same_checkins_are_sent_again(world: World) -> None:
    def crash() -> None:
        raise Crash

    world.know(ACTIVE, MAPPED)
    world.wait(punch(1), punch(2))
    world.meanwhile = crash
    with pytest.raises(Crash):
        world.poll()
    assert (len(world.checkins), len(world.waiting())) == (2, 2)

    world.meanwhile = None
    world.restart()
    world.poll()

    assert world.released() == ids(punch(1), punch(2)) * 2
    assert len(set(world.checkins)) == 2
    assert world.waiting() == {}


def test_while_kafka_is_away_nothing_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [KafkaUnavailable("away")] * 3
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    def fail() -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(kafka_module.asyncio, "sleep", wait)
    world.know(ACTIVE, MAPPED)
    world.wait(punch())
    world.meanwhile = fail
    world.poll()

    # Each of the three may have arrived although it was not acknowledged.
    assert (len(waits), set(world.released()), world.waiting()) == (3, set(ids(punch())), {})


def test_a_punch_that_was_released_is_not_released_again_after_a_rebalance(world: World) -> None:
    world.know(ACTIVE, MAPPED)
    world.wait(punch(1))
    world.poll()
    world.rebalance()
    world.poll()

    assert world.released() == ids(punch(1))


def test_partitions_that_are_lost_while_they_are_released_leave_nothing_behind(world: World) -> None:
    world.know(ACTIVE, MAPPED)
    world.wait(punch(1), punch(2, user="stranger"))
    world.meanwhile = world.release.lost
    world.poll()

    assert world.gauge(Reason.UNMAPPED_USER) == 0
    world.meanwhile = None
    world.know(replace(MAPPED, device_user_id="stranger"))
    world.poll()
    assert world.released() == ids(punch(1))


def test_a_punch_that_waits_again_after_its_release_is_released_again(world: World) -> None:
    """A raw record that was redelivered, decided with the map of a worker that is behind."""
    world.know(ACTIVE, MAPPED)
    world.wait(punch())
    world.poll()
    world.wait(punch())
    world.poll()

    assert (world.released(), world.waiting()) == (ids(punch()) * 2, {})


@pytest.mark.parametrize("status", ["Suspended", "Inactive", "Left"])
def test_punches_flow_when_their_employee_becomes_active(world: World, status: str) -> None:
    world.know(Employee("E1", status), MAPPED)
    world.wait(punch(), reason=Reason.EMPLOYEE_INACTIVE)
    world.poll()
    assert world.checkins == []

    world.know(ACTIVE)
    world.poll()

    assert world.released() == ids(punch())


def test_punches_before_the_relieving_date_flow_when_that_date_is_known(world: World) -> None:
    before, after = punch(0), punch(3 * 24 * 60)
    world.know(Employee("E1", "Left"), MAPPED)
    world.wait(before, after, reason=Reason.EMPLOYEE_INACTIVE)
    world.poll()
    assert world.checkins == []

    world.know(Employee("E1", "Left", date(2026, 3, 4)))
    world.poll()

    assert world.released() == ids(before)
    assert list(world.waiting().values()) == [after]


def test_an_employee_whom_the_directory_learns_of_after_the_mapping_has_the_punches_flow(world: World) -> None:
    world.know(MAPPED)
    world.wait(punch())
    world.poll()
    world.know(ACTIVE)
    world.poll()

    assert world.released() == ids(punch())


def test_a_mapping_that_is_removed_before_the_release_lets_nothing_flow(world: World) -> None:
    world.know(ACTIVE)
    world.wait(punch())
    world.poll()
    world.know(MAPPED)
    world.forget(MAPPED)
    world.poll()

    assert (world.checkins, len(world.waiting())) == ([], 1)


def test_a_mapping_of_the_device_comes_before_one_of_the_site(world: World) -> None:
    here, there = punch(1, device="D1"), punch(2, device="D2")
    world.wait(here, there)
    world.poll()
    world.know(ACTIVE, Employee("E2", "Active"))
    world.know(UserMapping("site:s", "1", "E1", "csv"), UserMapping("device:D2", "1", "E2", "csv"))
    world.poll()

    assert [(c.event_id, c.employee) for c in world.checkins] == [(here.event_id, "E1"), (there.event_id, "E2")]


def test_a_removed_mapping_uncovers_a_wider_one(world: World) -> None:
    narrow = UserMapping("device:D1", "1", "GONE", "csv")
    world.know(ACTIVE, MAPPED, narrow)
    world.wait(punch())
    world.poll()
    assert world.checkins == []

    world.forget(narrow)
    world.poll()

    assert [checkin.employee for checkin in world.checkins] == ["E1"]


def test_only_the_punches_that_a_change_may_concern_are_looked_at(world: World) -> None:
    world.wait(*(punch(user=user, device=f"door-of-{user}") for user in ("1", "2", "3")))
    world.poll()
    assert len(world.looked_at) == 3

    def looked_at_after(*entries: UserMapping | Employee) -> list[str]:
        world.looked_at.clear()
        world.know(*entries)
        world.poll()
        return sorted(set(world.looked_at))

    assert looked_at_after() == []
    assert looked_at_after(Employee("E1", "Suspended")) == []
    assert looked_at_after(MAPPED) == ["door-of-1"]
    assert looked_at_after(MAPPED) == []
    assert looked_at_after(Employee("E1", "Suspended")) == []
    assert looked_at_after(Employee("E2", "Active"), replace(MAPPED, device_user_id="9")) == []
    assert looked_at_after(ACTIVE) == ["door-of-1"]
    assert looked_at_after(replace(MAPPED, device_user_id="2")) == ["door-of-2"]


def test_a_waiting_record_that_cannot_be_read_is_left_and_holds_up_nothing(world: World) -> None:
    world.know(ACTIVE, MAPPED)
    world.unmapped.append(UnmappedRecord(b"x", b"{"))
    world.wait(punch())
    with structlog.testing.capture_logs() as logs:
        world.poll()

    assert world.released() == ids(punch())
    assert [entry["key"] for entry in logs if entry["log_level"] == "error"] == [b"x"]


def test_what_was_discarded_does_not_flow_until_it_waits_anew(world: World) -> None:
    world.wait(punch(1), punch(2))
    world.poll()
    said = DiscardedWaiting("d", tuple(ids(punch(1))), "D1", TIME, "fatima", "made up")
    world.unmapped += [UnmappedRecord(said.key, said.encode()), UnmappedRecord(punch(1).event_id.encode(), None)]
    with structlog.testing.capture_logs() as logs:
        world.poll()
    assert (logs, world.gauge(Reason.UNMAPPED_USER)) == ([], 1)
    world.know(ACTIVE, MAPPED)
    world.poll()
    assert world.released() == ids(punch(2))

    world.wait(punch(1))
    world.poll()
    assert world.released() == ids(punch(2), punch(1))


def test_a_fault_of_our_own_in_one_punch_leaves_it_waiting_and_holds_up_nothing(world: World) -> None:
    nowhere = structs.replace(punch(1, user="2"), device_timezone="Mars/Olympus")
    world.know(ACTIVE, MAPPED, Employee("E2", "Left", date(2026, 3, 4)), UserMapping("*", "2", "E2", "csv"))
    world.wait(nowhere, punch(2))
    world.poll()

    assert world.released() == ids(punch(2))
    assert list(world.waiting().values()) == [nowhere]


def test_what_waits_and_what_was_released_is_counted(world: World) -> None:
    world.wait(punch(1), punch(2), punch(3, user="2"))
    world.poll()
    assert (world.gauge(Reason.UNMAPPED_USER), world.gauge(Reason.EMPLOYEE_INACTIVE)) == (3, 0)

    world.know(MAPPED, Employee("E1", "Left"))
    world.poll()
    assert (world.gauge(Reason.UNMAPPED_USER), world.gauge(Reason.EMPLOYEE_INACTIVE)) == (1, 2)

    world.know(ACTIVE)
    world.poll()
    assert (world.gauge(Reason.UNMAPPED_USER), world.gauge(Reason.EMPLOYEE_INACTIVE)) == (1, 0)
    assert 'punchstream_outcomes_total{outcome="released"} 2.0' in world.metrics.exposition().decode()


numbers = st.sampled_from(["1", "2"])
names = st.sampled_from(["E1", "E2"])
mappings = st.builds(UserMapping, st.sampled_from(["*", "device:D1"]), numbers, names, st.just("csv"))
employees = st.builds(
    Employee,
    names,
    st.sampled_from(["Active", "Left", "Inactive"]),
    st.sampled_from([None, date(2026, 3, 2), date(2026, 3, 3)]),
)
punches = st.builds(punch, st.integers(0, 5), numbers, st.sampled_from(["D1", "D2"]))


class AnyInterleaving(RuleBasedStateMachine):
    """Records, map changes, rebalances and crashes in any order, also between one acknowledgement and the next."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(meanwhile=self.check_and_disturb)
        self.events: dict[str, RawEvent] = {}
        self.released: set[str] = set()
        self.disturbances: list[Callable[[], None]] = []

    def check_and_disturb(self) -> None:
        for record in self.world.sent[-1]:
            if record.topic == TOPICS["checkins"]:
                checkin = Checkin.decode(record.value)
                assert assign(self.events[checkin.event_id], self.world.users, None) == checkin
                self.released.add(checkin.event_id)
            else:
                assert (record.key or b"").decode() in self.released
        if self.disturbances:
            self.disturbances.pop()()

    @initialize(leaver=st.sampled_from(["E1", "E2"]))
    def two_users_are_known(self, leaver: str) -> None:
        self.world.know(MAPPED, UserMapping("*", "2", "E2", "csv"), ACTIVE, Employee("E2", "Active"))
        self.world.know(Employee(leaver, "Left"))

    @rule(event=punches)
    def the_agent_decides(self, event: RawEvent) -> None:
        self.events[event.event_id] = event
        if isinstance(assign(event, self.world.users, None), Waiting):
            self.world.wait(event)

    @rule(event=punches)
    def a_worker_that_is_behind_decides(self, event: RawEvent) -> None:
        self.events[event.event_id] = event
        self.world.wait(event)

    @rule(mapping=mappings)
    def a_user_is_mapped(self, mapping: UserMapping) -> None:
        self.world.know(mapping)

    @rule(mapping=mappings)
    def a_mapping_is_removed(self, mapping: UserMapping) -> None:
        self.world.forget(mapping)

    @rule(employee=employees)
    def an_employee_changes(self, employee: Employee) -> None:
        self.world.know(employee)

    @rule(entry=mappings | employees, change=st.sampled_from(["know", "forget", "rebalance", "crash"]))
    def something_will_happen_between_two_acknowledgements(self, entry: UserMapping | Employee, change: str) -> None:
        def crash() -> None:
            raise Crash

        world = self.world
        happens: dict[str, Callable[[], None]] = {
            "know": lambda: world.know(entry),
            "forget": lambda: world.forget(entry),
            "rebalance": world.rebalance,
            "crash": crash,
        }
        self.disturbances.append(happens[change])

    @rule(event=st.sampled_from(["nothing", "nothing", "nothing", "rebalance", "restart"]))
    def the_consumer_polls(self, event: str) -> None:
        if event == "rebalance":
            self.world.rebalance()
        elif event == "restart":
            self.world.restart()
        before = len(self.world.checkins)
        try:
            self.world.poll()
        except Crash:
            self.world.restart()
        for employee in ("E1", "E2"):
            times = [c.event_time for c in self.world.checkins[before:] if c.employee == employee]
            assert times == sorted(times)

    def teardown(self) -> None:
        """At the end exactly those wait that must, and the process holds just these."""
        self.disturbances.clear()
        self.world.poll()
        for event in self.world.waiting().values():
            assert isinstance(assign(event, self.world.users, None), Waiting)
        assert sum(self.world.gauge(reason) for reason in REASONS) == len(self.world.waiting())


TestAnyInterleaving = AnyInterleaving.TestCase


def test_while_a_guard_stands_nothing_is_released() -> None:
    world = World()
    guard, guards = standing(world.metrics)
    world.release = Release(world.users, world.look_up, cast("Producer", world), TOPICS, world.metrics, guards=guards)
    asyncio.run(guards.ask())
    world.wait(punch())
    world.know(MAPPED, ACTIVE)
    world.poll()
    assert not world.checkins
    guard.answer = None
    asyncio.run(guards.ask())
    world.poll()
    assert len(world.checkins) == 1
