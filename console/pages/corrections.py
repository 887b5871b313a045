"""Corrections: what ERPNext has that would now be different, as a table; and then its replacement."""

from typing import Annotated, Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from console.acting import Refused, acting, done, reading_with
from console.actions import corrections
from console.actions.plans import Wanted, known_plan
from console.context import context_of, language_of, page
from console.language import marked as _
from console.pages.plans import SECONDS, Text, form_page, names_of, problem_of
from console.plans import Plan
from console.rights import Actor, Right

router: Final = APIRouter()

ADDRESS: Final = "/corrections"
TEMPLATE: Final = "corrections.html"

Reader = Annotated[Actor, reading_with(Right.CORRECTIONS)]
Corrector = Annotated[Actor, acting(Right.CORRECTIONS)]


@router.get(ADDRESS)
async def form(request: Request, actor: Reader) -> Response:
    """The form."""
    return form_page(request, actor, TEMPLATE, dict.fromkeys(("first", "last", "site", "device"), ""))


@router.post(f"{ADDRESS}/look")
async def look(
    request: Request, actor: Corrector, first: Text = "", last: Text = "", site: Text = "", device: Text = ""
) -> Response:
    """Compare ERPNext with the punches of some days. Nothing is sent."""
    try:
        wanted = Wanted.read(first, last, site, device)
        plan = await corrections.plan(context_of(request), actor, wanted, SECONDS)
    except Refused as refusal:
        asked = {"first": first, "last": last, "site": site, "device": device}
        return form_page(request, actor, TEMPLATE, asked, refusal)
    return RedirectResponse(f"{ADDRESS}/{plan.id}", 303)


@router.get(f"{ADDRESS}/{{plan_id}}")
async def show(request: Request, actor: Reader, plan_id: str) -> Response:
    """What would be different."""
    return await _plan(request, known_plan(context_of(request), actor, "corrections", plan_id))


@router.post(f"{ADDRESS}/{{plan_id}}/apply")
async def apply(request: Request, actor: Corrector, plan_id: str, note: Text = "") -> Response:
    """Have the check-ins of this very plan replaced, by a job."""
    plan = known_plan(context_of(request), actor, "corrections", plan_id)
    try:
        asked = await corrections.apply(context_of(request), actor, plan, note)
    except Refused as refusal:
        return await _plan(request, plan, note, refusal)
    said = language_of(request).say(_("They are replaced by this job. If anything changed since, it sends nothing."))
    return done(request, said, f"/jobs/{asked.job_id}")


async def _plan(request: Request, plan: Plan, note: str = "", refusal: Refused | None = None) -> Response:
    differences = [] if plan.found is None else plan.found.differences
    shown = {each.employee for difference in differences for each in (difference.stored, difference.expected)}
    return page(
        request,
        "correction_plan.html",
        200 if refusal is None else 409,
        plan=plan,
        found=plan.found,
        names=await names_of(request, shown),
        note=note,
        problem=problem_of(request, plan, refusal),
    )
