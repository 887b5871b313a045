"""Signing in and out, who is signed in, and the language of the pages."""

from typing import Annotated, Final
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Form, Query, Request
from starlette.background import BackgroundTask
from starlette.responses import RedirectResponse, Response

from attendance.errors import RetriableError
from attendance.records.console_user import ConsoleUser
from console.acting import SIGNED_IN, check_token
from console.context import LANGUAGE_COOKIE, Context, context_of, language_of, page
from console.identity.groups import Identity
from console.identity.ways import Way
from console.language import languages
from console.language import marked as _
from console.sessions import NO_ACCOUNT
from operations.console_users import renew_hash
from operations.log import Skipped

log = structlog.get_logger(__name__)
router: Final = APIRouter()

YEAR: Final = 365 * 24 * 3600
Text = Annotated[str, Form(max_length=2000)]


def address(request: Request) -> str:
    """Where to sign in so that the page that was asked for comes next."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"/sign-in?back={quote(asked, safe='')}" if request.method == "GET" and asked != "/" else "/sign-in"


def inside(address: str) -> str:
    """An address of ours; that of the first page where it is somebody else's."""
    # Browsers read `//host` and `/\\host` as another host.
    is_ours = address.startswith("/") and address[1:2] not in ("/", "\\") and address.isprintable()
    return address if is_ours else "/"


def form_page(
    request: Request, back: str, status: int = 200, problem: str | None = None, *, out: bool = False
) -> Response:
    """The page on which people sign in.

    Args:
        request: What is answered.
        back: Which page comes next.
        status: The HTTP status.
        problem: Why they are not signed in, in their language.
        out: Whether they have just signed out.
    """
    ways = context_of(request).ways
    by_proxy = ways.by_proxy(request) is not None
    return page(
        request,
        "sign_in.html",
        status,
        back=inside(back),
        problem=problem,
        out=out,
        passwords=ways.passwords,
        openid=ways.provider is not None,
        by_proxy=by_proxy,
    )


def enter(request: Request, identity: Identity, way: Way, back: str) -> Response:
    """Begin a session for somebody whom a proxy or a provider knows, if they may use the console.

    Args:
        request: What is answered.
        identity: Who it is.
        way: Who says so.
        back: Which page comes next.
    """
    context, language = context_of(request), language_of(request)
    user = context.users.user(identity.name)
    grant = context.ways.grant(identity.groups) if user is None else None
    if (user is None and grant is None) or (user is not None and user.disabled):
        log.warning(
            "Somebody signed in elsewhere who may not use the console.", way=way, client=context.ways.client(request)
        )
        problem = language.say(_("%(name)s may not use the console. An administrator can change that."))
        return form_page(request, back, 403, problem % {"name": identity.name})
    epoch = NO_ACCOUNT if user is None else user.epoch
    return _begun(request, context.sessions.begin(identity.name, epoch, context.clock(), way, grant), back)


def _begun(request: Request, cookie: str, back: str) -> Response:
    context = context_of(request)
    answer = RedirectResponse(inside(back), 303)
    secure = context.settings.is_secure
    answer.set_cookie(context.cookie, cookie, httponly=True, secure=secure, samesite="lax", path="/")
    return answer


@router.get("/sign-in")
async def form(
    request: Request, back: Annotated[str, Query(max_length=2000)] = "/", *, out: Annotated[bool, Query()] = False
) -> Response:
    """The form; or the session of whoever a proxy has signed in, unless they have just signed out."""
    identity = None if out else context_of(request).ways.by_proxy(request)
    return form_page(request, back, out=out) if identity is None else enter(request, identity, "proxy", back)


@router.post("/sign-in")
async def sign_in(request: Request, name: Text, password: Text, back: Text = "/") -> Response:
    """Begin a session, for whoever knows the password."""
    context, language = context_of(request), language_of(request)
    if not context.ways.passwords:
        return form_page(request, back, 403, language.say(_("Nobody signs in by a password here.")))
    client = context.ways.client(request)
    wait = context.attempts.wait(name, client, context.clock())
    if wait:
        time = language.lasting(max(1, wait.total_seconds()))
        problem = language.say(_("Too many attempts. Try again in %(time)s.")) % {"time": time}
        return form_page(request, back, 429, problem)
    user = await context.users.verify(name, password)
    if user is None:
        context.attempts.failed(name, client, context.clock())
        log.warning("Somebody could not sign in.", client=client)
        return form_page(request, back, 401, language.say(_("That name and password do not belong together.")))
    context.attempts.succeeded(name)
    answer = _begun(request, context.sessions.begin(user.name, user.epoch, context.clock()), back)
    if context.users.has_old_hash(user):
        # After the answer: nobody waits for it, and a sign-in needs no Kafka.
        answer.background = BackgroundTask(_renew, context, user, password)
    return answer


async def _renew(context: Context, user: ConsoleUser, password: str) -> None:
    try:
        await renew_hash(context.log, user, password, Skipped())
    except RetriableError as error:
        log.warning("The hash of a password could not be made anew; the next sign-in tries again.", error=str(error))


@router.post("/sign-out", dependencies=[SIGNED_IN])
async def sign_out(request: Request, csrf: Text) -> Response:
    """End the session."""
    context = context_of(request)
    check_token(request, csrf)
    context.sessions.end(request.cookies.get(context.cookie, ""))
    answer = RedirectResponse("/sign-in?out=true", 303)
    answer.delete_cookie(context.cookie, path="/", secure=context.settings.is_secure, httponly=True)
    return answer


@router.post("/language")
async def choose_language(request: Request, language: Text, back: Text = "/") -> Response:
    """Show the pages in another language from now on."""
    answer = RedirectResponse(inside(back), 303)
    if language in languages():
        secure = context_of(request).settings.is_secure
        answer.set_cookie(LANGUAGE_COOKIE, language, max_age=YEAR, secure=secure, samesite="lax", path="/")
    return answer
