"""Whose number it is, or that it is ignored: each punch comes to one outcome, whatever is decided and taken back."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_stream import RunningStream, StandingLog

from attendance.records.checkin import Checkin
from attendance.records.dead_letter_action import LetterId
from attendance.records.raw_event import IGNORED_BY, REPLAY_OF, RawEvent, Source
from attendance.records.user_map import EVERYWHERE, Employee, IgnoredUser, UserMapping, device_scope, site_scope
from attendance.user_map import UserMap
from operations.audit_report import Report
from operations.audit_tables import AuditTables
from operations.dead_letters import Letter, State, read_letters
from operations.log import Skipped
from operations.user_decisions import (
    AT_ONCE,
    MOST_NOTE,
    CannotDecide,
    Ignored,
    Number,
    Why,
    ignore_number,
    ignored,
    map_number,
    standing,
    stop_ignoring,
    unmap_number,
)
from operations.users import read_user_map

TIME = datetime(2026, 3, 2, 5, tzinfo=UTC)
VISITOR = Number("7", "riyadh")
HERE = Number("7", "riyadh", "D1")


def punch(minute: int, device: str = "D1", user: str = "7") -> RawEvent:
    at = TIME + timedelta(minutes=minute)
    return RawEvent(device, "riyadh", user, "IN", at, None, "UTC", at, Source("push", "json"))


class World:
    """A log, and a stream that follows it."""

    def __init__(self) -> None:
        self.log = StandingLog()
        self.put(Employee("E1", "Active"))
        self.stream = RunningStream(self.log)

    def put(self, entry: UserMapping | Employee) -> None:
        self.log.add("user_map", entry.key, entry.encode())

    def remove(self, entry: UserMapping) -> None:
        self.log.add("user_map", entry.key, None)

    @property
    def users(self) -> UserMap:
        return asyncio.run(read_user_map(self.log, Skipped()))

    def arrive(self, *events: RawEvent) -> None:
        for event in events:
            self.log.clock += 1000
            self.log.add("raw", event.key, event.encode(), event.headers(), timestamp=self.log.clock)

    def map(self, number: Number = VISITOR, employee: str = "E1", note: str = "") -> UserMapping:
        return asyncio.run(map_number(self.log, self.users, number, employee, by="fatima", note=note))

    def unmap(self, number: Number = VISITOR) -> UserMapping:
        return asyncio.run(unmap_number(self.log, self.users, number))

    def ignore(self, number: Number = VISITOR, note: str = "a visitor") -> IgnoredUser:
        return asyncio.run(ignore_number(self.log, self.users, number, by="fatima", note=note))

    def stop_ignoring(self, number: Number = VISITOR, among: list[LetterId] | None = None) -> int:
        return asyncio.run(stop_ignoring(self.log, self.users, number, by="omar", among=among))

    def letters(self) -> list[Letter]:
        async def read() -> list[Letter]:
            return [letter async for letter in read_letters(self.log, Skipped())]

        return asyncio.run(read())

    def ignored(self) -> list[Ignored]:
        return asyncio.run(ignored(self.log, self.users, Skipped()))

    def checkins(self) -> list[str]:
        return [Checkin.decode(record.value).event_id for record in self.log.records("checkins")]

    def report(self) -> Report:
        with AuditTables() as tables:
            asyncio.run(tables.fill(self.log, None, None))
            return tables.report()


@pytest.fixture
def world() -> World:
    return World()


def test_a_mapping_of_the_console_lets_what_waits_flow(world: World) -> None:
    world.arrive(punch(0))
    world.stream.run()
    entry = world.map(note="the new guard")
    assert (entry.scope, entry.source, entry.by, entry.note) == ("site:riyadh", "console", "fatima", "the new guard")
    world.arrive(punch(5), punch(5, "D2"))
    world.stream.run()
    assert sorted(world.checkins()) == sorted(each.event_id for each in (punch(0), punch(5), punch(5, "D2")))
    assert world.report().without_outcome == [each.event_id for each in (punch(0), punch(5), punch(5, "D2"))]


@pytest.mark.parametrize(
    "listed", [UserMapping(EVERYWHERE, "7", "E2", "erpnext"), UserMapping("site:riyadh", "7", "E2", "csv")]
)
def test_where_erpnext_or_a_file_says_otherwise_that_wins_and_can_be_asked_for(
    world: World, listed: UserMapping
) -> None:
    given = world.map(HERE)
    world.put(listed)
    world.put(Employee("E2", "Active"))
    stands = standing(world.users, HERE)
    assert (stands.counts, stands.given and stands.given.key) == (listed, given.key)
    world.arrive(punch(0))
    world.stream.run()
    assert [record.key for record in world.log.records("checkins")] == [b"E2"]
    with pytest.raises(CannotDecide) as refused:
        world.map(HERE)
    assert (refused.value.why, refused.value.about) == (Why.LISTED, "E2")
    world.remove(listed)
    counts = standing(world.users, HERE).counts
    assert counts is not None
    assert counts.key == given.key


def test_a_mapping_of_a_device_counts_before_one_of_its_site(world: World) -> None:
    world.put(Employee("E2", "Active"))
    world.map()
    world.map(HERE, "E2")
    found = [world.users.mapping("riyadh", device, "7") for device in ("D1", "D2")]
    assert [each and each.employee for each in found] == ["E2", "E1"]


def test_what_is_unmapped_waits_again(world: World) -> None:
    world.map()
    world.unmap()
    world.arrive(punch(0))
    world.stream.run()
    assert world.report().waiting == 1
    with pytest.raises(CannotDecide) as refused:
        world.unmap()
    assert refused.value.why is Why.NOT_MAPPED


def test_the_punches_of_a_visitor_become_discarded_dead_letters_with_the_note(world: World) -> None:
    world.arrive(punch(0))
    world.stream.run()
    entry = world.ignore()
    world.arrive(punch(5), punch(9, user="8"))
    world.stream.run()
    found = world.letters()
    assert [each.content.message for each in found] == ["ignored by fatima: a visitor"] * 2
    assert {each.state for each in found} == {State.DISCARDED}
    assert {dict(each.content.headers)[IGNORED_BY] for each in found} == {entry.ignoring_id.encode()}
    (listed,) = world.ignored()
    assert listed == Ignored("7", "site:riyadh", listed.at, "fatima", "a visitor", 2, in_force=True)
    report = world.report()
    assert (report.dead_lettered, report.waiting) == (2, 1)
    assert report.balanced


def test_a_repeat_of_a_punch_that_waited_is_not_dropped_for_nothing_once_it_is_ignored(world: World) -> None:
    again = RawEvent("D1", "riyadh", "7", "IN", TIME + timedelta(seconds=9), None, "UTC", TIME, Source("push", "json"))
    world.arrive(punch(0), again)
    world.stream.run()
    world.ignore()
    world.stream.run()
    report = world.report()
    assert (report.dropped, report.dead_lettered, report.dropped_for_nothing) == (1, 1, [])
    assert report.balanced


def test_taking_it_back_sends_each_punch_again_once_and_whoever_is_mapped_then_is_delivered(world: World) -> None:
    world.arrive(punch(0))
    world.stream.run()
    world.ignore()
    world.arrive(punch(5))
    world.stream.run()
    assert world.stop_ignoring() == 2
    world.stream.run()
    assert {each.state for each in world.letters()} == {State.REPLAYED}
    report = world.report()
    assert (report.raw, report.dead_lettered, report.dropped, report.waiting) == (4, 2, 0, 2)
    assert report.balanced
    world.map()
    world.stream.run()
    assert sorted(world.checkins()) == sorted([punch(0).event_id, punch(5).event_id])
    with pytest.raises(CannotDecide) as refused:
        world.stop_ignoring()
    assert refused.value.why is Why.NOT_IGNORED


def test_what_is_sent_again_is_not_ignored_by_a_process_that_has_not_read_yet_that_the_entry_is_gone(
    world: World,
) -> None:
    world.arrive(punch(0))
    world.stream.run()
    world.ignore()
    world.arrive(punch(5))
    world.stream.run()
    world.stop_ignoring()
    world.stream.decide()
    assert world.report().balanced
    assert {each.state for each in world.letters()} == {State.REPLAYED}
    assert len([record for record in world.log.records("unmapped") if record.value is not None]) == 3


def test_what_such_a_process_ignores_meanwhile_is_listed_and_sent_again_by_doing_it_once_more(world: World) -> None:
    world.ignore()
    world.stream.run()
    world.stop_ignoring()
    world.arrive(punch(5))
    world.stream.decide()
    (left,) = world.ignored()
    assert (left.scope, left.punches, left.in_force, left.by) == ("device:D1", 1, False, None)
    assert world.stop_ignoring() == 1
    world.stream.run()
    assert world.ignored() == []
    assert world.report().waiting == 1


def test_a_new_entry_ignores_what_was_sent_again(world: World) -> None:
    world.ignore()
    world.arrive(punch(0))
    world.stream.run()
    world.stop_ignoring()
    second = world.ignore(note="he is back")
    world.stream.run()
    *_, newest = world.letters()
    headers = [data for name, data in newest.content.headers if name == IGNORED_BY]
    assert headers == [second.ignoring_id.encode()]
    assert world.stop_ignoring() == 1


def test_only_the_letters_among_those_given_are_looked_at(world: World) -> None:
    world.ignore()
    world.arrive(punch(0), punch(5), punch(9, user="8"))
    world.stream.run()
    second = world.letters()[1].id
    assert world.stop_ignoring(among=[second, LetterId(0, 99)]) == 1
    assert [each.state for each in world.letters()] == [State.DISCARDED, State.REPLAYED]


def test_many_are_sent_again_in_parts(world: World) -> None:
    world.ignore()
    world.arrive(*(punch(2 * minute) for minute in range(AT_ONCE + 1)))
    world.stream.run()
    assert world.stop_ignoring() == AT_ONCE + 1
    assert len(world.log.records("raw")) == 2 * (AT_ONCE + 1)


def test_whoever_is_mapped_is_never_ignored(world: World) -> None:
    world.ignore()
    world.put(UserMapping(EVERYWHERE, "7", "E1", "erpnext"))
    world.arrive(punch(0))
    world.stream.run()
    assert world.checkins() == [punch(0).event_id]


def test_what_an_older_version_wrote_waits_on(world: World) -> None:
    """A dead letter of it could not say of which raw record it is the outcome."""
    world.arrive(punch(0))
    world.stream.run()
    (waiting,) = world.log.records("unmapped")
    waiting.headers = ()
    world.stream.restart()
    world.ignore()
    world.stream.run()
    assert world.letters() == []
    assert world.report().waiting == 1


def test_a_correction_that_waited_and_was_ignored_is_sent_again_as_a_copy(world: World) -> None:
    """So that what it superseded is not superseded a second time."""
    world.arrive(punch(0))
    world.stream.run()
    world.ignore()
    world.stream.run()
    world.stop_ignoring()
    copy = world.log.records("raw")[-1]
    assert dict(copy.headers)[REPLAY_OF] == b"0:0"


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda world: world.ignore(note=" \n"), Why.NO_NOTE),
        (lambda world: world.ignore(note="x" * (MOST_NOTE + 1)), Why.LONG_NOTE),
        (lambda world: world.map(note="x" * (MOST_NOTE + 1)), Why.LONG_NOTE),
        (lambda world: world.map(employee="E9"), Why.UNKNOWN_EMPLOYEE),
        (lambda world: (world.ignore(), world.ignore(HERE)), Why.IGNORED),
        (lambda world: (world.ignore(), world.map()), Why.IGNORED),
        (lambda world: (world.map(), world.ignore(HERE)), Why.MAPPED),
        (lambda world: world.stop_ignoring(), Why.NOT_IGNORED),
    ],
)
def test_what_cannot_be_decided_says_why_and_writes_nothing_more(
    world: World, act: Callable[[World], object], why: Why
) -> None:
    with pytest.raises(CannotDecide) as refused:
        act(world)
    assert refused.value.why is why
    assert len(world.log.records("user_map")) <= 2


def test_before_the_directory_has_run_any_employee_can_be_named() -> None:
    log = StandingLog()
    entry = asyncio.run(map_number(log, UserMap(), VISITOR, "E9", by="fatima"))
    assert entry.employee == "E9"


def test_a_number_is_of_its_device_or_its_site() -> None:
    sites = {"D1": "riyadh"}
    assert Number.of_scope(device_scope("D1"), "7", sites.get) == HERE
    assert Number.of_scope(site_scope("a:b"), "7", sites.get) == Number("7", "a:b")
    assert not HERE.has(punch(0, "D2"))
    assert VISITOR.has(punch(0, "D2"))
    assert not VISITOR.has(punch(0, user="8"))


ACTS: Mapping[str, Callable[[World], object]] = {
    "arrive": lambda world: world.arrive(punch(2 * len(world.log.records("raw")))),
    "arrive again": lambda world: world.arrive(punch(0)),
    "map": World.map,
    "unmap": World.unmap,
    "ignore": World.ignore,
    "ignore here": lambda world: world.ignore(HERE),
    "stop": World.stop_ignoring,
    "stop here": lambda world: world.stop_ignoring(HERE),
    "learn": lambda world: world.stream.learn(),
    "decide": lambda world: world.stream.decide(),
    "restart": lambda world: world.stream.restart(),
}


def act(world: World, *names: str) -> None:
    """Do these one after the other; what has no place is not done."""
    for name in names:
        with suppress(CannotDecide):
            ACTS[name](world)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(ACTS)), max_size=25))
def test_whatever_is_decided_in_whatever_order_every_raw_record_has_one_outcome_and_nothing_is_lost(
    names: list[str],
) -> None:
    world = World()
    act(world, *names)
    world.stream.run()
    report = world.report()
    # There is no sink: a check-in is as far as a punch comes.
    assert set(report.without_outcome) <= set(world.checkins())
    assert report.dropped_for_nothing == []
    act(world, "stop", "stop here", "unmap")
    world.stream.run()
    # Once more: of what was ignored before the stream had read that the entry is gone.
    act(world, "stop", "stop here", "map")
    world.stream.run()
    came = {RawEvent.decode(record.value).event_id for record in world.log.records("raw")}
    assert set(world.checkins()) == came
