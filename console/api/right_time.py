"""The right time of a punch by the API."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from console.actions import right_time
from console.api.calling import calling_with
from console.context import context_of
from console.rights import Actor, Right
from operations.right_time import TimePlan

router: Final = APIRouter(tags=["corrections"])

Corrector = Annotated[Actor, calling_with(Right.CORRECTIONS)]
EventId = Annotated[str, Field(min_length=1, max_length=64)]


class RightTime(BaseModel):
    """The right time of a punch: where its device is, or with an offset; and why. A dry run sends nothing."""

    time: Annotated[str, Field(min_length=1, max_length=100)]
    note: Annotated[str, Field(min_length=1, max_length=500)]
    dry_run: bool = False


class Corrected(BaseModel):
    """What was done, or would be done by a dry run."""

    event_id: str
    superseded_by: str
    device_id: str
    device_user_id: str
    wrong_time: datetime | None
    right_time: datetime | None
    was_delivered: bool
    sent: bool


@router.post("/punches/{event_id}/time")
async def give_time(request: Request, actor: Corrector, event_id: EventId, given: RightTime) -> Corrected:
    """Give a punch whose clock was wrong its right time. It counts once, at that time."""
    act = right_time.plan_time if given.dry_run else right_time.give_time
    plan = await act(context_of(request), actor, event_id, given.time, given.note)
    return _corrected(plan, sent=not given.dry_run)


def _corrected(plan: TimePlan, *, sent: bool) -> Corrected:
    return Corrected(
        event_id=plan.wrong.event_id,
        superseded_by=plan.right.event_id,
        device_id=plan.wrong.device_id,
        device_user_id=plan.wrong.device_user_id,
        wrong_time=plan.wrong.event_time,
        right_time=plan.right.event_time,
        was_delivered=plan.is_delivered,
        sent=sent,
    )
