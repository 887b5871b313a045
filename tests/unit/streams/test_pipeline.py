"""Every raw record gets exactly one outcome, by the design's rules."""

import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_punches import KnownPunches
from msgspec.structs import replace

from attendance.errors import Reason
from attendance.fleet import Device
from attendance.kafka.records import MAX_RECORD_BYTES
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import REPLAY_COUNT, DeadLetter
from attendance.records.outcomes import Dropped, Waiting
from attendance.records.raw_event import ARRIVED_AT, REPLAY_OF, GivenTime, RawEvent, Source
from attendance.records.user_map import Employee, UserMapping
from attendance.user_map import UserMap
from operations.origin import copy_of
from streams.dedup import insert, unpack
from streams.pipeline import Outcome, Pipeline, Rules, user_key
from streams.store import Known, StoreFailed

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
TIME = datetime(2026, 3, 2, 5, tzinfo=UTC)
RULES = Rules(window=60, horizon=90 * 86400, future_tolerance=300, clock_tolerance=600)
EVENT = RawEvent(
    device_id="D1",
    site="riyadh",
    device_user_id="0417",
    event_type="IN",
    event_time=TIME,
    device_time="2026-03-02 08:00:00",
    device_timezone="Asia/Riyadh",
    received_at=NOW,
    source=Source("push", "json"),
)


@dataclass
class Record:
    value: bytes | None
    offset: int
    partition: int = 0
    topic: str = "attendance.raw.v1"
    timestamp: int = 0
    key: bytes | None = b"D1"
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def user_map(*entries: UserMapping | Employee) -> UserMap:
    users = UserMap()
    for entry in entries:
        users.apply(entry.key, entry.encode())
    return users


MAPPING = UserMapping("*", "0417", "HR-EMP-1", "erpnext")


def known(status: str = "Active", relieving_date: date | None = None) -> UserMap:
    return user_map(MAPPING, Employee("HR-EMP-1", status, relieving_date))


def decide_all(
    *values: RawEvent | bytes | None, users: UserMap | None = None, device: Device | None = None
) -> list[Outcome]:
    pipeline = Pipeline(RULES, known() if users is None else users, lambda _: device)
    records = [Record(v.encode() if isinstance(v, RawEvent) else v, offset) for offset, v in enumerate(values)]
    return pipeline.decide(records, KnownPunches(), NOW).outcomes


def decide(value: RawEvent | bytes | None, users: UserMap | None = None, device: Device | None = None) -> Outcome:
    return decide_all(value, users=users, device=device)[0]


def decide_again(event: RawEvent) -> Outcome:
    """The outcome of a record that somebody sent again, after it had been a dead letter."""
    record = Record(event.encode(), 0, headers=[(REPLAY_COUNT, b"1")])
    return Pipeline(RULES, known(), lambda _: None).decide([record], KnownPunches(), NOW).outcomes[0]


def device(**policy: object) -> Device:
    return Device.model_validate(
        {"device_id": "D1", "site": "riyadh", "timezone": "Asia/Riyadh", "token_sha256": "0" * 64} | policy
    )


def test_a_punch_of_a_known_active_employee_becomes_a_checkin() -> None:
    assert decide(EVENT) == Checkin(
        event_id=EVENT.event_id,
        employee="HR-EMP-1",
        event_time=TIME,
        log_type="IN",
        device_id="D1",
        device_user_id="0417",
        site="riyadh",
        device_timezone="Asia/Riyadh",
    )


def test_a_punch_of_an_unknown_user_waits_whole() -> None:
    assert decide(EVENT, users=UserMap()) == Waiting(EVENT, Reason.UNMAPPED_USER)


def test_a_user_mapped_to_an_employee_that_the_directory_lacks_waits() -> None:
    users = user_map(UserMapping("*", "0417", "HR-EMP-9", "csv"))

    assert decide(EVENT, users=users) == Waiting(EVENT, Reason.UNMAPPED_USER, "HR-EMP-9")


@pytest.mark.parametrize("status", ["Inactive", "Left", "Suspended"])
def test_a_punch_of_an_employee_who_is_not_active_waits(status: str) -> None:
    assert decide(EVENT, users=known(status)) == Waiting(EVENT, Reason.EMPLOYEE_INACTIVE, "HR-EMP-1")


def test_a_punch_up_to_the_relieving_date_is_delivered() -> None:
    assert isinstance(decide(EVENT, users=known("Left", date(2026, 3, 2))), Checkin)
    assert isinstance(decide(EVENT, users=known("Left", date(2026, 3, 1))), Waiting)


def test_a_punch_from_before_its_employee_joined_waits() -> None:
    def joining(day: date) -> UserMap:
        return user_map(MAPPING, Employee("HR-EMP-1", "Active", date_of_joining=day, created="2026-02-28 10:00:00"))

    assert decide(EVENT, users=joining(date(2026, 3, 3))) == Waiting(EVENT, Reason.BEFORE_JOINING, "HR-EMP-1")
    outcome = decide(EVENT, users=joining(date(2026, 3, 2)))
    assert isinstance(outcome, Checkin)
    assert outcome.employee_created == "2026-02-28 10:00:00"


def test_erpnext_refuses_an_inactive_employee_whatever_the_date_so_the_punch_waits() -> None:
    assert isinstance(decide(EVENT, users=known("Inactive", date(2027, 1, 1))), Waiting)


def test_the_relieving_date_is_a_day_of_the_devices_zone() -> None:
    late_evening_in_riyadh = replace(EVENT, event_time=datetime(2026, 3, 2, 21, 30, tzinfo=UTC), received_at=NOW)
    late_evening_in_riyadh = replace(late_evening_in_riyadh, received_at=NOW + timedelta(days=1))

    assert isinstance(decide(late_evening_in_riyadh, users=known("Left", date(2026, 3, 2))), Waiting)
    assert isinstance(decide(late_evening_in_riyadh, users=known("Left", date(2026, 3, 3))), Checkin)


def test_the_devices_mapping_comes_before_the_sites_and_that_before_the_general_one() -> None:
    employees = [Employee(name, "Active") for name in ("ANY", "SITE", "DEVICE")]
    everywhere = UserMapping("*", "0417", "ANY", "erpnext")
    site = UserMapping("site:riyadh", "0417", "SITE", "csv")
    one_device = UserMapping("device:D1", "0417", "DEVICE", "csv")

    def employee(*mappings: UserMapping) -> str:
        outcome = decide(EVENT, users=user_map(*employees, *mappings))
        assert isinstance(outcome, Checkin)
        return outcome.employee

    assert employee(everywhere) == "ANY"
    assert employee(everywhere, site) == "SITE"
    assert employee(everywhere, site, one_device) == "DEVICE"


@pytest.mark.parametrize(
    ("direction", "said", "log_type"),
    [
        ("from_device", "IN", "IN"),
        ("from_device", "OUT", "OUT"),
        ("from_device", "UNKNOWN", ""),
        ("in", "OUT", "IN"),
        ("out", "UNKNOWN", "OUT"),
        ("none", "IN", ""),
    ],
)
def test_the_devices_direction_policy_sets_the_log_type(direction: str, said: str, log_type: str) -> None:
    outcome = decide(replace(EVENT, event_type=said), device=device(direction=direction))  # type: ignore[arg-type]

    assert isinstance(outcome, Checkin)
    assert outcome.log_type == log_type


def test_the_devices_checkin_time_policy_travels_with_the_checkin() -> None:
    outcome = decide(EVENT, device=device(checkin_time="device_local"))

    assert isinstance(outcome, Checkin)
    assert outcome.checkin_time == "device_local"


def test_a_resent_punch_is_dropped_and_names_the_one_kept() -> None:
    kept, dropped = decide_all(EVENT, replace(EVENT, received_at=NOW + timedelta(hours=1)))

    assert isinstance(kept, Checkin)
    assert dropped == Dropped(
        EVENT.event_id, EVENT.event_id, Reason.DUPLICATE, "D1", "0417", TIME, partition=0, offset=1
    )


def test_a_second_tap_is_dropped_and_names_the_one_kept() -> None:
    tap = replace(EVENT, event_time=TIME + timedelta(seconds=20))

    _, dropped = decide_all(EVENT, tap)

    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.event_id, dropped.kept_event_id) == (Reason.REPEAT, tap.event_id, EVENT.event_id)


def test_the_same_user_number_on_another_device_is_somebody_elses_punch() -> None:
    outcomes = decide_all(EVENT, replace(EVENT, device_id="D2"))

    assert [type(outcome) for outcome in outcomes] == [Checkin, Checkin]


def test_a_waiting_punch_is_kept_so_its_copies_do_not_wait_as_well() -> None:
    outcomes = decide_all(EVENT, EVENT, users=UserMap())

    assert [type(outcome) for outcome in outcomes] == [Waiting, Dropped]


def test_a_time_that_could_not_be_read_is_a_dead_letter() -> None:
    outcome = decide(replace(EVENT, event_time=None, device_time="soon"))

    assert isinstance(outcome, DeadLetter)
    assert outcome.reason is Reason.UNREADABLE_TIME
    assert outcome.event_id == replace(EVENT, event_time=None, device_time="soon").event_id


@pytest.mark.parametrize(
    "time",
    [
        NOW + timedelta(seconds=301),
        datetime(2000, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(2015, 12, 31, 12, tzinfo=UTC),
    ],
)
def test_an_implausible_time_is_a_dead_letter_and_is_not_rewritten(time: datetime) -> None:
    outcome = decide(replace(EVENT, event_time=time))

    assert isinstance(outcome, DeadLetter)
    assert outcome.reason is Reason.IMPLAUSIBLE_TIME
    assert outcome.value == replace(EVENT, event_time=time).encode()


def test_a_clock_five_minutes_ahead_is_plausible() -> None:
    assert isinstance(decide(replace(EVENT, event_time=NOW + timedelta(seconds=300))), Checkin)


def test_a_punch_from_before_the_device_was_installed_is_implausible() -> None:
    assert isinstance(decide(EVENT, device=device(installed_on="2026-03-02")), Checkin)
    assert isinstance(decide(EVENT, device=device(installed_on="2026-03-03")), DeadLetter)


def test_a_check_in_has_the_place_of_its_device() -> None:
    placed = decide(EVENT, device=device(latitude=24.7136, longitude=46.6753))
    assert isinstance(placed, Checkin)
    assert (placed.latitude, placed.longitude) == (24.7136, 46.6753)
    assert decide(EVENT, device=device()) == replace(placed, latitude=None, longitude=None)


@pytest.mark.parametrize("skew", [601, -601])
def test_a_punch_of_a_device_whose_clock_is_off_is_dead_lettered(skew: int) -> None:
    outcome = decide(replace(EVENT, clock_skew=skew))

    assert isinstance(outcome, DeadLetter)
    assert outcome.reason is Reason.CLOCK_SKEW


def test_a_clock_that_is_off_a_little_is_only_worth_a_warning() -> None:
    assert isinstance(decide(replace(EVENT, clock_skew=600)), Checkin)


def test_a_punch_that_a_person_sent_again_passes_whatever_its_clock() -> None:
    assert isinstance(decide_again(replace(EVENT, clock_skew=7200)), Checkin)


@pytest.mark.parametrize("value", [None, b"", b"garbage", b"[1]", b'{"event_id": 1}', b"\xff\xfe"])
def test_a_record_that_cannot_be_decoded_is_a_dead_letter_with_its_bytes(value: bytes | None) -> None:
    outcome = decide(value)

    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.value, outcome.offset) == (Reason.UNDECODABLE_RECORD, value, 0)


def test_a_record_too_large_to_carry_on_is_a_dead_letter_that_fits_into_a_record() -> None:
    outcome = decide(replace(EVENT, device_time="8" * MAX_RECORD_BYTES))

    assert isinstance(outcome, DeadLetter)
    assert outcome.to_record("t").size < MAX_RECORD_BYTES
    assert "too large" in outcome.message


def test_a_user_that_the_changelog_has_no_room_for_is_a_dead_letter() -> None:
    outcome = decide(replace(EVENT, device_user_id="x" * 70_000))

    assert isinstance(outcome, DeadLetter)
    assert outcome.reason is Reason.UNDECODABLE_RECORD


def test_one_poison_record_leaves_the_others_alone() -> None:
    outcomes = decide_all(EVENT, b"poison", replace(EVENT, event_type="OUT"))

    assert [type(outcome) for outcome in outcomes] == [Checkin, DeadLetter, Checkin]


def test_a_fault_of_our_own_in_one_record_is_a_dead_letter_and_stops_nothing() -> None:
    def broken(device_id: str) -> Device | None:
        if device_id == "D2":
            raise RuntimeError("a fault")
        return None

    records = [Record(e.encode(), n) for n, e in enumerate([replace(EVENT, device_id="D2"), EVENT])]
    outcomes = Pipeline(RULES, known(), broken).decide(records, KnownPunches(), NOW).outcomes

    assert [type(outcome) for outcome in outcomes] == [DeadLetter, Checkin]
    assert isinstance(outcomes[0], DeadLetter)
    assert outcomes[0].reason is Reason.INTERNAL_ERROR


def test_a_zone_that_this_machine_does_not_know_is_not_the_end() -> None:
    assert isinstance(decide(replace(EVENT, device_timezone="Mars/Olympus"), device=None), DeadLetter)


users = st.sampled_from(["0417", "9", "x"])
events = st.builds(
    lambda user, kind, seconds, ahead: replace(
        EVENT,
        device_user_id=user,
        event_type=kind,
        event_time=None if ahead == 3 else TIME + timedelta(seconds=seconds, days=ahead * 400),
    ),
    users,
    st.sampled_from(["IN", "OUT", "UNKNOWN"]),
    st.integers(0, 600),
    st.sampled_from([0, 0, 0, 0, 1, 3]),
)
values = st.lists(st.one_of(events.map(RawEvent.encode), st.binary(max_size=20)), max_size=30)


def run(
    pipeline: Pipeline, values: list[bytes], state: Mapping[bytes, bytes], first: int = 0
) -> tuple[list[Outcome], dict[bytes, bytes]]:
    decisions = pipeline.decide([Record(v, first + n) for n, v in enumerate(values)], KnownPunches(state), NOW)
    return decisions.outcomes, {**state, **decisions.lists}


@given(values, st.integers(0, 30))
def test_the_size_of_the_steps_changes_no_outcome(values: list[bytes], cut: int) -> None:
    pipeline = Pipeline(RULES, known(), lambda _: None)

    whole, state = run(pipeline, values, {})
    head, between = run(pipeline, values[:cut], {})
    tail, after = run(pipeline, values[cut:], between, first=min(cut, len(values)))

    assert head + tail == whole
    assert after == state


@given(values, st.integers(0, 30))
def test_records_that_come_again_after_a_crash_get_the_same_outcomes(values: list[bytes], cut: int) -> None:
    """Whether the crash came before the state was written, or after it and before the commit."""
    pipeline = Pipeline(RULES, known(), lambda _: None)

    whole, state = run(pipeline, values, {})
    _, between = run(pipeline, values[:cut], {})
    with_all_state, _ = run(pipeline, values, state)
    with_some_state, _ = run(pipeline, values, between)

    for again in (with_all_state, with_some_state):
        for before, after in zip(whole, again, strict=True):
            assert type(after) is type(before)
            if not isinstance(before, Dropped):
                assert after == before


@given(values)
def test_the_kept_punches_make_the_lists(values: list[bytes]) -> None:
    pipeline = Pipeline(RULES, known(), lambda _: None)
    decisions = pipeline.decide([Record(v, n) for n, v in enumerate(values)], KnownPunches(), NOW)

    lists: dict[bytes, bytes] = {}
    for key, entry in decisions.kept:
        lists[key] = insert(lists.get(key, b""), entry, RULES.horizon)
    assert lists == decisions.lists


def test_a_dead_lettered_event_is_not_kept_so_its_replay_is_no_duplicate_of_itself() -> None:
    fleet = {"D1": device(installed_on=date(2026, 4, 1))}
    pipeline = Pipeline(RULES, known(), fleet.get)
    failed = pipeline.decide([Record(EVENT.encode(), 0)], KnownPunches(), NOW)
    assert isinstance(failed.outcomes[0], DeadLetter)
    assert (failed.kept, failed.lists) == ([], {})

    fleet["D1"] = device(installed_on=date(2026, 1, 1))
    again = Record(EVENT.encode(), 7, headers=[("x-replay-count", b"1")])
    (outcome,) = pipeline.decide([again], KnownPunches(), NOW).outcomes

    assert isinstance(outcome, Checkin)


def test_the_replay_count_of_a_record_is_in_the_dead_letter_of_its_next_failure() -> None:
    pipeline = Pipeline(RULES, known(), lambda _: None)
    (letter,) = pipeline.decide(
        [Record(b"poison", 7, headers=[("x-replay-count", b"2")])], KnownPunches(), NOW
    ).outcomes
    assert isinstance(letter, DeadLetter)
    assert letter.replay_count == 2


REPLAY = [("x-replay-of", b"0:0")]


def in_turn(*records: tuple[RawEvent, int, list[tuple[str, bytes]]]) -> list[Outcome]:
    """The outcomes of records of a device in Riyadh with these offsets and headers, each a step of its own."""
    return decide_in_turn(KnownPunches(), records)


def decide_in_turn(
    state: KnownPunches, records: Sequence[tuple[RawEvent, int, list[tuple[str, bytes]]]]
) -> list[Outcome]:
    """The same, given what is known; what is kept is known then."""
    pipeline, outcomes = Pipeline(RULES, known(), lambda _: device()), []
    for event, offset, headers in records:
        decisions = pipeline.decide([Record(event.encode(), offset, headers=headers)], state, NOW)
        state.take(decisions)
        outcomes += decisions.outcomes
    return outcomes


def test_a_replayed_punch_gets_its_outcome_again_and_a_replayed_copy_of_another_stays_a_repeat() -> None:
    tap = replace(EVENT, event_time=TIME + timedelta(seconds=20))

    kept, _, again, tap_again = in_turn((EVENT, 0, []), (tap, 1, []), (EVENT, 2, REPLAY), (tap, 3, REPLAY))

    assert again == kept
    assert isinstance(tap_again, Dropped)
    assert (tap_again.reason, tap_again.offset) == (Reason.REPEAT, 3)


def test_a_punch_that_is_dated_ahead_takes_neither_its_time_nor_its_direction_from_the_genuine_one() -> None:
    genuine = replace(EVENT, received_at=TIME + timedelta(seconds=1))
    ahead = TIME + timedelta(seconds=40)
    forged = replace(EVENT, event_type="UNKNOWN", event_time=ahead, received_at=TIME - timedelta(seconds=19))
    tap = replace(genuine, event_time=TIME + timedelta(seconds=9), received_at=TIME + timedelta(seconds=10))
    later = replace(forged, event_time=ahead + timedelta(seconds=1))

    _, kept, second, dropped = in_turn((forged, 0, []), (genuine, 1, []), (tap, 2, []), (later, 3, []))

    assert isinstance(kept, Checkin)
    assert (kept.event_time, kept.log_type) == (TIME, "IN")
    assert [type(second), type(dropped)] == [Dropped, Dropped]
    assert second.kept_event_id == genuine.event_id  # type: ignore[union-attr]


def test_what_a_clock_that_is_ahead_sent_drops_its_second_taps_when_all_of_it_comes_again() -> None:
    first = replace(EVENT, received_at=TIME - timedelta(seconds=20))
    tap = replace(first, event_time=TIME + timedelta(seconds=5), received_at=TIME - timedelta(seconds=14))
    again = [replace(each, received_at=NOW) for each in (first, tap)]

    outcomes = in_turn((first, 0, []), (tap, 1, []), (again[0], 2, []), (again[1], 3, []))

    assert [type(each) for each in outcomes] == [Checkin, Dropped, Dropped, Dropped]


def test_a_correction_passes_where_its_predecessor_did_and_says_what_it_supersedes() -> None:
    corrected = replace(EVENT, event_time=TIME - timedelta(seconds=30), supersedes=EVENT.event_id)
    reassigned = replace(EVENT, supersedes=EVENT.event_id)

    for correction in (corrected, reassigned):
        _, outcome, again = in_turn((EVENT, 0, []), (correction, 1, []), (correction, 1, []))
        assert isinstance(outcome, Checkin)
        assert (outcome.event_id, outcome.supersedes) == (correction.event_id, EVENT.event_id)
        assert again == outcome


def test_where_a_wrong_time_was_corrected_a_genuine_punch_of_that_time_is_kept() -> None:
    corrected = replace(EVENT, event_time=TIME - timedelta(hours=3), supersedes=EVENT.event_id)

    for genuine in (EVENT, replace(EVENT, event_time=TIME + timedelta(seconds=30))):
        outcomes = in_turn((EVENT, 0, []), (corrected, 1, []), (genuine, 2, []))
        assert [type(outcome) for outcome in outcomes] == [Checkin, Checkin, Checkin]


def test_a_superseded_record_that_is_read_again_does_not_come_back() -> None:
    corrected = replace(EVENT, event_time=TIME - timedelta(hours=3), supersedes=EVENT.event_id)

    _, outcome, old, new = in_turn((EVENT, 0, []), (corrected, 1, []), (EVENT, 0, []), (corrected, 1, []))

    assert isinstance(old, Dropped)
    assert (old.reason, old.kept_event_id) == (Reason.DUPLICATE, EVENT.event_id)
    assert new == outcome


def test_a_copy_of_the_corrected_punch_is_a_duplicate() -> None:
    corrected = replace(EVENT, event_time=TIME - timedelta(hours=3), supersedes=EVENT.event_id)

    *_, copy = in_turn((EVENT, 0, []), (corrected, 1, []), (replace(corrected, supersedes=None), 2, []))

    assert isinstance(copy, Dropped)
    assert copy.reason is Reason.DUPLICATE


def test_a_correction_that_comes_again_leaves_the_punch_alone_that_stands_where_the_wrong_one_stood() -> None:
    late = replace(EVENT, event_time=TIME + timedelta(hours=3))
    first = replace(EVENT, event_time=TIME - timedelta(hours=3), supersedes=EVENT.event_id)
    second = replace(EVENT, event_time=TIME, supersedes=late.event_id)
    tap = replace(EVENT, event_time=TIME + timedelta(seconds=20))

    *_, outcome = in_turn(
        (EVENT, 0, []), (late, 1, []), (first, 2, []), (second, 3, []), (first, 2, []), (first, 4, REPLAY), (tap, 5, [])
    )

    assert isinstance(outcome, Dropped)


def test_a_correction_that_was_corrected_itself_does_not_come_back() -> None:
    first = replace(EVENT, event_time=TIME - timedelta(hours=3), supersedes=EVENT.event_id)
    second = replace(EVENT, event_time=TIME - timedelta(hours=4), supersedes=first.event_id)

    *_, outcome = in_turn((EVENT, 0, []), (first, 1, []), (second, 2, []), (first, 1, []))

    assert isinstance(outcome, Dropped)


def given(event: RawEvent, hours: float) -> RawEvent:
    """The event with the time that a person gave it."""
    assert event.event_time is not None
    said = GivenTime("fatima", NOW, "the clock was off", event.event_time)
    time = event.event_time + timedelta(hours=hours)
    return replace(event, event_time=time, supersedes=event.event_id, clock_skew=None, given_time=said)


SKEWED = replace(EVENT, clock_skew=-3600)


@pytest.mark.parametrize("wrong", [EVENT, SKEWED], ids=["delivered", "dead letter"])
def test_a_punch_whose_time_a_person_gave_counts_once_however_often_the_wrong_one_comes(wrong: RawEvent) -> None:
    # The terminal's clock is right by now, so nothing in its history says that it was not.
    history = replace(EVENT, received_at=NOW + timedelta(days=1))

    first, right, *again = in_turn((wrong, 0, []), (given(wrong, 1), 1, []), (history, 2, []), (history, 2, []))

    assert isinstance(first, Checkin if wrong is EVENT else DeadLetter)
    assert isinstance(right, Checkin)
    assert (right.event_time, right.supersedes) == (TIME + timedelta(hours=1), EVENT.event_id)
    for each in again:
        assert isinstance(each, Dropped)
        assert (each.reason, each.kept_event_id) == (Reason.DUPLICATE, EVENT.event_id)


def test_a_second_tap_of_a_time_that_a_person_said_is_wrong_is_held_for_a_person() -> None:
    tap = replace(EVENT, event_time=TIME + timedelta(seconds=30))
    replayed = [(REPLAY_COUNT, b"1")]

    *_, held, passed, far = in_turn(
        *((EVENT, 0, []), (given(EVENT, 1), 1, []), (tap, 2, []), (tap, 3, replayed)),
        (replace(EVENT, event_time=TIME + timedelta(minutes=10)), 4, []),
    )

    assert isinstance(held, DeadLetter)
    assert held.reason is Reason.CLOCK_SKEW
    assert isinstance(passed, Checkin)
    assert isinstance(far, Checkin)


def test_a_time_may_be_given_again_and_given_back() -> None:
    first = given(EVENT, 1)
    second, back = given(first, 1), given(first, -1)

    *_, last, once_more = in_turn((EVENT, 0, []), (first, 1, []), (second, 2, []), (first, 3, []))
    assert isinstance(last, Checkin)
    assert isinstance(once_more, Dropped)
    *_, returned, history = in_turn((EVENT, 0, []), (first, 1, []), (back, 2, []), (EVENT, 3, []))
    assert isinstance(returned, Checkin)
    assert (returned.event_id, returned.supersedes) == (EVENT.event_id, first.event_id)
    assert isinstance(history, Dropped)
    assert history.reason is Reason.DUPLICATE


def test_a_wrong_time_far_ahead_drives_nothing_out_of_the_list() -> None:
    ahead = replace(EVENT, event_time=TIME + timedelta(days=4000))
    assert ahead.event_time is not None
    said = GivenTime("fatima", NOW, "the clock was off", ahead.event_time)
    right = replace(EVENT, event_time=TIME, supersedes=ahead.event_id, given_time=said)

    state = KnownPunches()

    *_, outcome, copy = decide_in_turn(state, ((ahead, 0, []), (right, 1, []), (EVENT, 2, [])))

    assert isinstance(outcome, Checkin)
    assert isinstance(copy, Dropped)
    assert [each.time for each in unpack(state[user_key(EVENT)])] == [TIME]


WRONG = replace(EVENT, event_time=TIME + timedelta(hours=3), device_timezone="UTC")
RIGHT = replace(EVENT, supersedes=WRONG.event_id)


@pytest.mark.parametrize("seconds", [0, 30])
def test_the_wrong_record_of_a_corrected_punch_and_its_second_taps_never_come_back(seconds: int) -> None:
    assert WRONG.event_time is not None
    copy = replace(WRONG, event_time=WRONG.event_time + timedelta(seconds=seconds), received_at=NOW + timedelta(days=1))

    *_, outcome = in_turn((WRONG, 0, []), (RIGHT, 1, []), (copy, 2, []))

    assert isinstance(outcome, Dropped)
    assert outcome.kept_event_id == WRONG.event_id


def test_a_copy_of_a_corrected_punch_of_a_device_that_is_gone_is_not_new() -> None:
    pipeline, state = Pipeline(RULES, known(), lambda _: None), KnownPunches()
    for offset, each in enumerate((WRONG, RIGHT, WRONG)):
        decisions = pipeline.decide([Record(each.encode(), offset)], state, NOW)
        state.take(decisions)

    assert isinstance(decisions.outcomes[0], Dropped)


def test_a_punch_that_came_with_its_own_zone_is_genuine_if_todays_zone_reads_it_so() -> None:
    renamed = replace(WRONG, device_time="2026-03-02 11:00:00", device_timezone="Asia/Kuwait")

    *_, outcome = in_turn((WRONG, 0, []), (RIGHT, 1, []), (renamed, 2, []))

    assert isinstance(outcome, Checkin)


OLD = replace(EVENT, event_time=TIME - timedelta(days=500))
RELEASED = [("x-replay-count", b"1"), ("x-replay-reason", b"beyond_horizon")]


def forgetful() -> KnownPunches:
    """What is known where the changelog lost its begin a year ago."""
    return KnownPunches(unknown_until=(TIME - timedelta(days=365)).timestamp())


def test_what_nobody_knows_any_more_is_held_and_is_not_kept() -> None:
    for event in (OLD, replace(OLD, device_user_id="9")):
        decisions = Pipeline(RULES, known(), lambda _: None).decide([Record(event.encode(), 0)], forgetful(), NOW)
        (outcome,) = decisions.outcomes
        assert isinstance(outcome, DeadLetter)
        assert (outcome.reason, outcome.value) == (Reason.BEYOND_HORIZON, event.encode())
        assert decisions.kept == []


def test_a_person_releases_what_is_held_once() -> None:
    tap = replace(OLD, event_time=OLD.event_time + timedelta(seconds=20))  # type: ignore[operator]

    held, first, second, repeat, copy = decide_in_turn(
        forgetful(), [(OLD, 0, []), (OLD, 1, RELEASED), (OLD, 2, RELEASED), (tap, 3, RELEASED), (OLD, 4, [])]
    )

    assert [type(each) for each in (held, first, second, repeat, copy)] == [
        DeadLetter,
        Checkin,
        Dropped,
        Dropped,
        Dropped,
    ]


def test_a_letter_of_another_reason_that_is_replayed_does_not_pass_for_a_decision_about_its_age() -> None:
    (outcome,) = decide_in_turn(forgetful(), [(OLD, 0, [("x-replay-count", b"1"), ("x-replay-reason", b"clock_skew")])])

    assert isinstance(outcome, DeadLetter)


def test_a_correction_of_what_nobody_knows_any_more_passes() -> None:
    (outcome,) = decide_in_turn(forgetful(), [(replace(OLD, supersedes=WRONG.event_id), 0, [])])

    assert isinstance(outcome, Checkin)


def test_what_is_later_than_what_nobody_knows_is_decided_as_ever() -> None:
    recent, tap = EVENT, replace(EVENT, event_time=TIME + timedelta(seconds=20))

    assert [type(each) for each in decide_in_turn(forgetful(), [(recent, 0, []), (tap, 1, [])])] == [Checkin, Dropped]


def test_a_state_that_cannot_be_read_says_nothing_about_a_record() -> None:
    class Broken:
        floor = 0

        def get(self, *_: bytes) -> bytes:
            raise StoreFailed("Corruption")

    with pytest.raises(StoreFailed):
        Pipeline(RULES, known(), lambda _: None).decide([Record(EVENT.encode(), 0)], cast("Known", Broken()), NOW)


def test_the_key_of_a_device_user_is_what_changelogs_hold() -> None:
    event = replace(EVENT, device_id='B\u00fcro "1"', device_user_id="7\t/\\")
    assert user_key(event) == '["B\u00fcro \\"1\\"","7\\t/\\\\"]'.encode()


def test_the_key_of_a_device_user_takes_no_more_memory_than_it_needs() -> None:
    events = [replace(EVENT, device_user_id=str(number)) for number in range(100)]
    tracemalloc.start()
    try:
        keys = [user_key(event) for event in events]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < len(keys) * 200


HOUR = timedelta(hours=1)
APPENDED = 1
"""The type of a timestamp that is the broker's."""


@dataclass
class RawRecord(Record):
    """A record of a topic with the broker's times."""

    timestamp_type: int = APPENDED


def at_broker(event: RawEvent, arrived: datetime, **fields: object) -> RawRecord:
    return RawRecord(event.encode(), 0, timestamp=round(arrived.timestamp() * 1000), **fields)  # type: ignore[arg-type]


def decide_record(record: Record) -> Outcome:
    return Pipeline(RULES, known(), lambda _: None).decide([record], KnownPunches(), NOW).outcomes[0]


def replayed(letter: Outcome, at: datetime) -> RawRecord:
    """The record that `punchstream dead-letters replay` makes of a dead letter."""
    assert isinstance(letter, DeadLetter)
    sent = letter.to_replay()
    return RawRecord(sent.value, 1, timestamp=round(at.timestamp() * 1000), headers=list(sent.headers))


def copied(record: Record, at: datetime) -> RawRecord:
    """The record that `punchstream replay` makes of a raw record."""
    sent = copy_of(record)
    return RawRecord(sent.value, 1, timestamp=round(at.timestamp() * 1000), headers=list(sent.headers))


@pytest.mark.parametrize("skew", [None, 3600])
def test_what_a_server_an_hour_behind_dead_lettered_is_released_by_a_replay_with_the_bytes_as_they_are(
    skew: int | None,
) -> None:
    event = replace(EVENT, event_time=NOW, received_at=NOW - HOUR, clock_skew=skew)
    record = at_broker(event, NOW)
    letter = decide_record(record)
    assert isinstance(letter, DeadLetter)
    assert letter.reason is Reason.IMPLAUSIBLE_TIME
    again = replayed(letter, NOW + HOUR)
    assert again.value == record.value
    released = decide_record(again)
    assert isinstance(released, Checkin)
    assert (released.event_id, released.event_time) == (event.event_id, NOW)


def test_a_replay_does_not_release_what_is_still_to_come() -> None:
    letter = decide(replace(EVENT, event_time=NOW + 24 * HOUR))
    again = decide_record(replayed(letter, NOW + HOUR))
    assert isinstance(again, DeadLetter)
    assert (again.reason, again.replay_count) == (Reason.IMPLAUSIBLE_TIME, 1)
    assert isinstance(decide_record(replayed(again, NOW + 24 * HOUR)), Checkin)


def test_a_server_an_hour_ahead_lets_no_time_through_that_is_ahead_by_the_brokers_clock() -> None:
    event = replace(EVENT, event_time=NOW + HOUR, received_at=NOW + HOUR)
    letter = decide_record(at_broker(event, NOW))
    assert isinstance(letter, DeadLetter)
    assert letter.reason is Reason.IMPLAUSIBLE_TIME
    # A right terminal's punch is right, although it seems to have arrived in the future.
    assert isinstance(decide_record(at_broker(replace(event, event_time=NOW), NOW)), Checkin)


def test_where_the_broker_does_not_say_its_time_the_servers_counts() -> None:
    event = replace(EVENT, event_time=NOW + HOUR, received_at=NOW + HOUR)
    assert isinstance(decide_record(at_broker(event, NOW, timestamp_type=0)), Checkin)


def test_a_replay_copy_is_compared_with_the_arrival_of_its_original() -> None:
    event = replace(EVENT, event_time=NOW + HOUR, received_at=NOW + HOUR)
    copy = copied(at_broker(event, NOW), NOW + 2 * HOUR)
    copy_of_copy = copied(copy, NOW + 3 * HOUR)
    for each in (copy, copy_of_copy):
        letter = decide_record(each)
        assert isinstance(letter, DeadLetter)
        assert letter.reason is Reason.IMPLAUSIBLE_TIME
    sent_by_an_older_version = copied(at_broker(event, NOW, timestamp_type=0), NOW + 2 * HOUR)
    assert isinstance(decide_record(sent_by_an_older_version), Checkin)


@pytest.mark.parametrize("arrived", [b"", b"soon", b"9" * 5000, b"9" * 15, b"-1"])
def test_no_header_of_a_copy_holds_up_the_stream(arrived: bytes) -> None:
    headers = [(REPLAY_OF, b"0:0"), (ARRIVED_AT, arrived)]
    assert isinstance(decide_record(at_broker(EVENT, NOW, headers=headers)), Checkin)


@pytest.mark.parametrize("timestamp", [-1, 2**63 - 1])
def test_no_time_of_a_record_holds_up_the_stream(timestamp: int) -> None:
    ahead = RawRecord(replace(EVENT, event_time=NOW + HOUR).encode(), 0, timestamp=timestamp)
    assert isinstance(decide_record(ahead), DeadLetter)
