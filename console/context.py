"""What the pages have in common: the ledger, the fleet, who is signed in, and how a page is answered."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse

from attendance.registry import Registry
from attendance.settings import ErpnextSettings
from attendance.times import now
from console.attempts import Attempts
from console.backfills import Backfills
from console.employees import Employees
from console.identity.ways import Ways
from console.known_people import KnownPeople
from console.language import Language, choose, languages
from console.plans import Plans
from console.rendering import render
from console.rights import Right
from console.sessions import Session, Sessions
from console.settings import ConsoleSettings
from console.uploads import Uploads
from ledger.database import Database
from operations.activity import Activities
from operations.console_users import ConsoleUsers
from operations.devices import terminals_view
from operations.jobs import Jobs
from operations.log import Log
from producers.terminals import Terminals

LANGUAGE_COOKIE: Final = "punchstream_language"


@dataclass(frozen=True, slots=True)
class Context:
    """What a console has for all of its pages.

    Attributes:
        settings: Its settings.
        database: The ledger.
        registry: The fleet, kept up to date.
        users: Who may use it.
        sessions: Who is signed in.
        attempts: What failed of late to sign in.
        wrong_tokens: Where wrong tokens of the API came from of late.
        log: The topics.
        activities: Who had the console do what.
        jobs: Those of the topic.
        people: Whose the numbers are, as the topic says.
        employees: Says the names of employees; None where there is no ERPNext to ask.
        terminals: Which devices ask to be let in, and what devices were ordered to do; kept up to date.
        backfills: The devices that are being asked for punches again.
        erpnext_url: Where documents of ERPNext are; None where nobody said it.
        erpnext: The same, to ask it; None where nobody said it.
        uploads: Files that somebody wants to import.
        plans: What somebody had worked out, and may agree to.
        giving: Held by whoever gives a punch its time: the next one sees what was given.
        clock: What time it is.
        ways: How people may sign in.
    """

    settings: ConsoleSettings
    database: Database
    registry: Registry
    users: ConsoleUsers
    sessions: Sessions
    log: Log
    activities: Activities = field(default_factory=Activities)
    jobs: Jobs = field(default_factory=Jobs)
    attempts: Attempts = field(default_factory=Attempts)
    wrong_tokens: Attempts = field(default_factory=Attempts)
    people: KnownPeople = field(default_factory=KnownPeople)
    employees: Employees | None = None
    terminals: Terminals = field(default_factory=terminals_view)
    backfills: Backfills = field(default_factory=Backfills)
    erpnext_url: str | None = None
    erpnext: ErpnextSettings | None = None
    uploads: Uploads = field(default_factory=Uploads)
    plans: Plans = field(default_factory=Plans)
    giving: asyncio.Lock = field(default_factory=asyncio.Lock)
    clock: Callable[[], datetime] = now
    ways: Ways = field(default_factory=Ways)

    @property
    def cookie(self) -> str:
        """The name of the cookie of a session."""
        # A browser takes this prefix over TLS only, and from this very host.
        return "__Host-punchstream" if self.settings.is_secure else "punchstream"


def context_of(request: Request) -> Context:
    """The context of the application that serves a request."""
    context: Context = request.app.state.context
    return context


def language_of(request: Request) -> Language:
    """The language of a request: the one chosen, or the best of those that the browser asks for."""
    settings = context_of(request).settings
    wanted = request.cookies.get(LANGUAGE_COOKIE)
    return choose(wanted, request.headers.get("accept-language", ""), settings.language)


def page(request: Request, template: str, status: int = 200, **content: Any) -> HTMLResponse:
    """Answer with a page.

    Args:
        request: What is answered.
        template: Its file in `console/templates/`.
        status: The HTTP status.
        content: What the template names.
    """
    signed_in: Session | None = getattr(request.state, "signed_in", None)
    return part(request, template, status, notices=[] if signed_in is None else signed_in.take_notices(), **content)


def part(request: Request, template: str, status: int = 200, **content: Any) -> HTMLResponse:
    """Answer with a part of a page, which a page that is shown asks for. Takes what `page` takes."""
    shared = {
        "nonce": request.state.nonce,
        "path": request.url.path,
        "languages": languages(),
        "signed_in": getattr(request.state, "signed_in", None),
        "actor": getattr(request.state, "actor", None),
        "Right": Right,
        "zone": context_of(request).settings.zone,
    }
    return HTMLResponse(render(template, language_of(request), shared | content), status)
