"""One request, from its head to the answer: who sends it, what the adapter finds, and that Kafka has all of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
import structlog
from msgspec.structs import replace
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from attendance.errors import InvalidRecord, KafkaUnavailable, Overloaded, Reason
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.registry import Device
from attendance.settings import PushSettings
from attendance.times import now
from producers.devices.contract import STATUS, Answer, Head, Parsed, PushAdapter, PushRequest, Rejected, Route
from producers.intake import Intake, Place, log_rejected
from producers.publisher import Publisher
from producers.push.body import read_body
from producers.push.fleet import Fleet
from producers.push.knocking import Knocking, client_of
from producers.status import Statuses
from producers.terminals import Terminals

log = structlog.get_logger(__name__)

STAGE: Final = "push"


@dataclass(frozen=True, slots=True)
class Services:
    """What all endpoints share."""

    settings: PushSettings
    fleet: Fleet
    intake: Intake
    publisher: Publisher
    statuses: Statuses
    terminals: Terminals
    metrics: Metrics
    knocking: Knocking


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route of one adapter, as an ASGI application."""

    services: Services
    adapter: PushAdapter
    route: Route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        head = _head(scope, self.route)
        try:
            answer = await self._take_in(head, receive, scope)
        except ClientDisconnect:
            # There is nobody to answer, and nothing was stored: the terminal sends the whole body again.
            log.debug("A client disconnected in the middle of a body.", client=client_of(scope))
            answer = Answer(status=HTTPStatus.BAD_REQUEST)
        except (InvalidRecord, KafkaUnavailable, Overloaded) as error:
            answer = self._refused(error, head, scope)
        except Exception:
            # No refusal of the adapter's: some of them have the terminal forget what it sent.
            log.exception("A request failed.", adapter=self.adapter.name, route=self.route.path)
            body = orjson.dumps(failure(Reason.INTERNAL_ERROR))
            answer = Answer(body, HTTPStatus.INTERNAL_SERVER_ERROR, "application/json")
        self.services.metrics.observe("punchstream_request_seconds", time.perf_counter() - started)
        await _send(send, answer)

    def _refused(self, error: InvalidRecord | KafkaUnavailable | Overloaded, head: Head, scope: Scope) -> Answer:
        reason = _reason(error)
        self.services.metrics.count("punchstream_requests_refused_total", reason=reason)
        answer = self.adapter.refuse(head, reason, self.services.settings.retry_after)
        if answer.status < HTTPStatus.BAD_REQUEST:
            # It is a dead letter by then, and the terminal goes on.
            log.info("Could not read a request.", reason=reason, why=str(error), client=client_of(scope))
        elif STATUS[reason] is not HTTPStatus.SERVICE_UNAVAILABLE:
            device_id, waits = self._known(head)
            # A serial number that waits for approval is shown as such, and logged.
            self.services.knocking.note(
                reason, scope, int(answer.status), why=str(error), device_id=device_id, keep=not waits
            )
        if reason is Reason.BODY_TOO_SLOW:
            # What is still to come of the body would be taken for another request.
            return replace(answer, headers={**answer.headers, "Connection": "close"})
        return answer

    def _known(self, head: Head) -> tuple[str | None, bool]:
        """The one device that a head is from; and whether its serial number waits for approval."""
        try:
            sender = self.adapter.sender(head)
        except InvalidRecord:
            return None, False
        devices = self.services.fleet.of(self.adapter.name, sender)
        return (
            next(iter(devices)) if len(devices) == 1 else None,
            not devices and bool(sender.serial and not sender.token),
        )

    async def _take_in(self, head: Head, receive: Receive, scope: Scope) -> Answer:
        """The answer, once Kafka has all that the request holds.

        Raises:
            InvalidRecord: it is refused; where its sender is known and its body was read, Kafka has the body.
            KafkaUnavailable, Overloaded, ClientDisconnect: it has to be sent again.
        """
        adapter, terminals, settings = self.adapter, self.services.terminals, self.services.settings
        # The body of an unknown sender is not even read.
        sender = adapter.sender(head)
        devices = self.services.fleet.of(adapter.name, sender)
        if not devices:
            if sender.serial and not sender.token:
                await terminals.note_unknown(adapter.name, sender.serial, client_of(scope), sender.facts)
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, f"no enabled device of {adapter.name} has this token or serial")
        length = head.headers.get("content-length", "")
        body = await read_body(receive, length, settings.max_body, settings.body_timeout)
        received_at = now()
        only = next(iter(devices)) if len(devices) == 1 else None
        known = PushRequest(
            head,
            body,
            received_at,
            terminals.stamps(only) if only else {},
            terminals.waiting(only) if only else (),
        )
        try:
            parsed = _parse(adapter, known, devices)
        except InvalidRecord as error:
            if error.reason in (Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR):
                key = only.encode() if only else None
                letter = DeadLetter(STAGE, error.reason, error.message, received_at, key, body, where=self._where)
                await self.services.publisher.publish([], [letter])
            raise
        await self._store(parsed, devices[parsed.device_id], received_at)
        status = HTTPStatus(parsed.answer.status)
        if status >= HTTPStatus.BAD_REQUEST:
            # A call of a known device that its protocol does not have.
            self.services.knocking.note(status.name.lower(), scope, int(status), device_id=parsed.device_id)
        return parsed.answer

    async def _store(self, parsed: Parsed, device: Device, received_at: datetime) -> None:
        """Return when Kafka has all that was parsed. Raises KafkaUnavailable or Overloaded."""
        terminals, statuses = self.services.terminals, self.services.statuses
        records = self.services.intake.to_records(parsed, device, self.adapter.name, received_at, self._place_of)
        await self.services.publisher.publish(*records)
        if parsed.stamps:
            # Not awaited: one that is lost has the terminal send again what Kafka has.
            terminals.set_stamps(device.device_id, parsed.stamps)
        if parsed.results:
            await terminals.answered(device.device_id, parsed.results)
        terminals.handed_out(device.device_id, parsed.given)
        statuses.punched(device.device_id, received_at, parsed.events)
        if parsed.report is not None:
            # Only now: it may claim that all before it has been published.
            await statuses.report(device.device_id, received_at, parsed.report)
        log_rejected(device.device_id, records.dead_letters)

    def _place_of(self, rejected: Rejected) -> Place:
        return Place(f"events[{rejected.index}]", self._where)

    @property
    def _where(self) -> str:
        return f"http:{self.route.path}"


def _parse(adapter: PushAdapter, request: PushRequest, devices: Mapping[str, Device]) -> Parsed:
    try:
        return adapter.parse(request, devices)
    except InvalidRecord:
        raise
    except Exception as error:
        log.exception("An adapter failed to read a request.", adapter=adapter.name, devices=list(devices))
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


def failure(error: str) -> dict[str, Any]:
    """The body of a refusal that no adapter words."""
    return {"ok": False, "error": error}
