"""The plan's account, checked against a naive re-computation of the rules from the bytes that are sent."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path
from random import Random

import orjson
import pytest
import yaml

from attendance.errors import Reason
from attendance.fleet import hash_token
from attendance.fleet_file import load
from attendance.records.raw_event import event_id
from attendance.times import format_seconds, read_device_time, to_wall_clock
from sandbox.fleet.model import MAX_BATCH, FleetPlan
from sandbox.fleet.plan import PHOTO, Shape, plan
from sandbox.fleet.registry import employees, registry_yaml

NOW = datetime(2026, 3, 31, 6, 30, tzinfo=UTC)  # the third working day after Berlin's change of clocks
SMALL = Shape(terminals=7, people=40, punches=600, malformed=8, unreadable_bodies=3)


@pytest.fixture(scope="module")
def fleet() -> FleetPlan:
    return plan(7, NOW)


def sent_events(fleet: FleetPlan) -> dict[str, list[tuple[object, str | None]]]:
    """What each terminal sends in its readable bodies, in order, with the id that the plan gives it."""
    return {
        device_id: [
            pair
            for one in transmissions
            if one.event_ids is not None
            for pair in zip(orjson.loads(one.body)["events"], one.event_ids, strict=True)
        ]
        for device_id, transmissions in fleet.transmissions.items()
    }


def decide(fleet: FleetPlan, events: dict[str, list[tuple[object, str | None]]]) -> dict[str, Counter[str]]:
    """The outcomes of each event id, decided one by one with nothing but the rules as the design words them."""
    devices = {terminal.device_id: terminal for terminal in fleet.terminals}
    people = {row["attendance_device_id"]: row for row in employees(fleet)}
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    for device_id, pairs in events.items():
        device = devices[device_id]
        kept: dict[str, list[tuple[datetime, str, str]]] = defaultdict(list)
        for event, _ in pairs:
            if not isinstance(event, dict) or not event.get("user_id"):
                continue
            user, kind, text = event["user_id"], event.get("type", "UNKNOWN"), event.get("time")
            when = read_device_time(text or "", device.site.zone)
            id_ = event_id(device_id, user, format_seconds(when) if when else text or "", kind)
            if when is None:
                outcomes[id_][Reason.UNREADABLE_TIME] += 1
                continue
            local_day = to_wall_clock(when, device.site.zone).date()
            if when > NOW + timedelta(minutes=5) or when.year < 2016 or local_day < (device.installed_on or local_day):
                outcomes[id_][Reason.IMPLAUSIBLE_TIME] += 1
                continue
            if id_ in [other for _, _, other in kept[user]]:
                outcomes[id_][Reason.DUPLICATE] += 1
                continue
            repeated = [
                other
                for time, other_kind, other in kept[user]
                if abs((time - when).total_seconds()) <= 60 and (kind == other_kind or "UNKNOWN" in (kind, other_kind))
            ]
            if repeated:
                outcomes[id_][f"{Reason.REPEAT} of {' '.join(repeated)}"] += 1
                continue
            kept[user].append((when, kind, id_))
            person = people.get(user)
            if person is None:
                outcomes[id_][Reason.UNMAPPED_USER] += 1
            elif person["status"] == "Active" or (
                person["relieving_date"] is not None and str(local_day) <= person["relieving_date"]
            ):
                says = {"in": "IN", "out": "OUT", "none": "", "from_device": kind.replace("UNKNOWN", "")}
                outcomes[id_][f"{person['name']} {says[device.direction]} {when}"] += 1
            else:
                outcomes[id_][Reason.EMPLOYEE_INACTIVE] += 1
    return outcomes


def account(fleet: FleetPlan) -> dict[str, Counter[str]]:
    """The plan's expectation in the words of `judge`."""
    outcomes = {}
    for id_, expected in fleet.expectation.events.items():
        copies = fleet.expectation.copies[id_]
        match expected.outcome:
            case "delivered":
                first = f"{expected.employee} {expected.log_type} {expected.event_time}"
            case "waiting":
                first = str(expected.reason)
            case "repeat":
                outcomes[id_] = Counter({f"{Reason.REPEAT} of {expected.kept_event_id}": copies})
                continue
            case "dead_letter":
                outcomes[id_] = Counter({str(expected.reason): copies})
                continue
        outcomes[id_] = Counter({first: 1}) + Counter({str(Reason.DUPLICATE): copies - 1})
    return outcomes


def test_the_same_seed_gives_the_same_plan_to_the_byte() -> None:
    assert plan(3, NOW, SMALL) == plan(3, NOW, SMALL)


def test_another_seed_gives_another_plan() -> None:
    assert plan(3, NOW, SMALL) != plan(4, NOW, SMALL)


@pytest.mark.parametrize("seed", range(8))
def test_the_account_agrees_with_a_naive_reading_of_the_rules(seed: int) -> None:
    fleet = plan(seed, NOW, SMALL)
    assert decide(fleet, sent_events(fleet)) == account(fleet)


def test_the_account_of_the_default_fleet_agrees_too(fleet: FleetPlan) -> None:
    assert decide(fleet, sent_events(fleet)) == account(fleet)


@pytest.mark.parametrize("seed", range(5))
def test_the_account_does_not_depend_on_the_order_as_long_as_a_double_tap_comes_after_the_punch(seed: int) -> None:
    fleet = plan(seed, NOW, SMALL)
    repeats = {expected.event_id for expected in fleet.expectation.of("repeat")}
    shuffled = {}
    for device_id, pairs in sent_events(fleet).items():
        Random(seed).shuffle(pairs)
        shuffled[device_id] = sorted(pairs, key=lambda pair: pair[1] in repeats)
    assert decide(fleet, shuffled) == account(fleet)


def test_sending_everything_again_adds_copies_and_nothing_else() -> None:
    fleet = plan(1, NOW, SMALL)
    twice = {device_id: pairs * 2 for device_id, pairs in sent_events(fleet).items()}
    once, again = decide(fleet, sent_events(fleet)), decide(fleet, twice)
    delivered = {expected.event_id for expected in fleet.expectation.of("delivered")}
    for id_ in delivered:
        assert again[id_] - once[id_] == Counter({Reason.DUPLICATE: fleet.expectation.copies[id_]})


def test_the_numbers_are_those_asked_for(fleet: FleetPlan) -> None:
    totals = fleet.expectation.totals()
    shape = Shape()
    assert (len(fleet.sites), len(fleet.terminals), len(fleet.people)) == (3, 15, 300)
    assert totals.delivered + sum(totals.waiting.values()) == shape.punches
    sent = totals.raw + totals.rejected
    assert sent == shape.punches * 1.1 + shape.implausible + shape.unreadable_times + shape.malformed
    assert totals.unreadable_bodies == shape.unreadable_bodies
    assert totals.repeats >= shape.punches * 0.05
    assert totals.duplicates >= shape.punches * 0.04
    assert totals.dead_letters[Reason.IMPLAUSIBLE_TIME] >= shape.implausible
    assert totals.dead_letters[Reason.UNREADABLE_TIME] >= shape.unreadable_times
    assert set(totals.waiting) == {Reason.UNMAPPED_USER, Reason.EMPLOYEE_INACTIVE}


def test_every_record_has_one_outcome(fleet: FleetPlan) -> None:
    totals = fleet.expectation.totals()
    outcomes = (totals.delivered, totals.duplicates, totals.repeats, *totals.waiting.values())
    assert totals.raw == sum(outcomes) + sum(totals.dead_letters.values())


def test_the_ids_of_a_transmission_are_those_of_its_body(fleet: FleetPlan) -> None:
    for id_, outcomes in decide(fleet, sent_events(fleet)).items():
        assert fleet.expectation.copies[id_] == outcomes.total()


def test_an_unreadable_body_is_no_json_and_the_whole_of_it_follows(fleet: FleetPlan) -> None:
    unreadable = 0
    for transmissions in fleet.transmissions.values():
        for one, following in pairwise(transmissions):
            if one.event_ids is None:
                unreadable += 1
                assert following.body.startswith(one.body)
                with pytest.raises(orjson.JSONDecodeError):
                    orjson.loads(one.body)
    assert unreadable == fleet.expectation.unreadable_bodies


def test_a_burst_after_a_day_offline_is_one_request_within_the_limit(fleet: FleetPlan) -> None:
    sizes = [len(one.event_ids or ()) for one in chain.from_iterable(fleet.transmissions.values())]
    assert 50 < max(sizes) <= MAX_BATCH
    assert min(len(one.body) for one in chain.from_iterable(fleet.transmissions.values())) > 0
    assert max(len(one.body) for one in chain.from_iterable(fleet.transmissions.values())) < 1_048_576


def test_punches_lie_in_the_past_and_some_are_only_minutes_old(fleet: FleetPlan) -> None:
    times = [each.event_time for each in fleet.expectation.of("delivered") if each.event_time]
    assert NOW - timedelta(days=8) < min(times)
    assert NOW - timedelta(minutes=45) < max(times) <= NOW


def test_transmissions_are_spread_in_order_over_the_run(fleet: FleetPlan) -> None:
    for transmissions in fleet.transmissions.values():
        shares = [one.at for one in transmissions]
        assert shares == sorted(shares)
        assert all(0 <= share < 1 for share in shares)


def test_no_employee_has_two_check_ins_of_one_second(fleet: FleetPlan) -> None:
    # ERPNext refuses the second of two with the same time and direction, whatever the device.
    punches = Counter((each.employee, each.event_time) for each in fleet.expectation.of("delivered"))
    assert max(punches.values()) == 1


def test_codes_that_differ_only_in_leading_zeros_are_different_people(fleet: FleetPlan) -> None:
    codes = {person.code for person in fleet.people}
    assert len(codes) == len(fleet.people)
    assert {"1000", "001000", "E1002", "1003-K"} <= codes


def test_some_events_carry_a_photograph(fleet: FleetPlan) -> None:
    bodies = b"".join(one.body for one in chain.from_iterable(fleet.transmissions.values()))
    assert bodies.count(PHOTO.encode()) > 100


def test_a_terminal_without_direction_keys_delivers_by_its_policy(fleet: FleetPlan) -> None:
    found = {(each.terminal.direction, each.event_type, each.log_type) for each in fleet.expectation.of("delivered")}
    assert found == {
        ("from_device", "IN", "IN"),
        ("from_device", "OUT", "OUT"),
        ("from_device", "UNKNOWN", ""),
        ("none", "UNKNOWN", ""),
        ("in", "UNKNOWN", "IN"),
        ("out", "UNKNOWN", "OUT"),
    }


def test_who_left_in_the_middle_is_delivered_until_then(fleet: FleetPlan) -> None:
    left = {person.code for person in fleet.people if person.status == "Left"}
    outcomes = {each.outcome for each in fleet.expectation.events.values() if each.device_user_id in left}
    assert {"delivered", "waiting"} <= outcomes


def test_the_registry_file_is_read_by_the_stages_and_knows_every_token(fleet: FleetPlan, tmp_path: Path) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(registry_yaml(fleet))
    devices = load(path)
    assert [(each.device_id, each.installed_on) for each in fleet.terminals] == [
        (each.device_id, each.installed_on) for each in devices.values()
    ]
    for terminal in fleet.terminals:
        assert devices[terminal.device_id].token_sha256 == hash_token(terminal.token)
        assert devices[terminal.device_id].timezone == terminal.site.zone


def test_the_registry_file_holds_no_token(fleet: FleetPlan) -> None:
    text = registry_yaml(fleet)
    assert all(terminal.token not in text for terminal in fleet.terminals)
    assert len(yaml.safe_load(text)) == len(fleet.terminals)


def test_erpnext_knows_everyone_but_the_unknown_and_some_more(fleet: FleetPlan) -> None:
    rows = employees(fleet)
    names = [row["name"] for row in rows]
    codes = [row["attendance_device_id"] for row in rows if row["attendance_device_id"]]
    unknown = {person.code for person in fleet.people if person.employee is None}
    assert len(unknown) == Shape().unknown_users
    assert not unknown & set(codes)
    assert {person.code for person in fleet.people} - unknown < set(codes)
    assert len(set(names)) == len(names)
    assert len(set(codes)) == len(codes) < len(rows)


@pytest.mark.parametrize(
    "shape",
    [
        {"sites": 0},
        {"sites": 9},
        {"sites": 3, "terminals": 2},
        {"people": 0},
        {"people": 5, "unknown_users": 3, "inactive": 3},
        {"people": 10, "unknown_users": 0, "inactive": 0, "punches": 10_000},
        {"window": 600},
        {"days": 0},
    ],
)
def test_a_shape_that_cannot_be_planned_exactly_is_refused(shape: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Shape(**shape)
