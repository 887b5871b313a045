"""Concurrency: how many requests to the target may be in flight, found out by how it answers."""

from dataclasses import dataclass
from math import log2
from statistics import median
from typing import Final

HOLDS: Final = 1.5  # times the usual latency: up to here more requests cost nothing that matters
SLOWS: Final = 2.0  # times the usual latency: from here on requests only wait for one another
WEIGHT: Final = 0.3  # of a new latency in the usual one
FEWEST: Final = 3  # answers that a decision needs, so that the median ignores a single slow one


@dataclass(eq=False, slots=True)
class Request:
    """One that is in flight. `alone`: no other has been, since it was sent."""

    started: float
    turn: int
    alone: bool


class Concurrency:
    """Additive increase, multiplicative decrease, as TCP does it. Pure: the time, in seconds, is what the caller says.

    One decision is made for each round trip, from the answers to requests that were sent after the last decision: what
    was under way together counts once. The limit grows by one where it was reached and latency held, goes back by one
    where answers took much longer than usual, and is halved when the target says that it has too much to do.

    Usual is what requests of nearly the same size took when they were alone. Latency under load is not learned from, or
    load would become the usual thing. A target that has become slower for good brings the limit down to one, where
    every request is alone and the usual latency is learned anew.
    """

    def __init__(self, ceiling: int) -> None:
        """Begins with one request at a time; never more than `ceiling`."""
        self._ceiling = ceiling
        self._in_flight: set[Request] = set()
        self._usual: dict[int, float] = {}  # seconds, by size class
        self._turn = 0
        self._ratios: list[float] = []  # of this turn: latency by the usual one
        self._reached = False
        self.limit = 1

    @property
    def has_room(self) -> bool:
        """Whether another request may be sent."""
        return len(self._in_flight) < self.limit

    def begin(self, now: float) -> Request:
        """A request is sent. It is given back by one of the calls below."""
        for other in self._in_flight:
            other.alone = False
        request = Request(now, self._turn, alone=not self._in_flight)
        self._in_flight.add(request)
        self._reached |= not self.has_room
        return request

    def served(self, request: Request, now: float, size: int) -> None:
        """The target did all that the request asked for; `size` is how many documents."""
        self._in_flight.remove(request)
        if request.turn == self._turn:
            self._ratios.append(self._compare(size, now - request.started, alone=request.alone))
            if len(self._ratios) >= max(self.limit, FEWEST):
                self._decide(median(self._ratios))

    def overloaded(self, request: Request) -> None:
        """The target asked for fewer requests, or did not answer."""
        self._in_flight.remove(request)
        if request.turn == self._turn:
            self._next(self.limit // 2)

    def left(self, request: Request) -> None:
        """How long the request took says nothing about the target."""
        self._in_flight.discard(request)

    def _compare(self, size: int, latency: float, *, alone: bool) -> float:
        # Latency depends on how many documents there are, but not in proportion: like is compared with like, in classes
        # an eighth wide to either side.
        size_class = round(3 * log2(size))
        usual = self._usual.setdefault(size_class, latency)
        if alone:
            self._usual[size_class] += WEIGHT * (latency - usual)
        return latency / usual if usual > 0 else 1.0

    def _decide(self, ratio: float) -> None:
        if ratio * HOLDS < 1:
            # It has become faster under load. Kept, the old measure would let the limit grow far beyond what helps.
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
