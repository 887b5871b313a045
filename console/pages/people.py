"""Unmapped people: numbers that punch, and whose punches wait."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from console.context import context_of, page
from console.words import REASONS
from ledger.waiting import LedgerWaiting
from operations.log import Skipped
from operations.paging import Page
from operations.waiting import WaitingUser, Which, page_of_users

router: Final = APIRouter()

AT_ONCE: Final = 100
"""Numbers of one page."""


@router.get("/people")
async def people(request: Request, after: Annotated[str | None, Query(max_length=2000)] = None) -> Response:
    """The list of numbers, by site. `after` is the token of the page before."""
    source = LedgerWaiting(context_of(request).database, Skipped())
    punches, lines, found = await asyncio.to_thread(_find, source, after)
    return page(
        request,
        "people.html",
        users=found.rows,
        lines=lines,
        punches=punches,
        more=found.next,
        reasons=REASONS,
        source=source,
    )


def _find(source: LedgerWaiting, after: str | None) -> tuple[int, int, Page[WaitingUser]]:
    with source:
        return *source.count(Which()), page_of_users(source, Which(), AT_ONCE, after)
