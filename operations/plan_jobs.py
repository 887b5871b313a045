"""Jobs over a plan: what somebody was shown would be done in ERPNext, and agreed to.

A plan is worked out once for whoever looks at it, and anew by the job: what is done is what was agreed to, or nothing.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from secrets import token_hex
from typing import Any, Final, Protocol

from attendance.errors import ConfigurationError
from attendance.records.job import AgreedPlan, JobAsked, LettersWanted, PlanKind
from attendance.registry import Registry
from attendance.settings import ErpnextSettings
from attendance.times import now
from operations.log import Log

MOST_AGREED: Final = 10_000
"""So many things one job does at most: the job is one record."""
_DIGITS: Final = 16


class PlanChanged(ConfigurationError):
    """What would be done now is not what was agreed to. Nothing was done."""


@dataclass(frozen=True, slots=True)
class PlanRange:
    """Of which records a plan is: those from `since` on and before `until`, of these devices, or of all.

    What a record has as its time depends on the plan: the delivery of a late punch, or the arrival of a raw record.
    """

    since: datetime
    until: datetime | None = None
    devices: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class PlanSource:
    """What a plan is made of.

    Attributes:
        log: The topics.
        erpnext: The site.
        fleet: Reads the present fleet. Raises ConfigurationError where it is not known.
    """

    log: Log
    erpnext: ErpnextSettings
    fleet: Callable[[], Registry]


class Counts(Protocol):
    """How far a job over a plan is, as whoever does it says so."""

    @property
    def is_resumed(self) -> bool:
        """Whether some of it may be done already, by a process that is gone."""

    async def begin(self, planned: int, refused: Mapping[Any, str]) -> None:
        """Say, before anything is done, how much there is to do, and what is left alone and why."""

    def did(self, count: int) -> None:
        """So much more is done. Raises where no more is to be done."""

    def failed(self, what: str, why: str) -> None:
        """One thing could not be done. Raises where no more is to be done."""


DoPlan = Callable[[AgreedPlan, Counts], Awaitable[None]]
"""Does what was agreed to. Raises PlanChanged where that is not what would be done now."""


def digest(*parts: str) -> str:
    """By which one thing of a plan is known again.

    Args:
        parts: What it is. Something else has others.
    """
    return sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]


def new_plan_job(kind: PlanKind, wanted: PlanRange, agreed: Sequence[str], by: str, note: str) -> JobAsked:
    """A job that does what somebody agreed to. It is not stored yet.

    Args:
        kind: What is to be done.
        wanted: Of which records the plan is.
        agreed: The digest of each thing that is to be done.
        by: Who agreed.
        note: Why.

    Raises:
        ConfigurationError: there is no note, nothing to do, or too much for one job.
    """
    if not note.strip():
        raise ConfigurationError("say why: it is kept")
    if not agreed:
        raise ConfigurationError("the plan has nothing that can be done")
    if len(agreed) > MOST_AGREED:
        raise ConfigurationError(f"a job does at most {MOST_AGREED:,} things")
    plan = AgreedPlan(wanted.since, tuple(agreed), wanted.until, tuple(sorted(wanted.devices)))
    return JobAsked(token_hex(8), kind, LettersWanted({}), now(), by, note.strip(), len(agreed), plan)


def range_of(plan: AgreedPlan) -> PlanRange:
    """Of which records a plan is that was agreed to."""
    return PlanRange(plan.since, plan.until, frozenset(plan.devices))
