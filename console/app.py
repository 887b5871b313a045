"""create_app: the console's pages as an ASGI application."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from attendance.errors import RetriableError
from console.acting import SIGNED_IN, NotSignedIn, Refused
from console.api.app import PATH, create_api
from console.context import Context, language_of, page
from console.guarding import STATIC, Guarding
from console.language import marked as _
from console.pages import (
    accounts,
    activity,
    attention,
    corrections,
    device_entries,
    devices,
    imports,
    jobs,
    late,
    openid,
    overview,
    pending,
    people,
    reconcile,
    right_time,
    signing,
    trace,
)
from operations.paging import InvalidPageToken

log = structlog.get_logger(__name__)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
PAGES: Final = (
    overview,
    attention,
    jobs,
    devices,
    people,
    trace,
    right_time,
    reconcile,
    late,
    corrections,
    imports,
    activity,
    accounts,
    device_entries,
    pending,
)
"""Modules whose pages are for whoever is signed in."""


def create_app(context: Context, lifespan: Lifespan | None = None) -> FastAPI:
    """The application.

    Args:
        context: What its pages have in common.
        lifespan: What runs as long as it is served; None for nothing.
    """
    app = FastAPI(title="Punchstream console", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.context = context
    app.mount(STATIC.rstrip("/"), StaticFiles(directory=str(files("console").joinpath("static"))))
    app.include_router(signing.router)
    app.include_router(openid.router)
    for module in PAGES:
        app.include_router(module.router, dependencies=[SIGNED_IN])
    app.mount(PATH, create_api(context))
    app.add_exception_handler(Refused, _not_done)
    app.add_exception_handler(NotSignedIn, _to_sign_in)
    app.add_exception_handler(RetriableError, _not_now)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(InvalidPageToken, _not_understood)
    app.add_middleware(Guarding, settings=context.settings)
    return app


async def _to_sign_in(request: Request, _error: Exception) -> Response:
    return RedirectResponse(signing.address(request), 303)


async def _not_now(request: Request, error: Exception) -> Response:
    log.warning("A page could not be made.", path=request.url.path, error=str(error))
    language = language_of(request)
    return page(
        request,
        "problem.html",
        503,
        what=language.say(_("Not now")),
        to_do=language.say(_("The console does not reach its data. Try again in a minute; if it stays so, call IT.")),
    )


async def _not_done(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    language = language_of(request)
    what, to_do = language.say(_("That did not work")), language.say(error.message) % error.values
    return page(request, "problem.html", 409, what=what, to_do=to_do)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if request.url.path.startswith(f"{PATH}/"):
        # A line break in it, for one, leads to no application that is mounted.
        return JSONResponse({"error": str(error.detail)}, error.status_code)
    language = language_of(request)
    texts = {
        403: (_("You may not do that"), _("Your account does not have the right. An administrator can give it.")),
        404: (_("There is no such page"), _("The address may be old, or what it showed may be gone.")),
    }
    what, to_do = texts.get(error.status_code, (_("That did not work"), _("Go back and try again.")))
    return page(request, "problem.html", error.status_code, what=language.say(what), to_do=language.say(to_do))


async def _not_understood(request: Request, _error: Exception) -> Response:
    language = language_of(request)
    what = language.say(_("That did not work"))
    to_do = language.say(_("The address or the form says something that cannot be. Go back and try again."))
    return page(request, "problem.html", 422, what=what, to_do=to_do)
