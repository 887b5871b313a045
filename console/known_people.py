"""KnownPeople: the user map as a console follows it, and what it suggests."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from attendance.kafka.records import KeyValue
from attendance.user_map import UserMap
from operations.user_suggestions import Suggestions

KEPT_SECONDS: Final = 60.0
"""So long suggestions are kept: to make them means a look through the whole map."""


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

    def learn(self, record: KeyValue) -> None:
        """Take in one record of the user map."""
        self.users.learn(record)

    def suggestions(self) -> Suggestions:
        """What the map suggests, as it was a minute ago at most."""
        if self._suggestions is None or self._clock() - self._made_at >= KEPT_SECONDS:
            self._suggestions, self._made_at = Suggestions(self.users), self._clock()
        return self._suggestions
