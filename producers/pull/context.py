"""What all pullers of a process share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from attendance.guards import Guards
from attendance.logs import Seldom
from attendance.metrics import Metrics
from attendance.settings import PullSettings
from producers.intake import Intake
from producers.publisher import Publisher
from producers.pull.cursors import Cursors

State = Literal["new", "ok", "unavailable", "unreadable", "refused", "failed"]
"""What became of the last time that a device was asked."""


class ConcurrencyLimit:
    """How many devices are asked at a time.

    A device that does not answer holds its slot until it times out. So those that answered when they were last asked
    have slots of their own, and no number of dead devices can keep them waiting.
    """

    def __init__(self, size: int) -> None:
        """`size` is the number of slots in each of the two."""
        self._answering = asyncio.Semaphore(size)
        self._others = asyncio.Semaphore(size)

    def of(self, state: State) -> asyncio.Semaphore:
        """The slots that a device in this state waits for."""
        return self._answering if state == "ok" else self._others


@dataclass(frozen=True, slots=True)
class PullContext:
    """What all pullers of a process share.

    `now` is the server's clock, UTC; `seldom` limits what each page may have logged.
    """

    settings: PullSettings
    intake: Intake
    publisher: Publisher
    cursors: Cursors
    metrics: Metrics
    concurrency: ConcurrencyLimit
    now: Callable[[], datetime]
    guards: Guards
    seldom: Seldom = field(default_factory=Seldom)
