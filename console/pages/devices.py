"""Devices: those that need somebody first, and one of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from console.context import Context, context_of, page
from console.device_states import SeenDevice, seen_devices
from console.language import marked as _
from console.words import DEVICE_STATES
from ledger.device_statuses import LedgerStatuses
from operations.log import Skipped

router: Final = APIRouter()

AT_ONCE: Final = 100
"""Devices of one page."""
MOST_LETTERS: Final = 200
"""Of what is searched for."""
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

Text = Annotated[str, Query(max_length=MOST_LETTERS)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the list shows. Empty is any."""

    q: str = ""
    site: str = ""
    state: str = ""

    def includes(self, seen: SeenDevice) -> bool:
        """Whether the list shows a device."""
        device, wanted = seen.device, self.q.casefold()
        texts = (device.device_id, device.name, device.serial or "")
        return (
            any(wanted in text.casefold() for text in texts)
            and self.site in ("", device.site)
            and self.state in ("", seen.state)
        )

    def address(self, number: int) -> str:
        """Where a page of the list is."""
        asked = {"q": self.q, "site": self.site, "state": self.state, "number": number}
        return f"/devices?{urlencode({name: value for name, value in asked.items() if value != ''})}"


@router.get("/devices")
async def devices(
    request: Request, q: Text = "", site: Text = "", state: Text = "", number: Annotated[int, Query(ge=1)] = 1
) -> Response:
    """The list of devices, by what is wrong with them."""
    context, asked = context_of(request), Asked(q.strip(), site, state)
    source = LedgerStatuses(context.database, Skipped())
    every = await _seen(context, source)
    without_state = [each for each in every if replace(asked, state="").includes(each)]
    found = [each for each in every if asked.includes(each)]
    first = (number - 1) * AT_ONCE
    return page(
        request,
        "devices.html",
        devices=found[first : first + AT_ONCE],
        total=len(found),
        first=first + 1,
        number=number,
        counts=Counter(each.state for each in without_state),
        states=DEVICE_STATES,
        sites=_sites(every),
        asked=asked,
        source=source,
    )


@router.get("/devices/{device_id}")
async def device(request: Request, device_id: str) -> Response:
    """One device."""
    context = context_of(request)
    entry = context.registry.get(device_id)
    if entry is None:
        raise HTTPException(404)
    source = LedgerStatuses(context.database, Skipped())
    statuses = await source.newest()
    (seen,) = seen_devices([entry], statuses, context.registry.fleet.hours, context.clock(), context.settings)
    return page(request, "device.html", seen=seen, states=DEVICE_STATES, advice=ADVICE, modes=MODES, source=source)


async def _seen(context: Context, source: LedgerStatuses) -> list[SeenDevice]:
    registry = context.registry
    return seen_devices(registry, await source.newest(), registry.fleet.hours, context.clock(), context.settings)


def _sites(seen: Iterable[SeenDevice]) -> list[str]:
    return sorted({each.device.site for each in seen})
