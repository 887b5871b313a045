"""Adding a device to the fleet, and changing what the console wrote of one."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, HTTPException, Request
from starlette.responses import Response

from attendance.fleet_topic import CONSOLE
from console.acting import Refused, acting, done, reading_with
from console.actions import device_entries as actions
from console.actions.fleet import source_of
from console.context import Context, context_of, language_of, page
from console.language import marked as _
from console.pages.devices import MODES, address
from console.rights import Actor, Right
from producers.devices import ADAPTERS

router: Final = APIRouter()

ADDRESS: Final = "/add-device"
WAS: Final = "was_"
"""Stands before the names of what an entry said when its form was shown."""
DIRECTIONS: Final = {
    "": _("As its site says, or as the device says"),
    "from_device": _("As the device says"),
    "in": _("Always in"),
    "out": _("Always out"),
    "none": _("Left to the shift"),
}
FIELDS: Final = {
    "name": _("Name"),
    "site": _("Site"),
    "timezone": _("Time zone, where it is not that of its site"),
    "serial": _("Serial number"),
    "host": _("Address at which it is asked"),
    "port": _("Port at which it is asked"),
    "interval": _("How often it is asked, such as 5 min"),
    "addresses": _("Addresses from which it may send; from anywhere if empty"),
    "installed_on": _("First day of its punches, such as 2026-01-31"),
    "latitude": _("Latitude"),
    "longitude": _("Longitude"),
}
"""What is typed."""

Reader = Annotated[Actor, reading_with(Right.DEVICES)]
It = Annotated[Actor, acting(Right.DEVICES)]


async def cells(request: Request, before: str = "") -> dict[str, str]:
    """What a form says of an entry. What else it has is left out.

    Args:
        request: The form.
        before: Stands before each name; `WAS` for what the entry said when the form was shown.
    """
    form = await request.form()
    return {name: str(form[before + name])[:1000] for name in actions.COLUMNS if before + name in form}


@router.get(ADDRESS)
async def new(request: Request, actor: Reader) -> Response:
    """The form of a device that is to be added."""
    return _form(request, None, {"mode": "push", "adapter": "json"}, actor=actor)


@router.post(ADDRESS)
async def add(request: Request, actor: It, device_id: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Add a device. The next page says its key, once."""
    given, name, language = await cells(request), device_id.strip(), language_of(request)
    try:
        key = await actions.add(context_of(request), actor, name, given)
    except Refused as error:
        return _form(request, None, given | {"device_id": device_id}, actor=actor, error=error)
    said = language.say(_("%(device)s is added.")) % {"device": name}
    if key is not None:
        said += " " + language.say(_KEY) % {"key": key}
    return done(request, said, address(name))


@router.get("/devices/{device_id}/edit")
async def edit(request: Request, actor: Reader, device_id: str) -> Response:
    """The form of a device that the console wrote."""
    return _form(request, device_id, _written(context_of(request), actor, device_id), actor=actor)


@router.post("/devices/{device_id}/edit")
async def change(request: Request, actor: It, device_id: str) -> Response:
    """Change a device."""
    given, was = await cells(request), await cells(request, WAS)
    _written(context_of(request), actor, device_id)
    # What somebody else has changed since the form was shown stays, unless it is changed here.
    new = {name: value for name, value in given.items() if value.strip() != was.get(name, "")}
    try:
        await actions.change(context_of(request), actor, device_id, new)
    except Refused as error:
        return _form(request, device_id, given, was, actor=actor, error=error)
    said = language_of(request).say(_("%(device)s is changed.")) % {"device": device_id}
    return done(request, said, address(device_id))


@router.post("/devices/{device_id}/disable")
async def disable(request: Request, actor: It, device_id: str) -> Response:
    """Have a device not work any more."""
    await actions.set_disabled(context_of(request), actor, device_id, disabled=True)
    said = language_of(request).say(_("%(device)s is switched off.")) % {"device": device_id}
    return done(request, said, address(device_id))


@router.post("/devices/{device_id}/enable")
async def enable(request: Request, actor: It, device_id: str) -> Response:
    """Have a device work again."""
    await actions.set_disabled(context_of(request), actor, device_id, disabled=False)
    said = language_of(request).say(_("%(device)s is switched on.")) % {"device": device_id}
    return done(request, said, address(device_id))


@router.post("/devices/{device_id}/key")
async def key(request: Request, actor: It, device_id: str) -> Response:
    """Give a device another key; the next page says it, once."""
    made = await actions.renew_key(context_of(request), actor, device_id)
    return done(request, language_of(request).say(_KEY) % {"key": made}, address(device_id))


@router.post("/devices/{device_id}/remove")
async def remove(request: Request, actor: It, device_id: str) -> Response:
    """Remove a device from the fleet."""
    await actions.remove(context_of(request), actor, device_id)
    return done(request, language_of(request).say(_("%(device)s is removed.")) % {"device": device_id}, "/devices")


_KEY: Final = _("The key to be put into the device, said once: %(key)s")


def known_sites(context: Context, actor: Actor) -> list[str]:
    """The sites that somebody sees, of devices and by themselves."""
    sites = {*context.registry.fleet.sites, *(device.site for device in context.registry)}
    return sorted(site for site in sites if actor.sees(site))


def _written(context: Context, actor: Actor, device_id: str) -> dict[str, str]:
    """What the entry of a device says, as a form has it.

    Raises:
        HTTPException: there is no such device that they see, or its entry is not the console's.
    """
    device, owned = context.registry.get(device_id), context.registry.topic.owned()
    if device is None or not actor.sees(device.site) or source_of(owned, device_id) != CONSOLE:
        raise HTTPException(404)
    fields: Mapping[str, Any] = owned["device", device_id].entry.fields
    found = {name: fields[name] for name in actions.COLUMNS if fields.get(name) is not None}
    return {name: " ".join(map(str, each)) if isinstance(each, list) else str(each) for name, each in found.items()}


def _form(
    request: Request,
    device_id: str | None,
    typed: dict[str, str],
    was: dict[str, str] | None = None,
    *,
    actor: Actor,
    error: Refused | None = None,
) -> Response:
    context = context_of(request)
    return page(
        request,
        "device_entry.html",
        200 if error is None else 409,
        device=None if device_id is None else context.registry.get(device_id),
        typed=dict.fromkeys((*actions.COLUMNS, "device_id"), "") | typed,
        was=dict.fromkeys(actions.COLUMNS, "") | (typed if was is None else was),
        before=WAS,
        fields=FIELDS,
        sites=known_sites(context, actor),
        directions=DIRECTIONS,
        modes=MODES,
        adapters=sorted({name for names in ADAPTERS.values() for name in names}),
        problem=None if error is None else language_of(request).say(error.message) % error.values,
    )
