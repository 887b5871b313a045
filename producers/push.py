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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NoReturn

import orjson
import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from attendance.dead_letter import DeadLetter
from attendance.errors import ConfigurationError, InvalidRecord, KafkaUnavailable, Overloaded, Reason
from attendance.kafka import Producer, follow
from attendance.metrics import Metrics
from attendance.other_event import OtherEvent
from attendance.registry import Device, Registry, hash_token
from attendance.settings import KafkaSettings, PushSettings
from attendance.times import now
from producers.clocks import Clocks
from producers.devices import PUSH_ADAPTERS, create_push_adapter
from producers.devices.base import STATUS, Answer, Head, Parsed, PushAdapter, PushRequest, Sender
from producers.publisher import Publisher
from producers.status import heartbeat
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
            devices = self._by_token.get((adapter, hash_token(sender.token)), {})
            # They have one hash in common, so one comparison, in constant time, answers for all of them.
            first = next(iter(devices.values()), None)
            return devices if first is not None and first.accepts(sender.token) else {}
        return self._by_serial.get((adapter, sender.serial), {}) if sender.serial else {}

    async def refresh(self) -> None:
        """Take up a changed registry file."""
        # In a thread: thousands of entries take seconds to read.
        if await asyncio.to_thread(self._registry.refresh):
            self._index()

    async def follow(self) -> NoReturn:
        """Take up changes of the registry file for ever."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except Exception:
                log.exception("The registry file cannot be read; the last good fleet stays.")

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


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The whole body.

    Raises:
        InvalidRecord: it is longer than `limit` bytes (`body_too_large`), or was not there in time (`body_too_slow`).
        ClientDisconnect: the other side went away before its end.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise InvalidRecord(Reason.BODY_TOO_SLOW, f"{len(body)} bytes within {seconds:g} s, and no end") from error
    return bytes(body)


def _too_large(limit: int) -> InvalidRecord:
    return InvalidRecord(Reason.BODY_TOO_LARGE, f"larger than {limit} bytes")


@dataclass(frozen=True, slots=True)
class Ingest:
    """Takes in what terminals send."""

    settings: PushSettings
    fleet: Fleet
    publisher: Publisher
    clocks: Clocks
    terminals: Terminals
    metrics: Metrics

    async def answer(self, request: Request, adapter: PushAdapter, route: str) -> Response:
        """Answer one request on one of the adapter's routes."""
        started = time.perf_counter()
        head = _head(request, route)
        headers = {}
        try:
            answer = await self._take_in(request, adapter, head)
        except ClientDisconnect:
            # Nobody hears an answer, and nothing of a part is stored: the terminal sends it again.
            log.debug("A client went away in the middle of a body.", client=_client(request))
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except (InvalidRecord, KafkaUnavailable, Overloaded) as error:
            reason = _reason(error)
            answer = adapter.refuse(head, reason, self.settings.retry_after)
            if STATUS[reason] is not HTTPStatus.SERVICE_UNAVAILABLE:
                log.info("A request is refused.", reason=reason, why=str(error), client=_client(request))
            if reason is Reason.BODY_TOO_SLOW:
                headers["Connection"] = "close"
            self.metrics.count("punchstream_requests_refused_total", reason=reason)
        self.metrics.observe("punchstream_request_seconds", time.perf_counter() - started)
        return Response(answer.body, answer.status, {**answer.headers, **headers}, answer.media_type)

    async def _take_in(self, request: Request, adapter: PushAdapter, head: Head) -> Answer:
        """The answer, once Kafka has all that the request holds.

        Raises:
            InvalidRecord: it is refused; where its sender is known and its body was read, Kafka has the body.
            KafkaUnavailable, Overloaded, ClientDisconnect: it has to be sent again.
        """
        # The body of a stranger is not even read.
        sender = adapter.sender(head)
        devices = self.fleet.of(adapter.name, sender)
        if not devices:
            if sender.serial and not sender.token:
                await self.terminals.seen(adapter.name, sender.serial, _client(request), sender.facts)
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, f"no enabled device of {adapter.name} has this token or serial")
        body = await read_body(request, self.settings.max_body, self.settings.body_timeout)
        received_at = now()
        where = f"http:{head.route}"
        only = next(iter(devices)) if len(devices) == 1 else None
        known = PushRequest(
            head,
            body,
            received_at,
            self.terminals.marks(only) if only else {},
            self.terminals.waiting(only) if only else (),
        )
        try:
            parsed = _parse(adapter, known, devices)
        except InvalidRecord as error:
            if error.reason in (Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR):
                key = only.encode() if only else None
                letter = DeadLetter("push", error.reason, error.message, received_at, key, body, where=where)
                await self.publisher.publish([], [letter])
            raise
        await self._store(parsed, devices[parsed.device_id], adapter.name, received_at, where)
        return parsed.answer

    async def _store(self, parsed: Parsed, device: Device, adapter: str, received_at: datetime, where: str) -> None:
        """Return when Kafka has all that was parsed. Raises KafkaUnavailable or Overloaded."""
        heard = parsed.heard
        if heard is not None and heard.device_time is not None:
            self.clocks.measured(device.device_id, heard.device_time, received_at)
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
            OtherEvent(device.device_id, device.site, adapter, each.kind, received_at, each.value)
            for each in parsed.others
        ]
        await self.publisher.publish(self.clocks.mark(device.device_id, parsed.events), letters, others)
        if parsed.marks:
            await self.terminals.mark(device.device_id, parsed.marks)
        if parsed.results:
            await self.terminals.answered(device.device_id, parsed.results)
        self.terminals.handed_out(device.device_id, parsed.given)
        if heard is not None:
            # Only now: it may claim that all before it has been published.
            await self.publisher.report(heartbeat(device.device_id, received_at, heard))
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


def _head(request: Request, route: str) -> Head:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
    return Head(request.method, route, request.path_params, dict(request.query_params), headers)


def _reason(error: InvalidRecord | KafkaUnavailable | Overloaded) -> Reason:
    match error:
        case InvalidRecord():
            return error.reason
        case Overloaded():
            return Reason.OVERLOADED
        case _:
            return Reason.KAFKA_UNAVAILABLE


def _client(request: Request) -> str | None:
    return None if request.client is None else request.client.host


def _failure(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}


def _json(content: object, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


def create_app(
    settings: PushSettings,
    registry: Registry,
    publisher: Publisher,
    terminals: Terminals,
    metrics: Metrics,
    *beside: Callable[[], Awaitable[object]],
) -> FastAPI:
    """The application. At its shutdown it stops the publisher; the metrics are those that `/metrics` shows.

    What is given as `beside` runs beside it, for ever.
    """
    fleet = Fleet(registry)
    ingest = Ingest(settings, fleet, publisher, Clocks(metrics), terminals, metrics)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        following = [asyncio.ensure_future(work()) for work in (fleet.follow, *beside)]
        try:
            yield
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
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

    app = FastAPI(
        title="Punchstream push",
        openapi_url=None,
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_such_route, Exception: _failed},
    )
    # Plain routes: these handlers read and write bytes, and need nothing that FastAPI does between.
    for name in PUSH_ADAPTERS:
        adapter = create_push_adapter(name, settings.payload_fields)
        for route in adapter.routes:
            app.add_route(route.path, _endpoint(ingest, adapter, route.path), [route.method])
    app.add_route("/healthz", alive, ["GET"])
    app.add_route("/readyz", ready, ["GET"])
    app.add_route("/metrics", exposition, ["GET"])
    return app


async def _no_such_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json(_failure(HTTPStatus(error.status_code).name.lower()), error.status_code, error.headers)


async def _failed(_request: Request, _error: Exception) -> Response:
    return _json(_failure(Reason.INTERNAL_ERROR), HTTPStatus.INTERNAL_SERVER_ERROR)


def _endpoint(ingest: Ingest, adapter: PushAdapter, route: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await ingest.answer(request, adapter, route)

    return endpoint


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
    producer = Producer(kafka, f"{kafka.topic_prefix}-push")
    publisher = Publisher(producer, kafka.topics, metrics, push.max_in_flight)
    topic = kafka.topics["terminals"]
    terminals = Terminals(topic, producer.send)
    following = partial(follow, kafka, topic, terminals.apply, client_id=f"{kafka.topic_prefix}-push-terminals")
    config = uvicorn.Config(
        create_app(push, registry, publisher, terminals, metrics, following),
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
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    with listen(push.host, push.port) as listener:
        host, port = listener.getsockname()[:2]
        log.info("Listening.", host=host, port=port, devices=len(registry))
        server.run([listener])
