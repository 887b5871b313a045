"""Signing in and out, who is signed in, and the language of the pages."""

from typing import Annotated, Final
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from console.acting import SIGNED_IN, check_token
from console.context import LANGUAGE_COOKIE, context_of, language_of, page
from console.language import languages
from console.language import marked as _

log = structlog.get_logger(__name__)
router: Final = APIRouter()

YEAR: Final = 365 * 24 * 3600
Text = Annotated[str, Form(max_length=2000)]


def address(request: Request) -> str:
    """Where to sign in so that the page that was asked for comes next."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"/sign-in?back={quote(asked, safe='')}" if request.method == "GET" and asked != "/" else "/sign-in"


def _inside(address: str) -> str:
    """An address of ours; that of the first page where it is somebody else's."""
    # Browsers read `//host` and `/\\host` as another host.
    is_ours = address.startswith("/") and address[1:2] not in ("/", "\\") and address.isprintable()
    return address if is_ours else "/"


@router.get("/sign-in")
async def form(request: Request, back: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    """The form."""
    return page(request, "sign_in.html", back=_inside(back), problem=None)


@router.post("/sign-in")
async def sign_in(request: Request, name: Text, password: Text, back: Text = "/") -> Response:
    """Begin a session, for whoever knows the password."""
    context, language = context_of(request), language_of(request)
    client = request.client.host if request.client else ""
    wait = context.attempts.wait(name, client, context.clock())
    if wait:
        time = language.lasting(max(1, wait.total_seconds()))
        problem = language.say(_("Too many attempts. Try again in %(time)s.")) % {"time": time}
        return page(request, "sign_in.html", 429, back=_inside(back), problem=problem)
    user = await context.users.verify(name, password)
    if user is None:
        context.attempts.failed(name, client, context.clock())
        log.warning("Somebody could not sign in.", client=client)
        problem = language.say(_("That name and password do not belong together."))
        return page(request, "sign_in.html", 401, back=_inside(back), problem=problem)
    context.attempts.succeeded(name)
    cookie = context.sessions.begin(user.name, user.epoch, context.clock())
    answer = RedirectResponse(_inside(back), 303)
    secure = context.settings.is_secure
    answer.set_cookie(context.cookie, cookie, httponly=True, secure=secure, samesite="lax", path="/")
    return answer


@router.post("/sign-out", dependencies=[SIGNED_IN])
async def sign_out(request: Request, csrf: Text) -> Response:
    """End the session."""
    context = context_of(request)
    check_token(request, csrf)
    context.sessions.end(request.cookies.get(context.cookie, ""))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(context.cookie, path="/", secure=context.settings.is_secure, httponly=True)
    return answer


@router.post("/language")
async def choose_language(request: Request, language: Text, back: Text = "/") -> Response:
    """Show the pages in another language from now on."""
    answer = RedirectResponse(_inside(back), 303)
    if language in languages():
        secure = context_of(request).settings.is_secure
        answer.set_cookie(LANGUAGE_COOKIE, language, max_age=YEAR, secure=secure, samesite="lax", path="/")
    return answer
