"""The overview by the API: how devices are, what waits, what failed, and what came of the punches of some days."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field

from attendance.errors import ConfigurationError
from attendance.times import midnight, to_wall_clock
from console.actions.letters import WhichLetters, visible
from console.api.calling import Caller
from console.api.listing import Asked
from console.context import context_of
from console.device_states import seen_devices
from console.rights import Actor
from console.words import DeviceState
from ledger.counts import OutcomeCount, count_outcomes
from ledger.database import Database
from ledger.device_statuses import LedgerStatuses
from ledger.open_letters import OpenLetters
from ledger.waiting import LedgerWaiting
from operations.journeys import Outcome
from operations.log import Skipped
from operations.waiting import Which

router: Final = APIRouter(tags=["overview"])

MOST_DAYS: Final = 31
_DAY: Final = timedelta(days=1)


class OverviewAsked(Asked):
    """Of which days the punches are counted."""

    days: Annotated[int, Field(ge=1, le=MOST_DAYS, description="Today and so many days before it, less one.")] = 1
    zone: str | None = Field(None, max_length=100, description="The IANA zone of the days; else `CONSOLE_ZONE`.")


class CountedDay(BaseModel):
    """What came of the punches of one day. An outcome of which there is none is missing."""

    day: date
    outcomes: dict[Outcome, int]


class Overview(BaseModel):
    """How things are, of the sites that the token sees.

    `numbers` are the lines of `/people/unmapped`, with `waiting` punches. `letters` are those that failed and nobody
    has dealt with.
    """

    devices: dict[DeviceState, int]
    numbers: int
    waiting: int
    letters: int
    days: list[CountedDay]
    as_of: datetime | None = Field(description="How new the answer is; null while the ledger has not read everything.")


@router.get("/overview")
async def show_overview(request: Request, actor: Caller, asked: Annotated[OverviewAsked, Query()]) -> Overview:
    """How many devices are how, what waits, what failed, and what came of the punches of some days."""
    context = context_of(request)
    at, zone = context.clock(), asked.zone or context.settings.zone
    try:
        days = [to_wall_clock(at, zone).date() - number * _DAY for number in reversed(range(asked.days))]
        begins = [midnight(day, zone) for day in (*days, days[-1] + _DAY)]
    except (ConfigurationError, OverflowError) as error:
        raise HTTPException(422, f"zone: {error}") from error
    fleet = [each for each in context.registry if actor.sees(each.site)]
    said = await LedgerStatuses(context.database, Skipped()).facts()
    seen = seen_devices(fleet, said, context.registry.fleet.hours, at, context.settings)
    source = LedgerWaiting(context.database, Skipped())
    waiting, numbers = await asyncio.to_thread(_waiting, source, actor)
    letters = await asyncio.to_thread(OpenLetters(context.database).count, visible(context, actor, WhichLetters()))
    outcomes = await asyncio.to_thread(_outcomes, context.database, begins, actor)
    return Overview.model_validate(
        {
            "devices": Counter(each.state for each in seen),
            "numbers": numbers,
            "waiting": waiting,
            "letters": letters.letters,
            "days": [{"day": day, "outcomes": _by_outcome(of)} for day, of in zip(days, outcomes, strict=True)],
            "as_of": source.as_of,
        }
    )


def _waiting(source: LedgerWaiting, actor: Actor) -> tuple[int, int]:
    with source:
        return source.count(Which(sites=actor.sites))


def _outcomes(database: Database, begins: list[datetime], actor: Actor) -> list[list[OutcomeCount]]:
    with database.transaction() as connection:
        return [count_outcomes(connection, first, last, actor.sites) for first, last in pairwise(begins)]


def _by_outcome(counts: Iterable[OutcomeCount]) -> Counter[str]:
    found: Counter[str] = Counter()
    for each in counts:
        found[each.outcome] += each.records
    return found
