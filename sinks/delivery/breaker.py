"""Gate: the one circuit breaker in front of the target, shared by all workers."""

import random
import time
from collections.abc import Callable
from math import inf

from attendance.runtime import full_jitter


class Gate:
    """Says when the target may be asked.

    While it is open, everybody may ask. A failure shuts it for a while; after that one request alone goes through, and
    its success opens the gate. It begins shut with nothing to wait for, so the very first request is alone too. Pure
    but for the clock.
    """

    def __init__(
        self,
        longest: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`longest` is in seconds: the longest pause that is not asked for by the target itself."""
        self._longest = longest
        self._clock = clock
        self._uniform = uniform
        self._until = -inf
        self._probing = False
        self._failures = 0
        self._ticket = 0
        self.is_open = False

    def delay(self) -> float:
        """Seconds until a request may be sent: 0 is now, infinity is after the request that is under way."""
        if self.is_open:
            return 0.0
        return inf if self._probing else max(0.0, self._until - self._clock())

    def enter(self) -> int:
        """Send a request now, which `delay` must have allowed. Each ticket is given back by one of the calls below."""
        self._probing = not self.is_open
        return self._ticket

    def succeeded(self, ticket: int) -> None:
        """The target served the request."""
        # One that was sent before the gate was shut says nothing about the target now.
        if ticket == self._ticket:
            self.is_open, self._probing, self._failures = True, False, 0

    def failed(self, ticket: int, pause: float = 0.0) -> None:
        """The target did not serve the request. It is left alone for at least `pause` seconds."""
        now = self._clock()
        if ticket != self._ticket:
            # Requests that were under way together and failed together are one failure.
            self._until = max(self._until, now + pause)
            return
        self._failures += 1
        self._ticket += 1
        self.is_open, self._probing = False, False
        self._until = now + max(pause, full_jitter(self._failures, self._longest, uniform=self._uniform))

    def left(self, ticket: int) -> None:
        """The request said nothing about the target; where it was the one alone, another may go."""
        if ticket == self._ticket:
            self._probing = False
