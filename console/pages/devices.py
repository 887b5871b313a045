"""Devices: those that need somebody first, and one of them, with what can be done about it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, HTTPException, Query, Request
from starlette.responses import Response

from attendance.fleet import Device
from attendance.fleet_topic import CONSOLE
from attendance.times import to_wall_clock
from console.acting import Reader, acting, done
from console.actions import devices as actions
from console.actions.approvals import pending
from console.actions.fleet import source_of
from console.context import Context, context_of, language_of, page
from console.device_states import SeenDevice, seen_devices
from console.language import marked as _
from console.rights import Actor, Right
from console.words import DEVICE_STATES, SOURCES, VERIFIED
from ledger.device_statuses import LedgerStatuses
from operations.facts import StatusFact
from operations.log import Skipped
from producers.devices import is_configurable, verified_on

router: Final = APIRouter()

AT_ONCE: Final = 100
"""Devices of one page."""
MOST_LETTERS: Final = 200
"""Of what is searched for."""
ORDERS: Final = 20
"""Commands of a device that its page shows."""
ADVICE: Final = {
    "silent": _("It was not heard for a long time. Is it switched on? Does the network of the site work?"),
    "never": _("It was never heard. Is it switched on, and does it have the right address and key?"),
    "late": _("It should have been heard by now. If it stays so, look at the network of the site."),
    "outside": _("Nobody works at its site now, so nobody expects to hear it."),
    "off": _("It is switched off in the fleet: what it sends is not taken."),
}
MODES: Final = {
    "push": _("The device sends them"),
    "pull": _("The device is asked for them"),
    "file": _("Somebody brings a file"),
}
CHECKS: Final = {
    "entry": _("Its entry"),
    "answer": _("Its answer"),
    "serial": _("Serial number"),
    "clock": _("Clock"),
    "settings": _("Settings"),
}
"""What a test of a device looks at."""

Text = Annotated[str, Query(max_length=MOST_LETTERS)]
It = Annotated[Actor, acting(Right.DEVICES)]
Chosen = Annotated[list[str], Form(max_length=1000)]
Why = Annotated[str, Form(max_length=1000)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the list shows. Empty is any."""

    q: str = ""
    site: str = ""
    state: str = ""

    def includes(self, seen: SeenDevice) -> bool:
        """Whether a device is among those of which the list shows the ones of one state."""
        device = seen.device
        if self.site not in ("", device.site):
            return False
        if not self.q:
            return True
        wanted = self.q.casefold()
        return any(wanted in text.casefold() for text in (device.device_id, device.name, device.serial or ""))

    def address(self, number: int) -> str:
        """Where a page of the list is."""
        asked = {"q": self.q, "site": self.site, "state": self.state, "number": number}
        return f"/devices?{urlencode({name: value for name, value in asked.items() if value != ''})}"


@router.get("/devices")
async def devices(
    request: Request,
    actor: Reader,
    q: Text = "",
    site: Text = "",
    state: Text = "",
    number: Annotated[int, Query(ge=1)] = 1,
) -> Response:
    """The list of devices, by what is wrong with them."""
    context, asked = context_of(request), Asked(q.strip(), site, state)
    source = LedgerStatuses(context.database, Skipped())
    fleet = [each for each in context.registry if actor.sees(each.site)]
    found = [each for each in _seen(context, fleet, await source.facts()) if asked.includes(each)]
    shown = [each for each in found if asked.state in ("", each.state)]
    first = (number - 1) * AT_ONCE
    return page(
        request,
        "devices.html",
        devices=shown[first : first + AT_ONCE],
        total=len(shown),
        first=first + 1,
        number=number,
        counts=Counter(each.state for each in found),
        states=DEVICE_STATES,
        sites=sorted({each.site for each in fleet}),
        asked=asked,
        verified=_verified,
        pending=len(pending(context, actor)) if actor.may(Right.DEVICES) else 0,
        source=source,
    )


@router.get("/devices/{device_id}")
async def device(request: Request, actor: Reader, device_id: str) -> Response:
    """One device."""
    return await _show(request, actor, device_id)


@router.get("/devices/{device_id}/backfill")
async def progress(request: Request, actor: Reader, device_id: str) -> Response:
    """How far a device is that was asked for its punches again: a part of its page."""
    entry = _entry(request, actor, device_id)
    return page(request, "backfill.html", device=entry, backfill=context_of(request).backfills.of(device_id))


@router.post("/devices/{device_id}/test")
async def test(request: Request, actor: It, device_id: str) -> Response:
    """Ask a device who it is."""
    checks = await actions.check(context_of(request), actor, device_id)
    return await _show(request, actor, device_id, checks=checks)


@router.post("/devices/{device_id}/settings")
async def settings(request: Request, actor: It, device_id: str) -> Response:
    """Ask a device for its settings."""
    found = await actions.read_settings(context_of(request), actor, device_id)
    return await _show(request, actor, device_id, settings=found)


@router.post("/devices/{device_id}/configure")
async def configure(request: Request, actor: It, device_id: str, names: Chosen = []) -> Response:  # noqa: B006 - FastAPI copies it
    """Change settings of a device."""
    found = await actions.configure(context_of(request), actor, device_id, names)
    return await _show(request, actor, device_id, settings=found)


@router.post("/devices/{device_id}/backfill")
async def backfill(
    request: Request, actor: It, device_id: str, first: Annotated[date, Form()], last: Annotated[date, Form()]
) -> Response:
    """Have a device give the punches of some days again."""
    way = await actions.begin_backfill(context_of(request), actor, device_id, first, last)
    asked, ordered = _("%(device)s is being asked."), _("%(device)s sends them when it next comes.")
    said = language_of(request).say(asked if way == "asked" else ordered) % {"device": device_id}
    return done(request, said, address(device_id))


@router.post("/pause")
async def pause(request: Request, actor: It, names: Chosen = [], why: Why = "", back: Why = "/devices") -> Response:  # noqa: B006 - as above
    """Have nothing taken from devices for now."""
    new = await actions.pause(context_of(request), actor, names, why)
    return done(request, _counted(request, _("Paused: %(count)s"), len(new)), _back(names, back))


@router.post("/resume")
async def resume(request: Request, actor: It, names: Chosen = [], back: Why = "/devices") -> Response:  # noqa: B006 - as above
    """Take punches from devices again."""
    ended = await actions.resume(context_of(request), actor, names)
    return done(request, _counted(request, _("Resumed: %(count)s"), len(ended)), _back(names, back))


def address(device_id: str) -> str:
    """The page of a device."""
    return f"/devices/{quote(device_id, safe='')}"


def _counted(request: Request, message: str, count: int) -> str:
    language = language_of(request)
    return language.say(message) % {"count": language.number(count)}


def _back(names: Sequence[str], back: str) -> str:
    """The page from which a form was sent: of one device, or the list."""
    return address(names[0]) if len(names) == 1 and back == address(names[0]) else "/devices"


def _entry(request: Request, actor: Actor, device_id: str) -> Device:
    entry = context_of(request).registry.get(device_id)
    if entry is None or not actor.sees(entry.site):
        raise HTTPException(404)
    return entry


async def _show(request: Request, actor: Actor, device_id: str, **more: Any) -> Response:
    """The page of a device, with what was just asked of it."""
    context, entry = context_of(request), _entry(request, actor, device_id)
    statuses = LedgerStatuses(context.database, Skipped())
    (seen,) = _seen(context, [entry], await statuses.facts([device_id]))
    today = to_wall_clock(context.clock(), entry.timezone).date()
    owner = source_of(context.registry.topic.owned(), device_id)
    orders = [each for each in context.terminals.orders() if each.device_id == device_id]
    shown: dict[str, Any] = {
        "seen": seen,
        "states": DEVICE_STATES,
        "advice": ADVICE,
        "modes": MODES,
        "checked": CHECKS,
        "verified": _verified(entry),
        "owner": SOURCES.get(owner, owner),
        "is_ours": owner == CONSOLE,
        "may": actor.may(Right.DEVICES),
        "way": actions.backfill_way(context, entry),
        "backfill": context.backfills.of(device_id),
        "orders": orders[-ORDERS:][::-1],
        "days": (today - timedelta(days=1), today),
        "has_settings": is_configurable(entry),
        "source": statuses,
    }
    return page(request, "device.html", **(shown | more))


def _verified(device: Device) -> str | None:
    """What the adapter of a device was tried on, in words or the name of a device."""
    found = verified_on(device)
    return None if found is None else VERIFIED.get(found, found)


def _seen(context: Context, fleet: Sequence[Device], said: Mapping[str, StatusFact]) -> list[SeenDevice]:
    return seen_devices(fleet, said, context.registry.fleet.hours, context.clock(), context.settings)
