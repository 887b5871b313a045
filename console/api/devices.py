"""Devices by the API: how each is, what the fleet says of it, and what can be done about it."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from attendance.fleet import Device as Entry
from console.actions import device_entries
from console.actions import devices as actions
from console.actions.fleet import source_of
from console.api.calling import Caller, calling_with
from console.backfills import Backfill as Running
from console.context import Context, context_of
from console.device_states import SeenDevice, seen_devices
from console.rights import Actor, Right
from console.words import DeviceState
from ledger.device_statuses import LedgerStatuses
from operations.log import Skipped
from producers.devices import verified_on

router: Final = APIRouter(tags=["devices"])

It = Annotated[Actor, calling_with(Right.DEVICES)]
Why = Annotated[str, Field(min_length=1, max_length=1000)]
AT_ONCE: Final = 1_000
"""Devices of one answer, at most."""


class Pause(BaseModel):
    """Why nothing is taken from a device for now."""

    why: Why


class Paused(Pause):
    """A pause."""

    by: str
    since: datetime


class Device(BaseModel):
    """A device: what the fleet says of it, and what it last said of itself. Tokens and credentials are not among that.

    `source` is who wrote its entry, and `verified_on` what its adapter was tried on.
    """

    device_id: str
    name: str
    site: str
    timezone: str
    mode: str
    adapter: str
    serial: str | None
    via: str | None
    direction: str
    disabled: bool
    paused: Paused | None
    source: str
    verified_on: str | None
    state: DeviceState
    heard_at: datetime | None
    last_event: datetime | None
    clock_skew: int | None
    pending: int | None
    complete_until: datetime | None


class Devices(BaseModel):
    """A part of the devices, those that need somebody first. `total` counts all that were asked for."""

    total: int
    devices: list[Device]


class Check(BaseModel):
    """One thing that a test looked at."""

    check: str
    ok: bool
    detail: str


class Days(BaseModel):
    """The days of which a device is to give its punches again, on its own clock; both are among them."""

    first: date
    last: date


class Begun(BaseModel):
    """How a device gives its punches again: it is asked now, or was ordered to send them when it next comes."""

    way: Literal["asked", "ordered"]


class Backfill(Days):
    """The newest backfill that this console knows of."""

    state: Literal["running", "done", "failed"]
    by: str
    began: datetime
    pages: int
    said: str


class Fields(BaseModel):
    """What an entry says, as a fleet file has it. An empty text takes a field away."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    name: str | None = None
    site: str | None = None
    timezone: str | None = None
    mode: str | None = None
    adapter: str | None = None
    serial: str | None = None
    host: str | None = None
    port: str | None = None
    addresses: str | None = None
    interval: str | None = None
    direction: str | None = None
    checkin_time: str | None = None
    installed_on: str | None = None
    latitude: str | None = None
    longitude: str | None = None

    def cells(self) -> Mapping[str, str]:
        """What is given."""
        return self.model_dump(exclude_unset=True, exclude_none=True, exclude={"device_id", "disabled"})


class NewDevice(Fields):
    """A device that is to be added."""

    device_id: Annotated[str, Field(min_length=1, max_length=100)]


class Change(Fields):
    """What is to be different of a device."""

    disabled: bool | None = None


class Key(BaseModel):
    """The key that is to be put into a device. It is said once; None where it has none."""

    key: str | None


Size = Annotated[int, Query(ge=1, le=AT_ONCE)]
Part = Annotated[str, Query(max_length=200)]


@router.get("/devices")
async def list_devices(
    request: Request,
    actor: Caller,
    site: Part = "",
    state: Part = "",
    limit: Size = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Devices:
    """The devices, those that need somebody first."""
    context = context_of(request)
    fleet = [each for each in context.registry if actor.sees(each.site) and site in ("", each.site)]
    said = await LedgerStatuses(context.database, Skipped()).facts()
    seen = seen_devices(fleet, said, context.registry.fleet.hours, context.clock(), context.settings)
    found = [each for each in seen if state in ("", each.state)]
    return Devices(total=len(found), devices=_devices(context, found[offset : offset + limit]))


@router.post("/devices", status_code=201)
async def add_device(request: Request, actor: It, new: NewDevice) -> Key:
    """Add a device to the fleet, of the console's source."""
    return Key(key=await device_entries.add(context_of(request), actor, new.device_id, new.cells()))


@router.get("/devices/{device_id}")
async def show_device(request: Request, actor: Caller, device_id: str) -> Device:
    """One device."""
    return await _shown(request, actor, device_id)


@router.patch("/devices/{device_id}")
async def change_device(request: Request, actor: It, device_id: str, change: Change) -> Device:
    """Change a device that the console wrote."""
    context = context_of(request)
    entry = _entry(context, actor, device_id)
    if cells := change.cells():
        await device_entries.change(context, actor, device_id, cells)
    if change.disabled is not None and change.disabled != entry.disabled:
        await device_entries.set_disabled(context, actor, device_id, disabled=change.disabled)
    return await _shown(request, actor, device_id)


@router.delete("/devices/{device_id}", status_code=204)
async def remove_device(request: Request, actor: It, device_id: str) -> None:
    """Remove a device that the console wrote. What it sent stays."""
    context = context_of(request)
    _entry(context, actor, device_id)
    await device_entries.remove(context, actor, device_id)


@router.post("/devices/{device_id}/key")
async def renew_key(request: Request, actor: It, device_id: str) -> Key:
    """Give a device another key. The one that it had opens nothing any more."""
    context = context_of(request)
    _entry(context, actor, device_id)
    return Key(key=await device_entries.renew_key(context, actor, device_id))


@router.post("/devices/{device_id}/pause")
async def pause_device(request: Request, actor: It, device_id: str, pause: Pause) -> Device:
    """Take nothing from a device for now: it keeps its punches. A pause that is there stays."""
    context = context_of(request)
    _entry(context, actor, device_id)
    await actions.pause(context, actor, [device_id], pause.why)
    return await _shown(request, actor, device_id)


@router.post("/devices/{device_id}/resume")
async def resume_device(request: Request, actor: It, device_id: str) -> Device:
    """Take punches from a device again."""
    context = context_of(request)
    _entry(context, actor, device_id)
    await actions.resume(context, actor, [device_id])
    return await _shown(request, actor, device_id)


@router.post("/devices/{device_id}/test")
async def test_device(request: Request, actor: It, device_id: str) -> list[Check]:
    """Look at a device's entry, and ask it who it is, where it can be asked. Takes up to half a minute."""
    context = context_of(request)
    _entry(context, actor, device_id)
    checks = await actions.check(context, actor, device_id)
    return [Check(check=each.check, ok=each.ok, detail=each.detail) for each in checks]


@router.post("/devices/{device_id}/backfill", status_code=202)
async def backfill_device(request: Request, actor: It, device_id: str, days: Days) -> Begun:
    """Have a device give the punches of some days again. It goes on after the answer."""
    context = context_of(request)
    _entry(context, actor, device_id)
    return Begun(way=await actions.begin_backfill(context, actor, device_id, days.first, days.last))


@router.get("/devices/{device_id}/backfill")
async def show_backfill(request: Request, actor: Caller, device_id: str) -> Backfill:
    """How far the newest backfill of a device is."""
    context = context_of(request)
    _entry(context, actor, device_id)
    running = context.backfills.of(device_id)
    if running is None:
        raise HTTPException(404, "this console has not asked it")
    return _backfill(running)


def _backfill(running: Running) -> Backfill:
    return Backfill(
        first=date.fromisoformat(running.first),
        last=date.fromisoformat(running.last),
        state=running.state,
        by=running.by,
        began=running.began,
        pages=running.pages,
        said=running.said,
    )


def _entry(context: Context, actor: Actor, device_id: str) -> Entry:
    entry = context.registry.get(device_id)
    if entry is None or not actor.sees(entry.site):
        raise HTTPException(404, "there is no such device")
    return entry


async def _shown(request: Request, actor: Actor, device_id: str) -> Device:
    context = context_of(request)
    entry = _entry(context, actor, device_id)
    said = await LedgerStatuses(context.database, Skipped()).facts([device_id])
    hours = context.registry.fleet.hours
    (device,) = _devices(context, seen_devices([entry], said, hours, context.clock(), context.settings))
    return device


def _devices(context: Context, seen: list[SeenDevice]) -> list[Device]:
    owned = context.registry.topic.owned()
    return [_device(each, source_of(owned, each.device.device_id)) for each in seen]


def _device(seen: SeenDevice, source: str) -> Device:
    entry, status, pause = seen.device, seen.status, seen.device.paused
    return Device(
        device_id=entry.device_id,
        name=entry.name,
        site=entry.site,
        timezone=entry.timezone,
        mode=entry.mode,
        adapter=entry.adapter,
        serial=entry.serial,
        via=entry.via,
        direction=entry.direction,
        disabled=entry.disabled,
        paused=None if pause is None else Paused(why=pause.why, by=pause.by, since=pause.since),
        source=source,
        verified_on=verified_on(entry),
        state=seen.state,
        heard_at=None if status is None else status.heard_at,
        last_event=None if status is None else status.last_event,
        clock_skew=None if status is None else status.clock_skew,
        pending=None if status is None else status.pending,
        complete_until=None if status is None else status.complete_until,
    )
