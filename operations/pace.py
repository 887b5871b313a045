"""How fast records are sent again."""

import time
from collections.abc import Callable


class Pace:
    """Spreads what is done evenly over time."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._interval = 1 / per_second
        self._clock = clock
        self._due = clock()

    def delay(self) -> float:
        """How many seconds to wait before the next one, which then counts as done. Lost time is not made up for."""
        at = self._clock()
        self._due = max(self._due, at)
        delay = self._due - at
        self._due += self._interval
        return delay
