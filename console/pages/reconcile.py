"""Reconcile: a day of a site or a device: what the device, the ledger and ERPNext have of it, and each gap."""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from console.acting import Reader, Refused
from console.actions import reconcile
from console.context import Context, context_of, language_of, page
from console.language import marked as _
from console.record_words import GAPS
from console.rights import Actor
from console.words import WHO
from ledger.reconciliations import Reconciliations, SiteDay

router: Final = APIRouter()

NAMED: Final = 20
"""So many punches of a gap are named on the page."""
Text = Annotated[str, Query(max_length=200)]


@router.get("/reconcile")
async def show(request: Request, actor: Reader, site: Text = "", device: Text = "", day: Text = "") -> Response:
    """The form, the results of the night, and the day that was asked about."""
    context, language = context_of(request), language_of(request)
    answer, problem = None, None
    if day or device:
        try:
            on = date.fromisoformat(day)
        except ValueError:
            problem = _("That day is no date such as 2026-03-02.")
        else:
            devices = reconcile.devices_of(context, actor, site.strip(), device.strip())
            try:
                answer = await reconcile.reconcile_day(context, devices, on) if devices else None
            except Refused as refusal:
                problem = refusal.message
            if not devices:
                problem = _("No device is like that.")
    return page(
        request,
        "reconcile.html",
        asked={"site": site, "device": device, "day": day},
        sites=sorted({each.site for each in context.registry if actor.sees(each.site)}),
        nights=await asyncio.to_thread(_nights, context, actor),
        answer=answer,
        problem=None if problem is None else language.say(problem),
        gaps=GAPS,
        who=WHO,
        named=NAMED,
    )


def _nights(context: Context, actor: Actor) -> Sequence[SiteDay]:
    return [each for each in Reconciliations(context.database).newest() if actor.sees(each.site)]
