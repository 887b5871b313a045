"""What waits is counted, and discarded with a note."""

import asyncio
from datetime import UTC, datetime

import pytest
from memory_log import MemoryLog
from msgspec.structs import replace

from attendance.errors import KafkaUnavailable, Reason
from attendance.records.discard import DiscardedWaiting, is_discard_key
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RawEvent, Source
from operations import waiting as waiting_module
from operations.log import Skipped
from operations.waiting import WaitingOfDevice, WaitingPunches, WaitingUser, Which, discard, read_discards

PUNCH = RawEvent(
    device_id="gate-1",
    site="riyadh",
    device_user_id="007",
    event_type="IN",
    event_time=datetime(2026, 3, 2, 5, tzinfo=UTC),
    device_time="2026-03-02 08:00:00",
    device_timezone="Asia/Riyadh",
    received_at=datetime(2026, 3, 2, 5, 0, 1, tzinfo=UTC),
    source=Source("push", "json"),
)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


def waits(reason: Reason = Reason.UNMAPPED_USER, employee: str | None = None, **fields: object) -> Waiting:
    return Waiting(replace(PUNCH, **fields), reason, employee)  # type: ignore[arg-type]


def add(log: MemoryLog, *waiting: Waiting) -> None:
    for each in waiting:
        log.add("unmapped", each.key, each.encode())


def read(log: MemoryLog) -> tuple[WaitingPunches, dict[str, int]]:
    """What waits, and how many records could not be read."""
    skipped = Skipped()
    return asyncio.run(WaitingPunches().fill(log, skipped)), skipped.counts


def waiting(log: MemoryLog) -> tuple[list[tuple[Reason, datetime]], dict[str, int]]:
    """Why and since when users wait, and how many records could not be read."""
    punches, skipped = read(log)
    return [(each.reason, each.since) for each in punches.users(Which())], skipped


def hour(number: int) -> datetime:
    return datetime(2026, 3, 2, number, tzinfo=UTC)


FIVE = (
    waits(),
    waits(event_time=hour(3)),
    waits(event_time=hour(9), device_id="gate-2"),
    waits(site="jeddah", event_time=hour(6)),
    waits(Reason.EMPLOYEE_INACTIVE, "E7", event_time=hour(11)),
    waits(device_user_id="7"),
)
LINES = [
    WaitingUser("jeddah", "007", Reason.UNMAPPED_USER, None, 1, hour(6), ("gate-1",)),
    WaitingUser("riyadh", "007", Reason.EMPLOYEE_INACTIVE, "E7", 1, hour(11), ("gate-1",)),
    WaitingUser("riyadh", "007", Reason.UNMAPPED_USER, None, 3, hour(3), ("gate-1", "gate-2")),
    WaitingUser("riyadh", "7", Reason.UNMAPPED_USER, None, 1, hour(5), ("gate-1",)),
]


def test_waiting_punches_are_counted_by_site_user_and_reason(log: MemoryLog) -> None:
    add(log, *FIVE)
    punches, _ = read(log)
    assert (list(punches.users(Which())), punches.count(Which())) == (LINES, (6, 4))
    tokens = None, LINES[2].token, LINES[3].token
    assert [list(punches.users(Which(), most=3, after=after)) for after in tokens] == [
        LINES[:3],
        LINES[3:],
        [],
    ]


@pytest.mark.parametrize(
    ("which", "lines", "count"),
    [
        (Which(site="jeddah"), LINES[:1], 1),
        (Which(sites=frozenset(["jeddah", "tabuk"])), LINES[:1], 1),
        (Which(sites=frozenset()), [], 0),
        (Which(user="7"), LINES[3:], 1),
        (
            Which(device="gate-2"),
            [WaitingUser("riyadh", "007", Reason.UNMAPPED_USER, None, 1, hour(9), ("gate-2",))],
            1,
        ),
        (Which(device="gate-1", reason=Reason.EMPLOYEE_INACTIVE), LINES[1:2], 1),
        (Which(device="gate-9"), [], 0),
    ],
)
def test_only_those_that_are_asked_for_are_counted(
    log: MemoryLog, which: Which, lines: list[WaitingUser], count: int
) -> None:
    add(log, *FIVE)
    punches, _ = read(log)
    assert (list(punches.users(which)), punches.count(which)) == (lines, (count, len(lines)))


def test_users_and_punches_are_counted_by_device(log: MemoryLog) -> None:
    add(log, *FIVE)
    punches, _ = read(log)
    assert punches.devices(Which()) == [
        WaitingOfDevice("gate-1", 3, 5, hour(3)),
        WaitingOfDevice("gate-2", 1, 1, hour(9)),
    ]


def test_the_employee_is_the_one_that_was_named_last(log: MemoryLog) -> None:
    add(log, *(waits(Reason.EMPLOYEE_INACTIVE, name, event_time=hour(at)) for at, name in ((7, "E9"), (8, "E1"))))
    add(log, waits(Reason.EMPLOYEE_INACTIVE, event_time=hour(9)))
    assert [each.employee for each in read(log)[0].users(Which())] == ["E1"]


def test_a_punch_that_waited_and_went_on_does_not_wait(log: MemoryLog) -> None:
    gone, again, still = waits(), waits(event_time=hour(6)), waits(event_time=hour(7))
    for key, value in (
        (gone.key, gone.encode()),
        (again.key, again.encode()),
        (gone.key, None),
        (again.key, None),
        (again.key, again.encode()),
        (still.key, still.encode()),
    ):
        log.add("unmapped", key, value)
    assert waiting(log) == ([(Reason.UNMAPPED_USER, hour(6))], {})


def test_a_punch_that_waits_twice_counts_once_with_its_last_reason(log: MemoryLog) -> None:
    last = waits(Reason.EMPLOYEE_INACTIVE, "E7")
    for each in (waits(), last):
        log.add("unmapped", each.key, each.encode())
    assert waiting(log) == ([(Reason.EMPLOYEE_INACTIVE, hour(5))], {})


def test_a_punch_that_the_sink_sent_back_counts_once(log: MemoryLog) -> None:
    first = waits()
    back = replace(
        waits(Reason.UNKNOWN_EMPLOYEE, "E7"), sent_back=1, sent_back_at=hour(8), employee_created="c", checkin="2:7"
    )
    for each in (first, back):
        log.add("unmapped", each.key, each.encode())
    assert first.key != back.key
    assert waiting(log) == ([(Reason.UNKNOWN_EMPLOYEE, hour(5))], {})
    log.add("unmapped", first.key, None)
    log.add("unmapped", back.key, None)
    assert waiting(log) == ([], {})


def test_what_takes_the_place_of_a_waiting_punch_and_cannot_be_read_is_counted_and_does_not_wait(
    log: MemoryLog,
) -> None:
    covered, still = waits(), waits(event_time=hour(6))
    for key, value in ((covered.key, covered.encode()), (still.key, still.encode()), (covered.key, b"{")):
        log.add("unmapped", key, value)
    assert waiting(log) == ([(Reason.UNMAPPED_USER, hour(6))], {"t.unmapped.v1": 1})


def discarded(log: MemoryLog, which: Which) -> int:
    punches, _ = read(log)
    return asyncio.run(discard(log, punches, which, note="made up", by="fatima"))


GATE = Which(device="gate-1", reason=Reason.UNMAPPED_USER)


def test_what_is_discarded_is_recorded_first_and_then_removed_where_it_stands(log: MemoryLog) -> None:
    first = waits()
    back = replace(waits(), sent_back=1, sent_back_at=hour(8), employee_created="c", checkin="2:7")
    other, inactive = waits(device_id="gate-2"), waits(Reason.EMPLOYEE_INACTIVE, "E7", event_time=hour(11))
    for each in (first, back, other, inactive):
        log.add("unmapped", each.key, each.encode(), partition=3)

    assert discarded(log, GATE) == 1

    record, *removals = log.sent
    said = DiscardedWaiting.decode(record.value)
    assert (said.events, said.device_id, said.by, said.note) == ((PUNCH.event_id,), "gate-1", "fatima", "made up")
    assert is_discard_key(record.key)
    assert {(each.topic, each.key, each.value, each.partition) for each in removals} == {
        ("t.unmapped.v1", key, None, 3) for key in (first.key, back.key)
    }


def test_many_are_discarded_some_at_a_time_and_again_where_that_was_cut_off(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "MOST_EVENTS", 2)
    add(log, *(waits(device_user_id=str(number)) for number in range(5)))
    log.refuses, log.accepts = KafkaUnavailable("away"), 4
    with pytest.raises(KafkaUnavailable):
        discarded(log, GATE)
    log.refuses = None
    for record in log.sent:
        log.add("unmapped", record.key, record.value)
    log.sent.clear()

    assert discarded(log, GATE) == 3
    for record in log.sent:
        log.add("unmapped", record.key, record.value)
    assert (discarded(log, GATE), read(log)[0].count(Which())) == (0, (0, 0))


def test_what_was_discarded_is_listed_by_when_it_was_however_many_records_it_took(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "MOST_EVENTS", 2)
    add(log, *(waits(device_user_id=str(number)) for number in range(5)), waits(device_id="gate-2"))
    discarded(log, GATE)
    discarded(log, Which(device="gate-2", reason=Reason.UNMAPPED_USER))
    for record in reversed(log.sent):
        log.add("unmapped", record.key, record.value)
    log.add("unmapped", b"discard:x", b"{")

    skipped = Skipped()
    first, second = asyncio.run(read_discards(log, skipped))

    assert (first.device_id, first.by, first.note, len(set(first.event_ids))) == ("gate-1", "fatima", "made up", 5)
    assert (second.device_id, second.event_ids) == ("gate-2", (waits(device_id="gate-2").event.event_id,))
    assert first.at <= second.at
    assert skipped.counts == {"t.unmapped.v1": 1}
    assert asyncio.run(read_discards(log, Skipped(), "gate-2")) == [second]
