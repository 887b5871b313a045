"""Pending devices by the API: those that ask to be let in."""

from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from console.actions import approvals as actions
from console.api.calling import calling_with
from console.context import context_of
from console.rights import Actor, Right
from operations.approvals import HEARD, Approval

router: Final = APIRouter(tags=["pending devices"])

It = Annotated[Actor, calling_with(Right.DEVICES)]
Serials = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(min_length=1, max_length=1000)]
Word = Annotated[str, Field(min_length=1, max_length=100)]


class Pending(BaseModel):
    """A device that asks to be let in. With `device_id`, its entry does not have the address from which it comes."""

    adapter: str
    serial: str
    device_id: str | None
    clients: dict[str, int]
    facts: dict[str, str]
    first_seen: str
    last_seen: str
    requests: int
    visits: int


class LetIn(BaseModel):
    """What is approved. Without `device_id`, each gets its serial number; it is for one device.

    `addresses` are from where they may send: addresses, networks, or `heard` for where each was heard from. Without
    any, whoever knows a serial number can send in its name.
    """

    serials: Serials
    adapter: Word | None = None
    device_id: Word | None = None
    site: Word | None = None
    timezone: Word | None = None
    direction: Word | None = None
    addresses: Annotated[list[Word], Field(max_length=100)] = Field(default_factory=lambda: [HEARD])


class Chosen(BaseModel):
    """Serial numbers that ask to be let in."""

    serials: Serials


class Names(BaseModel):
    """The devices that were let in."""

    device_ids: list[str]


class Count(BaseModel):
    """How many were taken from the list."""

    count: int


@router.get("/pending-devices")
async def list_pending(request: Request, actor: It) -> list[Pending]:
    """The devices that ask to be let in, the likeliest first."""
    return [
        Pending(
            adapter=each.adapter,
            serial=each.serial,
            device_id=each.device_id,
            clients=dict(each.clients or ({each.client: each.requests} if each.client else {})),
            facts=dict(each.facts),
            first_seen=each.first_seen,
            last_seen=each.last_seen,
            requests=each.requests,
            visits=each.visits,
        )
        for each in actions.pending(context_of(request), actor)
    ]


@router.post("/pending-devices/approve")
async def approve(request: Request, actor: It, given: LetIn) -> Names:
    """Let devices in: all of them, or none."""
    approval = Approval(given.device_id, given.site, given.timezone, given.addresses, given.direction)
    let_in = await actions.approve(context_of(request), actor, given.serials, given.adapter, approval)
    return Names(device_ids=let_in)


@router.post("/pending-devices/forget")
async def forget(request: Request, actor: It, given: Chosen) -> Count:
    """Take devices from the list. One that comes again is listed again."""
    return Count(count=await actions.forget(context_of(request), actor, given.serials))
