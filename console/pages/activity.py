"""Activity: who had the console do what. Administrators see everybody's, others their own."""

from itertools import islice
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from console.acting import Reader
from console.context import context_of, page
from console.rights import Right
from console.words import ABOUT, ACTIVITY_STATES, ACTS

router: Final = APIRouter()

AT_ONCE: Final = 100
"""Actions of one page."""

Text = Annotated[str, Query(max_length=200)]


@router.get("/activity")
async def activity(
    request: Request, actor: Reader, q: Text = "", number: Annotated[int, Query(ge=1, le=1000)] = 1
) -> Response:
    """The newest first, narrowed to those that have a text somewhere."""
    wanted = q.strip().casefold()
    found = (
        each
        for each in context_of(request).activities
        if (actor.may(Right.ACCOUNTS) or each.by == actor.name)
        and any(wanted in text.casefold() for text in (each.by, each.note or "", *each.about.values()))
    )
    first = (number - 1) * AT_ONCE
    rows = list(islice(found, first, first + AT_ONCE + 1))
    return page(
        request,
        "activity.html",
        rows=rows[:AT_ONCE],
        more=len(rows) > AT_ONCE,
        number=number,
        q=q.strip(),
        acts=ACTS,
        about=ABOUT,
        states=ACTIVITY_STATES,
    )
