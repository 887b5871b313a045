"""The HTTP application: the adapters' routes, and beside them health."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from attendance.errors import KafkaUnavailable, Reason, StandingStill
from attendance.guards import Guards
from attendance.health import KAFKA
from attendance.metrics import Metrics
from attendance.registry import Registry
from attendance.runtime import background
from attendance.settings import PushSettings
from producers.clocks import Clocks
from producers.devices import PUSH_ADAPTERS, create_push_adapter
from producers.intake import Intake
from producers.letters import Letters
from producers.publisher import Publisher
from producers.push.endpoint import STAGE, Endpoint, Services, failure
from producers.push.fleet import Fleet
from producers.push.knocking import Knocking, peek
from producers.push.receiving import Receiving
from producers.push.turns import Turns
from producers.push.unread import Refusals
from producers.status import Statuses
from producers.terminals import Terminals


def _json(content: object, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


_PLAIN: Final = re.compile(r"(?:/[^/\s]+)+")


def plain_path(path: str) -> str:
    """A path without the slashes and spaces that stand in it twice or at its end."""
    if _PLAIN.fullmatch(path):
        return path
    return "/" + "/".join(segment for segment in path.strip().split("/") if segment)


class PushApp(FastAPI):
    """FastAPI, past whose layers and list of routes a request goes straight to the endpoint of its method and path.

    A path is served in every spelling that can mean no other: with slashes doubled or at its end, in capitals. It is
    never redirected, for no terminal follows a redirect.

    Attributes:
        knocking: Where what is turned away is noted.
        fleet: Which devices may push.
        receiving: The room for what is being received.
        turns: Whose request is worked on next.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        knocking: Knocking,
        fleet: Fleet,
        receiving: Receiving,
        turns: Turns,
        **options: Any,
    ) -> None:
        super().__init__(redirect_slashes=False, exception_handlers={HTTPException: self._no_such_route}, **options)
        self.knocking = knocking
        self.fleet = fleet
        self.receiving = receiving
        self.turns = turns
        self._straight: dict[tuple[str, str], Endpoint] = {}
        # By the method and the first segment of the path.
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Endpoint]]] = defaultdict(list)
        for endpoint in endpoints:
            route = endpoint.route
            served = StarletteRoute(route.path, endpoint, methods=[route.method])
            # What stands for a token keeps its case.
            served.path_regex = re.compile(served.path_regex.pattern, re.IGNORECASE)
            self.router.routes.append(served)
            if "{" in route.path:
                self._patterns[route.method, route.path.split("/", 2)[1].lower()].append((served.path_regex, endpoint))
            else:
                self._straight[route.method, route.path.lower()] = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        try:
            await self.turns.enter(address, _size(scope))
            endpoint = self._straight.get((scope["method"], scope["path"]))
            if endpoint is None:
                scope["path"] = plain_path(scope["path"])
                endpoint = self._find(scope)
            await (endpoint or super().__call__)(scope, receive, send)
        finally:
            self.turns.leave(address)

    def _find(self, scope: Scope) -> Endpoint | None:
        """The endpoint of a plain path; None where only the router knows what to answer."""
        method, path = scope["method"], scope["path"]
        endpoint = self._straight.get((method, path.lower()))
        if endpoint is not None:
            return endpoint
        # In no spelling may a path that stands for itself be taken for one with a token.
        for pattern, endpoint in self._patterns.get((method, path.split("/", 2)[1].lower()), ()):
            if found := pattern.match(path):
                scope["path_params"] = found.groupdict()
                return endpoint
        return None

    async def _no_such_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        cause = HTTPStatus(error.status_code).name.lower()
        # Whoever waits to be asked for the body says nothing before.
        body = b"" if "expect" in request.headers else await peek(request.receive)
        self.knocking.note(cause, request.scope, error.status_code, body=body)
        return _json(failure(cause), error.status_code, error.headers)


def _size(scope: Scope) -> int | None:
    """Bytes of a request's body, as its head has them; None where it does not."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
        if name == b"transfer-encoding":
            return None
    return 0


def create_app(
    settings: PushSettings,
    registry: Registry,
    publisher: Publisher,
    terminals: Terminals,
    statuses: Statuses,
    metrics: Metrics,
    *beside: Callable[[], Awaitable[object]],
    guards: Guards | None = None,
    clocks: Clocks | None = None,
) -> PushApp:
    """The application. At its shutdown it writes the terminals' stamps and stops the publisher.

    Args:
        settings: The limits of a request, and which fields of a payload are kept.
        registry: The fleet. The application takes up changes of its file.
        publisher: Stopped at the end.
        terminals: What has to be known of terminals beside the fleet file.
        statuses: What devices say of themselves.
        metrics: Where requests are counted.
        beside: Coroutine functions that run beside the application, for ever.
        guards: What may keep it from taking anything in. They are asked beside the application; None is none.
        clocks: What is known of the devices' clocks; None is nothing yet.
    """
    fleet, guards = Fleet(registry), guards or Guards(metrics)
    adapters = [create_push_adapter(name, settings.payload_fields) for name in PUSH_ADAPTERS]
    routes = [route for adapter in adapters for route in adapter.routes]
    knocking = Knocking(terminals.knocks, metrics, routes, fleet.is_token)
    receiving = Receiving(settings.max_receiving, settings.max_receiving_per_address)
    metrics.watch("punchstream_receiving_bytes", lambda: receiving.bytes)
    turns = Turns()
    clocks = clocks or Clocks(metrics)
    intake = Intake(STAGE, clocks, Letters())
    services = Services(
        *(settings, fleet, clocks, intake, publisher, statuses, terminals, metrics, knocking, receiving),
        *(Refusals(), guards, turns, publisher.tracing),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        works = (fleet.follow, terminals.keep, statuses.keep, guards.keep, *beside)
        # Punches are taken in whatever becomes of these.
        try:
            async with background(works):
                yield
        finally:
            with suppress(KafkaUnavailable):
                await terminals.write()
            await publisher.stop()

    async def why_not_ready() -> str | None:
        try:
            statuses.check()
            await publisher.probe()
        except (KafkaUnavailable, StandingStill) as error:
            return str(error)
        return None

    metrics.health.ask(KAFKA, why_not_ready)

    # On the port of the terminals for one release more: health is on that of the metrics (docs/adr/0070-health.md).
    async def alive(_request: Request) -> Response:
        return _json({"ok": True})

    async def ready(_request: Request) -> Response:
        retry = {"Retry-After": str(settings.retry_after)}
        try:
            statuses.check()
            guards.check()
            await publisher.probe()
        except StandingStill:
            # Why is in the log and on the port of the metrics: the reasons name topics, offsets and clocks.
            return _json(failure(Reason.STANDING_STILL), HTTPStatus.SERVICE_UNAVAILABLE, retry)
        except KafkaUnavailable:
            return _json(failure(Reason.KAFKA_UNAVAILABLE), HTTPStatus.SERVICE_UNAVAILABLE, retry)
        return _json({"ok": True})

    app = PushApp(
        [Endpoint(services, adapter, route) for adapter in adapters for route in adapter.routes],
        knocking,
        fleet,
        receiving,
        turns,
        title="Punchstream push",
        openapi_url=None,
        lifespan=lifespan,
    )
    app.add_exception_handler(Exception, _failed)
    app.add_route("/healthz", alive, ["GET"])
    app.add_route("/readyz", ready, ["GET"])
    return app


async def _failed(_request: Request, _error: Exception) -> Response:
    return _json(failure(Reason.INTERNAL_ERROR), HTTPStatus.INTERNAL_SERVER_ERROR)
