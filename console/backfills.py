"""Backfills: the devices that are being asked for punches again, in the memory of the process.

What a backfill has published stays when the process ends in the middle of it, and the next one asks for the rest.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import structlog

from attendance.errors import PunchstreamError

log = structlog.get_logger(__name__)

AT_ONCE: Final = 4
"""Devices that are asked at the same time. The others wait."""


@dataclass(slots=True)
class Backfill:
    """One device that is being asked, or was.

    Attributes:
        first: The first day, as ISO 8601 has it.
        last: The last day.
        by: Who had it asked.
        began: When.
        state: How it is.
        pages: How many parts of its answer have come.
        said: What came of it, or why it failed.
    """

    first: str
    last: str
    by: str
    began: datetime
    state: Literal["running", "done", "failed"] = "running"
    pages: int = 0
    said: str = ""

    def came(self, pages: int) -> None:
        """So many parts have come."""
        self.pages = pages


class Backfills:
    """The newest backfill of each device."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """There is none yet.

        Args:
            at_once: How many devices are asked at the same time.
        """
        self._newest: dict[str, Backfill] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_once = asyncio.Semaphore(at_once)

    def of(self, device_id: str) -> Backfill | None:
        """The newest of a device; None where this process knows of none."""
        return self._newest.get(device_id)

    def begin(self, device_id: str, backfill: Backfill, work: Callable[[], Awaitable[str]]) -> bool:
        """Begin one. False where the device is being asked already, and nothing is begun.

        Args:
            device_id: Which device.
            backfill: What is shown of it.
            work: Does it, and returns what came of it. It may raise PunchstreamError.
        """
        before = self._newest.get(device_id)
        if before is not None and before.state == "running":
            return False
        self._newest[device_id] = backfill
        task = asyncio.create_task(self._run(backfill, work), name=f"backfill {device_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _run(self, backfill: Backfill, work: Callable[[], Awaitable[str]]) -> None:
        try:
            async with self._at_once:
                backfill.said = await work()
            backfill.state = "done"
        except PunchstreamError as error:
            backfill.state, backfill.said = "failed", str(error)
        except Exception as error:
            # Somebody waits for it to end.
            log.exception("A backfill failed.")
            backfill.state, backfill.said = "failed", type(error).__name__
