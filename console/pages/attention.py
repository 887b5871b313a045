"""Needs attention: what failed, by plain reason, with who can mend it and how."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from console.context import context_of, page
from console.words import REASONS, WHO, Plain
from ledger.letters import LedgerLetters
from operations.dead_letters import SETTLED, Selection
from operations.letter_lists import Group, Groups
from operations.log import Skipped

router: Final = APIRouter()


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """The letters of one stage and reason about which nobody has done anything."""

    plain: Plain
    reason: str
    stage: str
    open: int
    first: datetime
    last: datetime
    message: str
    sample: str


@router.get("/attention")
async def attention(request: Request) -> Response:
    """The groups, the largest first."""
    source = LedgerLetters(context_of(request).database, Skipped())
    groups = Groups()
    async for line in source.lines(Selection()):
        if line.state not in SETTLED:
            groups.add(line)
    found = sorted(map(_shown, groups.sorted()), key=lambda each: -each.open)
    return page(request, "attention.html", groups=found, who=WHO, source=source)


def _shown(group: Group) -> ShownGroup:
    assert group.first is not None
    assert group.last is not None
    return ShownGroup(
        REASONS[group.reason],
        group.reason,
        group.stage,
        group.states.total(),
        group.first,
        group.last,
        group.message,
        str(group.sample),
    )
