"""Notices: what fails is said in the log once, then at growing intervals."""

import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import inf
from typing import Final

FIRST_SECONDS: Final = 30.0  # between the first line and the second; each doubles it
LONGEST_SECONDS: Final = 3600.0
OTHER_WORDS_SECONDS: Final = 5.0  # before a line about the same, because its words are others
MOST_IN_A_MINUTE: Final = 20  # lines, however many things fail


@dataclass(slots=True)
class _Notice:
    said: float = -inf
    interval: float = 0.0
    words: str = ""
    withheld: int = 0


class Notices:
    """Says whether a failure is to be logged now. Pure but for the clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing failed yet. `clock`: seconds, monotonic."""
        self._clock = clock
        self._notices: dict[Hashable, _Notice] = {}
        self._lines: deque[float] = deque(maxlen=MOST_IN_A_MINUTE)

    def __contains__(self, about: Hashable) -> bool:
        return about in self._notices

    def due(self, about: Hashable, words: str = "") -> int | None:
        """Count a failure.

        Args:
            about: What fails, such as the target or one employee.
            words: Why. Other words than the last ones are said soon.

        Returns:
            How many failures were not logged since the last line about this, where a line is due; None where not.
        """
        notice = self._notices.setdefault(about, _Notice())
        now = self._clock()
        pause = notice.interval if words == notice.words else min(notice.interval, OTHER_WORDS_SECONDS)
        crowded = len(self._lines) == MOST_IN_A_MINUTE and now - self._lines[0] < 60
        if now - notice.said < pause or crowded:
            notice.withheld += 1
            return None
        withheld, notice.withheld = notice.withheld, 0
        notice.said, notice.words = now, words
        notice.interval = min(LONGEST_SECONDS, 2 * notice.interval or FIRST_SECONDS)
        self._lines.append(now)
        return withheld

    def forget(self, about: Hashable) -> bool:
        """It fails no more. Returns whether it did."""
        return self._notices.pop(about, None) is not None

    def clear(self) -> None:
        """Forget all of it."""
        self._notices.clear()
