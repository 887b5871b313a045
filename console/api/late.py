"""Late punches by the API: what came late, what a repair would do, and the repair."""

from datetime import date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel

from console.actions import late
from console.actions.plans import Wanted, known_plan
from console.api.calling import calling_with
from console.api.jobs import AskedJob, asked_job
from console.api.plans import Agreement, Name, PlanId, found_of
from console.context import context_of
from console.rights import Actor, Right
from operations.jobs import Job
from operations.late import PlannedRepair, Why
from operations.late_plans import LatePlan

router: Final = APIRouter(tags=["corrections"])

Corrector = Annotated[Actor, calling_with(Right.CORRECTIONS)]


class LatePunch(BaseModel):
    """A punch that was delivered after its day was closed. `attendance` is what ERPNext has of that day, or `none`."""

    event_id: str
    employee: str
    day: date | None
    shift_type: str | None
    device_id: str
    document: str
    delivered_at: datetime
    attendance: str | None


class LateDay(BaseModel):
    """A working day, and what a repair would do. Where nothing is `left_alone`, it is counted again."""

    employee: str
    day: date
    shift_type: str
    checkins: int
    left_alone: Why | None


class Late(BaseModel):
    """What came late. `plan` is by what a repair is agreed to, for an hour. `more_days` are not looked at yet."""

    plan: str
    repairable: int
    days: list[LateDay]
    more_days: int
    punches: list[LatePunch]


@router.get("/late")
async def list_late(request: Request, actor: Corrector, first: date, site: Name = "", device: Name = "") -> Late:
    """List what was delivered late since a day, and what a repair would do. Nothing is changed."""
    plan = await late.plan(context_of(request), actor, Wanted(first, None, site, device))
    found = found_of(plan, LatePlan)
    return Late(
        plan=plan.id,
        repairable=len(found.repairable),
        days=[_day(each) for each in found.days],
        more_days=found.more,
        punches=[
            LatePunch(
                event_id=each.event_id,
                employee=each.employee,
                day=each.attendance_date,
                shift_type=each.shift_type,
                device_id=each.device_id,
                document=each.document,
                delivered_at=each.delivered_at,
                attendance=each.attendance,
            )
            for each in found.deliveries
        ],
    )


def _day(each: PlannedRepair) -> LateDay:
    return LateDay(
        employee=each.day.employee,
        day=each.day.attendance_date,
        shift_type=each.day.shift_type,
        checkins=each.checkins,
        left_alone=None if each.left_alone is None else each.left_alone.why,
    )


@router.post("/late/{plan_id}/repair")
async def repair_late(request: Request, actor: Corrector, plan_id: PlanId, agreement: Agreement) -> AskedJob:
    """Have the days of a plan put right, by a job. A day that changed since is left alone."""
    plan = known_plan(context_of(request), actor, "late", plan_id)
    return asked_job(Job(await late.repair(context_of(request), actor, plan, agreement.note)))
