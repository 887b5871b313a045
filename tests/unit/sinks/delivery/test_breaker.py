from math import inf

from attendance.runtime import FIRST_BACKOFF_SECONDS
from sinks.delivery.breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def longest(_low: float, high: float) -> float:
    return high


def closed_breaker(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(60, clock=clock, uniform=longest)
    breaker.record_success(breaker.acquire())
    return breaker


def test_the_first_request_goes_alone_and_its_success_lets_everybody_in() -> None:
    breaker = CircuitBreaker(60, clock=Clock())
    assert breaker.delay() == 0
    ticket = breaker.acquire()
    assert breaker.delay() == inf
    breaker.record_success(ticket)
    assert breaker.delay() == 0
    breaker.acquire()
    assert breaker.delay() == 0


def test_its_state_is_closed_while_the_target_is_healthy_and_half_open_while_one_request_finds_out() -> None:
    clock = Clock()
    breaker = CircuitBreaker(60, clock=clock, uniform=longest)
    states = [breaker.state]
    probe = breaker.acquire()
    states.append(breaker.state)
    breaker.record_success(probe)
    states.append(breaker.state)
    breaker.record_failure(breaker.acquire())
    states.append(breaker.state)
    assert states == ["open", "half_open", "closed", "open"]


def test_after_a_failure_nobody_asks_until_the_pause_is_over_and_then_one_alone() -> None:
    clock = Clock()
    breaker = closed_breaker(clock)
    breaker.record_failure(breaker.acquire())
    assert breaker.delay() == 2 * FIRST_BACKOFF_SECONDS
    clock.now += 2 * FIRST_BACKOFF_SECONDS
    assert breaker.delay() == 0
    breaker.acquire()
    assert breaker.delay() == inf


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    clock = Clock()
    breaker = closed_breaker(clock)
    pauses = []
    for _ in range(9):
        breaker.record_failure(breaker.acquire())
        pauses.append(breaker.delay())
        clock.now += breaker.delay()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    breaker.record_success(breaker.acquire())
    breaker.record_failure(breaker.acquire())
    assert breaker.delay() == 1


def test_the_time_that_the_target_asks_for_is_kept_even_if_it_is_longer() -> None:
    clock = Clock()
    breaker = closed_breaker(clock)
    breaker.record_failure(breaker.acquire(), 300)
    assert breaker.delay() == 300


def test_requests_that_fail_together_are_one_failure_and_the_longest_pause_holds() -> None:
    clock = Clock()
    breaker = closed_breaker(clock)
    together = [breaker.acquire() for _ in range(4)]
    for ticket in together[:3]:
        breaker.record_failure(ticket)
    assert breaker.delay() == 1
    breaker.record_failure(together[3], 30)
    assert breaker.delay() == 30


def test_a_success_that_was_sent_before_the_failure_does_not_close_the_breaker() -> None:
    breaker = closed_breaker(Clock())
    early, failing = breaker.acquire(), breaker.acquire()
    breaker.record_failure(failing)
    breaker.record_success(early)
    assert not breaker.is_closed


def test_a_request_that_says_nothing_of_the_target_lets_another_one_go() -> None:
    clock = Clock()
    breaker = closed_breaker(clock)
    breaker.record_failure(breaker.acquire())
    clock.now += 1
    breaker.release(breaker.acquire())
    assert breaker.delay() == 0
    assert not breaker.is_closed
