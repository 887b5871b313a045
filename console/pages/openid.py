"""Signing in by an OpenID provider: the way there and back."""

from typing import Annotated, Final

import structlog
from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from console.context import context_of, language_of
from console.identity.openid import LASTS, IdentityRefused, OpenIdProvider, ProviderUnavailable
from console.identity.ways import RETURN
from console.language import marked as _
from console.pages.signing import enter, form_page, inside

log = structlog.get_logger(__name__)
router: Final = APIRouter()

Said = Annotated[str | None, Query(max_length=8_000)]


@router.get("/sign-in/openid")
async def leave(request: Request, back: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    """Send the browser to the provider."""
    context = context_of(request)
    try:
        start = await _provider(request).begin(inside(back))
    except ProviderUnavailable as error:
        return _not_now(request, back, error)
    answer = RedirectResponse(start.address, 303)
    answer.set_cookie(
        _cookie(request),
        start.cookie,
        max_age=int(LASTS.total_seconds()),
        httponly=True,
        secure=context.settings.is_secure,
        # The way back begins at the provider, which is another site.
        samesite="lax",
        path="/",
    )
    return answer


@router.get(RETURN)
async def come_back(
    request: Request, code: Said = None, state: Said = None, iss: Said = None, error: Said = None
) -> Response:
    """Begin a session, for whoever the provider knows."""
    context, language = context_of(request), language_of(request)
    said = {"code": code, "state": state, "iss": iss, "error": error}
    try:
        identity, back = await _provider(request).finish(
            request.cookies.get(_cookie(request), ""),
            {name: value for name, value in said.items() if value is not None},
        )
        answer = enter(request, identity, "openid", back)
    except IdentityRefused as refused:
        log.warning("A sign-in by OpenID was refused.", client=context.ways.client(request), error=str(refused))
        answer = form_page(request, "/", 401, language.say(_("That sign-in did not work. Try again.")))
    except ProviderUnavailable as unavailable:
        answer = _not_now(request, "/", unavailable)
    answer.delete_cookie(_cookie(request), path="/", secure=context.settings.is_secure, httponly=True)
    return answer


def _provider(request: Request) -> OpenIdProvider:
    provider = context_of(request).ways.provider
    if provider is None:
        raise HTTPException(404)
    return provider


def _cookie(request: Request) -> str:
    return f"{context_of(request).cookie}-openid"


def _not_now(request: Request, back: str, error: ProviderUnavailable) -> Response:
    log.warning("The OpenID provider does not answer.", error=str(error))
    problem = language_of(request).say(_("Where you sign in does not answer. Try again in a minute; else call IT."))
    return form_page(request, back, 503, problem)
