"""The right time: somebody of HR gives a punch whose clock was wrong its time, with a reason."""

from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from attendance.records.raw_event import RawEvent
from console.acting import Refused, acting, done, reading_with
from console.actions import right_time
from console.context import context_of, language_of, page
from console.language import Language
from console.language import marked as _
from console.rights import Actor, Right
from operations.right_time import TimePlan

router: Final = APIRouter()

ADDRESS: Final = "/right-time"

Reader = Annotated[Actor, reading_with(Right.CORRECTIONS)]
Corrector = Annotated[Actor, acting(Right.CORRECTIONS)]
EventId = Annotated[str, Form(max_length=64)]
Text = Annotated[str, Form(max_length=2000)]


@router.get(ADDRESS)
async def form(request: Request, _actor: Reader, event_id: Annotated[str, Query(max_length=64)] = "") -> Response:
    """The form."""
    return _page(request, event_id)


@router.post(f"{ADDRESS}/look")
async def look(request: Request, actor: Corrector, event_id: EventId, time: Text = "", note: Text = "") -> Response:
    """What giving this time will do. Nothing is sent."""
    try:
        plan = await right_time.plan_time(context_of(request), actor, event_id.strip(), time, note)
    except Refused as refusal:
        return _page(request, event_id, time, note, refusal=refusal)
    return _page(request, event_id, time, note, plan=plan)


@router.post(f"{ADDRESS}/give")
async def give(request: Request, actor: Corrector, event_id: EventId, time: Text = "", note: Text = "") -> Response:
    """Give it."""
    try:
        plan = await right_time.give_time(context_of(request), actor, event_id.strip(), time, note)
    except Refused as refusal:
        return _page(request, event_id, time, note, refusal=refusal)
    language = language_of(request)
    said = language.say(_("The punch counts at %(time)s. It takes a few seconds until ERPNext has it."))
    back = f"/trace?event_id={quote(plan.right.event_id, safe='')}&sent=yes"
    return done(request, said % {"time": _at(plan.right, language)}, back)


def _page(
    request: Request,
    event_id: str,
    time: str = "",
    note: str = "",
    *,
    plan: TimePlan | None = None,
    refusal: Refused | None = None,
) -> Response:
    language = language_of(request)
    return page(
        request,
        "right_time.html",
        200 if refusal is None else 409,
        event_id=event_id,
        time=time,
        note=note,
        plan=plan,
        wrong=None if plan is None else _at(plan.wrong, language),
        right=None if plan is None else _at(plan.right, language),
        problem=None if refusal is None else language.say(refusal.message) % refusal.values,
    )


def _at(event: RawEvent, language: Language) -> str:
    """Its time, where the device is."""
    if event.event_time is None:
        return event.device_time or language.say(_("without a time"))
    return language.clock(event.event_time, event.device_timezone)
