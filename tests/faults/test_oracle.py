"""The oracle finds each kind of harm; a harness that cannot find one proves nothing."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from attendance.times import to_wall_clock
from harness.cells import only
from harness.oracle import problems
from harness.progress_cells import halves
from harness.soak import Sample, trend
from operations.audit_report import Report
from sandbox.fleet.model import Expected, FleetPlan
from sandbox.fleet.plan import Shape, plan
from sandbox.fleet.send import Tally

ZONE = "Asia/Riyadh"
SHAPE = Shape(terminals=6, people=30, punches=300, days=2)


@pytest.fixture(scope="module")
def sent() -> FleetPlan:
    return plan(7, datetime(2026, 3, 4, 12, tzinfo=UTC), SHAPE)


def row(expected: Expected) -> dict[str, Any]:
    zone = expected.terminal.site.zone if expected.terminal.site.checkin_time == "device_local" else ZONE
    assert expected.event_time is not None
    return {
        "name": expected.event_id[:8],
        "event_id": expected.event_id,
        "employee": expected.employee,
        "time": str(to_wall_clock(expected.event_time, zone)),
        "log_type": expected.log_type,
        "device_id": expected.terminal.device_id,
    }


class World:
    """What everybody holds after a run without any fault."""

    def __init__(self, sent: FleetPlan) -> None:
        self.plan = sent
        in_order = dict.fromkeys(id_ for each in sent.transmissions.values() for one in each for id_ in one.accepted)
        events = sent.expectation.events
        self.rows = [row(events[id_]) for id_ in in_order if events[id_].outcome == "delivered"]
        totals = sent.expectation.totals()
        self.tally = Tally(acknowledged=Counter(sent.expectation.copies), attempted_events=totals.raw)
        self.report = Report(
            raw=totals.raw,
            delivered=totals.delivered,
            waiting=sum(totals.waiting.values()),
            dead_lettered=sum(totals.dead_letters.values()),
            refused=totals.rejected + totals.unreadable_bodies,
        )
        self.raw_ids = set(in_order)

    def problems(self, withheld: frozenset[str] = frozenset()) -> list[str]:
        return problems(self.plan, self.tally, self.report, self.raw_ids, self.rows, withheld, ZONE)

    def neighbours(self) -> tuple[int, int]:
        """Two rows of one device user, one after the other."""
        events = self.plan.expectation.events
        last: dict[tuple[str, str], int] = {}
        for index, each in enumerate(self.rows):
            expected = events[each["event_id"]]
            device_user = (expected.terminal.device_id, expected.device_user_id)
            if device_user in last:
                return last[device_user], index
            last[device_user] = index
        raise AssertionError("nobody punched twice")


@pytest.fixture
def world(sent: FleetPlan) -> World:
    return World(sent)


def test_a_run_without_harm_has_no_problem(world: World) -> None:
    assert world.problems() == []


def test_a_row_that_is_missing_is_found(world: World) -> None:
    lost = world.rows.pop(3)
    assert [lost["event_id"] in problem for problem in world.problems()] == [True]


def test_a_row_that_is_there_twice_is_found(world: World) -> None:
    world.rows.append(dict(world.rows[3]))
    assert any("there 2 times" in problem for problem in world.problems())


def test_a_second_tap_that_became_a_row_is_found(world: World) -> None:
    tap = next(world.plan.expectation.of("repeat"))
    world.rows.append(row(tap) | {"employee": world.rows[0]["employee"]})
    assert any("must not be there" in problem for problem in world.problems())


def test_rows_of_one_device_user_in_another_order_are_found_unless_they_waited(world: World) -> None:
    first, second = world.neighbours()
    world.rows[first], world.rows[second] = world.rows[second], world.rows[first]
    assert any("out of order" in problem for problem in world.problems())
    assert world.problems(withheld=frozenset({world.rows[first]["employee"]})) == []


def test_an_event_that_was_acknowledged_and_is_not_in_the_raw_topic_is_found(world: World) -> None:
    world.raw_ids.pop()
    assert any("not in the raw topic" in problem for problem in world.problems())


def test_an_audit_that_does_not_balance_is_a_problem(world: World) -> None:
    world.report.without_outcome.append("an event")
    assert any("does not balance" in problem for problem in world.problems())


def test_second_taps_can_be_sent_alone(sent: FleetPlan) -> None:
    taps = only(sent, "repeat")
    ids = {id_ for each in taps.transmissions.values() for one in each for id_ in one.accepted}
    assert ids == {each.event_id for each in sent.expectation.of("repeat")}


def test_the_halves_of_a_plan_are_all_that_each_terminal_sends_in_its_order(sent: FleetPlan) -> None:
    first, then = halves(sent)
    for device_id, transmissions in sent.transmissions.items():
        both = first.transmissions[device_id] + then.transmissions[device_id]
        assert [each.body for each in both] == [each.body for each in transmissions]
        assert all(0 <= each.at < 1 for each in both)


def test_a_process_that_grows_is_told_from_one_that_only_varies() -> None:
    steady = [Sample(float(at), 80_000_000 + at % 7 * 100_000, 30 + at % 3) for at in range(300)]
    leaky = [Sample(each.at, each.memory + int(each.at) * 100_000, each.files) for each in steady]
    careless = [Sample(each.at, each.memory, each.files + int(each.at) // 10) for each in steady]
    assert trend("steady", steady).is_flat
    assert not trend("leaky", leaky).is_flat
    assert not trend("careless", careless).is_flat
