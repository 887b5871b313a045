"""When a file that people and programs change while it is read is whole.

An editor may write it in place, in several parts. A copy over a slow network stops for a while in the middle. Either
may be valid at any moment. A file that was put there by rename has to stay as it is as well: nothing tells it from one
that was made anew.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

SOME_MISSING: Final = 10.0
"""Seconds for which a file has to stay as it is that lacks some of what it had."""
MOST_MISSING: Final = 60.0
"""The same where it lacks more than half of it, or is the beginning of what it was."""

_Stamp = tuple[int, int, int, int]


class Settling:
    """The looks at one file.

    Args:
        path: The file.
        clock: Seconds, from any beginning.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._taken = self._seen = _stamp(path)
        self._looks = 0
        self._since = 0.0

    def look(self) -> bool:
        """Whether it is another file than that which was taken, and was the same at the look before."""
        stamp = _stamp(self._path)
        if stamp == self._taken:
            self._seen, self._looks = stamp, 0
            return False
        if stamp != self._seen:
            self._seen, self._looks, self._since = stamp, 0, self._clock()
        self._looks += 1
        return self._looks > 1

    @property
    def is_new(self) -> bool:
        """Whether the last look was the first at this file."""
        return self._looks == 1

    @property
    def is_first_whole_look(self) -> bool:
        """Whether `look` has just said for the first time that it is whole."""
        return self._looks == 2

    def has_lasted(self, seconds: float) -> bool:
        """Whether it has been the same for so long, by the looks."""
        return self._clock() - self._since >= seconds

    def take(self) -> None:
        """Look out for the next change from now on."""
        self._taken, self._looks = self._seen, 0


def wait_for(had: int, lost: int, before: bytes, after: bytes) -> float:
    """For how many seconds a changed file has to stay as it is before it is believed.

    Args:
        had: How many entries it had.
        lost: How many of these it has no more.
        before: Its bytes when it was last believed.
        after: Its bytes now.
    """
    if lost * 2 > had or (len(after) < len(before) and before.startswith(after)):
        return MOST_MISSING
    breaks_off = before.endswith(b"\n") and not after.endswith(b"\n")
    return SOME_MISSING if lost or breaks_off else 0.0


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns
