"""One request, from its head to the answer: who sends it, what the adapter finds, and that Kafka has all of it."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol

import orjson
import structlog
from msgspec.structs import replace
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from attendance.errors import CannotBeKept, InvalidRecord, Overloaded, Reason, StandingStill
from attendance.fleet import Device
from attendance.guards import Guards
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.unread import UnreadRequest
from attendance.settings import PushSettings
from attendance.times import now
from attendance.tracing import Tracing
from producers.clocks import Clocks
from producers.devices.common.bodies import read_query
from producers.devices.contract import (
    MAX_EVENTS,
    STATUS,
    Answer,
    Head,
    LineAdapter,
    Parsed,
    PushAdapter,
    PushRequest,
    Rejected,
    Route,
    Sender,
)
from producers.intake import Intake, Place, log_rejected
from producers.publisher import Publisher
from producers.push.body import read_beginning, read_body, read_lines
from producers.push.fleet import Fleet
from producers.push.knocking import Knocking, client_of
from producers.push.receiving import Receiving, Share
from producers.push.refusing import ERRORS, Refusal, check_pauses, reason_of, retry_after
from producers.push.turns import Turns
from producers.push.unread import MOST_REFUSALS, REFUSALS, Came, Refusals, unread_request
from producers.status import Statuses
from producers.terminals import Terminals
from producers.unread import ready

log = structlog.get_logger(__name__)

STAGE: Final = "push"
LARGER: Final = 8
"""How many times `PUSH_MAX_BODY` may come of a body that was refused often enough for its size."""
LINES: Final = 64
"""How many times `PUSH_MAX_BODY` may come of a body that is read by its lines: more than a terminal's memory."""
SMALL: Final = 2 * MAX_EVENTS
"""Bytes of a body that cannot hold too many lines."""
_NOT_UNDERSTOOD: Final = frozenset({Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR})
_TOO_SLOW: Final = Reason.BODY_TOO_SLOW


class Coming(Protocol):
    """Makes a request of what has arrived of its body."""

    def __call__(self, body: bytes, missing: int = 0) -> Came:
        """The request; so many bytes at the end of the body are missing."""


@dataclass(frozen=True, slots=True)
class Services:
    """What all endpoints share."""

    settings: PushSettings
    fleet: Fleet
    clocks: Clocks
    intake: Intake
    publisher: Publisher
    statuses: Statuses
    terminals: Terminals
    metrics: Metrics
    knocking: Knocking
    receiving: Receiving
    refusals: Refusals
    guards: Guards
    turns: Turns
    tracing: Tracing


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
        share = self.services.receiving.begin(scope["client"][0] if scope.get("client") else "")
        try:
            with self.services.tracing.taken_in("push", adapter=self.adapter.name, route=self.route.path):
                answer = await self._take_in(head, receive, scope, share)
        except ClientDisconnect:
            # There is nobody to answer, and nothing was stored: the terminal sends the whole body again.
            log.debug("A client disconnected in the middle of a body.", client=client_of(scope))
            answer = Answer(status=HTTPStatus.BAD_REQUEST)
        except ERRORS as error:
            answer = self._refused(error, head, scope)
            if not share.is_whole and (share.lost or isinstance(error, Overloaded) or reason_of(error) is _TOO_SLOW):
                # What is still to come of the body would be taken for another request.
                answer = replace(answer, headers={**answer.headers, "Connection": "close"})
        except Exception:  # noqa: BLE001 - logged by `_say`, which limits it
            # No refusal of the adapter's: some of them have the terminal forget what it sent.
            self._say(log.error, "A request failed.", exc_info=True)
            body = orjson.dumps(failure(Reason.INTERNAL_ERROR))
            answer = Answer(body, HTTPStatus.INTERNAL_SERVER_ERROR, "application/json")
        finally:
            share.release()
        self.services.metrics.observe("punchstream_request_seconds", time.perf_counter() - started)
        await _send(send, answer)

    def _say(self, write: Callable[..., object], sentence: str, cause: Hashable = None, /, **keys: object) -> None:
        """Log what may come with every request: once a minute for each route and cause."""
        what = (sentence, self.adapter.name, self.route.path, cause)
        self.services.terminals.seldom.say(
            what, write, sentence, adapter=self.adapter.name, route=self.route.path, **keys
        )

    def _refused(self, error: Refusal, head: Head, scope: Scope) -> Answer:
        reason = reason_of(error)
        self.services.metrics.count("punchstream_requests_refused_total", reason=reason)
        # A protocol has one word for both.
        said = Reason.UNKNOWN_DEVICE if reason is Reason.WRONG_ADDRESS else reason
        answer = self.adapter.refuse(head, said, retry_after(reason, self.services.settings.retry_after))
        if answer.status < HTTPStatus.BAD_REQUEST:
            # It is a dead letter by then, and the terminal goes on.
            self._say(log.info, "Could not read a request.", reason=reason, why=str(error), client=client_of(scope))
        elif STATUS[said] is not HTTPStatus.SERVICE_UNAVAILABLE:
            device_id, waits = self._known(head, reason)
            # A serial number that waits for approval is shown as such, and logged.
            self.services.knocking.note(
                reason, scope, int(answer.status), why=str(error), device_id=device_id, keep=not waits
            )
        return answer

    def _known(self, head: Head, reason: Reason) -> tuple[str | None, bool]:
        """The one device that a head is from; and whether its serial number waits for approval."""
        try:
            sender = self.adapter.sender(head)
        except InvalidRecord:
            return None, False
        devices = self.services.fleet.of(self.adapter.name, sender)
        return (
            next(iter(devices)) if len(devices) == 1 else None,
            (not devices or reason is Reason.WRONG_ADDRESS) and bool(sender.serial and not sender.token),
        )

    async def _take_in(self, head: Head, receive: Receive, scope: Scope, share: Share) -> Answer:
        """The answer, once Kafka has all that the request holds.

        Raises:
            InvalidRecord: it is refused; where its sender is known and its body was read, Kafka has all of it.
            KafkaUnavailable, Overloaded, CannotBeKept, DevicePaused, StandingStill, ClientDisconnect: it has to be
                sent again.
        """
        await self._check(head, receive, scope, share)
        adapter, terminals = self.adapter, self.services.terminals
        # The body of an unknown sender is not even read.
        sender = adapter.sender(head)
        devices = self.services.fleet.of(adapter.name, sender)
        if not devices:
            if sender.serial and not sender.token:
                await terminals.note_unknown(adapter.name, sender.serial, client_of(scope), sender.facts)
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, f"no enabled device of {adapter.name} has this token or serial")
        devices = await self._at_its_address(sender, devices, client_of(scope))
        check_pauses(devices.values())
        came = self._coming(head, scope, sender, devices)
        length = head.headers.get("content-length", "")
        large = int(length) > SMALL if length.isdecimal() else "transfer-encoding" in head.headers
        if large and isinstance(adapter, LineAdapter) and adapter.reads_lines(head):
            return await self._take_in_lines(adapter, came, receive, length, share)
        request = came(*await self._read(head, receive, devices, share))
        await self.services.turns.to_read(share.address, len(request.request.body))
        parsed = await self._parsed(request)
        await self._store(parsed, devices[parsed.device_id], request)
        status = HTTPStatus(parsed.answer.status)
        if status >= HTTPStatus.BAD_REQUEST:
            # A call of a known device that its protocol does not have.
            self.services.knocking.note(status.name.lower(), scope, int(status), device_id=parsed.device_id)
        return parsed.answer

    async def _at_its_address(
        self, sender: Sender, devices: Mapping[str, Device], client: str | None
    ) -> Mapping[str, Device]:
        """Those of a sender's devices that may push from where it is.

        Raises:
            InvalidRecord: there is none. If it is known by its serial number alone, it waits for approval anew.
        """
        there = self.services.fleet.at(client, devices)
        if there:
            return there
        device = next(iter(devices.values()))
        if sender.serial and not sender.token:
            await self.services.terminals.note_unknown(
                self.adapter.name, sender.serial, client, sender.facts, device.device_id
            )
        approved = ", ".join(device.addresses)
        raise InvalidRecord(Reason.WRONG_ADDRESS, f"{device.device_id} may push from {approved}, and not from {client}")

    async def _check(self, head: Head, receive: Receive, scope: Scope, share: Share) -> None:
        """Return where this process may take a request in.

        Raises:
            StandingStill, KafkaUnavailable: it may not.
        """
        services = self.services
        services.statuses.check()
        try:
            services.guards.check()
        except StandingStill:
            # Not even a handshake is answered: some terminals set their clock by it. Yet what they say of the time may
            # be what this process stands still for.
            if "clock" in services.guards.reasons:
                await self._hear_the_time(head, receive, scope, share)
            raise

    async def _hear_the_time(self, head: Head, receive: Receive, scope: Scope, share: Share) -> None:
        """Take in what a terminal says of the time, and nothing else."""
        settings, length = self.services.settings, head.headers.get("content-length", "")
        with suppress(InvalidRecord):
            sender = self.adapter.sender(head)
            devices = self.services.fleet.at(client_of(scope), self.services.fleet.of(self.adapter.name, sender))
            if devices:
                body = await read_body(receive, length, settings.max_body, settings.body_timeout, share)
                request = self._coming(head, scope, sender, devices)(body)
                parsed = self._parse(request)
                if parsed.report is not None and parsed.report.device_time is not None:
                    at = request.request.received_at
                    self.services.clocks.measured(parsed.device_id, parsed.report.device_time, at)

    def _coming(self, head: Head, scope: Scope, sender: Sender, devices: Mapping[str, Device]) -> Coming:
        """Makes a request of its body, once that is there, and of how many bytes at the end are missing."""
        terminals = self.services.terminals
        only = next(iter(devices)) if len(devices) == 1 else None

        def came(body: bytes, missing: int = 0) -> Came:
            known = PushRequest(
                head,
                body,
                now(),
                terminals.stamps(only) if only else {},
                terminals.waiting(only) if only else (),
            )
            return Came(scope["path"], scope["query_string"].decode("latin-1"), known, sender, devices, missing)

        return came

    async def _take_in_lines(
        self, adapter: LineAdapter, came: Callable[[bytes], Came], receive: Receive, length: str, share: Share
    ) -> Answer:
        """The answer to a body of lines, which goes to Kafka as it arrives. Raises as above, however much is there."""
        settings = self.services.settings
        answers: list[Answer] = []
        stamps: dict[str, dict[str, str]] = defaultdict(dict)
        limits = LINES * settings.max_body, LARGER * settings.body_timeout
        async with aclosing(read_lines(receive, length, *limits, share)) as parts:
            async for part in parts:
                await self.services.turns.to_read(share.address, len(part))
                request = came(part)
                try:
                    parsed = await self._parsed(request)
                except InvalidRecord as error:
                    if error.reason not in _NOT_UNDERSTOOD:
                        raise
                    self._say(log.info, "Could not read a part of a request.", reason=error.reason, why=str(error))
                    answers.append(self.adapter.refuse(request.request.head, error.reason, settings.retry_after))
                    continue
                # Until Kafka has all of it, none of its stamps may let the terminal go on.
                stamps[parsed.device_id] |= parsed.stamps
                await self._store(replace(parsed, stamps={}), request.devices[parsed.device_id], request)
                answers.append(parsed.answer)
        for device_id, found in stamps.items():
            self.services.terminals.set_stamps(device_id, found)
        return adapter.joined(answers)

    async def _parsed(self, came: Came) -> Parsed:
        """What the adapter makes of a request. What it does not understand is in Kafka when this raises.

        Raises:
            InvalidRecord, KafkaUnavailable, Overloaded, CannotBeKept, DevicePaused: as above.
        """
        try:
            parsed = self._parse(came)
        except InvalidRecord as error:
            if error.reason in _NOT_UNDERSTOOD or self._was_refused_enough(error, came):
                only = next(iter(came.devices)) if len(came.devices) == 1 else None
                key = only.encode() if only else None
                whole = self._whole(came, next(iter(came.devices.values())), error)
                at = came.request.received_at
                letter = DeadLetter(STAGE, error.reason, error.message, at, key, b"", where=self._where)
                await self.services.publisher.publish([], [replace(letter, unread=whole.unread_id)], (), [whole])
                if error.reason not in _NOT_UNDERSTOOD:
                    raise InvalidRecord(Reason.UNREADABLE_BODY, error.message) from error
            raise
        # Of several that share a token, the body alone says which one it is.
        check_pauses([came.devices[parsed.device_id]])
        return parsed

    def _parse(self, came: Came) -> Parsed:
        if came.missing:
            raise InvalidRecord(Reason.BODY_TOO_LARGE, f"{came.missing} bytes at its end were not read")
        try:
            return self.adapter.parse(came.request, came.devices)
        except InvalidRecord:
            raise
        except Exception as error:
            fault, devices = type(error).__name__, list(came.devices)
            self._say(log.error, "An adapter failed to read a request.", fault, exc_info=True, devices=devices)
            raise InvalidRecord(Reason.INTERNAL_ERROR, f"it failed with {fault}") from error

    async def _read(
        self, head: Head, receive: Receive, devices: Mapping[str, Device], share: Share
    ) -> tuple[bytes, int]:
        """The body, and how many bytes at its end are missing: none unless it was refused often enough for its size."""
        settings, refusals = self.services.settings, self.services.refusals
        length = head.headers.get("content-length", "")
        what = (next(iter(devices)), len(devices), self.route.path, length)
        if refusals.are_enough(*what):
            return await read_beginning(receive, LARGER * settings.max_body, LARGER * settings.body_timeout, share)
        try:
            return await read_body(receive, length, settings.max_body, settings.body_timeout, share), 0
        except InvalidRecord as error:
            if error.reason is Reason.BODY_TOO_LARGE:
                refusals.add(*what)
            raise

    def _was_refused_enough(self, error: InvalidRecord, came: Came) -> bool:
        """Whether a request is kept though it is too large, because it came again and again and would for ever."""
        if error.reason is not Reason.BODY_TOO_LARGE:
            return False
        what = (next(iter(came.devices)), self.route.path, came.request.body)
        return came.missing > 0 or self.services.refusals.add(*what) > REFUSALS

    def _whole(self, came: Came, device: Device, error: InvalidRecord) -> UnreadRequest:
        """The request as it is kept. What came again and again and cannot be kept whole is kept in part.

        Raises:
            CannotBeKept: it cannot be kept whole.
        """
        request = unread_request(self.adapter, came, device, error, self.services.terminals.seldom)
        part = "too_large" if came.missing else None
        try:
            whole = ready(request)
        except CannotBeKept as reason:
            refusals = self.services.refusals.add(device.device_id, self.route.path, came.request.body)
            # Some spell the same otherwise at each attempt, such as with a boundary made up anew.
            in_all = self.services.refusals.add(device.device_id, self.route.path)
            if refusals == 1:
                self._say(
                    log.warning, "A request can neither be understood nor kept whole; refusing it.", why=str(reason)
                )
            if refusals <= REFUSALS and in_all <= MOST_REFUSALS:
                raise
            part, whole = "no_text", ready(request, in_part=True)
        if part is not None:
            self.services.metrics.count("punchstream_unread_shortened_total", adapter=self.adapter.name, part=part)
            self._say(
                log.error,
                "A request came again and again and cannot be kept whole; the rest of it is kept.",
                device.device_id,
                device_id=device.device_id,
                unread=whole.unread_id,
                removed=whole.removed,
            )
        return whole

    async def _store(self, parsed: Parsed, device: Device, came: Came) -> None:
        """Return when Kafka has all that was parsed. Raises KafkaUnavailable, Overloaded or CannotBeKept."""
        terminals, statuses = self.services.terminals, self.services.statuses
        received_at = came.request.received_at
        whole = None
        if parsed.rejected:
            first = parsed.rejected[0]
            whole = self._whole(came, device, InvalidRecord(first.reason, first.message))
        records = self.services.intake.to_records(parsed, device, self.adapter, received_at, self._place_of, whole)
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
        log_rejected(device.device_id, records.dead_letters, terminals.seldom)

    def _place_of(self, rejected: Rejected) -> Place:
        return Place(f"events[{rejected.index}]", self._where)

    @property
    def _where(self) -> str:
        return f"http:{self.route.path}"


def _head(scope: Scope, route: Route) -> Head:
    query = scope["query_string"].decode("latin-1")
    return Head(
        # Also where it was HEAD, which is answered as GET is.
        method=route.method,
        route=route.path,
        params=scope.get("path_params", {}),
        query=read_query(query),
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


def failure(error: str) -> dict[str, Any]:
    """The body of a refusal that no adapter words."""
    return {"ok": False, "error": error}
