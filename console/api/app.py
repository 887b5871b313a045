"""create_api: the API as an application of its own, below the console's."""

from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from attendance.errors import RetriableError
from console.acting import Refused
from console.api import (
    accounts,
    corrections,
    days,
    devices,
    imports,
    jobs,
    late,
    letters,
    overview,
    pending,
    people,
    punches,
    reconcile,
    right_time,
)
from console.api.calling import PROBLEMS
from console.context import Context
from operations.paging import InvalidPageToken

log = structlog.get_logger(__name__)

PATH: Final = "/api/v1"
AREAS: Final = (
    accounts,
    days,
    imports,
    jobs,
    letters,
    overview,
    people,
    punches,
    reconcile,
    right_time,
    late,
    corrections,
    devices,
    pending,
)
"""Modules whose calls are the API."""


def create_api(context: Context) -> FastAPI:
    """The application.

    Args:
        context: What it has in common with the pages.
    """
    api = _calls()
    api.state.context = context
    api.add_exception_handler(HTTPException, _refused)
    api.add_exception_handler(Refused, _not_done)
    api.add_exception_handler(RequestValidationError, _not_understood)
    api.add_exception_handler(InvalidPageToken, _not_understood)
    api.add_exception_handler(RetriableError, _not_now)
    return api


def document() -> dict[str, Any]:
    """Every call, as OpenAPI describes it."""
    return _calls().openapi()


def _calls() -> FastAPI:
    api = FastAPI(
        title="Punchstream",
        version="1",
        summary="Punches, devices and people, and what is to be done about them.",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses=PROBLEMS,
        generate_unique_id_function=lambda route: route.name,
        servers=[{"url": PATH}],
        # The document says what is served, wherever it is read.
        root_path_in_servers=False,
    )
    for area in AREAS:
        api.include_router(area.router)
    return api


def _problem(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": error}, status, headers)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, str(error.detail), dict(error.headers or {}))


async def _not_done(_request: Request, error: Exception) -> Response:
    return _problem(409, str(error))


async def _not_understood(_request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        places = ("{}: {}".format(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors())
        return _problem(422, "; ".join(places))
    return _problem(422, str(error))


async def _not_now(request: Request, error: Exception) -> Response:
    log.warning("A call of the API could not be answered.", path=request.url.path, error=str(error))
    return _problem(503, "Kafka or the ledger does not answer; try again")
