"""Pending devices: those that ask to be let in, the likeliest first."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from attendance.records.terminals import PendingDevice
from console.acting import Refused, acting, done, reading_with
from console.actions import approvals as actions
from console.context import context_of, language_of, page
from console.language import marked as _
from console.pages.device_entries import DIRECTIONS, known_sites
from console.rights import Actor, Right
from operations.approvals import HEARD, Approval

router: Final = APIRouter()

ADDRESS: Final = "/pending"
AT_ONCE: Final = 100
"""Devices of one page. Search finds the others."""
FROM_WHERE: Final = {
    "seen": _("Only from the address that it has now"),
    "given": _("Only from these addresses"),
    "anywhere": _("From anywhere: whoever knows its serial number can send in its name"),
}

_TYPED: Final = ("device_id", "site", "timezone", "direction", "where", "addresses", "q")

Reader = Annotated[Actor, reading_with(Right.DEVICES)]
It = Annotated[Actor, acting(Right.DEVICES)]
Chosen = Annotated[list[str], Form(max_length=1000)]


@router.get(ADDRESS)
async def show(request: Request, actor: Reader, q: Annotated[str, Query(max_length=200)] = "") -> Response:
    """The list."""
    return _show(request, actor, q)


@router.post(f"{ADDRESS}/approve")
async def approve(request: Request, actor: It) -> Response:
    """Let the chosen ones in. A form that cannot be keeps what was typed."""
    form = await request.form()
    typed = {name: str(form.get(name, "")).strip()[:1000] for name in _TYPED}
    serials = [str(each) for each in form.getlist("serials")]
    try:
        let_in = await actions.approve(context_of(request), actor, serials, None, _approval(typed))
    except Refused as error:
        problem = language_of(request).say(error.message) % error.values
        return _show(request, actor, typed["q"], problem, typed | {"serials": serials})
    said = language_of(request).say(_("Let in: %(devices)s"))
    return done(request, said % {"devices": ", ".join(let_in)}, ADDRESS)


@router.post(f"{ADDRESS}/forget")
async def forget(request: Request, actor: It, serials: Chosen = []) -> Response:  # noqa: B006 - FastAPI copies it
    """Take the chosen ones from the list."""
    count = await actions.forget(context_of(request), actor, serials)
    language = language_of(request)
    said = language.say(_("Taken from the list: %(count)s. Whoever comes again is listed again."))
    return done(request, said % {"count": language.number(count)}, ADDRESS)


def _approval(typed: Mapping[str, str]) -> Approval:
    """What a form approves.

    Raises:
        Refused: it says that there are addresses, and has none.
    """
    given = typed["addresses"].replace(",", " ").split()
    if typed["where"] == "given" and not given:
        raise Refused(_("Say from which addresses they may send."))
    return Approval(
        device_id=typed["device_id"] or None,
        site=typed["site"] or None,
        timezone=typed["timezone"] or None,
        addresses={"given": given, "anywhere": []}.get(typed["where"], [HEARD]),
        direction=typed["direction"] or None,
    )


def _show(
    request: Request, actor: Actor, q: str, problem: str | None = None, typed: dict[str, Any] | None = None
) -> Response:
    context, wanted = context_of(request), q.strip().casefold()
    every = [each for each in actions.pending(context, actor) if wanted in _words(each)]
    return page(
        request,
        "pending.html",
        200 if problem is None else 409,
        devices=every[:AT_ONCE],
        total=len(every),
        q=q.strip(),
        sites=known_sites(context, actor),
        directions=DIRECTIONS,
        from_where=FROM_WHERE,
        problem=problem,
        typed=dict.fromkeys(_TYPED, "") | {"serials": []} | (typed or {}),
    )


def _words(pending: PendingDevice) -> str:
    """All in which is searched."""
    facts = (f"{name}: {value}" for name, value in pending.facts.items())
    texts = [pending.serial, pending.adapter, pending.client or "", *pending.clients, pending.device_id or "", *facts]
    return "\n".join(texts).casefold()
