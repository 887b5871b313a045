"""CircuitBreaker: stops requests to a target that fails, and lets one alone find out when it has recovered."""

import random
import time
from collections.abc import Callable
from enum import StrEnum
from math import inf

from attendance.runtime import full_jitter


class BreakerState(StrEnum):
    """What the circuit breaker allows."""

    CLOSED = "closed"
    """The target is healthy: every request may be sent."""
    OPEN = "open"
    """The target failed: nothing is sent until a pause is over."""
    HALF_OPEN = "half_open"
    """One request is in flight to find out whether the target has recovered. The others wait for its answer."""


class CircuitBreaker:
    """Says when the target may be asked. All workers share it. Pure but for the clock.

    It begins open with no pause, so the very first request goes alone too.
    """

    def __init__(
        self,
        longest: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Nothing has been asked of the target yet.

        Args:
            longest: The longest pause that the target itself has not asked for, in seconds.
            clock: Seconds, monotonic.
            uniform: A random number between two others.
        """
        self._longest = longest
        self._clock = clock
        self._uniform = uniform
        self._until = -inf
        self._failures = 0
        self._generation = 0
        self._state = BreakerState.OPEN

    @property
    def state(self) -> BreakerState:
        """Closed is healthy."""
        return self._state

    @property
    def is_closed(self) -> bool:
        """Whether the target is healthy, so that every request may be sent."""
        return self._state is BreakerState.CLOSED

    @property
    def has_failed(self) -> bool:
        """Whether the target failed since it last served a request."""
        return self._failures > 0

    def delay(self) -> float:
        """Seconds until a request may be sent: 0 is now, infinity is after the answer to the one in flight."""
        match self._state:
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.HALF_OPEN:
                return inf
            case BreakerState.OPEN:
                return max(0.0, self._until - self._clock())

    def acquire(self) -> int:
        """Begin a request, which `delay` must have allowed.

        Returns:
            A ticket, which one of the methods below takes back when the request is over.
        """
        if self._state is BreakerState.OPEN:
            self._state = BreakerState.HALF_OPEN
        return self._generation

    def record_success(self, ticket: int) -> None:
        """The target served the request."""
        # A request that was sent before the last failure says nothing about the target now.
        if ticket == self._generation:
            self._state, self._failures = BreakerState.CLOSED, 0

    def record_failure(self, ticket: int, pause: float = 0.0, *, longest: float | None = None) -> None:
        """The target did not serve the request.

        Args:
            ticket: That of the request.
            pause: For how many seconds at least nothing is sent.
            longest: The longest pause beyond that, if it is to be shorter than usual.
        """
        now = self._clock()
        if ticket != self._generation:
            # Requests that were in flight together and failed together are one failure.
            self._until = max(self._until, now + pause)
            return
        self._failures += 1
        self._generation += 1
        self._state = BreakerState.OPEN
        bound = self._longest if longest is None else min(longest, self._longest)
        self._until = now + max(pause, full_jitter(self._failures, bound, uniform=self._uniform))

    def release(self, ticket: int) -> None:
        """The request said nothing about the target. If it was the one that had to find out, another may go."""
        if ticket == self._generation and self._state is BreakerState.HALF_OPEN:
            self._state = BreakerState.OPEN
