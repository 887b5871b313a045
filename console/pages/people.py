"""Unmapped people: numbers that punch and that nobody knows, whose they may be, and what was decided about them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from console.acting import Reader, Refused, acting, done
from console.actions import people as actions
from console.actions.people import devices_of, number_of, sites_of
from console.context import Context, context_of, language_of, page
from console.employees import NamedEmployee
from console.language import marked as _
from console.rights import Actor, Right
from console.words import REASONS
from ledger.numbers import IgnoredPunches, count_ignored, count_released
from ledger.waiting import LedgerWaiting
from operations.log import Skipped
from operations.paging import Page
from operations.user_decisions import MOST_NOTE, Number, Standing, standing
from operations.user_suggestions import Suggestion
from operations.waiting import WaitingUser, Which, page_of_users

router: Final = APIRouter()

AT_ONCE: Final = 100
"""Numbers of one page."""
WATCHED: Final = timedelta(minutes=10)
"""So long after it was mapped the page of a number looks by itself how far its punches have come."""

HumanResources = Annotated[Actor, acting(Right.PEOPLE)]
Token = Annotated[str | None, Query(max_length=2000)]
Asked = Annotated[str, Query(max_length=200)]
Given = Annotated[str, Form(max_length=200)]
# A longer one is refused in words, and what was typed is still there.
GivenNote = Annotated[str, Form(max_length=10_000)]


@router.get("/people")
async def people(
    request: Request, actor: Reader, number: Asked = "", site: Asked = "", after: Token = None
) -> Response:
    """The list of numbers, by site. `after` is the token of the page before."""
    context = context_of(request)
    source = LedgerWaiting(context.database, Skipped())
    which = Which(site=site or None, user=number.strip() or None, sites=actor.sites)
    punches, lines, found = await asyncio.to_thread(_find, source, which, after)
    suggestions = context.people.suggestions()
    return page(
        request,
        "people.html",
        users=found.rows,
        suggested={each.device_user_id: suggestions.of(each.device_user_id) for each in found.rows},
        lines=lines,
        punches=punches,
        more=found.next,
        reasons=REASONS,
        sites=sorted({each for each in sites_of(context).values() if actor.sees(each)}),
        number=number,
        site=site,
        source=source,
    )


def _find(source: LedgerWaiting, which: Which, after: str | None) -> tuple[int, int, Page[WaitingUser]]:
    with source:
        return *source.count(which), page_of_users(source, which, AT_ONCE, after)


@router.get("/people/number")
async def show_number(
    request: Request, actor: Reader, user: Asked, site: Asked, device: Asked = "", find: Asked = ""
) -> Response:
    """One number: where it punches, whose it may be, and what can be done."""
    number = number_of(context_of(request), actor, user, site, device or None)
    return await _number_page(request, number, Typed(find=find))


@router.get("/people/progress")
async def progress(request: Request, actor: Reader, user: Asked, site: Asked, device: Asked = "") -> Response:
    """How far the punches of a number have come: a part of its page."""
    context = context_of(request)
    number = number_of(context, actor, user, site, device or None)
    came = await asyncio.to_thread(_progress, context, number, standing(context.people.users, number))
    return page(request, "people_progress.html", number=number, came=came)


@router.get("/people/decided")
async def decided(request: Request, actor: Reader) -> Response:
    """The numbers that are mapped by hand, and those that are ignored."""
    context = context_of(request)
    sites = sites_of(context)
    site_of = sites.get
    devices = None if actor.sites is None else [device for device, site in sites.items() if actor.sees(site)]
    left = await asyncio.to_thread(_ignored, context, devices)
    mapped = [
        (number, entry, standing(context.people.users, number).listed)
        for entry in sorted(context.people.users.mappings_by_hand(), key=lambda each: (each.device_user_id, each.scope))
        for number in [Number.of_scope(entry.scope, entry.device_user_id, site_of)]
        if actor.sees(number.site)
    ]
    ignored = []
    for entry in sorted(context.people.users.ignored_users(), key=lambda each: (each.device_user_id, each.scope)):
        number = Number.of_scope(entry.scope, entry.device_user_id, site_of)
        if actor.sees(number.site):
            its = [each for each in left if _is_of(each, number, site_of(each.device_id))]
            left = [each for each in left if each not in its]
            named = standing(context.people.users, number)
            ignored.append((number, entry, sum(each.punches for each in its), named.listed or named.given))
    gone = [(Number(each.device_user_id, site_of(each.device_id), each.device_id), each) for each in left]
    return page(
        request,
        "people_decided.html",
        mapped=mapped,
        ignored=ignored,
        gone=[(number, each) for number, each in gone if actor.sees(number.site)],
    )


def _is_of(punches: IgnoredPunches, number: Number, site: str | None) -> bool:
    where = site == number.site if number.device is None else punches.device_id == number.device
    return where and punches.device_user_id == number.user


def _ignored(context: Context, devices: Sequence[str] | None) -> list[IgnoredPunches]:
    with context.database.transaction() as connection:
        return count_ignored(connection, devices)


@router.post("/people/map")
async def map_number(  # noqa: PLR0913 - the fields of the form
    request: Request,
    actor: HumanResources,
    user: Given,
    site: Given,
    *,
    device: Given = "",
    employee: Given = "",
    typed: Given = "",
    note: GivenNote = "",
    find: Given = "",
) -> Response:
    """Say whose number it is. What is typed counts before what is ticked."""
    context, language = context_of(request), language_of(request)
    number = number_of(context, actor, user, site, device or None)
    whose = typed.strip() or employee
    try:
        if not whose:
            raise Refused(_("Choose an employee, or type the id of one."))
        await actions.map_number(context, actor, number, whose, note)
    except Refused as refused:
        kept = Typed(employee=employee, typed=typed, note=note, find=find)
        return await _number_page(request, number, kept, refused)
    said = language.say(_("Number %(number)s is %(employee)s now. Its punches flow.")) % {
        "number": user,
        "employee": whose,
    }
    return done(request, said, _address(request, number))


@router.post("/people/unmap")
async def unmap_number(
    request: Request, actor: HumanResources, user: Given, site: Given = "", device: Given = ""
) -> Response:
    """Take back whose number it is."""
    context = context_of(request)
    number = number_of(context, actor, user, site, device or None, taking_back=True)
    await actions.unmap_number(context, actor, number)
    said = language_of(request).say(_("That is taken back. Punches of number %(number)s wait from now on."))
    return done(request, said % {"number": user}, "/people/decided")


@router.post("/people/ignore")
async def ignore_number(
    request: Request, actor: HumanResources, user: Given, site: Given, device: Given = "", note: GivenNote = ""
) -> Response:
    """Have nothing come of the punches of a number."""
    context = context_of(request)
    number = number_of(context, actor, user, site, device or None)
    try:
        await actions.ignore_number(context, actor, number, note)
    except Refused as refused:
        return await _number_page(request, number, Typed(why_ignored=note), refused)
    said = language_of(request).say(_("Number %(number)s is ignored now."))
    return done(request, said % {"number": user}, "/people/decided")


@router.post("/people/stop-ignoring")
async def stop_ignoring(
    request: Request, actor: HumanResources, user: Given, site: Given = "", device: Given = ""
) -> Response:
    """Take back that a number is ignored."""
    context, language = context_of(request), language_of(request)
    number = number_of(context, actor, user, site, device or None, taking_back=True)
    count = await actions.stop_ignoring(context, actor, number)
    said = language.say(_("Number %(number)s is ignored no more. Punches that were sent again: %(count)s."))
    return done(request, said % {"number": user, "count": language.number(count)}, "/people/decided")


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed on the page of a number."""

    employee: str = ""
    typed: str = ""
    note: str = ""
    find: str = ""
    why_ignored: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the punches of a number have come since it was mapped. `is_watched` has the page look again by itself."""

    waiting: int
    under_way: int
    delivered: int
    is_watched: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a number waits, and since when."""

    punches: int
    since: datetime | None
    devices: list[str]


async def _number_page(request: Request, number: Number, typed: Typed, refused: Refused | None = None) -> Response:
    context, language = context_of(request), language_of(request)
    source = LedgerWaiting(context.database, Skipped())
    seen = await asyncio.to_thread(_seen, source, number)
    stands = standing(context.people.users, number)
    came = await asyncio.to_thread(_progress, context, number, stands)
    suggestions = [] if stands.counts else context.people.suggestions().of(number.user)
    names, found = await _employees(context, stands, suggestions, typed.find.strip())
    return page(
        request,
        "people_number.html",
        200 if refused is None else 409,
        number=number,
        seen=seen,
        stands=stands,
        came=came,
        suggestions=suggestions,
        names=names,
        found=found,
        asks_erpnext=context.employees is not None,
        typed=typed,
        problem=None if refused is None else language.say(refused.message) % refused.values,
        most=MOST_NOTE,
        source=source,
    )


async def _employees(
    context: Context, stands: Standing, suggestions: Sequence[Suggestion], find: str
) -> tuple[dict[str, NamedEmployee] | None, list[NamedEmployee] | None]:
    """The names of whom the page shows, and who was found; None where ERPNext does not answer, or none is set."""
    if context.employees is None:
        return None, None
    shown = {each.employee for each in (stands.listed, stands.given) if each is not None}
    shown |= {each.employee for each in suggestions}
    names = await context.employees.named(shown)
    return names, await context.employees.find(find) if find else []


def _seen(source: LedgerWaiting, number: Number) -> Seen:
    with source:
        rows = list(source.users(_which(number)))
    devices = sorted({device for row in rows for device in row.devices})
    return Seen(sum(row.punches for row in rows), min((row.since for row in rows), default=None), devices)


def _which(number: Number) -> Which:
    return Which(number.device, None if number.device else number.site, number.user)


def _progress(context: Context, number: Number, stands: Standing) -> Progress | None:
    entry = stands.given
    if entry is None or stands.counts != entry or entry.at is None:
        return None
    with LedgerWaiting(context.database, Skipped()) as source:
        waiting, _lines = source.count(_which(number))
    with context.database.transaction() as connection:
        came, delivered = count_released(connection, entry.employee, number.user, devices_of(context, number), entry.at)
    is_new = context.clock() - entry.at < WATCHED
    return Progress(waiting, came - delivered, delivered, is_new and bool(waiting or came > delivered or not came))


def _address(request: Request, number: Number) -> str:
    where = {"site": number.site or "", "device": number.device or "", "user": number.user}
    return str(request.url_for("show_number").include_query_params(**where).replace(scheme="", netloc=""))
