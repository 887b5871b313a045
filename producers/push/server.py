"""The HTTP way in: terminals send their punches, and are answered "ok" once Kafka has them.

Each push adapter brings its routes. Who sends is known before the body is read, and nothing is answered before all that
a request holds is in Kafka.
"""

import asyncio
import math
import signal
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

import orjson
import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from msgspec.structs import replace
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from attendance.errors import ConfigurationError, InvalidRecord, KafkaUnavailable, Overloaded, Reason
from attendance.kafka.producer import Producer
from attendance.kafka.readers import follow
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.other_event import OtherEvent
from attendance.registry import Device, Registry, hash_token
from attendance.runtime import STOP_SIGNALS
from attendance.settings import KafkaSettings, PushSettings
from attendance.times import now
from producers.clocks import Clocks
from producers.devices import PUSH_ADAPTERS, create_push_adapter
from producers.devices.contract import STATUS, Answer, Head, Parsed, PushAdapter, PushRequest, Route, Sender
from producers.publisher import Publisher
from producers.status import Statuses
from producers.terminals import Terminals

log = structlog.get_logger(__name__)

REFRESH_SECONDS: Final = 1.0
BACKLOG: Final = 2048  # terminals that connect at the same moment, as after a power cut


class Fleet:
    """The enabled push devices, by adapter and by their tokens or serial numbers. Several may share a token."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._by_token: dict[tuple[str, str], dict[str, Device]] = {}
        self._by_serial: dict[tuple[str, str], dict[str, Device]] = {}
        self._index()

    def of(self, adapter: str, sender: Sender) -> Mapping[str, Device]:
        """The devices of an adapter that a sender may speak for, by id. An empty token opens none."""
        if sender.token:
            # How long it takes to find a hash, or none, tells nothing of the token.
            return self._by_token.get((adapter, hash_token(sender.token)), {})
        return self._by_serial.get((adapter, sender.serial), {}) if sender.serial else {}

    async def refresh(self) -> None:
        """Take up a changed registry file."""
        if await self._registry.refreshed():
            self._index()

    async def follow(self) -> NoReturn:
        """Take up changes of the registry file for ever."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.refresh()

    def _index(self) -> None:
        by_token: dict[tuple[str, str], dict[str, Device]] = defaultdict(dict)
        by_serial: dict[tuple[str, str], dict[str, Device]] = defaultdict(dict)
        for device in self._registry:
            if device.mode != "push" or device.disabled:
                continue
            if device.adapter not in PUSH_ADAPTERS:
                log.error(
                    "A device cannot push: there is no such push adapter.",
                    device_id=device.device_id,
                    adapter=device.adapter,
                )
            elif device.token_sha256 is not None:
                by_token[device.adapter, device.token_sha256][device.device_id] = device
            elif device.serial is not None:
                # One with a token is not open to whoever knows its serial number.
                by_serial[device.adapter, device.serial][device.device_id] = device
        self._by_token, self._by_serial = dict(by_token), dict(by_serial)


async def read_body(receive: Receive, length: str, limit: int, seconds: float) -> bytes:
    """The whole body. `length` is what the head says of it, empty where it says nothing.

    Raises:
        InvalidRecord: it is longer than `limit` bytes (`body_too_large`), or was not there in time (`body_too_slow`).
        ClientDisconnect: the other side went away before its end.
    """
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > limit:
                    raise _too_large(limit)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise InvalidRecord(Reason.BODY_TOO_SLOW, f"{len(body)} bytes within {seconds:g} s, and no end") from error


def _too_large(limit: int) -> InvalidRecord:
    return InvalidRecord(Reason.BODY_TOO_LARGE, f"larger than {limit} bytes")


@dataclass(frozen=True, slots=True)
class Ingest:
    """What all routes take requests in with."""

    settings: PushSettings
    fleet: Fleet
    publisher: Publisher
    clocks: Clocks
    statuses: Statuses
    terminals: Terminals
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route of one adapter, as an ASGI application."""

    ingest: Ingest
    adapter: PushAdapter
    route: Route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        head = _head(scope, self.route)
        try:
            answer = await self._take_in(head, receive, scope)
        except ClientDisconnect:
            # Nobody hears an answer, and nothing of a part is stored: the terminal sends it again.
            log.debug("A client went away in the middle of a body.", client=_client(scope))
            answer = Answer(status=HTTPStatus.BAD_REQUEST)
        except (InvalidRecord, KafkaUnavailable, Overloaded) as error:
            answer = self._refused(error, head, scope)
        except Exception:
            # No refusal of the adapter's: some of them have the terminal forget what it sent.
            log.exception("A request failed.", adapter=self.adapter.name, route=self.route.path)
            body = orjson.dumps(_failure(Reason.INTERNAL_ERROR))
            answer = Answer(body, HTTPStatus.INTERNAL_SERVER_ERROR, "application/json")
        self.ingest.metrics.observe("punchstream_request_seconds", time.perf_counter() - started)
        await _send(send, answer)

    def _refused(self, error: InvalidRecord | KafkaUnavailable | Overloaded, head: Head, scope: Scope) -> Answer:
        reason = _reason(error)
        if STATUS[reason] is not HTTPStatus.SERVICE_UNAVAILABLE:
            log.info("A request is refused.", reason=reason, why=str(error), client=_client(scope))
        self.ingest.metrics.count("punchstream_requests_refused_total", reason=reason)
        answer = self.adapter.refuse(head, reason, self.ingest.settings.retry_after)
        if reason is Reason.BODY_TOO_SLOW:
            # What is still to come of the body would be taken for another request.
            return replace(answer, headers={**answer.headers, "Connection": "close"})
        return answer

    async def _take_in(self, head: Head, receive: Receive, scope: Scope) -> Answer:
        """The answer, once Kafka has all that the request holds.

        Raises:
            InvalidRecord: it is refused; where its sender is known and its body was read, Kafka has the body.
            KafkaUnavailable, Overloaded, ClientDisconnect: it has to be sent again.
        """
        adapter, terminals, settings = self.adapter, self.ingest.terminals, self.ingest.settings
        # The body of a stranger is not even read.
        sender = adapter.sender(head)
        devices = self.ingest.fleet.of(adapter.name, sender)
        if not devices:
            if sender.serial and not sender.token:
                await terminals.seen(adapter.name, sender.serial, _client(scope), sender.facts)
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, f"no enabled device of {adapter.name} has this token or serial")
        length = head.headers.get("content-length", "")
        body = await read_body(receive, length, settings.max_body, settings.body_timeout)
        received_at = now()
        where = f"http:{head.route}"
        only = next(iter(devices)) if len(devices) == 1 else None
        known = PushRequest(
            head,
            body,
            received_at,
            terminals.marks(only) if only else {},
            terminals.waiting(only) if only else (),
        )
        try:
            parsed = _parse(adapter, known, devices)
        except InvalidRecord as error:
            if error.reason in (Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR):
                key = only.encode() if only else None
                letter = DeadLetter("push", error.reason, error.message, received_at, key, body, where=where)
                await self.ingest.publisher.publish([], [letter])
            raise
        await self._store(parsed, devices[parsed.device_id], received_at, where)
        return parsed.answer

    async def _store(self, parsed: Parsed, device: Device, received_at: datetime, where: str) -> None:
        """Return when Kafka has all that was parsed. Raises KafkaUnavailable or Overloaded."""
        publisher, clocks, terminals = self.ingest.publisher, self.ingest.clocks, self.ingest.terminals
        heard = parsed.heard
        if heard is not None and heard.device_time is not None:
            clocks.measured(device.device_id, heard.device_time, received_at)
        letters = [
            DeadLetter(
                stage="push",
                reason=each.reason,
                message=f"events[{each.index}]: {each.message}",
                at=received_at,
                key=device.device_id.encode(),
                value=each.value,
                where=where,
            )
            for each in parsed.rejected
        ]
        others = [
            OtherEvent(device.device_id, device.site, self.adapter.name, each.kind, received_at, each.value)
            for each in parsed.others
        ]
        await publisher.publish(clocks.mark(device.device_id, parsed.events), letters, others)
        if parsed.marks:
            # Not awaited: one that is lost has the terminal send again what Kafka has.
            terminals.mark(device.device_id, parsed.marks)
        if parsed.results:
            await terminals.answered(device.device_id, parsed.results)
        terminals.handed_out(device.device_id, parsed.given)
        self.ingest.statuses.punched(device.device_id, received_at, parsed.events)
        if heard is not None:
            # Only now: it may claim that all before it has been published.
            await self.ingest.statuses.report(device.device_id, received_at, heard)
        if letters:
            log.warning(
                "Events of a device are rejected.",
                device_id=device.device_id,
                rejected=len(letters),
                first=letters[0].message,
            )


def _parse(adapter: PushAdapter, request: PushRequest, devices: Mapping[str, Device]) -> Parsed:
    try:
        return adapter.parse(request, devices)
    except InvalidRecord:
        raise
    except Exception as error:
        log.exception("An adapter failed on a body.", adapter=adapter.name, devices=list(devices))
        raise InvalidRecord(Reason.INTERNAL_ERROR, repr(error)) from error


def _head(scope: Scope, route: Route) -> Head:
    query = scope["query_string"].decode("latin-1")
    return Head(
        # Also where it was HEAD, which is answered as GET is.
        method=route.method,
        route=route.path,
        params=scope.get("path_params", {}),
        query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
    )


async def _send(send: Send, answer: Answer) -> None:
    headers = [
        (b"content-type", answer.media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(answer.body)),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _reason(error: InvalidRecord | KafkaUnavailable | Overloaded) -> Reason:
    match error:
        case InvalidRecord():
            return error.reason
        case Overloaded():
            return Reason.OVERLOADED
        case _:
            return Reason.KAFKA_UNAVAILABLE


def _client(scope: Scope) -> str | None:
    client = scope.get("client")
    return None if client is None else str(client[0])


def _failure(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}


def _json(content: object, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


class PushApp(FastAPI):
    """FastAPI, past whose layers and list of routes a request goes straight to the endpoint of its method and path."""

    def __init__(self, endpoints: Iterable[Endpoint], **options: Any) -> None:
        super().__init__(**options)
        self._straight: dict[tuple[str, str], Endpoint] = {}
        for endpoint in endpoints:
            route = endpoint.route
            self.router.routes.append(StarletteRoute(route.path, endpoint, methods=[route.method]))
            if "{" not in route.path:
                self._straight[route.method, route.path] = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        endpoint = self._straight.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (endpoint or super().__call__)(scope, receive, send)


def create_app(
    settings: PushSettings,
    registry: Registry,
    publisher: Publisher,
    terminals: Terminals,
    statuses: Statuses,
    metrics: Metrics,
    *beside: Callable[[], Awaitable[object]],
) -> FastAPI:
    """The application. At its shutdown it writes the terminals' marks and stops the publisher.

    The metrics are those that `/metrics` shows.

    What is given as `beside` runs beside it, for ever.
    """
    fleet = Fleet(registry)
    ingest = Ingest(settings, fleet, publisher, Clocks(metrics), statuses, terminals, metrics)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        following = [asyncio.ensure_future(work()) for work in (fleet.follow, terminals.keep, statuses.keep, *beside)]
        try:
            yield
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            with suppress(KafkaUnavailable):
                await terminals.write()
            await publisher.stop()

    async def alive(_request: Request) -> Response:
        return _json({"ok": True})

    async def ready(_request: Request) -> Response:
        try:
            await publisher.probe()
        except KafkaUnavailable:
            retry = {"Retry-After": str(settings.retry_after)}
            return _json(_failure(Reason.KAFKA_UNAVAILABLE), HTTPStatus.SERVICE_UNAVAILABLE, retry)
        return _json({"ok": True})

    async def exposition(_request: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    adapters = [create_push_adapter(name, settings.payload_fields) for name in PUSH_ADAPTERS]
    app = PushApp(
        [Endpoint(ingest, adapter, route) for adapter in adapters for route in adapter.routes],
        title="Punchstream push",
        openapi_url=None,
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_such_route, Exception: _failed},
    )
    app.add_route("/healthz", alive, ["GET"])
    app.add_route("/readyz", ready, ["GET"])
    app.add_route("/metrics", exposition, ["GET"])
    return app


async def _no_such_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json(_failure(HTTPStatus(error.status_code).name.lower()), error.status_code, error.headers)


async def _failed(_request: Request, _error: Exception) -> Response:
    return _json(_failure(Reason.INTERNAL_ERROR), HTTPStatus.INTERNAL_SERVER_ERROR)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, IPv4 or IPv6 as the host is; on `::` both.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise ConfigurationError(f"PUSH_HOST, PUSH_PORT: cannot listen on {host} port {port}: {error}") from error


def serve(kafka: KafkaSettings, push: PushSettings, registry: Registry, metrics: Metrics) -> None:
    """Serve until SIGTERM or SIGINT; then finish the requests at hand and return.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    producer = Producer(kafka, kafka.client_id("push"))
    publisher = Publisher(producer, kafka.topics, metrics, push.max_in_flight)
    terminals = Terminals(kafka.topics["terminals"], producer.send)
    statuses = Statuses(publisher)
    following = [
        partial(follow, kafka, topic, apply, client_id=kafka.client_id("push-follower"))
        for topic, apply in (
            (kafka.topics["terminals"], terminals.apply),
            (kafka.topics["device_status"], statuses.apply),
        )
    ]
    config = uvicorn.Config(
        create_app(push, registry, publisher, terminals, statuses, metrics, *following),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        # By then Kafka has acknowledged what was posted, or the terminal was told that it has not.
        timeout_graceful_shutdown=math.ceil(kafka.request_timeout) + 1,
    )
    server = uvicorn.Server(config)
    # At its end the server raises each signal again, for whoever handled it before: that must not kill the process.
    for number in STOP_SIGNALS:
        signal.signal(number, server.handle_exit)
    with listen(push.host, push.port) as listener:
        host, port = listener.getsockname()[:2]
        log.info("Listening.", host=host, port=port, devices=len(registry))
        server.run([listener])
