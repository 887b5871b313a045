"""Late: what came after its day was closed in ERPNext, what a repair would do, and the repair."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from attendance.times import to_wall_clock
from console.acting import Refused, acting, done, reading_with
from console.actions import late
from console.actions.plans import Wanted, known_plan
from console.context import context_of, language_of, page
from console.language import marked as _
from console.pages.plans import AT_ONCE, SECONDS, Text, form_page, names_of, problem_of
from console.plans import Plan
from console.record_words import DAYS_LEFT_ALONE
from console.rights import Actor, Right

router: Final = APIRouter()

ADDRESS: Final = "/late"
TEMPLATE: Final = "late.html"
BACK: Final = timedelta(days=31)
"""So far back the form begins."""

Reader = Annotated[Actor, reading_with(Right.CORRECTIONS)]
Corrector = Annotated[Actor, acting(Right.CORRECTIONS)]


@router.get(ADDRESS)
async def form(request: Request, actor: Reader) -> Response:
    """The form."""
    context = context_of(request)
    begin = (to_wall_clock(context.clock(), context.settings.zone) - BACK).date()
    return form_page(request, actor, TEMPLATE, {"first": begin.isoformat(), "site": "", "device": ""})


@router.post(f"{ADDRESS}/look")
async def look(request: Request, actor: Corrector, first: Text = "", site: Text = "", device: Text = "") -> Response:
    """List what came late. Nothing is changed."""
    try:
        wanted = Wanted.read(first, None, site, device)
        plan = await late.plan(context_of(request), actor, wanted, SECONDS)
    except Refused as refusal:
        return form_page(request, actor, TEMPLATE, {"first": first, "site": site, "device": device}, refusal)
    return RedirectResponse(f"{ADDRESS}/{plan.id}", 303)


@router.get(f"{ADDRESS}/{{plan_id}}")
async def show(request: Request, actor: Reader, plan_id: str) -> Response:
    """What came late, and what a repair would do."""
    return await _plan(request, known_plan(context_of(request), actor, "late", plan_id))


@router.post(f"{ADDRESS}/{{plan_id}}/repair")
async def repair(request: Request, actor: Corrector, plan_id: str, note: Text = "") -> Response:
    """Have the days of this very plan put right, by a job."""
    plan = known_plan(context_of(request), actor, "late", plan_id)
    try:
        asked = await late.repair(context_of(request), actor, plan, note)
    except Refused as refusal:
        return await _plan(request, plan, note, refusal)
    said = language_of(request).say(_("The days are put right by this job. What changed since is left alone."))
    return done(request, said, f"/jobs/{asked.job_id}")


async def _plan(request: Request, plan: Plan, note: str = "", refusal: Refused | None = None) -> Response:
    found = plan.found
    shown = [] if found is None else [*(each.day for each in found.days), *found.deliveries[:AT_ONCE]]
    return page(
        request,
        "late_plan.html",
        200 if refusal is None else 409,
        plan=plan,
        found=found,
        names=await names_of(request, {each.employee for each in shown}),
        left_alone=DAYS_LEFT_ALONE,
        most=AT_ONCE,
        note=note,
        problem=problem_of(request, plan, refusal),
    )
