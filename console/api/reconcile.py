"""A day of devices, compared, by the API."""

from datetime import date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel

from console.actions import reconcile
from console.api.calling import Caller
from console.context import context_of
from operations.reconcile import DeviceDay, Kind

router: Final = APIRouter(tags=["reconcile"])

Name = Annotated[str, Query(max_length=200)]


class Gap(BaseModel):
    """Punches that are not where they belong, for one cause. `names` are their event ids, as far as they are known."""

    kind: Kind
    count: int | None
    names: list[str]


class Compared(BaseModel):
    """One device on that day. What is null is not known."""

    device_id: str
    site: str
    timezone: str
    counted: int | None
    complete_until: datetime | None
    punches: int
    delivered: int
    in_erpnext: int | None
    dropped: int
    superseded: int
    discarded: int
    waiting: int
    dead_letters: int
    rejected: int
    undelivered: int
    undecided: int
    gaps: list[Gap]


class Day(BaseModel):
    """A day of devices. It is whole only if there is no gap, and nothing that could hide one."""

    day: date
    is_whole: bool
    is_over: bool
    ledger_lacks: int
    problems: list[str]
    devices: list[Compared]


@router.get("/reconcile")
async def reconcile_day(request: Request, actor: Caller, day: date, site: Name = "", device: Name = "") -> Day:
    """Compare what devices, the ledger and ERPNext have of a day, and name each gap."""
    context = context_of(request)
    devices = reconcile.devices_of(context, actor, site, device)
    if not devices:
        raise HTTPException(404, "no device is like that")
    answer = await reconcile.reconcile_day(context, devices, day)
    return Day(
        day=day,
        is_whole=answer.is_whole,
        is_over=answer.is_over,
        ledger_lacks=answer.lacking,
        problems=list(answer.found.problems),
        devices=[_compared(each) for each in answer.found.devices],
    )


def _compared(each: DeviceDay) -> Compared:
    gaps = [Gap(kind=gap.kind, count=gap.count, names=list(gap.names)) for gap in each.gaps]
    fields = {name: getattr(each, name) for name in Compared.model_fields if name != "gaps"}
    return Compared(gaps=gaps, **fields)
