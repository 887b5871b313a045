"""Attempts to sign in: whoever guesses waits, longer and longer, and nobody is kept out for long by a stranger.

They are counted by name and by address apart. A name that does not exist is counted like one that does.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

FREE: Final = 5
"""So many attempts may fail before the next one has to wait."""
FIRST: Final = timedelta(seconds=2)
LONGEST: Final = timedelta(minutes=5)
"""The longest that a stranger can keep somebody out."""
FORGOTTEN_AFTER: Final = timedelta(minutes=30)
MOST: Final = 20_000
"""Names and addresses that are remembered. Those that failed longest ago go first."""


@dataclass(slots=True)
class _Failures:
    count: int
    last: datetime


class Attempts:
    """What failed of late."""

    def __init__(self, most: int = MOST) -> None:
        """Nothing has failed.

        Args:
            most: How many names and addresses are remembered.
        """
        self._most = most
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def wait(self, name: str | None, client: str, at: datetime) -> timedelta:
        """How long the next attempt has to wait; zero where it may be made.

        Args:
            name: Who is to be signed in; None where nobody is named.
            client: From which address.
            at: What time it is.
        """
        return max(self._wait(key, at) for key in _keys(name, client))

    def failed(self, name: str | None, client: str, at: datetime) -> None:
        """Count an attempt that failed. Takes what `wait` takes."""
        for key in _keys(name, client):
            before = self._failures.pop(key, None)
            count = before.count if before is not None and at - before.last < FORGOTTEN_AFTER else 0
            self._failures[key] = _Failures(count + 1, at)
        while len(self._failures) > self._most:
            self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """Forget what failed of a name. The address goes on counting: it may have guessed at others."""
        self._failures.pop(("name", _name(name)), None)

    def _wait(self, key: tuple[str, str], at: datetime) -> timedelta:
        found = self._failures.get(key)
        if found is None or found.count < FREE or at - found.last >= FORGOTTEN_AFTER:
            return timedelta()
        # The exponent is bounded, so that no number of attempts overflows.
        times: int = 2 ** min(found.count - FREE, 10)
        pause = min(FIRST * times, LONGEST)
        return max(found.last + pause - at, timedelta())


def _keys(name: str | None, client: str) -> list[tuple[str, str]]:
    return [("client", client)] if name is None else [("name", _name(name)), ("client", client)]


def _name(name: str) -> str:
    return name[:200].casefold()
