"""What calls of plans have in common: a plan that is worked out, and the agreement to it."""

from typing import Annotated, Final, TypeVar

from fastapi import HTTPException, Path, Query
from pydantic import BaseModel, Field

from console.plans import Plan

Name = Annotated[str, Query(max_length=200)]
PlanId = Annotated[str, Path(max_length=100)]
MOST_NOTE: Final = 500
Found = TypeVar("Found")


class Agreement(BaseModel):
    """Agreement to what a plan says would be done, and why."""

    note: Annotated[str, Field(min_length=1, max_length=MOST_NOTE)]


def found_of(plan: Plan, kind: type[Found]) -> Found:
    """What a plan that was waited for says.

    Args:
        plan: The plan.
        kind: What it holds.

    Raises:
        HTTPException: it could not be worked out.
    """
    if plan.problem is not None:
        raise HTTPException(503 if plan.is_passing else 409, plan.problem % plan.values)
    assert isinstance(plan.found, kind)
    return plan.found
