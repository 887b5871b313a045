"""Trace: what became of somebody's punches on a day."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from attendance.errors import ConfigurationError, Reason
from attendance.times import from_milliseconds
from console.acting import Reader
from console.context import context_of, language_of, page
from console.language import Language
from console.language import marked as _
from console.words import DIRECTIONS, MILESTONES, OUTCOMES, REASONS, WHO, Plain
from ledger.trace import LedgerTrace
from operations.journeys import Journey, Outcome, journeys
from operations.right_time import OF_CLOCKS
from operations.trace import Asked

router: Final = APIRouter()

Text = Annotated[str, Query(max_length=200)]
UNMENDED: Final = frozenset(("dead_lettered", "waiting", "dropped"))
"""Outcomes whose reason is explained."""
UNDER_WAY: Final = frozenset(("undecided", "undelivered"))
"""Outcomes that become others by themselves."""


@dataclass(frozen=True, slots=True)
class Form:
    """What was entered, as text."""

    employee: str = ""
    day: str = ""
    device: str = ""
    user: str = ""
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A milestone as it is shown; `after` is how long after the one before."""

    name: str
    at: str
    after: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A journey as it is shown."""

    outcome: Outcome
    at: str
    direction: str
    device: str
    user: str
    plain: Plain | None
    kept_event_id: str | None
    message: str | None
    milestones: list[Step]
    employee: str | None
    document: str | None
    link: str | None
    event_id: str | None
    supersedes: str | None
    given: "Given | None"
    may_be_given: bool


@dataclass(frozen=True, slots=True)
class Given:
    """Who gave a punch its time, as it is shown."""

    by: str
    at: str
    note: str
    instead_of: str


@router.get("/trace")
async def trace(
    request: Request,
    actor: Reader,
    employee: Text = "",
    day: Text = "",
    device: Text = "",
    user: Text = "",
    event_id: Text = "",
    *,
    sent: bool = False,
) -> Response:
    """The page, with an answer where something was asked.

    Of a punch that was just `sent` it asks again by itself until that is through.
    """
    form = Form(*(each.strip() for each in (employee, day, device, user, event_id)))
    language = language_of(request)
    asked, problem = _asked(form)
    found: list[Shown] | None = None
    source, is_awaited = None, False
    if asked is not None:
        source = LedgerTrace(context_of(request).database)
        every = journeys(await source.facts(asked))
        records = [each for each in every if actor.sees(each.raw.site)]
        found = [_shown(each, language, context_of(request).erpnext_url) for each in records]
        # The ledger learns of it a moment after it was sent.
        is_awaited = sent and all(each.outcome in UNDER_WAY for each in records)
        # What is of a site that they do not see is as if it was not there.
        if not records and (every or not await source.is_known(asked)):
            found, problem = None, None if sent else _("Nobody has heard of that. Look at how it is written.")
    return page(
        request,
        "trace.html",
        asked=form,
        problem=None if problem is None else language.say(problem),
        journeys=found,
        is_awaited=is_awaited,
        outcomes=OUTCOMES,
        directions=DIRECTIONS,
        milestones=MILESTONES,
        who=WHO,
        source=source,
    )


def _asked(form: Form) -> tuple[Asked | None, str | None]:
    """The question, and what is wrong with it. Neither where nothing was entered."""
    try:
        day = date.fromisoformat(form.day) if form.day else None
    except ValueError:
        return None, _("That day is no date such as 2026-03-02.")
    if form.event_id:
        return Asked(event_id=form.event_id), None
    asked, problem = None, None
    if form.device or form.user:
        if form.device and form.user:
            asked = Asked(device=form.device, user=form.user, day=day)
        else:
            problem = _("Enter both the device and the number on it.")
    elif form.employee and day is not None:
        asked = Asked(employee=form.employee, day=day)
    elif form.employee:
        problem = _("Enter the day too.")
    elif day is not None:
        problem = _("Enter the employee too.")
    return asked, problem


def _shown(journey: Journey, language: Language, erpnext_url: str | None) -> Shown:
    raw = journey.raw
    link = None
    if journey.document and erpnext_url:
        link = f"{erpnext_url}/app/employee-checkin/{quote(journey.document, safe='')}"
    return Shown(
        outcome=journey.outcome,
        at=_time_of(journey, language),
        direction=raw.event_type or "UNKNOWN",
        device=raw.device_id,
        user=raw.device_user_id or "",
        plain=_plain(journey),
        kept_event_id=journey.kept_event_id,
        message=journey.message if journey.outcome == "dead_lettered" else None,
        milestones=list(_steps(journey, language)),
        employee=journey.employee,
        document=journey.document,
        link=link,
        event_id=raw.event_id,
        supersedes=raw.supersedes if raw.supersedes != raw.event_id else None,
        given=_given(journey, language),
        may_be_given=journey.outcome == "delivered"
        or (journey.outcome == "dead_lettered" and journey.reason in OF_CLOCKS),
    )


def _given(journey: Journey, language: Language) -> Given | None:
    raw = journey.raw
    if raw.time_given_at is None:
        return None
    at = _clock(raw.time_given_at, raw.device_timezone, language)
    wrong = raw.time_given_instead_of
    instead_of = language.say(_("without a time")) if wrong is None else _clock(wrong, raw.device_timezone, language)
    return Given(raw.time_given_by or "", at, raw.time_given_note or "", instead_of)


def _clock(milliseconds: int, zone: str | None, language: Language) -> str:
    """A time on the clock of a device; in UTC where its zone is not known here."""
    at = from_milliseconds(milliseconds)
    try:
        return language.clock(at, zone or "UTC")
    except (ConfigurationError, OverflowError):
        return language.clock(at, "UTC")


def _plain(journey: Journey) -> Plain | None:
    if journey.outcome not in UNMENDED or journey.reason is None:
        return None
    return REASONS[Reason(journey.reason)]


def _time_of(journey: Journey, language: Language) -> str:
    raw = journey.raw
    if raw.event_time is None:
        return raw.device_time or language.say(_("without a time"))
    return _clock(raw.event_time, raw.device_timezone, language)


def _steps(journey: Journey, language: Language) -> Iterator[Step]:
    zone = journey.raw.device_timezone
    for each in journey.milestones:
        at = _clock(each.at, zone, language)
        after = None
        if each.after is not None and each.after >= 1:
            after = language.say(_("%(time)s later")) % {"time": language.lasting(each.after)}
        yield Step(each.name, at, after)
