"""Days of devices by the API: what the nightly reconcile found."""

import asyncio
from datetime import date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from console.api.calling import Caller
from console.api.listing import After, Asked, Day, Most, Name
from console.context import context_of
from ledger.reconciliations import Reconciliations, WhichDays
from operations.reconcile import Kind

router: Final = APIRouter(tags=["devices"])


class DaysAsked(Asked):
    """Which days: those to which all of this applies. A day is one in the zone of the device."""

    device: Name = None
    site: Name = None
    first_day: Day = None
    last_day: Day = None
    only_gaps: bool = False
    after: After = None
    most: Most = 100


class DeviceDay(BaseModel):
    """One device on one day, as it was reconciled. A count that is null is not known, and not 0.

    `raw_records` are all records, `punches` each punch once. The other counts say what became of these;
    `rejected` is what arrived on that day and is no punch. `missing` is how many punches the gaps are of, where that is
    known.
    """

    day: date
    device_id: str
    site: str
    timezone: str
    reconciled_at: datetime
    complete_until: datetime | None
    counted: int | None
    raw_records: int
    punches: int
    delivered: int
    superseded: int
    dropped: int
    discarded: int
    undecided: int
    undelivered: int
    waiting: int
    dead_letters: int
    rejected: int
    in_erpnext: int | None
    missing: int
    gaps: list[Kind]


class DeviceDays(BaseModel):
    """Some days of devices, the newest first. With a `next` there are more: ask again with `after`."""

    items: list[DeviceDay]
    next: str | None


@router.get("/device-days")
async def list_device_days(request: Request, actor: Caller, asked: Annotated[DaysAsked, Query()]) -> DeviceDays:
    """What the nightly reconcile found of each device and day. There is none before a ledger has reconciled."""
    sites = actor.sites
    if asked.site is not None:
        sites = frozenset((asked.site,)) if actor.sees(asked.site) else frozenset()
    ledger = Reconciliations(context_of(request).database)
    which = WhichDays(sites, asked.device, asked.first_day, asked.last_day, asked.only_gaps)
    page = await asyncio.to_thread(ledger.days, which, asked.most, asked.after)
    items = [DeviceDay.model_validate(each, from_attributes=True) for each in page.rows]
    return DeviceDays(items=items, next=page.next)
