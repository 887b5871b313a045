"""What failed, by the API: listed, counted, opened, and replayed or discarded by jobs."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import BaseModel, Field

from attendance.errors import Reason
from attendance.records.dead_letter_action import LetterId
from attendance.records.job import LettersKind
from console.actions.letters import WhichLetters, ask, is_visible, mendable, visible
from console.api.calling import Caller, calling_with
from console.api.jobs import AskedJob, asked_job
from console.context import context_of
from console.rights import Actor, Right
from console.words import REASONS
from ledger.open_letters import OpenLetters
from operations.dead_letters import State
from operations.jobs import Job
from operations.letter_lists import LetterLine

router: Final = APIRouter(tags=["letters"])

MOST: Final = 1_000
"""Letters of one answer, or of one request."""

Mender = Annotated[Actor, calling_with(Right.LETTERS)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
_ID: Final = r"^\d{1,9}:\d{1,18}$"
LetterIdText = Annotated[str, Field(pattern=_ID)]
Offset = Annotated[int, Field(ge=0, lt=2**63)]
PartitionText = Annotated[str, Field(pattern=r"^\d{1,9}$")]


class Letter(BaseModel):
    """A dead letter. `who` can mend it: `hr` or `it`."""

    id: str
    state: State
    stage: str
    reason: Reason
    who: Literal["hr", "it"]
    at: datetime
    device: str | None
    replay_count: int
    message: str


class Done(BaseModel):
    """What was done about a letter."""

    action: str
    at: datetime
    by: str
    note: str | None


class WholeLetter(Letter):
    """A dead letter with whose punch it is, and what was done about it."""

    event_id: str | None
    number: str | None
    employee: str | None
    attempts: int
    history: list[Done]


class Letters(BaseModel):
    """Some letters, the newest first. `next` is `after` of the next page; null at the end."""

    letters: list[Letter]
    next: str | None


class Count(BaseModel):
    """How many letters there are that nobody has dealt with.

    `parked` of these failed again after several replays, and a replay leaves them alone. `mendable` are those that the
    token may mend. With `ends` a replay or a discard takes just those that were counted.
    """

    letters: int
    parked: int
    mendable: int
    ends: dict[str, int]


class Wanted(BaseModel):
    """Letters by id, or those of a filter that nobody has dealt with. What is null is any."""

    ids: Annotated[list[LetterIdText], Field(max_length=MOST)] | None = None
    reason: Reason | None = None
    stage: Text | None = None
    device: Text | None = None
    ends: Annotated[dict[PartitionText, Offset], Field(max_length=10_000)] | None = None

    @property
    def which(self) -> WhichLetters:
        """The letters."""
        return WhichLetters(frozenset(map(LetterId.parse, self.ids or ())), self.reason, self.stage, self.device)

    @property
    def counted_ends(self) -> Mapping[int, int] | None:
        """Where those end that were counted."""
        return None if self.ends is None else {int(number): end for number, end in self.ends.items()}


class Replay(Wanted):
    """Letters that are to be replayed."""

    note: Annotated[str, Field(max_length=2_000)] = ""


class Discard(Wanted):
    """Letters that are to be discarded, and why."""

    note: Annotated[str, Field(min_length=1, max_length=2_000)]


@router.get("/letters")
async def list_letters(
    request: Request,
    actor: Caller,
    reason: Reason | None = None,
    stage: Annotated[str | None, Query(max_length=200)] = None,
    device: Annotated[str | None, Query(max_length=200)] = None,
    after: Annotated[str | None, Query(max_length=2_000)] = None,
    most: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> Letters:
    """What failed and nobody has dealt with, the newest first."""
    context = context_of(request)
    wanted = visible(context, actor, WhichLetters(reason=reason, stage=stage, device=device))
    page = await asyncio.to_thread(OpenLetters(context.database).page, wanted, most, after)
    return Letters(letters=list(_letters(page.rows)), next=page.next)


@router.get("/letters/count")
async def count_letters(
    request: Request,
    actor: Caller,
    reason: Reason | None = None,
    stage: Annotated[str | None, Query(max_length=200)] = None,
    device: Annotated[str | None, Query(max_length=200)] = None,
) -> Count:
    """How many that are."""
    context, which = context_of(request), WhichLetters(reason=reason, stage=stage, device=device)
    source = OpenLetters(context.database)
    found = await asyncio.to_thread(source.count, visible(context, actor, which))
    theirs = await asyncio.to_thread(source.count, mendable(context, actor, which))
    ends = {str(number): end for number, end in found.ends.items()}
    return Count(letters=found.letters, parked=found.parked, mendable=theirs.letters, ends=ends)


@router.get("/letters/{letter_id}")
async def open_letter(request: Request, actor: Caller, letter_id: Annotated[str, Path(pattern=_ID)]) -> WholeLetter:
    """One letter, also one that was dealt with."""
    context = context_of(request)
    found = await asyncio.to_thread(OpenLetters(context.database).letter, LetterId.parse(letter_id))
    if found is None or not is_visible(context, actor, found.line.device):
        raise HTTPException(404, "there is no such letter")
    (line,) = _letters([found.line])
    history = [Done(action=each.action, at=each.at, by=each.by, note=each.note) for each in found.history]
    return WholeLetter(
        **line.model_dump(),
        event_id=found.event_id,
        number=found.device_user_id,
        employee=found.employee,
        attempts=found.attempts,
        history=history,
    )


@router.post("/letters/replay", status_code=202)
async def replay(request: Request, actor: Mender, wanted: Replay) -> AskedJob:
    """Store a job that replays letters, of those that the token may mend."""
    return await _ask(request, actor, "replay_letters", wanted, wanted.note)


@router.post("/letters/discard", status_code=202)
async def discard(request: Request, actor: Mender, wanted: Discard) -> AskedJob:
    """Store a job that discards letters, of those that the token may mend."""
    return await _ask(request, actor, "discard_letters", wanted, wanted.note)


async def _ask(request: Request, actor: Actor, kind: LettersKind, wanted: Wanted, note: str) -> AskedJob:
    asked = await ask(context_of(request), actor, kind, wanted.which, note, wanted.counted_ends)
    return asked_job(Job(asked))


def _letters(lines: Iterable[LetterLine]) -> Iterable[Letter]:
    for each in lines:
        yield Letter(
            id=str(each.id),
            state=each.state,
            stage=each.stage,
            reason=each.reason,
            who=REASONS[each.reason].who,
            at=each.at,
            device=each.device,
            replay_count=each.replay_count,
            message=each.message,
        )
