from math import inf

from attendance.runtime import FIRST_BACKOFF_SECONDS
from sinks.delivery.breaker import Gate


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def longest(_low: float, high: float) -> float:
    return high


def open_gate(clock: Clock) -> Gate:
    gate = Gate(60, clock=clock, uniform=longest)
    gate.succeeded(gate.enter())
    return gate


def test_the_first_request_goes_alone_and_its_success_lets_everybody_in() -> None:
    gate = Gate(60, clock=Clock())
    assert gate.delay() == 0
    ticket = gate.enter()
    assert gate.delay() == inf
    gate.succeeded(ticket)
    assert gate.delay() == 0
    gate.enter()
    assert gate.delay() == 0


def test_after_a_failure_nobody_asks_until_the_pause_is_over_and_then_one_alone() -> None:
    clock = Clock()
    gate = open_gate(clock)
    gate.failed(gate.enter())
    assert gate.delay() == 2 * FIRST_BACKOFF_SECONDS
    clock.now += 2 * FIRST_BACKOFF_SECONDS
    assert gate.delay() == 0
    gate.enter()
    assert gate.delay() == inf


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    clock = Clock()
    gate = open_gate(clock)
    pauses = []
    for _ in range(9):
        gate.failed(gate.enter())
        pauses.append(gate.delay())
        clock.now += gate.delay()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    gate.succeeded(gate.enter())
    gate.failed(gate.enter())
    assert gate.delay() == 1


def test_the_time_that_the_target_asks_for_is_kept_even_if_it_is_longer() -> None:
    clock = Clock()
    gate = open_gate(clock)
    gate.failed(gate.enter(), 300)
    assert gate.delay() == 300


def test_requests_that_fail_together_are_one_failure_and_the_longest_pause_holds() -> None:
    clock = Clock()
    gate = open_gate(clock)
    together = [gate.enter() for _ in range(4)]
    for ticket in together[:3]:
        gate.failed(ticket)
    assert gate.delay() == 1
    gate.failed(together[3], 30)
    assert gate.delay() == 30


def test_a_success_that_was_sent_before_the_failure_does_not_open_the_gate() -> None:
    gate = open_gate(Clock())
    early, failing = gate.enter(), gate.enter()
    gate.failed(failing)
    gate.succeeded(early)
    assert not gate.is_open


def test_a_request_that_says_nothing_of_the_target_lets_another_one_go() -> None:
    clock = Clock()
    gate = open_gate(clock)
    gate.failed(gate.enter())
    clock.now += 1
    gate.left(gate.enter())
    assert gate.delay() == 0
    assert not gate.is_open
