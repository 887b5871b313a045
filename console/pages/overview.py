"""Overview: is everybody's punch on its way, and what needs somebody."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from attendance.times import midnight, to_wall_clock
from console.acting import Reader
from console.actions.letters import WhichLetters, visible
from console.context import context_of, page
from console.device_states import SeenDevice, seen_devices
from console.words import DEVICE_STATES, DeviceState
from ledger.counts import (
    DeviceLetters,
    OutcomeCount,
    UndeliveredCount,
    WaitingCount,
    count_hours,
    count_letters_by_device,
    count_outcomes,
    count_undelivered,
    count_waiting,
)
from ledger.database import Database
from ledger.device_statuses import LedgerStatuses
from operations.dead_letters import Selection
from operations.log import Skipped

router: Final = APIRouter()

WEEK: Final = timedelta(days=7)
HEIGHT: Final = 100
"""Of the chart, in its own units."""
WIDTH: Final = 20
"""Of an hour."""


@dataclass(slots=True)
class SiteLine:
    """A site: what came today, and what it has that is not in ERPNext, however old."""

    site: str
    states: Counter[DeviceState] = field(default_factory=Counter)
    punches: int = 0
    waiting: int = 0
    letters: int = 0


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of the chart: what came in it today and a week ago, and how high the bars are."""

    number: int
    now: int
    before: int
    now_height: float
    before_height: float

    @property
    def at(self) -> int:
        """Where its bars begin."""
        return self.number * WIDTH


@dataclass(frozen=True, slots=True)
class Day:
    """What the ledger says of a day."""

    hours: Sequence[int]
    hours_before: Sequence[int]
    until_now_before: int
    outcomes: Sequence[OutcomeCount]
    undelivered: Sequence[UndeliveredCount]
    waiting: Sequence[WaitingCount]
    letters: Sequence[DeviceLetters]


@router.get("/")
async def overview(request: Request, actor: Reader) -> Response:
    """The page, of the sites that somebody sees."""
    context = context_of(request)
    at, zone = context.clock(), context.settings.zone
    today = to_wall_clock(at, zone).date()
    source = LedgerStatuses(context.database, Skipped())
    hours = context.registry.fleet.hours
    theirs = [each for each in context.registry if actor.sees(each.site)]
    seen = seen_devices(theirs, await source.facts(), hours, at, context.settings)
    day = await asyncio.to_thread(
        _day, context.database, midnight(today, zone), at, actor.sites, visible(context, actor, WhichLetters())
    )
    return page(
        request,
        "overview.html",
        today=today,
        received=sum(day.hours),
        before=day.until_now_before,
        hours=list(_hours(day.hours, day.hours_before)),
        height=HEIGHT,
        hour_width=WIDTH,
        sites=_sites(seen, day),
        states=DEVICE_STATES,
        counts=Counter(each.state for each in seen),
        devices=len(seen),
        worst=[each for each in seen if each.needs_somebody][:5],
        waiting=sum(each.punches for each in day.waiting),
        oldest=min((each.oldest for each in day.waiting), default=None),
        on_their_way=sum(each.records for each in day.undelivered),
        oldest_on_its_way=min((each.oldest for each in day.undelivered), default=None),
        letters=sum(each.letters for each in day.letters),
        source=source,
    )


def _day(database: Database, begin: datetime, at: datetime, sites: frozenset[str] | None, letters: Selection) -> Day:
    with database.transaction() as connection:
        return Day(
            count_hours(connection, begin, at, sites),
            count_hours(connection, begin - WEEK, begin - WEEK + timedelta(days=1), sites),
            sum(count_hours(connection, begin - WEEK, at - WEEK, sites)),
            count_outcomes(connection, begin, at, sites),
            count_undelivered(connection, sites),
            count_waiting(connection, sites),
            count_letters_by_device(connection, letters),
        )


def _hours(now: Sequence[int], before: Sequence[int]) -> Iterable[Hour]:
    most = max(*now, *before, 1)
    for number, then in enumerate(before):
        count = now[number] if number < len(now) else 0
        yield Hour(number, count, then, count / most * HEIGHT, then / most * HEIGHT)


def _sites(seen: Sequence[SeenDevice], day: Day) -> list[SiteLine]:
    lines: dict[str, SiteLine] = {}
    for (site, state), devices in Counter((each.device.site, each.state) for each in seen).items():
        lines.setdefault(site, SiteLine(site)).states[state] = devices
    for came in day.outcomes:
        lines.setdefault(came.site, SiteLine(came.site)).punches += came.records
    for waits in day.waiting:
        lines.setdefault(waits.site, SiteLine(waits.site)).waiting += waits.punches
    letters = {each.device: each.letters for each in day.letters}
    for each in seen:
        lines[each.device.site].letters += letters.get(each.device.device_id, 0)
    return [lines[site] for site in sorted(lines)]
