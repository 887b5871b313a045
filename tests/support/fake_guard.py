"""A guard that answers what it was given last."""

import asyncio

from attendance.guards import Cause, Guards
from attendance.metrics import Metrics

WRONG = "The clock of this server is wrong."


class FakeGuard:
    """Gives a reason, or none, or fails; or hangs."""

    def __init__(self, cause: Cause = "clock", answer: str | Exception | None = None) -> None:
        self.cause: Cause = cause
        self.answer = answer
        self.asked = 0
        self.hangs = False

    async def find_reason(self) -> str | None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def standing(metrics: Metrics) -> tuple[FakeGuard, Guards]:
    """A guard of the clock with a reason, and the guards that ask it when `ask` is called."""
    guard = FakeGuard(answer=WRONG)
    return guard, Guards(metrics, [guard])
