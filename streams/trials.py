"""Trials: of all that was sent back for one cause, one punch is tried before the others follow. Pure.

Where the user map and the target disagree for long, or a whole site's devices lack what the target asks for, thousands
of punches wait for the same cause. One of them finds out whether the cause is gone.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

FIRST_PAUSE: Final = timedelta(minutes=1)  # before what was sent back is tried again; then twice as long each time
LONGEST_PAUSE: Final = timedelta(hours=1)
TRIAL: Final = timedelta(minutes=2)
"""What has not come back by then is taken for delivered. If it comes back later, one round was too many."""

Cause = tuple[str | None, ...]


def pause(times: int) -> timedelta:
    """How long what was sent back so often in a row waits before it is tried again."""
    doubled: int = 2 ** max(0, min(times - 1, 10))
    return min(FIRST_PAUSE * doubled, LONGEST_PAUSE)


@dataclass(slots=True)
class _Trial:
    event_id: str
    since: datetime
    failures: int = 0
    again_from: datetime | None = None
    """From when on the next one may be tried. None while nobody knows, and where the trial went well."""


class Trials:
    """The trials of all causes. Memory is bounded by the causes."""

    def __init__(self) -> None:
        """Nothing was tried yet."""
        self._trials: dict[Cause, _Trial] = {}

    def wait_until(self, cause: Cause, event_id: str, now: datetime) -> datetime | None:
        """Whether a punch that is due may be released. If nothing is known of its cause, it is the one that is tried.

        Args:
            cause: For which it was sent back.
            event_id: Which punch.
            now: The time.

        Returns:
            When to ask again; None where it may go now.
        """
        trial = self._trials.get(cause)
        if trial is None or (trial.again_from is not None and trial.again_from <= now):
            self._trials[cause] = _Trial(event_id, now, trial.failures if trial else 0)
            return None
        if trial.again_from is not None:
            return trial.again_from
        known_at = trial.since + TRIAL
        return None if event_id == trial.event_id or known_at <= now else known_at

    def came_back(self, cause: Cause, event_id: str, now: datetime) -> None:
        """A punch was sent back.

        Args:
            cause: For which.
            event_id: Which punch.
            now: The time.
        """
        trial = self._trials.get(cause)
        if trial is None or trial.again_from is not None:
            return
        if event_id == trial.event_id:
            trial.failures += 1
            trial.again_from = now + pause(trial.failures)
        elif trial.since + TRIAL <= now:
            # The trial went well, or took too long: what follows is another story.
            del self._trials[cause]

    def clear(self) -> None:
        """Forget all trials."""
        self._trials.clear()
