"""Plans: what would be done in ERPNext, worked out for somebody who may agree to it, in the memory of the process.

To work one out takes longer than a browser waits, so it goes on if nobody waits for it. One that is lost with the
process is worked out again.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import structlog

from attendance.errors import PunchstreamError, RetriableError
from console.language import marked as _

log = structlog.get_logger(__name__)

MOST: Final = 50
"""Plans that are kept. The oldest that is not in work goes for a new one."""
AT_ONCE: Final = 3
"""Plans that are worked out at a time: each reads topics, and asks ERPNext."""
LIFE: Final = timedelta(hours=1)
"""So long after it was asked for a plan is forgotten."""

Kind = Literal["corrections", "late"]


@dataclass(slots=True)
class Plan:
    """One plan.

    Attributes:
        kind: What it is of.
        by: For whom it is worked out.
        wanted: What was asked, as the page needs it again.
        began: When.
        id: By which it is found. Nobody can guess it.
        found: What would be done; None until that is known, or where there is a problem.
        problem: Why it is not known, marked to be translated; None where there is no problem.
        values: What the problem names.
        is_passing: Whether the same may succeed later.
        is_over: Whether nobody works on it any more.
    """

    kind: Kind
    by: str
    wanted: Any
    began: datetime
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    found: Any = None
    problem: str | None = None
    values: dict[str, str] = field(default_factory=dict)
    is_passing: bool = False
    is_over: bool = False


class TooManyPlans(Exception):
    """So many plans are worked out at the moment that no other can be begun."""


class Plans:
    """Every plan of this process."""

    def __init__(self) -> None:
        """There is none yet."""
        self._plans: dict[str, Plan] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, kind: Kind, id_: str, by: str, at: datetime) -> Plan | None:
        """Somebody's own of a kind; None where there is none, or it was forgotten.

        Args:
            kind: What it is of.
            id_: Its id.
            by: Who asks.
            at: What time it is.
        """
        self._forget(at)
        plan = self._plans.get(id_)
        return plan if plan is not None and (plan.kind, plan.by) == (kind, by) else None

    async def begin(self, plan: Plan, work_out: Callable[[], Awaitable[Any]], seconds: float | None) -> None:
        """Keep a plan and have it worked out.

        Args:
            plan: Which one.
            work_out: Returns what would be done.
            seconds: How long to wait for that at most; None for as long as it takes.

        Raises:
            TooManyPlans: others are worked out, and this one is not begun.
        """
        self._forget(plan.began)
        if sum(not each.is_over for each in self._plans.values()) >= AT_ONCE:
            raise TooManyPlans
        self.keep(plan)
        task = asyncio.create_task(_work_out(plan, work_out), name=f"plan of {plan.kind}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=seconds)

    def keep(self, plan: Plan) -> None:
        """Have one found from now on."""
        self._plans[plan.id] = plan

    def drop(self, plan: Plan) -> None:
        """Have one found no more: it is agreed to."""
        self._plans.pop(plan.id, None)

    def _forget(self, at: datetime) -> None:
        over = sorted((each for each in self._plans.values() if each.is_over), key=lambda each: each.began)
        too_many = len(self._plans) - MOST + 1
        for number, each in enumerate(over):
            if number < too_many or at - each.began > LIFE:
                del self._plans[each.id]


async def _work_out(plan: Plan, work_out: Callable[[], Awaitable[Any]]) -> None:
    try:
        plan.found = await work_out()
    except RetriableError as error:
        log.warning("A plan could not be worked out.", kind=plan.kind, error=str(error))
        plan.is_passing = True
        plan.problem = _("ERPNext or Kafka does not answer. Try again in a minute; if it stays so, call IT.")
    except PunchstreamError as error:
        log.warning("A plan could not be worked out.", kind=plan.kind, error=str(error))
        plan.problem, plan.values = _("It did not work. Show this to IT: %(why)s"), {"why": str(error)}
    except Exception as error:
        # Somebody waits for it to end.
        log.exception("A plan could not be worked out.", kind=plan.kind)
        plan.problem, plan.values = _("It did not work. Show this to IT: %(why)s"), {"why": type(error).__name__}
    finally:
        plan.is_over = True
