"""Corrections by the API: what ERPNext has that would now be different, and its replacement."""

from dataclasses import asdict
from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel

from console.acting import Refused
from console.actions import corrections
from console.actions.plans import Wanted, known_plan
from console.api.calling import calling_with
from console.api.jobs import AskedJob, asked_job
from console.api.plans import Agreement, Name, PlanId, found_of
from console.context import context_of
from console.language import marked as _
from console.rights import Actor, Right
from operations.correction_plans import CorrectionPlan
from operations.corrections import Difference
from operations.jobs import Job

router: Final = APIRouter(tags=["corrections"])

Corrector = Annotated[Actor, calling_with(Right.CORRECTIONS)]


class Content(BaseModel):
    """What a check-in says. The time is on ERPNext's clock."""

    employee: str
    time: str
    log_type: str


class Different(BaseModel):
    """A check-in in ERPNext that would be different. It stays as it is where it is not `replaceable`."""

    event_id: str
    document: str
    stored: Content
    expected: Content
    attendance: str | None
    edited: bool
    replaceable: bool


class TouchedDay(BaseModel):
    """A working day of an employee."""

    employee: str
    day: str


class Planned(BaseModel):
    """What would be replaced. `plan` is by what it is agreed to, for an hour. The first of it are named."""

    plan: str
    different: int
    replaceable: int
    agreed_at_once: int
    without_employee: int
    differences: list[Different]
    days: list[TouchedDay]


@router.get("/corrections")
async def compare(
    request: Request, actor: Corrector, first: date, last: date, site: Name = "", device: Name = ""
) -> Planned:
    """Compare ERPNext with the punches that arrived on some days. Nothing is sent."""
    if last < first:
        raise Refused(_("The last day is before the first."))
    plan = await corrections.plan(context_of(request), actor, Wanted(first, last, site, device))
    found = found_of(plan, CorrectionPlan)
    return Planned(
        plan=plan.id,
        different=found.different,
        replaceable=found.correctable,
        agreed_at_once=len(found.digests),
        without_employee=found.unassigned,
        differences=[_different(each, found) for each in found.differences],
        days=[TouchedDay(employee=employee, day=day) for employee, day in found.days],
    )


def _different(each: Difference, found: CorrectionPlan) -> Different:
    return Different(
        event_id=each.event_id,
        document=each.document,
        stored=Content(**asdict(each.stored)),
        expected=Content(**asdict(each.expected)),
        attendance=each.attendance,
        edited=each.edited,
        replaceable=each.event_id not in found.stay,
    )


@router.post("/corrections/{plan_id}/apply")
async def apply_corrections(request: Request, actor: Corrector, plan_id: PlanId, agreement: Agreement) -> AskedJob:
    """Have the check-ins of a plan replaced, by a job. If anything changed since, it sends nothing and fails."""
    plan = known_plan(context_of(request), actor, "corrections", plan_id)
    return asked_job(Job(await corrections.apply(context_of(request), actor, plan, agreement.note)))
