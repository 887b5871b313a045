"""Needs attention: what failed, by plain reason, with who can mend it; the letters of a reason; one letter."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from attendance.errors import InvalidRecord, KafkaUnavailable, Reason
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import LetterId
from attendance.records.job import LettersKind
from console.acting import Reader, Refused, acting, done
from console.actions.letters import WhichLetters, ask, is_visible, mendable, visible
from console.context import Context, context_of, language_of, page, part
from console.language import marked as _
from console.rights import Actor, Right
from console.words import LETTER_STATES, REASONS, WHO
from ledger.open_letters import OpenLetters
from operations.dead_letters import dead_letter, readable
from operations.undelivered import RECHECK_SECONDS, RETRY_SECONDS, Undelivered, read_undelivered

router: Final = APIRouter()

AT_ONCE: Final = 50
"""Letters of one page."""
MOST_DEVICES: Final = 20
"""Devices that the first page lists."""
MOST_SHOWN: Final = 4_000
"""Characters of what a device sent that are shown."""

Mender = Annotated[Actor, acting(Right.LETTERS)]
Text = Annotated[str, Query(max_length=200)]
Asked = Annotated[Reason | None, Query()]


@dataclass(frozen=True, slots=True)
class Filled:
    """What a form said that could not be done, and why it could not."""

    problem: str | None = None
    note: str = ""
    ids: frozenset[LetterId] = field(default_factory=frozenset)


@router.get("/attention")
async def attention(request: Request, actor: Reader) -> Response:
    """The groups, the largest first."""
    context = context_of(request)
    source, wanted = OpenLetters(context.database), visible(context, actor, WhichLetters())
    groups = await asyncio.to_thread(source.groups, wanted)
    devices = await asyncio.to_thread(source.devices, wanted, MOST_DEVICES)
    return page(
        request,
        "attention.html",
        groups=groups,
        devices=[each for each in devices if each.device is not None],
        reasons=REASONS,
        who=WHO,
        address=address,
        source=source,
    )


@router.get("/attention/erpnext")
async def erpnext(request: Request, actor: Reader) -> Response:
    """What waits for ERPNext, and when it is tried again. Kafka is asked, which takes longer than the rest of the page.

    htmx takes it into the page; a browser that runs no scripts shows it as a page of its own.
    """
    found: Undelivered | None = None
    if actor.sites is None:
        try:
            found = await read_undelivered(context_of(request).log)
        except KafkaUnavailable:
            found = None
    said: dict[str, Any] = {"found": found, "retry": RETRY_SECONDS, "recheck": RECHECK_SECONDS}
    if request.headers.get("hx-request") == "true":
        return part(request, "attention_erpnext.html", **said)
    return page(request, "erpnext.html", **said)


@router.get("/attention/letters")
async def letters(
    request: Request,
    actor: Reader,
    reason: Asked = None,
    stage: Text = "",
    device: Text = "",
    after: Annotated[str | None, Query(max_length=2_000)] = None,
) -> Response:
    """The letters of a reason, a stage, a device, or of all of these. `after` is the token of the page before."""
    which = WhichLetters(reason=reason, stage=stage.strip() or None, device=device.strip() or None)
    return await _list(request, actor, which, after)


async def _list(
    request: Request,
    actor: Actor,
    which: WhichLetters,
    after: str | None = None,
    filled: Filled = Filled(),
    status: int = 200,
) -> Response:
    context = context_of(request)
    source = OpenLetters(context.database)
    rows = await asyncio.to_thread(source.page, visible(context, actor, which), AT_ONCE, after)
    counted = await asyncio.to_thread(source.count, mendable(context, actor, which))
    every = await asyncio.to_thread(source.count, visible(context, actor, which))
    return page(
        request,
        "letters.html",
        status,
        which=which,
        plain=None if which.reason is None else REASONS[which.reason],
        rows=rows.rows,
        more=rows.next,
        every=every,
        counted=counted,
        ends=ends_text(counted.ends),
        reasons=REASONS,
        who=WHO,
        address=address,
        filled=filled,
        source=source,
    )


@router.get("/attention/letters/{letter_id}")
async def letter(request: Request, actor: Reader, letter_id: str) -> Response:
    """One letter: what failed, why, what the device sent, and what was done."""
    return await _one(request, actor, letter_id)


async def _one(
    request: Request,
    actor: Actor,
    letter_id: str,
    filled: Filled = Filled(),
    status: int = 200,
) -> Response:
    context, source = context_of(request), OpenLetters(context_of(request).database)
    id_ = parsed([letter_id])
    which = WhichLetters(id_)
    known = await asyncio.to_thread(source.letter, next(iter(id_)))
    if known is None or not is_visible(context, actor, known.line.device):
        raise HTTPException(404)
    may_mend = (await asyncio.to_thread(source.count, mendable(context, actor, which))).letters > 0
    content = None
    if actor.may(Right.LETTERS):
        content = await _content(context, known.line.id)
    return page(
        request,
        "letter.html",
        status,
        known=known,
        line=known.line,
        plain=REASONS[known.line.reason],
        who=WHO,
        states=LETTER_STATES,
        may_mend=may_mend,
        may_look=actor.may(Right.LETTERS),
        content=content,
        sent=None if content is None else _shown(content.value),
        filled=filled,
        source=source,
    )


async def _content(context: Context, id_: LetterId) -> DeadLetter | None:
    """The letter itself; None where the topic does not have it any more, or cannot be asked now."""
    try:
        found = await context.log.at("dead_letters", [(id_.partition, id_.offset)])
        return dead_letter(found[id_.partition, id_.offset])
    except (KafkaUnavailable, InvalidRecord, KeyError):
        return None


def _shown(value: bytes | None) -> str | None:
    said = readable(value)
    if said is None:
        return None
    return str(said.get("text", said.get("hex")))[:MOST_SHOWN]


class LettersForm(BaseModel):
    """What is asked to be done, with which letters.

    Attributes:
        which: Those that are ticked, or all of the filter that were counted.
        ends: Where those end that were counted, as `ends_text` wrote it.
        one: Whether the form is on the page of one letter.
    """

    which: Literal["all", "selected"]
    csrf: str = Field("", max_length=200)
    reason: Reason | Literal[""] = ""
    stage: str = Field("", max_length=200)
    device: str = Field("", max_length=200)
    ends: str = Field("", max_length=20_000)
    note: str = Field("", max_length=2_000)
    ids: list[str] = Field(default_factory=list, max_length=AT_ONCE)
    one: bool = False

    @property
    def filter(self) -> WhichLetters:
        """The filter of the list."""
        return WhichLetters(reason=self.reason or None, stage=self.stage or None, device=self.device or None)


Sent = Annotated[LettersForm, Form()]


@router.post("/attention/replay")
async def replay(request: Request, actor: Mender, form: Sent) -> Response:
    """Store a job that replays letters: those of the filter that were counted, or those that are ticked."""
    return await _ask(request, actor, "replay_letters", form)


@router.post("/attention/discard")
async def discard(request: Request, actor: Mender, form: Sent) -> Response:
    """Store a job that discards letters, with a note. Takes what `replay` takes."""
    return await _ask(request, actor, "discard_letters", form)


async def _ask(request: Request, actor: Actor, kind: LettersKind, form: LettersForm) -> Response:
    ids = parsed(form.ids)
    try:
        if form.which == "selected" and not ids:
            raise Refused(_("Nothing is ticked."))
        which = WhichLetters(ids) if form.which == "selected" else form.filter
        ends = parsed_ends(form.ends) if form.which == "all" else None
        asked = await ask(context_of(request), actor, kind, which, form.note, ends)
    except Refused as error:
        # What was typed and ticked is still there.
        filled = Filled(language_of(request).say(error.message) % error.values, form.note, ids)
        if form.one and len(form.ids) == 1:
            return await _one(request, actor, form.ids[0], filled, status=409)
        return await _list(request, actor, form.filter, filled=filled, status=409)
    said = {
        "replay_letters": _("%(count)s are replayed. This page shows how far it is."),
        "discard_letters": _("%(count)s are discarded. This page shows how far it is."),
    }[kind]
    language = language_of(request)
    message = language.say(said) % {"count": language.number(asked.counted or 0)}
    return done(request, message, f"/jobs/{asked.job_id}")


def parsed(ids: list[str]) -> frozenset[LetterId]:
    """The letters that are named. Raises HTTPException: one of these is no id."""
    if not all(re.fullmatch(r"\d{1,9}:\d{1,18}", each) for each in ids):
        raise HTTPException(422)
    return frozenset(map(LetterId.parse, ids))


def ends_text(ends: Mapping[int, int]) -> str:
    """Where the partitions end that were counted, for a form: `0:120,1:98`."""
    return ",".join(f"{partition}:{end}" for partition, end in sorted(ends.items()))


def parsed_ends(text: str) -> dict[int, int]:
    """What `ends_text` wrote. Raises HTTPException: it is something else."""
    if re.fullmatch(r"(\d{1,9}:\d{1,18}(,(?!$)|$))+", text) is None:
        raise HTTPException(422)
    return {int(partition): int(end) for partition, end in (each.split(":") for each in text.split(","))}


def address(path: str = "/attention/letters", **asked: Any) -> str:
    """The address of a page with what is asked in it; what is None or empty is left out."""
    said = urlencode({name: value for name, value in asked.items() if value})
    return f"{path}?{said}" if said else path
