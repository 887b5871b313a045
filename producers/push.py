"""The HTTP way in: terminals post their punches, and are answered "ok" once Kafka has them."""

import asyncio
import math
import signal
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
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
from attendance.kafka import Producer
from attendance.metrics import Metrics
from attendance.registry import Device, Registry, hash_token
from attendance.settings import KafkaSettings, PushSettings
from attendance.times import now
from producers.devices import PUSH_ADAPTERS, create_push_adapter
from producers.devices.base import Parsed, PushAdapter
from producers.publisher import Publisher

log = structlog.get_logger(__name__)

ADAPTER: Final = "json"
EVENTS: Final = "/v1/events"
HEARTBEAT: Final = "/v1/heartbeat"
FRAPPE_EVENTS: Final = "/api/method/{app}.api.attendance_ingest"

STATUS: Final[Mapping[Reason, HTTPStatus]] = {
    Reason.UNREADABLE_BODY: HTTPStatus.BAD_REQUEST,
    # Whoever sends it again fails on the same fault of ours; its bytes are kept, so it need not be sent again.
    Reason.INTERNAL_ERROR: HTTPStatus.BAD_REQUEST,
    Reason.UNKNOWN_DEVICE: HTTPStatus.UNAUTHORIZED,
    Reason.BODY_TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Reason.BODY_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Reason.KAFKA_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.OVERLOADED: HTTPStatus.SERVICE_UNAVAILABLE,
}
REFRESH_SECONDS: Final = 1.0
BACKLOG: Final = 2048  # terminals that connect at the same moment, as after a power cut


class Fleet:
    """The enabled push devices of one adapter, by their tokens. Several may share a token."""

    def __init__(self, registry: Registry, adapter: str) -> None:
        self._registry = registry
        self._adapter = adapter
        self._by_hash: dict[str, dict[str, Device]] = {}
        self._index()

    def of(self, token: str) -> Mapping[str, Device]:
        """The devices that this token opens, by id. An empty token opens none."""
        devices = self._by_hash.get(hash_token(token), {})
        # They have one hash in common, so one comparison, in constant time, answers for all of them.
        first = next(iter(devices.values()), None)
        return devices if token and first is not None and first.accepts(token) else {}

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
        by_hash: dict[str, dict[str, Device]] = defaultdict(dict)
        for device in self._registry:
            if device.mode == "push" and not device.disabled and device.token_sha256 is not None:
                if device.adapter == self._adapter:
                    by_hash[device.token_sha256][device.device_id] = device
                elif device.adapter not in PUSH_ADAPTERS:
                    log.error(
                        "A device cannot push: there is no such push adapter.",
                        device_id=device.device_id,
                        adapter=device.adapter,
                    )
        self._by_hash = dict(by_hash)


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
    """Takes in requests that hold punches."""

    settings: PushSettings
    fleet: Fleet
    adapter: PushAdapter
    publisher: Publisher
    metrics: Metrics

    async def post(self, request: Request) -> Response:
        """Answer one request."""
        return await self._answer(request, self._take_in(request, f"http:{EVENTS}"))

    async def post_frappe(self, request: Request) -> Response:
        """Answer one request as Frappe does: with the answer under `message` as well."""
        return await self._answer(request, self._take_in(request, f"http:{FRAPPE_EVENTS}"), frappe=True)

    async def post_heartbeat(self, request: Request) -> Response:
        """Answer one heartbeat."""
        return await self._answer(request, self._hear(request))

    async def _answer(self, request: Request, work: Awaitable[dict[str, Any]], *, frappe: bool = False) -> Response:
        started = time.perf_counter()
        status, headers = HTTPStatus.OK, {}
        try:
            answer = await work
        except ClientDisconnect:
            # Nobody hears an answer, and nothing of a part is stored: the terminal sends it again.
            log.debug("A client went away in the middle of a body.", client=_client(request))
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except (InvalidRecord, KafkaUnavailable, Overloaded) as error:
            reason = _reason(error)
            status = STATUS[reason]
            if status is HTTPStatus.SERVICE_UNAVAILABLE:
                headers["Retry-After"] = str(self.settings.retry_after)
            else:
                log.info("A request is refused.", reason=reason, why=str(error), client=_client(request))
            if reason is Reason.BODY_TOO_SLOW:
                headers["Connection"] = "close"
            self.metrics.count("punchstream_requests_refused_total", reason=reason)
            answer = _failure(reason)
        self.metrics.observe("punchstream_request_seconds", time.perf_counter() - started)
        return _json(answer | {"message": answer} if frappe else answer, status, headers)

    async def _take_in(self, request: Request, where: str) -> dict[str, Any]:
        """The answer to punches, once Kafka has all that the request holds. Raises what `_store` raises."""
        parsed = await self._store(request, where)
        return {
            "ok": True,
            "inserted": len(parsed.events),
            "rejected": [{"index": each.index, "reason": each.reason} for each in parsed.rejected],
        }

    async def _hear(self, request: Request) -> dict[str, Any]:
        """The answer to a heartbeat, once Kafka has it. Raises what `_store` raises, but keeps no body."""
        devices, body = await self._read(request)
        await self.publisher.report(self.adapter.parse_heartbeat(body, devices, now()))
        return {"ok": True}

    async def _read(self, request: Request) -> tuple[Mapping[str, Device], bytes]:
        """The devices that the request's token opens, and its body. Raises what `_store` raises."""
        # The body of a stranger is not even read.
        devices = self.fleet.of(request.headers.get("x-device-token", ""))
        if not devices:
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, "no enabled push device has this token")
        return devices, await read_body(request, self.settings.max_body, self.settings.body_timeout)

    async def _store(self, request: Request, where: str) -> Parsed:
        """Return when Kafka has all that the request holds.

        Raises:
            InvalidRecord: it is refused; where its token is good and its body was read, Kafka has the body.
            KafkaUnavailable, Overloaded, ClientDisconnect: it has to be sent again.
        """
        devices, body = await self._read(request)
        received_at = now()
        try:
            parsed = self._parse(body, devices, received_at)
        except InvalidRecord as error:
            if error.reason in (Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR):
                sender = next(iter(devices)).encode() if len(devices) == 1 else None
                letter = DeadLetter("push", error.reason, error.message, received_at, sender, body, where=where)
                await self.publisher.publish([], [letter])
            raise
        letters = [
            DeadLetter(
                stage="push",
                reason=each.reason,
                message=f"events[{each.index}]: {each.message}",
                at=received_at,
                key=parsed.device_id.encode(),
                value=each.value,
                where=where,
            )
            for each in parsed.rejected
        ]
        await self.publisher.publish(parsed.events, letters)
        if letters:
            log.warning(
                "Events of a device are rejected.",
                device_id=parsed.device_id,
                rejected=len(letters),
                first=letters[0].message,
            )
        return parsed

    def _parse(self, body: bytes, devices: Mapping[str, Device], received_at: datetime) -> Parsed:
        try:
            return self.adapter.parse(body, devices, received_at)
        except InvalidRecord:
            raise
        except Exception as error:
            log.exception("An adapter failed on a body.", adapter=self.adapter.name, devices=list(devices))
            raise InvalidRecord(Reason.INTERNAL_ERROR, repr(error)) from error


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


def create_app(settings: PushSettings, registry: Registry, publisher: Publisher, metrics: Metrics) -> FastAPI:
    """The application. At its shutdown it stops the publisher; the metrics are those that `/metrics` shows."""
    fleet = Fleet(registry, ADAPTER)
    ingest = Ingest(settings, fleet, create_push_adapter(ADAPTER, settings.payload_fields), publisher, metrics)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(fleet.follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
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

    async def no_such_route(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _json(_failure(HTTPStatus(error.status_code).name.lower()), error.status_code, error.headers)

    async def failed(_request: Request, _error: Exception) -> Response:
        return _json(_failure(Reason.INTERNAL_ERROR), HTTPStatus.INTERNAL_SERVER_ERROR)

    app = FastAPI(
        title="Punchstream push",
        openapi_url=None,
        lifespan=lifespan,
        exception_handlers={HTTPException: no_such_route, Exception: failed},
    )
    # Plain routes: these handlers read and write bytes, and need nothing that FastAPI does between.
    app.add_route(EVENTS, ingest.post, ["POST"])
    app.add_route(FRAPPE_EVENTS, ingest.post_frappe, ["POST"])
    app.add_route(HEARTBEAT, ingest.post_heartbeat, ["POST"])
    app.add_route("/healthz", alive, ["GET"])
    app.add_route("/readyz", ready, ["GET"])
    app.add_route("/metrics", exposition, ["GET"])
    return app


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
    config = uvicorn.Config(
        create_app(push, registry, publisher, metrics),
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
