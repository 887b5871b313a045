from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from attendance.records.checkin import Checkin
from sinks.delivery.queue import QUICK, EmployeeQueues, QueuedCheckin

AT_ONCE = -inf


@dataclass
class FakeRecord:
    offset: int
    topic: str = "checkins"
    partition: int = 0
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def queued(employee: str, number: int = 0) -> QueuedCheckin:
    checkin = Checkin(
        event_id=f"{employee}-{number}",
        employee=employee,
        event_time=datetime(2026, 1, 1, 5, tzinfo=UTC),
        log_type="IN",
        device_id="D1",
        device_user_id="7",
        site="HQ",
        device_timezone="Asia/Riyadh",
    )
    return QueuedCheckin(FakeRecord(number), checkin)


def queues(*checkins: QueuedCheckin) -> EmployeeQueues:
    filled = EmployeeQueues()
    for each in checkins:
        filled.add(each)
    return filled


def test_a_batch_holds_many_employees_and_each_ones_checkins_in_order() -> None:
    a1, b1, a2 = queued("A", 1), queued("B", 1), queued("A", 2)
    filled = queues(a1, b1, a2)
    assert filled.take(10, 0) == [a1, a2, b1]


def test_an_employee_whose_batch_is_in_flight_is_not_handed_out_again() -> None:
    a1, a2, b1 = queued("A", 1), queued("A", 2), queued("B", 1)
    filled = queues(a1, b1)
    first = filled.take(1, 0)
    filled.add(a2)
    assert first == [a1]
    assert filled.take(10, 0) == [b1]
    assert filled.take(10, 0) == []
    filled.give_back(first, {})
    assert filled.take(10, 0) == [a2]


def test_no_batch_is_larger_than_asked_for_and_employees_take_turns() -> None:
    many = [queued("A", number) for number in range(5)]
    other = queued("B")
    filled = queues(*many, other)
    first = filled.take(3, 0)
    assert first == many[:3]
    filled.give_back(first, {})
    assert filled.take(3, 0) == [other, *many[3:]]


def test_what_comes_back_goes_to_the_front_in_its_old_order() -> None:
    many = [queued("A", number) for number in range(4)]
    filled = queues(*many)
    batch = filled.take(3, 0)
    filled.give_back(batch, {batch[1]: AT_ONCE, batch[2]: AT_ONCE})
    assert filled.take(10, 0) == many[1:]


def test_a_queue_waits_for_its_time_and_others_do_not_wait_with_it() -> None:
    a1, a2, b1 = queued("A", 1), queued("A", 2), queued("B", 1)
    filled = queues(a1)
    filled.give_back(filled.take(1, 0), {a1: 30.0})
    filled.add(a2)
    filled.add(b1)
    assert filled.next_due(0) == 30.0
    assert filled.take(10, 29.9) == [b1]
    assert filled.take(10, 30.0) == [a1, a2]


def test_a_suspect_is_in_no_batch_and_is_tried_one_by_one() -> None:
    a1, b1, b2, c1 = queued("A", 1), queued("B", 1), queued("B", 2), queued("C", 1)
    filled = queues(b1)
    first = filled.take(10, 0)
    filled.suspect("B")
    filled.give_back(first, {b1: 30.0})
    for each in (a1, b2, c1):
        filled.add(each)
    assert filled.queued_of_suspects == 2
    assert filled.take(10, 30) == [a1, c1]
    alone = filled.take_suspect(30)
    assert alone == [b1]
    assert filled.take_suspect(30) == []
    filled.clear_suspicion("B")
    filled.give_back(alone, {})
    assert filled.take(10, 30) == [b2]


def test_those_whose_request_was_divided_go_first_and_share_smaller_ones() -> None:
    many = [queued(employee) for employee in "ABCDE"]
    filled = queues(*many)
    together = filled.take(10, 0)
    for employee in "ABCDE":
        filled.divide(employee, 2)
    filled.give_back(together, dict.fromkeys(together, AT_ONCE))
    other = queued("F")
    filled.add(other)
    assert [filled.take(10, 0) for _ in range(4)] == [many[:2], many[2:4], many[4:], [other]]


def test_suspects_that_the_target_was_to_blame_for_go_on_at_once_and_together() -> None:
    a1, b1, c1 = queued("A"), queued("B"), queued("C")
    filled = queues(a1, b1, c1)
    together = filled.take(10, 0)
    for employee in "ABC":
        filled.suspect(employee)
    filled.give_back(together, {a1: 30.0, b1: AT_ONCE, c1: 40.0})
    filled.reconsider({"A", "B"})
    assert filled.suspects == {"C"}
    assert filled.take(10, 0) == [a1, b1]
    assert filled.take(10, 50) == []
    assert filled.take_suspect(50) == [c1]


def test_suspects_who_hold_the_target_up_let_the_others_go_first_but_not_for_ever() -> None:
    slow, *quick = [queued(f"E{number}") for number in range(QUICK + 3)]
    filled = queues(slow, *quick)
    together = filled.take(100, 0)
    for each in together:
        filled.suspect(each.checkin.employee, holds_up=each is slow)
    filled.give_back(together, dict.fromkeys(together, AT_ONCE))
    turns = [filled.take_suspect(0) for _ in together]
    assert turns == [[each] for each in (*quick[:QUICK], slow, *quick[QUICK:])]


def test_one_who_holds_the_target_up_is_no_trial_of_it_unless_nobody_else_is_left() -> None:
    slow, quick = queued("A"), queued("B")
    filled = queues(slow, quick)
    together = filled.take(10, 0)
    filled.suspect("A", holds_up=True)
    filled.suspect("B")
    filled.give_back(together, {slow: AT_ONCE, quick: 30.0})
    assert filled.take_suspect(0, trial=True) == []
    filled.give_back(filled.take_suspect(30, trial=True), {})
    assert filled.take_suspect(30, trial=True) == [slow]


def test_one_who_holds_the_target_up_is_tried_again_at_once_but_alone_where_the_target_was_to_blame() -> None:
    slow, quick = queued("A"), queued("B")
    filled = queues(slow, quick)
    together = filled.take(10, 0)
    filled.suspect("A", holds_up=True)
    filled.suspect("B")
    filled.give_back(together, dict.fromkeys(together, 30.0))
    filled.reconsider({"A", "B"})
    assert filled.take(10, 0) == [quick]
    assert filled.take_suspect(0) == [slow]


def test_clearing_drops_what_is_queued_and_keeps_queues_in_flight_closed() -> None:
    a1, a2, b1, new = queued("A", 1), queued("A", 2), queued("B", 1), queued("A", 3)
    filled = queues(a1, a2, b1)
    in_flight = filled.take(1, 0)
    filled.clear()
    assert len(filled) == 1
    filled.add(new)
    assert filled.take(10, 0) == []
    filled.give_back(in_flight, {})
    assert filled.take(10, 0) == [new]


def test_a_queue_that_waited_when_it_was_cleared_begins_anew() -> None:
    old, new = queued("A", 1), queued("A", 2)
    filled = queues(old)
    filled.give_back(filled.take(1, 0), {old: 30.0})
    filled.clear()
    filled.add(new)
    assert filled.take(10, 0) == [new]
    assert filled.take(10, 31) == []


@given(st.lists(st.sampled_from("ABC"), max_size=40), st.randoms(use_true_random=False), st.integers(1, 5))
def test_every_checkin_is_done_once_and_in_its_employees_order(employees: list[str], random: Random, most: int) -> None:
    checkins = [queued(employee, number) for number, employee in enumerate(employees)]
    filled = queues(*checkins)
    in_flight: list[list[QueuedCheckin]] = []
    done: list[QueuedCheckin] = []
    now = 0.0
    while len(filled):
        now += 1
        if batch := filled.take(most, now):
            in_flight.append(batch)
            assert len({each.checkin.employee for batch in in_flight for each in batch}) == sum(
                len({each.checkin.employee for each in batch}) for batch in in_flight
            )
        if in_flight and (not batch or random.random() < 0.5):
            batch = in_flight.pop(random.randrange(len(in_flight)))
            # What fails takes everything later of the same employee with it.
            failed = {each.checkin.employee: random.randrange(len(batch) + 1) for each in batch}
            retries = {each: now + 1 for index, each in enumerate(batch) if index >= failed[each.checkin.employee]}
            done += [each for each in batch if each not in retries]
            filled.give_back(batch, retries)
    for employee in "ABC":
        assert [each for each in done if each.checkin.employee == employee] == [
            each for each in checkins if each.checkin.employee == employee
        ]
