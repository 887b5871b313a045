"""Numbers by the API: who waits for a mapping, whose a number is by hand, and which are ignored."""

import asyncio
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from attendance.errors import Reason
from attendance.records.user_map import UserMapping
from console.actions import people
from console.actions.people import number_of, sites_of
from console.api.calling import Caller, calling_with
from console.context import Context, context_of
from console.rights import Actor, Right
from ledger.waiting import LedgerWaiting
from operations.log import Skipped
from operations.paging import Page
from operations.user_decisions import MOST_NOTE, Number, standing
from operations.waiting import WaitingUser, Which, page_of_users

router: Final = APIRouter(tags=["people"])

HumanResources = Annotated[Actor, calling_with(Right.PEOPLE)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Asked = Annotated[str | None, Query(max_length=200)]
Needed = Annotated[str, Query(min_length=1, max_length=200)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Token = Annotated[str | None, Query(max_length=2000)]


class Where(BaseModel):
    """A number where it punches: at a site or, with `device`, on that device of it alone."""

    number: Text
    site: Text
    device: Text | None = None


class NewMapping(Where):
    """Whose a number is to be: the name of their record in ERPNext."""

    employee: Text
    note: Annotated[str, Field(max_length=MOST_NOTE)] = ""


class Mapping(NewMapping):
    """Whose a number is by hand. `counts` is false where ERPNext or a file names somebody for it."""

    by: str
    at: datetime
    counts: bool


class NewIgnored(Where):
    """A number of which nothing is to come, and why."""

    note: Annotated[str, Field(min_length=1, max_length=MOST_NOTE)]


class Ignored(NewIgnored):
    """A number that is ignored. `counts` is false where somebody is named for it."""

    by: str
    at: datetime
    counts: bool


class SentAgain(BaseModel):
    """How many punches that were ignored were sent again."""

    sent_again: int


class Unmapped(BaseModel):
    """The punches of one number at one site that wait for one reason."""

    number: str
    site: str
    reason: Reason
    employee: str | None
    punches: int
    since: datetime
    devices: list[str]


class UnmappedPage(BaseModel):
    """Some lines. `next` goes on after them; null is the end. `as_of` is when the ledger had all of it."""

    numbers: list[Unmapped]
    next: str | None
    as_of: datetime | None


class Count(BaseModel):
    """How many lines and punches wait."""

    numbers: int
    punches: int
    as_of: datetime | None


@router.get("/people/unmapped")
async def list_unmapped(
    request: Request,
    actor: Caller,
    *,
    site: Asked = None,
    device: Asked = None,
    number: Asked = None,
    reason: Reason | None = None,
    limit: Limit = 100,
    after: Token = None,
) -> UnmappedPage:
    """Whose punches wait: a line for each number, site and reason."""
    source = LedgerWaiting(context_of(request).database, Skipped())
    found = await asyncio.to_thread(_page, source, Which(device, site, number, reason, actor.sites), limit, after)
    rows = [
        Unmapped(
            number=each.device_user_id,
            site=each.site,
            reason=each.reason,
            employee=each.employee,
            punches=each.punches,
            since=each.since,
            devices=list(each.devices),
        )
        for each in found.rows
    ]
    return UnmappedPage(numbers=rows, next=found.next, as_of=source.as_of)


def _page(source: LedgerWaiting, which: Which, most: int, after: str | None) -> Page[WaitingUser]:
    with source:
        return page_of_users(source, which, most, after)


@router.get("/people/unmapped/count")
async def count_unmapped(
    request: Request,
    actor: Caller,
    *,
    site: Asked = None,
    device: Asked = None,
    number: Asked = None,
    reason: Reason | None = None,
) -> Count:
    """How many lines `/people/unmapped` has, and of how many punches."""
    source = LedgerWaiting(context_of(request).database, Skipped())
    which = Which(device, site, number, reason, actor.sites)
    punches, lines = await asyncio.to_thread(_count, source, which)
    return Count(numbers=lines, punches=punches, as_of=source.as_of)


def _count(source: LedgerWaiting, which: Which) -> tuple[int, int]:
    with source:
        return source.count(which)


@router.get("/people/mappings")
async def list_mappings(request: Request, actor: Caller) -> list[Mapping]:
    """The numbers that are mapped by hand, by number."""
    context = context_of(request)
    site_of = sites_of(context).get
    entries = sorted(context.people.users.mappings_by_hand(), key=lambda each: (each.device_user_id, each.scope))
    numbers = [Number.of_scope(entry.scope, entry.device_user_id, site_of) for entry in entries]
    return [
        _mapping(context, number, entry)
        for number, entry in zip(numbers, entries, strict=True)
        if actor.sees(number.site)
    ]


@router.post("/people/mappings", status_code=201)
async def add_mapping(request: Request, actor: HumanResources, new: NewMapping) -> Mapping:
    """Say whose number it is. Punches that wait then flow."""
    context = context_of(request)
    number = number_of(context, actor, new.number, new.site, new.device)
    entry = await people.map_number(context, actor, number, new.employee, new.note)
    return _mapping(context, number, entry)


@router.delete("/people/mappings", status_code=204)
async def remove_mapping(
    request: Request, actor: HumanResources, number: Needed, site: Needed, device: Asked = None
) -> None:
    """Take back whose number it is. Punches that come from then on wait again."""
    context = context_of(request)
    meant = number_of(context, actor, number, site, device, taking_back=True)
    await people.unmap_number(context, actor, meant)


@router.get("/people/ignored")
async def list_ignored(request: Request, actor: Caller) -> list[Ignored]:
    """The numbers that are ignored, by number."""
    context = context_of(request)
    site_of, found = sites_of(context).get, []
    for entry in sorted(context.people.users.ignored_users(), key=lambda each: (each.device_user_id, each.scope)):
        number = Number.of_scope(entry.scope, entry.device_user_id, site_of)
        if actor.sees(number.site):
            counts = standing(context.people.users, number).counts == entry
            found.append(Ignored(**_where(number), note=entry.note, by=entry.by, at=entry.at, counts=counts))
    return found


@router.post("/people/ignored", status_code=201)
async def add_ignored(request: Request, actor: HumanResources, new: NewIgnored) -> Ignored:
    """Have nothing come of the punches of a number, of those that wait and of those to come."""
    context = context_of(request)
    number = number_of(context, actor, new.number, new.site, new.device)
    entry = await people.ignore_number(context, actor, number, new.note)
    return Ignored(**_where(number), note=entry.note, by=entry.by, at=entry.at, counts=True)


@router.delete("/people/ignored")
async def remove_ignored(
    request: Request, actor: HumanResources, number: Needed, site: Needed, device: Asked = None
) -> SentAgain:
    """Take back that a number is ignored. What was ignored is sent again."""
    context = context_of(request)
    meant = number_of(context, actor, number, site, device, taking_back=True)
    return SentAgain(sent_again=await people.stop_ignoring(context, actor, meant))


def _where(number: Number) -> dict[str, str | None]:
    return {"number": number.user, "site": number.site or "", "device": number.device}


def _mapping(context: Context, number: Number, entry: UserMapping) -> Mapping:
    counts = standing(context.people.users, number).listed is None
    at, by = entry.at or context.clock(), entry.by or ""
    return Mapping(**_where(number), employee=entry.employee, note=entry.note or "", by=by, at=at, counts=counts)
