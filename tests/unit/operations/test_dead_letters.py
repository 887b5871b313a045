"""What dead letters are now, how they are grouped, and which may be replayed."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from memory_log import MemoryLog
from msgspec.structs import replace

from attendance.errors import InvalidRecord, KafkaUnavailable, Reason
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, Done, LetterId
from attendance.records.raw_event import RAW_RECORD
from attendance.records.unread import UnreadRequest
from attendance.records.user_map import Employee, UserMapping
from attendance.topics import Topics
from operations.dead_letter_actions import (
    AT_ONCE,
    Plan,
    discard,
    make_replay_plan,
    objection_to_discard,
    objection_to_replay,
    replay,
    replay_one,
)
from operations.dead_letters import MAX_REPLAYS, Letter, Selection, State, begin_at, find
from operations.letter_lists import Group, Groups, line_of
from operations.log import Skipped
from operations.reading_again import NotUnderstood, Reading

AT = datetime(2026, 3, 2, 5, tzinfo=UTC)
TOPICS = Topics("attendance")
CONTENT = DeadLetter(
    stage="stream",
    reason=Reason.IMPLAUSIBLE_TIME,
    message="before the device was installed",
    at=AT,
    key=b"D1",
    value=b'{"device_id": "D1"}',
    headers=[("ce_id", b"abc")],
    timestamp=1_767_243_602_345,
    topic="attendance.raw.v1",
    partition=3,
    offset=77,
    event_id="abc",
)
REQUEST = DeadLetter("push", Reason.UNREADABLE_BODY, "cut off", AT, b"D1", b"{", where="http:/v1/events")
CHECKIN = Checkin(
    event_id="abc",
    employee="HR-EMP-1",
    event_time=AT,
    log_type="IN",
    device_id="D1",
    device_user_id="7",
    site="HQ",
    device_timezone="UTC",
)
UNDELIVERED = replace(
    CONTENT,
    stage="sink",
    reason=Reason.EMPLOYEE_INACTIVE,
    key=CHECKIN.key,
    value=CHECKIN.encode(),
    topic="attendance.checkins.v1",
)


def not_understood(_request: UnreadRequest) -> Reading:
    raise NotUnderstood("json: not JSON")


def letter(content: DeadLetter = CONTENT, *done: Done, offset: int = 0, replays: int = 0) -> Letter:
    if replays:
        content = replace(content, headers=[*content.headers, ("x-replay-count", str(replays).encode())])
    id_ = LetterId(0, offset)
    return Letter(id_, content, tuple(Action(id_, each, AT, "root", note="why") for each in done))


@pytest.mark.parametrize(
    ("subject", "state"),
    [
        (letter(), State.OPEN),
        (letter(replays=MAX_REPLAYS - 1), State.OPEN),
        (letter(replays=MAX_REPLAYS), State.PARKED),
        (letter(replays=MAX_REPLAYS + 1), State.PARKED),
        (letter(CONTENT, "replayed"), State.REPLAYED),
        (letter(CONTENT, "discarded"), State.DISCARDED),
        (letter(CONTENT, "discarded", "replayed"), State.REPLAYED),
        (letter(CONTENT, "replayed", replays=MAX_REPLAYS), State.REPLAYED),
    ],
)
def test_the_last_action_says_what_a_letter_is_and_without_one_its_replays_do(subject: Letter, state: State) -> None:
    assert subject.state is state


@pytest.mark.parametrize(
    ("subject", "objection", "forced"),
    [
        (letter(), None, None),
        (letter(UNDELIVERED), None, None),
        (letter(replays=MAX_REPLAYS - 1), None, None),
        (letter(replays=MAX_REPLAYS), "parked: failed after 3 replays", None),
        (letter(CONTENT, "replayed"), "replayed already", None),
        (letter(CONTENT, "discarded"), "discarded already", None),
        (letter(REQUEST), "never became a record (http:/v1/events)", "never became a record (http:/v1/events)"),
        (letter(replace(CONTENT, value=None)), "attendance.raw.v1 3:77", "attendance.raw.v1 3:77"),
        (letter(replace(CONTENT, topic="orders")), "orders is not a topic", "orders is not a topic"),
        (letter(replace(CONTENT, topic="attendance.user-map.v1")), "is not a topic", "is not a topic"),
    ],
)
def test_a_letter_is_replayed_unless_it_is_settled_or_parked_and_never_without_a_record_to_send(
    subject: Letter, objection: str | None, forced: str | None
) -> None:
    for expected, force in ((objection, False), (forced, True)):
        found = objection_to_replay(subject, TOPICS, force=force)
        assert found is None if expected is None else expected in (found or "")


def test_what_is_open_or_parked_may_be_discarded_once_also_what_cannot_be_replayed() -> None:
    assert [objection_to_discard(each) for each in (letter(), letter(replays=3), letter(REQUEST))] == [None] * 3
    assert objection_to_discard(letter(CONTENT, "discarded")) == "discarded already"
    assert objection_to_discard(letter(CONTENT, "replayed")) == "replayed already"


@pytest.mark.parametrize(
    ("subject", "device"),
    [
        (letter(), "D1"),
        (letter(UNDELIVERED), "D1"),
        (letter(replace(UNDELIVERED, value=b"\xff")), None),
        (letter(REQUEST), "D1"),
        (letter(replace(REQUEST, key=None)), None),
    ],
)
def test_the_device_of_a_letter_is_its_key_or_for_a_check_in_what_it_names(subject: Letter, device: str | None) -> None:
    assert subject.device(TOPICS) == device


def test_a_filter_takes_what_all_its_parts_let_through_and_names_take_nothing_else() -> None:
    subjects = [letter(offset=0), letter(UNDELIVERED, offset=1), letter(REQUEST, offset=2)]

    def taken(wanted: Selection) -> list[int]:
        return [each.id.offset for each in subjects if wanted.matches(each, TOPICS)]

    assert taken(Selection()) == [0, 1, 2]
    assert taken(Selection.of(Reason.EMPLOYEE_INACTIVE)) == [1]
    assert taken(Selection.of(stage="push", device="D1")) == [2]
    assert taken(Selection.of(stage="push", device="D2")) == []
    assert taken(Selection(ids=frozenset({LetterId(0, 2), LetterId(1, 0)}))) == [2]


def test_a_filter_leaves_alone_what_is_settled_but_a_name_does_not() -> None:
    settled = [letter(CONTENT, "replayed"), letter(CONTENT, "discarded")]
    assert not any(Selection().includes(each, TOPICS) for each in settled)
    assert all(Selection(ids=frozenset({each.id})).includes(each, TOPICS) for each in settled)
    assert Selection().includes(letter(replays=MAX_REPLAYS), TOPICS)


def groups_of(*letters: Letter) -> list[Group]:
    groups = Groups()
    for each in letters:
        groups.add(line_of(each, TOPICS))
    return groups.sorted()


def test_letters_are_counted_by_stage_and_reason_with_their_states_and_times() -> None:
    later = replace(CONTENT, at=AT + timedelta(hours=1), message="the newest")
    push, sink, stream = groups_of(
        letter(later, offset=5),
        letter(CONTENT, "replayed", offset=1),
        letter(CONTENT, offset=2, replays=MAX_REPLAYS),
        letter(REQUEST, "discarded", offset=3),
        letter(UNDELIVERED, offset=4),
    )
    assert stream.to_json() == {
        "stage": "stream",
        "reason": "implausible_time",
        "count": 3,
        "open": 1,
        "replayed": 1,
        "discarded": 0,
        "parked": 1,
        "readable": None,
        "first": "2026-03-02T05:00:00Z",
        "last": "2026-03-02T06:00:00Z",
        "sample_id": "0:5",
        "sample_message": "the newest",
    }
    assert (push.states, sink.states) == ({State.DISCARDED: 1}, {State.OPEN: 1})


def test_the_sample_of_a_group_is_one_that_waits_for_the_operator_if_there_is_one() -> None:
    newer = replace(CONTENT, at=AT + timedelta(hours=1))
    for order in ((0, 1), (1, 0)):
        letters = [letter(CONTENT, offset=1), letter(newer, "replayed", offset=2)]
        (group,) = groups_of(*(letters[index] for index in order))
        assert group.sample == LetterId(0, 1)
    (settled,) = groups_of(letter(newer, "replayed", offset=2), letter(CONTENT, "discarded", offset=1))
    assert settled.sample == LetterId(0, 2)


def test_each_partition_is_read_from_the_first_letter_that_is_named() -> None:
    assert begin_at([LetterId(0, 9), LetterId(0, 4), LetterId(2, 7)]) == {0: 4, 2: 7}
    assert begin_at([]) == {}


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(TOPICS.prefix)


def put(log: MemoryLog, *contents: DeadLetter) -> None:
    for content in contents:
        log.add("dead_letters", content.key, content.value, content.encode_headers())


def send_back(log: MemoryLog, subject: Letter) -> str | None:
    async def send_back() -> str | None:
        async with log.sending() as send:
            return await replay_one(subject, send, TOPICS, "root")

    return asyncio.run(send_back())


def actions_of(log: MemoryLog) -> list[Action]:
    topic = TOPICS["dead_letter_actions"]
    return [Action.decode(record.key, record.value) for record in log.sent if record.topic == topic]


def test_a_replay_is_in_kafka_before_it_is_recorded(log: MemoryLog) -> None:
    assert send_back(log, letter(replays=1, offset=8)) is None
    sent, _ = log.sent
    assert (sent.topic, sent.value, dict(sent.headers)["x-replay-count"]) == (CONTENT.topic, CONTENT.value, b"2")
    (action,) = actions_of(log)
    assert (action.letter, action.action, action.by, action.replay_count) == (LetterId(0, 8), "replayed", "root", 2)


@pytest.mark.parametrize("acknowledged", [0, 1])
def test_a_replay_that_kafka_did_not_acknowledge_or_could_not_record_leaves_the_letter_open(
    log: MemoryLog, acknowledged: int
) -> None:
    log.refuses, log.accepts = KafkaUnavailable("gone"), acknowledged
    with pytest.raises(KafkaUnavailable):
        send_back(log, letter())
    assert len(log.sent) == acknowledged
    assert actions_of(log) == []


def test_a_record_that_kafka_will_not_take_is_refused_and_not_recorded(log: MemoryLog) -> None:
    log.refuses = InvalidRecord(Reason.INVALID_EVENT, "larger than Kafka takes")
    assert send_back(log, letter()) == "larger than Kafka takes"
    assert log.sent == []


def replay_all(log: MemoryLog, *ids: LetterId) -> dict[LetterId, str | None]:
    """Replay, and return what was reported of each letter."""
    reported: dict[LetterId, str | None] = {}
    asyncio.run(replay(log, Plan(list(ids)), per_second=1e9, by="root", report=reported.__setitem__))
    return reported


def test_the_planned_letters_are_replayed_and_no_other(log: MemoryLog) -> None:
    put(log, CONTENT, replace(CONTENT, value=b"2"), replace(CONTENT, value=b"3"))

    assert replay_all(log, LetterId(0, 0), LetterId(0, 2)) == {LetterId(0, 0): None, LetterId(0, 2): None}
    assert [record.value for record in log.sent if record.topic == CONTENT.topic] == [CONTENT.value, b"3"]
    assert [action.letter.offset for action in actions_of(log)] == [0, 2]


def test_a_planned_letter_that_expired_meanwhile_is_reported(log: MemoryLog) -> None:
    put(log, CONTENT)
    assert replay_all(log, LetterId(0, 0), LetterId(0, 7)) == {
        LetterId(0, 0): None,
        LetterId(0, 7): "is not there any more",
    }


def test_a_plan_names_what_is_refused_and_what_is_not_there(log: MemoryLog) -> None:
    put(log, CONTENT, REQUEST)
    ids = frozenset({LetterId(0, 0), LetterId(0, 1), LetterId(3, 5)})

    plan = asyncio.run(make_replay_plan(log, Selection(ids), not_understood, force=False))

    assert plan.ids == [LetterId(0, 0)]
    assert plan.refused[LetterId(3, 5)] == "no such dead letter"
    assert plan.refused[LetterId(0, 1)] == "json: not JSON"


def a_failed_checkin(log: MemoryLog, reason: Reason, *mapped: UserMapping | Employee, raw: bool = True) -> MemoryLog:
    """A dead letter of `CHECKIN`, whose raw record is at 2:31, beside others; and what the user map says now."""
    log.topics = TOPICS
    for offset in range(30, 33) if raw else ():
        log.add("raw", b"D1", b"raw %d" % offset, [("ce_id", b"%d" % offset)], partition=2, offset=offset)
    put(log, replace(UNDELIVERED, reason=reason, headers=[(RAW_RECORD, b"2:31"), ("x-replay-count", b"1")]))
    for entry in mapped:
        log.add("user_map", entry.key, entry.encode())
    return log


def replayed(log: MemoryLog) -> OutRecord:
    plan = asyncio.run(make_replay_plan(log, Selection(), not_understood, force=False))
    asyncio.run(replay(log, plan, per_second=1e9, by="root", report=lambda *_: None))
    [record] = [each for each in log.sent if each.topic != TOPICS["dead_letter_actions"]]
    assert [action.letter for action in actions_of(log)] == [LetterId(0, 0)]
    return record


OURS = UserMapping("*", "7", "HR-EMP-1", "erpnext")
THERE = Employee("HR-EMP-1", "Active", created="2026-01-01 09:00:00")


@pytest.mark.parametrize(
    ("reason", "mapped"),
    [
        (Reason.UNKNOWN_EMPLOYEE, [OURS, THERE]),
        (Reason.EMPLOYEE_INACTIVE, [OURS, THERE]),
        (Reason.BEFORE_JOINING, [OURS, THERE]),
        (Reason.COORDINATES_REFUSED, [OURS, THERE]),  # the fleet file may have them now
        (Reason.UNKNOWN_EMPLOYEE, []),
        (Reason.TARGET_REJECTED, [UserMapping("*", "7", "HR-EMP-2", "csv"), THERE]),
        (Reason.TARGET_REJECTED, [OURS, Employee("HR-EMP-2", "Active")]),
    ],
)
def test_a_check_in_that_the_stream_would_make_another_of_is_replayed_from_its_raw_record(
    log: MemoryLog, reason: Reason, mapped: list[UserMapping | Employee]
) -> None:
    record = replayed(a_failed_checkin(log, reason, *mapped))

    assert (record.topic, record.key, record.value) == (TOPICS["raw"], b"D1", b"raw 31")
    assert list(record.headers) == [("ce_id", b"31"), ("x-replay-of", b"2:31")]


def test_a_check_in_whose_number_somebody_else_has_now_is_replayed_from_its_raw_record(log: MemoryLog) -> None:
    a_failed_checkin(log, Reason.TARGET_ERROR, OURS, replace(THERE, created="2026-02-27 11:00:00"))
    value = replace(CHECKIN, employee_created=THERE.created).encode()
    log.add("dead_letters", b"HR-EMP-1", value, replace(UNDELIVERED, reason=Reason.TARGET_ERROR).encode_headers())

    plan = asyncio.run(make_replay_plan(log, Selection(), not_understood, force=False))

    # The first does not say who it was for, and the second not of which record it was made.
    assert plan.begin_at_raw == {}
    log.add(
        "dead_letters",
        b"HR-EMP-1",
        value,
        replace(UNDELIVERED, reason=Reason.TARGET_ERROR, headers=[(RAW_RECORD, b"2:31")]).encode_headers(),
    )
    assert asyncio.run(make_replay_plan(log, Selection(), not_understood, force=False)).begin_at_raw == {
        LetterId(0, 2): (2, 31)
    }


@pytest.mark.parametrize("mapped", [[OURS, THERE], [THERE], []])
def test_any_other_check_in_is_replayed_as_it_is(log: MemoryLog, mapped: list[UserMapping | Employee]) -> None:
    record = replayed(a_failed_checkin(log, Reason.TARGET_ERROR, *mapped))

    assert (record.topic, record.value) == (TOPICS["checkins"], CHECKIN.encode())
    assert ("x-replay-count", b"2") in record.headers


def test_a_check_in_whose_raw_record_is_gone_is_replayed_as_it_is(log: MemoryLog) -> None:
    record = replayed(a_failed_checkin(log, Reason.UNKNOWN_EMPLOYEE, OURS, THERE, raw=False))

    assert (record.topic, record.value) == (TOPICS["checkins"], CHECKIN.encode())


def test_a_discard_is_recorded_with_its_note_for_each_letter(log: MemoryLog) -> None:
    ids = [LetterId(0, offset) for offset in range(AT_ONCE + 1)]
    asyncio.run(discard(log, ids, note="a test terminal", by="root"))
    assert [(action.letter, action.action, action.note) for action in actions_of(log)] == [
        (id_, "discarded", "a test terminal") for id_ in ids
    ]


def test_the_state_of_a_letter_follows_from_its_actions(log: MemoryLog) -> None:
    put(log, CONTENT, CONTENT)
    action = Action(LetterId(0, 1), "discarded", AT, "root", "why")
    log.add("dead_letter_actions", action.key, action.encode())

    first, second = (asyncio.run(find(log, LetterId(0, offset), Skipped())) for offset in (0, 1))

    assert (first and first.state, second and second.state) == (State.OPEN, State.DISCARDED)
    assert asyncio.run(find(log, LetterId(0, 2), Skipped())) is None
