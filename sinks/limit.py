"""DeadLetterLimit: keeps a sink from making a dead letter of everything it gets."""

from collections import deque
from typing import Final

WINDOW: Final = 500  # outcomes that the ratio is taken of; fewer have none


class DeadLetterLimit:
    """Counts outcomes and says when no more dead letters may be written. Pure.

    It is reached by a run of dead letters without a delivery between them, and by too many among the last outcomes. A
    delivery ends the run, and counts for the ratio.
    """

    def __init__(self, run: int, ratio: float) -> None:
        """So many in a row, and this part of the last `WINDOW` outcomes; a ratio of 1 is never exceeded."""
        self._longest_run = run
        self._most = ratio * WINDOW
        self._run = 0
        self._outcomes: deque[bool] = deque(maxlen=WINDOW)

    @property
    def reached(self) -> bool:
        """Whether the next dead letter would be one too many."""
        if self._run >= self._longest_run:
            return True
        return len(self._outcomes) == WINDOW and sum(self._outcomes) > self._most

    def delivered(self) -> None:
        """The target holds a check-in."""
        self._run = 0
        self._outcomes.append(False)

    def admit(self) -> bool:
        """Count a dead letter that is to be written; False, and not counted, where it must not be."""
        if self.reached:
            return False
        self._run += 1
        self._outcomes.append(True)
        return True
