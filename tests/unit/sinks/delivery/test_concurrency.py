"""The limit of concurrency against simulated servers, on a clock of their own."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import pytest

from sinks.delivery.concurrency import OVERDUE, OVERDUE_AT_MOST, OVERDUE_SECONDS, Concurrency, Request

CEILING = 32


@dataclass(eq=False)
class Job:
    request: Request
    size: int
    work: float  # seconds that are left, alone on the server


class Server:
    """Works on so many requests at full speed; beyond that they share its speed.

    A request of n documents is `fixed + n * each` seconds of work. Always asked for as much as the limit allows.
    """

    def __init__(self, capacity: float, limit: Concurrency, *, noise: float = 0.0, seed: int = 1) -> None:
        self.capacity = capacity
        self.limit = limit
        self.now = 0.0
        self.slower = 1.0
        self.sizes: Callable[[], int] = lambda: 100
        self.overloaded_beyond = 10_000
        self.served = 0
        self.limits: list[int] = []
        self._jobs: list[Job] = []
        self._noise = noise
        self._random = random.Random(seed)

    def run(self, answers: int) -> list[int]:
        """Serve until so many requests were answered; the limit after each of them."""
        before = len(self.limits)
        while len(self.limits) < before + answers:
            while self.limit.has_room(self.now):
                self._send()
            self._answer_next()
        return self.limits[before:]

    def _send(self) -> None:
        size = self.sizes()
        work = (0.04 + 0.014 * size) * self.slower * (1 + self._noise * self._random.uniform(-1, 1))
        self._jobs.append(Job(self.limit.begin(self.now), size, work))

    def _answer_next(self) -> None:
        if len(self._jobs) > self.overloaded_beyond:
            self.limit.overloaded(self._jobs.pop().request)
        else:
            speed = min(1.0, self.capacity / len(self._jobs))
            job = min(self._jobs, key=lambda each: each.work)
            done = job.work
            self.now += done / speed
            for each in self._jobs:
                each.work -= done
            self._jobs.remove(job)
            self.limit.served(job.request, self.now, job.size)
            self.served += job.size
        self.limits.append(self.limit.limit)


def mean(limits: list[int]) -> float:
    return sum(limits) / len(limits)


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("capacity", [1, 2, 4, 8, 16])
def test_it_finds_what_a_server_works_on_at_full_speed(capacity: int, noise: float) -> None:
    server = Server(capacity, Concurrency(CEILING), noise=noise)
    server.run(1000)
    limits = server.run(2000)
    assert capacity <= mean(limits) <= 2 * capacity + 1
    assert min(limits) >= capacity / 2


def test_a_server_that_is_never_slowed_down_gets_the_ceiling_and_no_more() -> None:
    limits = Server(1000, Concurrency(4)).run(100)
    assert limits[-1] == max(limits) == 4
    assert limits == sorted(limits)


def test_the_size_of_a_request_is_not_taken_for_load() -> None:
    server = Server(8, Concurrency(CEILING), noise=0.2)
    sizes = random.Random(2)
    server.sizes = lambda: sizes.choice([1, 2, 5, 20, 100, 200])
    server.run(1000)
    assert 6 <= mean(server.run(2000)) <= 17


def test_a_backlog_after_quiet_times_is_not_taken_for_load() -> None:
    server = Server(8, Concurrency(CEILING))
    server.sizes = lambda: 1
    server.run(300)
    server.sizes = lambda: 200
    assert min(server.run(300)) >= 8


def test_one_slow_answer_of_three_does_not_count() -> None:
    limit = grown_to(3)
    together = [limit.begin(0.0) for _ in range(3)]
    for request, latency in zip(together, (1.0, 50.0, 1.0), strict=True):
        limit.served(request, latency, 100)
    assert limit.limit == 4


def test_one_slow_answer_changes_nothing() -> None:
    server = Server(8, Concurrency(CEILING))
    before = server.run(500)[-50:]
    server.slower = 30
    server._send()
    server.slower = 1
    after = server.run(100)
    assert min(after) >= min(before) - 1


def test_one_slow_answer_to_a_request_that_is_alone_does_not_become_the_usual_thing() -> None:
    server = Server(1, Concurrency(CEILING))
    server.run(10)
    server.slower = 30
    server.run(1)
    server.slower = 1
    assert max(server.run(300)) <= 3


def test_it_falls_back_when_the_server_becomes_slower_and_recovers_with_it() -> None:
    server = Server(8, Concurrency(CEILING), noise=0.2)
    server.run(1000)
    server.capacity = 2
    server.run(300)
    assert mean(server.run(500)) <= 5
    server.capacity = 8
    server.run(300)
    assert mean(server.run(500)) >= 8


def test_a_server_that_stays_slower_is_used_to_the_full_again() -> None:
    server = Server(8, Concurrency(CEILING), noise=0.2)
    server.run(1000)
    server.slower = 4
    fallen = server.run(200)
    assert min(fallen) < 8
    server.run(500)
    assert mean(server.run(500)) >= 8


def test_a_server_that_becomes_faster_under_load_is_not_flooded() -> None:
    server = Server(4, Concurrency(64), noise=0.2)
    server.slower = 10
    server.run(500)
    server.slower = 1
    server.run(500)
    assert mean(server.run(500)) <= 13  # its old pace would allow 60


def test_it_stays_below_what_a_server_refuses() -> None:
    server = Server(1000, Concurrency(CEILING))
    server.overloaded_beyond = 10
    server.run(200)
    limits = server.run(1000)
    assert max(limits) <= 11
    assert mean(limits) >= 6


def test_requests_that_fail_together_halve_it_once() -> None:
    limit = Concurrency(CEILING)
    Server(1000, limit).run(1000)
    assert limit.limit == CEILING
    limit = grown_to(16)
    together = [limit.begin(0.0) for _ in range(16)]
    for request in together:
        limit.overloaded(request)
    assert limit.limit == 8
    limit.overloaded(limit.begin(1.0))
    assert limit.limit == 4


def test_it_never_falls_below_one() -> None:
    limit = Concurrency(CEILING)
    for _ in range(10):
        limit.overloaded(limit.begin(0.0))
    assert limit.limit == 1
    assert limit.has_room(0.0)


def test_a_request_that_is_overdue_keeps_no_other_waiting_and_two_keep_the_next() -> None:
    limit = Concurrency(2)
    limit.begin(0.0)
    assert not limit.has_room(OVERDUE_SECONDS - 1)
    assert limit.next_overdue(1.0) == OVERDUE_SECONDS
    assert limit.has_room(OVERDUE_SECONDS)
    limit.begin(OVERDUE_SECONDS)
    assert not limit.has_room(3 * OVERDUE_SECONDS)
    assert limit.next_overdue(3 * OVERDUE_SECONDS) == inf


def test_what_is_overdue_is_measured_by_what_is_usual() -> None:
    limit = Concurrency(1)
    for seconds in (2.0, 2.0, 2.0, 50.0, 2.0):
        assert limit.overdue_after == OVERDUE_SECONDS
        limit.served(limit.begin(0.0), seconds, 100)
    assert limit.overdue_after == 2.0 * OVERDUE


def test_where_most_requests_were_slow_others_wait_no_longer_for_that() -> None:
    limit = Concurrency(1)
    for seconds in (0.1, 20.0, 20.0, 20.0, 20.0):
        limit.served(limit.begin(0.0), seconds, 1)
    assert limit.overdue_after == OVERDUE_AT_MOST


def test_what_was_sent_before_a_decision_does_not_count_for_the_next() -> None:
    limit = grown_to(8)
    early = [limit.begin(0.0) for _ in range(8)]
    limit.overloaded(early.pop())
    for request in early:
        limit.served(request, 1000.0, 100)  # slow, under the old limit
    assert limit.limit == 4


def test_it_does_not_grow_where_it_is_not_used() -> None:
    limit = grown_to(2)
    for number in range(100):
        limit.served(limit.begin(float(number)), number + 1.0, 100)
    assert limit.limit == 2


def test_a_request_that_says_nothing_makes_room_for_the_next() -> None:
    limit = Concurrency(CEILING)
    request = limit.begin(0.0)
    assert not limit.has_room(0.0)
    limit.ignore(request)
    assert limit.has_room(0.0)
    assert limit.limit == 1


def test_answers_that_take_no_time_at_all_let_it_grow() -> None:
    limit = Concurrency(CEILING)
    for _ in range(3):
        limit.served(limit.begin(5.0), 5.0, 1)
    assert limit.limit == 2


def grown_to(wanted: int) -> Concurrency:
    limit = Concurrency(CEILING)
    while limit.limit < wanted:
        together = [limit.begin(0.0) for _ in range(limit.limit)]
        for request in together:
            limit.served(request, 1.0, 100)
    return limit
