"""DeadLetterLimit: keeps a sink from making a dead letter of everything it gets."""

from collections import deque
from typing import Final

import structlog

from attendance.errors import InvalidRecord

log = structlog.get_logger(__name__)

WINDOW: Final = 500  # outcomes that the ratio is taken of; fewer have none


class DeadLetterLimit:
    """Counts outcomes and says when no more dead letters may be written. Pure, but for the log.

    The limit is reached by a run of dead letters without a delivery between them, and by too many dead letters among
    the last outcomes. A delivery ends the run, and counts for the ratio.
    """

    def __init__(self, run: int, ratio: float) -> None:
        """No outcome is counted yet.

        Args:
            run: How many dead letters in a row are too many.
            ratio: The largest part of the last `WINDOW` outcomes that may be dead letters. 1 is never exceeded.
        """
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
        was_reached = self.reached
        self._run = 0
        self._outcomes.append(False)
        if was_reached and not self.reached:
            log.info("A check-in was delivered; delivery goes on, and dead letters are written again.")

    def admit(self, problem: InvalidRecord) -> bool:
        """Count a dead letter that is to be written. False if it must not be written; it is not counted then."""
        was_reached = self.reached
        if was_reached:
            return False
        self._run += 1
        self._outcomes.append(True)
        if self.reached:
            log.error(
                "Nearly every check-in fails; writing no more dead letters, and trying one at a time until one is "
                "delivered.",
                run=self._run,
                of_last=f"{sum(self._outcomes)}/{len(self._outcomes)}",
                last_reason=problem.reason,
                last_error=problem.message,
            )
        return True
