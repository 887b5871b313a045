"""KnownPeople: the user map as a console follows it, and what it suggests."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from attendance.kafka.records import KeyValue
from attendance.user_map import UserMap
from operations.user_suggestions import Suggestions

KEPT_SECONDS: Final = 60.0
"""So long suggestions are kept at least: to make them means a look through the whole map."""


class KnownPeople:
    """Fed record by record. What it says may be some seconds old.

    Attributes:
        users: The user map.
        caught_up: Set once all of it was read that was there when the console began.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known yet.

        Args:
            clock: Seconds that only go on.
        """
        self.users = UserMap()
        self.caught_up = asyncio.Event()
        self._clock = clock
        self._suggestions: Suggestions | None = None
        self._made_at = 0.0
        self._is_changed = False

    def learn(self, record: KeyValue) -> None:
        """Take in one record of the user map."""
        self.users.learn(record)
        self._is_changed = True

    def suggestions(self) -> Suggestions:
        """What the map suggests: all that it had a minute ago."""
        is_old = self._is_changed and self._clock() - self._made_at >= KEPT_SECONDS
        if self._suggestions is None or is_old:
            self._suggestions, self._made_at, self._is_changed = Suggestions(self.users), self._clock(), False
        return self._suggestions
