"""What HFSECURITY terminals send, in four dialects that are distinguished by what a request holds.

- the callbacks of HeyStar for records, heartbeats and enrolled persons, each JSON or a form (`heystar_records.py`);
- the LAN API's callbacks for recognitions, heartbeats and events, one JSON object each ("Device LAN Version Interface
  Document" V5.1, 2.13, 2.15 and 2.27);
- those of older servers in its words, which are forms;
- the contract for an app of one's own on the terminal: `POST /hf/app/events`, which `docs/devices/hfsecurity.md` has.

A terminal can set no header, so its token is in the address it is given. Nothing of this was tried on hardware, and
firmware differs: how a body is written and how a field is called are read generously.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from secrets import token_hex
from typing import Final

import orjson

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent, Source
from attendance.times import format_milliseconds
from producers.devices.common.bodies import filled, given_twice, read_body
from producers.devices.common.listed import KeptRequest
from producers.devices.common.options import read_options
from producers.devices.common.punch import cut, invalid
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.contract import (
    STATUS,
    Answer,
    DeviceReport,
    Head,
    Other,
    Parsed,
    PushRequest,
    Rejected,
    Route,
    Sender,
)
from producers.devices.hfsecurity.heystar_records import (
    PERSON,
    is_record,
    kept_record,
    read_heystar_record,
    record_payload_names,
)
from producers.devices.hfsecurity.listed import KeptFields
from producers.devices.hfsecurity.recognition import (
    CARD_NAME,
    DEVICE_NAMES,
    ENROLMENT_NAMES,
    HOW_NAMES,
    NAME,
    USER_NAMES,
    VERIFIED_ON,
    VERSION,
    HfSecurityOptions,
    first,
    kept,
    payload_names,
    read_record,
    report_of,
)
from producers.devices.hfsecurity.two_clocks import Zones

APP_EVENTS: Final = "/hf/app/events"
APP_TIME: Final = "/hf/app/time"

_LONGEST_TOKEN: Final = 256
_RECOGNITION_NAMES: Final = frozenset({*USER_NAMES, CARD_NAME, *HOW_NAMES})
_CARD_ENROLMENT: Final = frozenset({"deviceKey", "time", "ip", "personId", CARD_NAME})
# What some give in the query as `event`, where one address is for all, and the path that it stands for.
_PURPOSES: Final[Mapping[str, str]] = {"record": "record", "heartbeat": "heartbeat", "regPerson": "person"}
# HeyStar calls the person `sn`, as other firmware calls the terminal, and says in `type` what kind of person it is.
_PERSON_NAMES: Final = frozenset({PERSON, "sn"})
_OF_A_PERSON: Final = frozenset({"name", "type", "imgBase64", "result", "msg", "idCard"})
_OF_A_BATCH: Final = frozenset({"events", "deviceTime", *DEVICE_NAMES})
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_SIGN_OF_LIFE: Final = frozenset({"deviceKey", "time", "ip"})
_EVENTS: Final[Mapping[str, str]] = {
    "1": "fire",
    "2": "door",
    "3": "door",
    "4": "tamper",
    "5": "recognition",
    "7": "password",
    "8": "duress",
}
# What each dialect wants to hear; for most of them the status may be all that counts.
_ACCEPTED: Final = {"result": 1, "code": "000", "success": True}
_REFUSED: Final = {"result": 0, "code": "500", "success": False}
_STATUS: Final[Mapping[Reason, HTTPStatus]] = {
    **STATUS,
    Reason.UNKNOWN_DEVICE: HTTPStatus.FORBIDDEN,
    Reason.BODY_TOO_SLOW: HTTPStatus.SERVICE_UNAVAILABLE,
    # What it sends cannot be read, now or later; its bytes are kept, so it may forget them.
    Reason.UNREADABLE_BODY: HTTPStatus.OK,
    Reason.INTERNAL_ERROR: HTTPStatus.OK,
}
_FINAL: Final = frozenset({Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR, Reason.BODY_TOO_LARGE})

_Outcome = RawEvent | Other | Rejected


class HfSecurity:
    """The push adapter."""

    name: Final = NAME
    version: Final = VERSION
    verified_on: Final = VERIFIED_ON
    options: Final = HfSecurityOptions
    routes: Final = (
        *(
            Route("POST", f"/hf/{{token}}{purpose}")
            for purpose in ("", "/record", "/identify", "/heartbeat", "/person", "/event")
        ),
        # The token is in the query.
        *(Route("POST", f"/hfsecurity/{purpose}") for purpose in ("eventlog", "record", "heartbeat", "person")),
        Route("POST", APP_EVENTS),
        Route("GET", APP_TIME),
    )

    def __init__(self, payload_fields: Collection[str]) -> None:
        self._payload = payload_names(payload_fields)
        self._record_payload = record_payload_names(payload_fields)
        self._kept_fields = KeptFields(payload_fields)
        self._zones = Zones()

    def sender(self, head: Head) -> Sender:
        """By the bearer token, or that in the address. See `PushAdapter.sender`."""
        scheme, _, bearer = head.headers.get("authorization", "").partition(" ")
        token = bearer.strip() if scheme.lower() == "bearer" else head.params.get("token") or head.query.get("token")
        if not token or len(token) > _LONGEST_TOKEN:
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, "no token, neither as bearer nor in the address")
        return Sender(token=token)

    def parse(self, request: PushRequest, devices: Mapping[str, Device]) -> Parsed:
        """Read one request. See `PushAdapter.parse`."""
        query = request.head.query
        if request.head.route == APP_TIME:
            device = _device(devices, query)
            return Parsed(device.device_id, _time(request.received_at), report=report_of(query, "deviceTime", device))
        try:
            return self._read_body(request, devices, query)
        except InvalidRecord as error:
            # A terminal cannot do better at the next attempt; an app can, and of several devices none is known.
            if error.reason is not Reason.UNREADABLE_BODY or request.head.route == APP_EVENTS or len(devices) > 1:
                raise
            rejected = Rejected(0, error.reason, error.message, request.body)
            return Parsed(_only(devices).device_id, _json(_ACCEPTED), rejected=[rejected])

    def refuse(self, head: Head, reason: Reason, retry_after: int) -> Answer:
        """What to answer where nothing was taken in. See `PushAdapter.refuse`."""
        app = head.route in (APP_EVENTS, APP_TIME)
        status = (STATUS if app else _STATUS)[reason]
        headers = {"Retry-After": str(retry_after)} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
        if not app:
            return _json(_ACCEPTED if status is HTTPStatus.OK else _REFUSED, status, headers)
        again = reason not in _FINAL
        return _json({"status": "FAILED" if again else "REJECTED", "code": reason, "retryable": again}, status, headers)

    def kept_request(self, head: Head, body: bytes, query: str) -> KeptRequest | None:
        """A request without the fields that are not on the list. See `ListingAdapter.kept_request`."""
        return self._kept_fields.of_request(head, body, query)

    def _read_body(self, request: PushRequest, devices: Mapping[str, Device], query: Mapping[str, str]) -> Parsed:
        match self._content(request):
            case list(records):
                return self._batch(request, devices, query, records)
            case dict() as fields:
                if query:
                    fields = _with_query(fields, query)
                events, app = fields.get("events"), request.head.route == APP_EVENTS
                # An empty list beside other things does not speak for them.
                if isinstance(events, list) and (events or app or fields.keys() <= _OF_A_BATCH):
                    if events and is_record(fields):
                        raise InvalidRecord(Reason.UNREADABLE_BODY, "a record, and a list of events beside it")
                    return self._batch(request, devices, fields, events)
                if app:
                    return self._batch(request, devices, fields, [fields])
                return self._callback(request, devices, fields)
        raise InvalidRecord(Reason.UNREADABLE_BODY, "neither an object nor a list")

    def _content(self, request: PushRequest) -> object:
        """What the body says. Some firmware leaves it empty, and says everything in the query."""
        if not request.body.strip() and request.head.route != APP_EVENTS:
            return {}
        return read_body(request.head.headers.get("content-type", ""), request.body, request.most)

    def _callback(self, request: PushRequest, devices: Mapping[str, Device], fields: Mapping[str, object]) -> Parsed:
        """The one thing that a terminal's own firmware reports in a request."""
        answer = _TAKEN
        purpose = _purpose(request.head)
        record = is_record(fields)
        if not record and _is_person(fields, purpose):
            device = _device(devices, {name: value for name, value in fields.items() if name not in _PERSON_NAMES})
            return Parsed(device.device_id, answer, others=[Other("enrolment", kept(fields, self._payload))])
        device = _device(devices, fields)
        if record or not _RECOGNITION_NAMES.isdisjoint(fields) or _other_callback(fields) is not None:
            source = Source("push", NAME, VERSION, token_hex(16), 0)
            outcome = self._read(fields, device, read_options(device, HfSecurityOptions), request, source)
            zone = self._zones.detail([fields], device)
            return _parsed(device, answer, [outcome], DeviceReport(details=zone) if zone else None)
        report = report_of(fields, "time", device)
        if fields.keys() <= _SIGN_OF_LIFE and (report is not None or purpose == "heartbeat"):
            return Parsed(device.device_id, answer, report=report or DeviceReport())
        if report is None or not (report.details or purpose == "heartbeat"):
            # In a body that is damaged, what stands for a name may be what a person is called.
            names = ", ".join(name for name in sorted(fields) if _NAME.fullmatch(name))[:500]
            raise InvalidRecord(Reason.UNREADABLE_BODY, f"no field says what it is: {names}")
        return Parsed(device.device_id, answer, report=report)

    def _batch(
        self,
        request: PushRequest,
        devices: Mapping[str, Device],
        around: Mapping[str, object],
        records: Sequence[object],
    ) -> Parsed:
        """Several records of one device, as an app sends them."""
        if len(records) > request.most:
            raise InvalidRecord(Reason.BODY_TOO_LARGE, f"{len(records)} events, more than {request.most}")
        if given_twice(around, ("events", *DEVICE_NAMES)) and records != [around]:
            raise InvalidRecord(Reason.UNREADABLE_BODY, "its device or its events are given twice")
        # A record that names no device is of the one that the batch names.
        named = [
            record if isinstance(record, dict) and first(record, DEVICE_NAMES) is not None else around
            for record in records
        ]
        found = [_find(devices, each) for each in named]
        device = next(filter(None, found), None) or _device(devices, named[0] if named else around)
        batch_id = token_hex(16)
        options = read_options(device, HfSecurityOptions)
        outcomes: list[_Outcome] = []
        for index, (record, its_device) in enumerate(zip(records, found, strict=True)):
            if its_device is device:
                source = Source("push", NAME, VERSION, batch_id, index)
                outcomes.append(self._read(record, device, options, request, source))
            else:
                message = f"it is of another device than {device.device_id}"
                outcomes.append(Rejected(index, Reason.UNKNOWN_DEVICE, message, self._kept(record)))
        content: Mapping[str, object] = _ACCEPTED
        if request.head.route == APP_EVENTS:
            content = {"results": [_result(*each) for each in zip(records, outcomes, strict=True)]}
        return _parsed(device, _json(content), outcomes, report_of(around, "deviceTime", device))

    def _read(
        self, record: object, device: Device, options: HfSecurityOptions, request: PushRequest, source: Source
    ) -> _Outcome:
        received_at = request.received_at
        try:
            if not isinstance(record, dict):
                raise invalid(f"a record must be an object, not {type(record).__name__}")
            if is_record(record):
                return read_heystar_record(
                    record, device, options, received_at=received_at, source=source, payload=self._record_payload
                )
            # What an app sends is always meant as a punch.
            if (
                request.head.route != APP_EVENTS
                and (kind := _no_recognition(record, _purpose(request.head))) is not None
            ):
                return Other(kind, kept(record, self._payload))
            return read_record(
                record,
                device,
                options,
                received_at=received_at,
                source=source,
                payload=self._payload,
                sequence=record.get("clientSequence"),
            )
        except InvalidRecord as error:
            return Rejected(source.line or 0, error.reason, error.message, self._kept(record))

    def _kept(self, record: object) -> bytes:
        if isinstance(record, Mapping) and is_record(record):
            return kept_record(record, self._record_payload)
        return kept(record, self._payload)


def _with_query(fields: Mapping[str, object], query: Mapping[str, str]) -> dict[str, object]:
    """What a request says. Some firmware says a thing in the query as well; the body counts."""
    of_the_address = {"token", *(["event"] if query.get("event") in _PURPOSES else [])} - fields.keys()
    both = filled(fields, query)
    for name in of_the_address:
        both.pop(name, None)
    return both


def _find(devices: Mapping[str, Device], fields: Mapping[str, object]) -> Device | None:
    """The device, of those that the token stands for, that these fields name."""
    named = first(fields, DEVICE_NAMES)
    for device in devices.values():
        if named is not None and device.serial is not None and is_serial_of_entry(str(named), device.serial):
            return device
    # An entry without a serial number is known by the token, or by its id where several share one.
    if len(devices) == 1 and (named is None or _only(devices).serial is None):
        return _only(devices)
    by_id = devices.get(str(named))
    return by_id if by_id is not None and by_id.serial is None else None


def _device(devices: Mapping[str, Device], fields: Mapping[str, object]) -> Device:
    """What `_find` finds.

    Raises:
        InvalidRecord: it finds none (`unknown_device`).
    """
    device = _find(devices, fields)
    if device is None:
        named = cut(first(fields, DEVICE_NAMES))
        raise InvalidRecord(Reason.UNKNOWN_DEVICE, f"the token is not that of a device with the serial number {named}")
    return device


def _only(devices: Mapping[str, Device]) -> Device:
    return next(iter(devices.values()))


def _no_recognition(record: Mapping[str, object], purpose: str) -> str | None:
    """What a record is about that is no recognition; None where it may be one.

    Raises:
        InvalidRecord: it names a person of HeyStar and does not say what became of them (`invalid_event`).
    """
    if _is_person(record, purpose):
        return "enrolment"
    kind = _other_callback(record)
    if kind is None and PERSON in record and not _says_how(record):
        raise invalid("it names a person, and does not say whether they were recognised or enrolled")
    return kind


def _purpose(head: Head) -> str:
    """What the address is for: the last part of its path, or what the query says of one that is for all."""
    return _PURPOSES.get(head.query.get("event", ""), head.route.rpartition("/")[2])


def _is_person(fields: Mapping[str, object], purpose: str) -> bool:
    """Whether what is no record is about somebody who was enrolled at it. The path counts before the content."""
    if _says_how(fields):
        return False
    person = not fields.keys().isdisjoint(_OF_A_PERSON)
    if purpose == "person":
        return person or not fields.keys().isdisjoint((*USER_NAMES, "sn"))
    return person and (PERSON in fields or {"deviceKey", "sn"} <= fields.keys())


def _says_how(fields: Mapping[str, object]) -> bool:
    """Whether they say how somebody was recognised, in the words of the LAN API. HeyStar has another `type`."""
    return "_" in str(fields.get("type", "")) or "model" in fields or "identifyType" in fields


def _other_callback(fields: Mapping[str, object]) -> str | None:
    """What a callback is about that is neither a recognition nor a heartbeat; None where it may be one of these."""
    if not fields.keys().isdisjoint(HOW_NAMES):
        return None
    event = fields.get("event")
    inner = event if isinstance(event, dict) else fields
    if (kind := _EVENTS.get(str(inner.get("eventType")))) is not None:
        return kind
    if not fields.keys().isdisjoint(ENROLMENT_NAMES) or (fields.get(CARD_NAME) and fields.keys() <= _CARD_ENROLMENT):
        return "enrolment"
    if first(fields, (*USER_NAMES, CARD_NAME)) is not None:
        return None
    return "qr_code" if "QRdata" in fields else "event" if "eventType" in fields or "event" in fields else None


def _parsed(device: Device, answer: Answer, outcomes: Sequence[_Outcome], report: DeviceReport | None = None) -> Parsed:
    events: list[RawEvent] = []
    rejected: list[Rejected] = []
    others: list[Other] = []
    for each in outcomes:
        if isinstance(each, RawEvent):
            events.append(each)
        elif isinstance(each, Rejected):
            rejected.append(each)
        else:
            others.append(each)
    return Parsed(device.device_id, answer, events, rejected, others, report)


def _result(record: object, outcome: _Outcome) -> Mapping[str, object]:
    """The answer to an app about one record. Whether it was there already is found out later, by the stream."""
    event_id = cut(record.get("attendanceEventId")) if isinstance(record, dict) else None
    if isinstance(outcome, Rejected):
        return {"attendanceEventId": event_id, "status": "REJECTED", "code": outcome.reason}
    return {"attendanceEventId": event_id, "status": "RECORDED"}


def _time(now: datetime) -> Answer:
    return _json({"time": format_milliseconds(now), "timestamp": int(now.timestamp() * 1000)})


def _json(
    content: Mapping[str, object], status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Answer:
    return Answer(orjson.dumps(content), int(status), "application/json", headers or {})


_TAKEN: Final = _json(_ACCEPTED)
