"""Concurrency: how many requests to the target may be in flight, by how fast it answers."""

from collections import deque
from dataclasses import dataclass
from math import inf, log2
from statistics import median
from typing import Final

HOLDS: Final = 1.5  # times the usual latency: up to here more requests cost nothing that matters
SLOWS: Final = 2.0  # times the usual latency: from here on requests only wait for one another
WEIGHT: Final = 0.3  # of a new latency in the usual one
OVERDUE_SECONDS: Final = 5.0  # a request that takes longer, and `OVERDUE` times the usual, keeps no others waiting
OVERDUE: Final = 6.0
OVERDUE_AT_MOST: Final = 15.0
"""Seconds. Where most of the last requests were slow, the usual one says nothing, and others do not wait for that."""
FEW, MANY = 5, 25  # of the last requests, from which the usual one is taken
FEWEST: Final = 3  # answers that a decision needs, so that the median ignores a single slow one


@dataclass(eq=False, slots=True)
class Request:
    """A request that is in flight.

    Attributes:
        started: When it was sent, in seconds.
        turn: How many decisions had been made by then.
        alone: Whether no other has been in flight since it was sent.
    """

    started: float
    turn: int
    alone: bool


class Concurrency:
    """Additive increase, multiplicative decrease, as TCP does it. Pure: the time, in seconds, is what the caller says.

    One decision is made for each round trip, from the answers to requests that were sent after the last decision:
    requests that were in flight together count once. The limit grows by one if it was reached and latency did not rise.
    It shrinks by one if answers took much longer than usual, and is halved if the target says that it is overloaded.

    The usual latency is that of requests of nearly the same size that were alone. It is not learned from requests under
    load, or load would become usual. A target that has become slower for good brings the limit down to one: every
    request is alone then, and the usual latency is learned anew.

    A request that is overdue is held up by something of its own, such as a lock on one document: some of those do not
    count, so that they keep no others waiting.
    """

    def __init__(self, ceiling: int) -> None:
        """Begins with one request at a time; never more than `ceiling`."""
        self._ceiling = ceiling
        self._spare = max(1, ceiling // 2)
        self._in_flight: set[Request] = set()
        self._usual: dict[int, float] = {}  # seconds, by size class
        self._latencies: deque[float] = deque(maxlen=MANY)
        self._turn = 0
        self._ratios: list[float] = []  # of this turn: latency by the usual one
        self._reached = False
        self.limit = 1

    @property
    def most(self) -> int:
        """The most requests that are ever in flight."""
        return self._ceiling + self._spare

    @property
    def overdue_after(self) -> float:
        """How many seconds a request may take before it is overdue."""
        usual = median(self._latencies) if len(self._latencies) >= FEW else 0.0
        return min(max(OVERDUE_SECONDS, OVERDUE * usual), OVERDUE_AT_MOST)

    def has_room(self, now: float) -> bool:
        """Whether another request may be sent."""
        after = self.overdue_after
        # The same sum as in `next_overdue`: whoever waited until then must find the request overdue.
        overdue = sum(each.started + after <= now for each in self._in_flight)
        return len(self._in_flight) - min(overdue, self._spare) < self.limit

    def next_overdue(self, now: float) -> float:
        """When the next request becomes overdue, in seconds as `now`; infinity if none does."""
        after = self.overdue_after
        dues = (each.started + after for each in self._in_flight)
        return min((due for due in dues if due > now), default=inf)

    def begin(self, now: float) -> Request:
        """A request is sent. One of the methods below takes it back when it is over."""
        for other in self._in_flight:
            other.alone = False
        request = Request(now, self._turn, alone=not self._in_flight)
        self._in_flight.add(request)
        self._reached |= not self.has_room(now)
        return request

    def served(self, request: Request, now: float, size: int) -> None:
        """The target did all that the request asked for.

        Args:
            request: What `begin` returned.
            now: The time, in seconds.
            size: How many documents it held.
        """
        self._in_flight.remove(request)
        self._latencies.append(now - request.started)
        if request.turn == self._turn:
            self._ratios.append(self._compare(size, now - request.started, alone=request.alone))
            if len(self._ratios) >= max(self.limit, FEWEST):
                self._decide(median(self._ratios))

    def overloaded(self, request: Request) -> None:
        """The target asked for fewer requests, or did not answer."""
        self._in_flight.remove(request)
        if request.turn == self._turn:
            self._next(self.limit // 2)

    def ignore(self, request: Request) -> None:
        """How long the request took says nothing about the target's load."""
        self._in_flight.discard(request)

    def _compare(self, size: int, latency: float, *, alone: bool) -> float:
        # Latency grows with the number of documents, but not in proportion. So only requests of nearly the same size
        # are compared: a class is an eighth wide to either side.
        size_class = round(3 * log2(size))
        usual = self._usual.setdefault(size_class, latency)
        if alone:
            self._usual[size_class] += WEIGHT * (latency - usual)
        return latency / usual if usual > 0 else 1.0

    def _decide(self, ratio: float) -> None:
        if ratio * HOLDS < 1:
            # It has become faster under load. The old measure would let the limit grow far beyond what helps.
            self._usual = {size_class: usual * ratio for size_class, usual in self._usual.items()}
        if ratio > SLOWS:
            self._next(self.limit - 1)
        elif ratio <= HOLDS and self._reached:
            self._next(self.limit + 1)
        else:
            self._next(self.limit)

    def _next(self, limit: int) -> None:
        self.limit = min(max(limit, 1), self._ceiling)
        self._turn += 1
        self._ratios.clear()
        self._reached = False
