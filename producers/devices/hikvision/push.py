"""Hikvision access terminals that push: ISAPI "HTTP listening" (`/ISAPI/Event/notification/httpHosts`).

A terminal sends each access event as it happens: `multipart/form-data` with a JSON or XML part and perhaps a picture,
or the document alone. What it could not send it may send later, or never, which depends on its firmware; so an entry
should have an `interval` too, for the pull adapter to read what was lost. See docs/devices/hikvision.md.

Sources: Hikvision, "ISAPI Developer Guide" (Access Control) for the messages; "Device Network SDK Programming Guide",
appendix on access control event types, for the numbers of events. Nothing of this was tried on hardware.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from secrets import token_hex
from typing import Final
from xml.etree.ElementTree import Element, ParseError

import orjson
import structlog
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from attendance.errors import InvalidRecord, Reason
from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.registry import Device
from attendance.times import read_device_time
from attendance.wire import encode_json
from producers.devices.common.punch import cut, invalid, punch, scalars
from producers.devices.contract import (
    MAX_EVENTS,
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

log = structlog.get_logger(__name__)

Fields = Mapping[str, object]
"""What a document says of one event: names and values as the device wrote them."""

ACCESS: Final = 5
"""The major type of events at a door; 1 is alarms, 2 faults, 3 operations."""

_PUNCHES: Final = frozenset(
    {
        *(1, 2, 16),  # card; card and password; several people together
        *(38, 40, 43, 46, 69, 72),  # fingerprint, alone and with another factor
        *(54, 57, 60, 63, 66, 75, 77),  # face, alone and with another factor
        *(101, 105, 153, 156),  # number and password; identity card; combined; QR code
        *(159, 179, 181),  # Bluetooth; dynamic code; password
    }
)
"""The minor types that say that somebody was recognised and let in."""

_NO_PUNCHES: Final = frozenset(
    {
        *range(3, 16),  # a card that is refused
        *range(17, 38),  # doors, locks, buttons, bells
        *(39, 41, 42, 44, 45, 47, 48, 49, 51, 52, 53),
        *(55, 56, 58, 59, 61, 62, 64, 65, 67, 68, 70, 71, 73, 74, 76, 78, 79, 80),
        *range(81, 101),  # inputs and relays
        *(102, 103, 104, 112, 113, 115, 117, 118, 119, 120, 130, 132),
        *range(133, 142),  # barriers
        *(150, 151, 152, 154, 155, 160, 162, 163, 164),
        *range(168, 179),  # cards that are not enabled; upgrades
        180,
        *range(182, 194),
    }
)
"""The minor types that say something else: access refused or not completed, doors, buttons, alarms, faults."""

_DIRECTIONS: Final[Mapping[str, EventType]] = {
    "checkIn": "IN",
    "breakIn": "IN",
    "overtimeIn": "IN",
    "checkOut": "OUT",
    "breakOut": "OUT",
    "overtimeOut": "OUT",
}

_PAYLOAD: Final = (
    *("majorEventType", "subEventType", "major", "minor"),
    *("attendanceStatus", "currentVerifyMode", "userType", "cardReaderNo", "doorNo"),
)
_KEPT: Final = ("eventType", "dateTime", "time", "employeeNoString", "employeeNo", "serialNo", "frontSerialNo")
"""Beside the payload, what is kept of a record that becomes no event."""

_TOKEN: Final = re.compile(r"[!-~]{8,200}")
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_PICTURE: Final = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"GIF8")
_STATUS: Final[Mapping[Reason, int]] = {
    Reason.UNKNOWN_DEVICE: 403,
    Reason.BODY_TOO_LARGE: 413,
    # It is a dead letter by then, and the terminal would send it again for ever, before all that comes after it.
    Reason.UNREADABLE_BODY: 200,
    Reason.INTERNAL_ERROR: 200,
}


class Hikvision:
    """The push adapter. A URL, by the token in it, is one terminal's.

    It remembers the number of each terminal's newest event and says when a later one shows that some are missing. That
    is a hint to whoever looks, lost with the process: what closes a gap is the pull adapter, which trusts no pushes.
    """

    name: Final = "hikvision"
    version: Final = "1"
    verified_on: Final = "simulator"
    routes: Final = (Route("POST", "/hik/{token}"),)

    def __init__(self, payload_fields: Collection[str]) -> None:
        self._payload = payload_names(payload_fields)
        self._newest: dict[str, int] = {}

    def sender(self, head: Head) -> Sender:
        """The token in the path. See `PushAdapter.sender`."""
        token = head.params.get("token", "")
        if not _TOKEN.fullmatch(token):
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, "the path holds nothing that could be a token")
        return Sender(token=token)

    def parse(self, request: PushRequest, devices: Mapping[str, Device]) -> Parsed:
        """Read one request, which holds one event or, as parts, several. See `PushAdapter.parse`."""
        if len(devices) != 1:
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, "the token is that of several devices")
        [device] = devices.values()
        events: list[RawEvent] = []
        others: list[Other] = []
        rejected: list[Rejected] = []
        heard: DeviceReport | None = None
        batch_id = token_hex(16)
        documents = list(_documents(request.body))
        for index, document in enumerate(documents):
            fields: Fields | None = None
            try:
                fields = _read_document(document)
                if str(fields.get("eventType")).lower() == "heartbeat":
                    heard = DeviceReport(device_time=read_device_time(str(fields.get("dateTime")), device.timezone))
                    continue
                source = Source("push", self.name, self.version, batch_id, index)
                outcome = read_record(
                    fields,
                    device,
                    received_at=request.received_at,
                    source=source,
                    payload=self._payload,
                )
            except InvalidRecord as error:
                if fields is None and len(documents) == 1:
                    raise
                rejected.append(Rejected(index, error.reason, error.message, kept(fields or {}, self._payload)))
                continue
            heard = self._look_for_gap(device, fields) or heard
            if isinstance(outcome, Other):
                others.append(outcome)
            else:
                events.append(outcome)
        return Parsed(device.device_id, Answer(), events, rejected, others, heard)

    def refuse(self, head: Head, reason: Reason, retry_after: int) -> Answer:  # noqa: ARG002 - the same for every route
        """Anything but 2xx is "not taken"; whether it is sent again is up to the firmware. See `PushAdapter.refuse`."""
        status = _STATUS.get(reason, 503)
        return Answer(status=status, headers={"Retry-After": str(retry_after)} if status == 503 else {})

    def _look_for_gap(self, device: Device, fields: Fields) -> DeviceReport | None:
        """What the number of the event before this one tells; None where nothing is missing that is known of."""
        number, before = _number(fields.get("serialNo")), _number(fields.get("frontSerialNo"))
        if number is None:
            return None
        newest = self._newest.get(device.device_id)
        # Numbers begin again after a reset; what is merely old is an event that was sent late.
        if newest is None or number > newest or before == 0:
            self._newest[device.device_id] = number
        if newest is None or before is None or before <= newest:
            return None
        log.warning(
            "Events of a terminal are missing; a pull reads them.",
            device_id=device.device_id,
            after=newest,
            through=before,
            pulled=device.interval is not None,
        )
        return DeviceReport(details={"missing_after": newest, "missing_through": before})


def payload_names(payload_fields: Collection[str]) -> tuple[str, ...]:
    """The vendor's fields that an event keeps."""
    return tuple(dict.fromkeys((*_PAYLOAD, *payload_fields)))


def kept(fields: object, payload: Collection[str]) -> bytes:
    """What is kept of a record that becomes no event, as JSON."""
    return encode_json(scalars(fields, (*_KEPT, *payload)) if isinstance(fields, dict) else cut(fields))


def read_record(
    fields: Fields, device: Device, *, received_at: datetime, source: Source, payload: Collection[str]
) -> RawEvent | Other:
    """What one event of a terminal is, by push or by pull.

    A punch is an event that says that somebody was recognised and let in. One that is on neither list of this module,
    nor in the entry's options `punch_events` and `other_events`, is no punch and no other if it names an employee: to
    take it for a punch could pay for a refused access, to pass it over could lose a punch.

    Raises:
        InvalidRecord: it may be a punch, or may have been one, and cannot be read as one.
    """
    major = _number(fields.get("majorEventType", fields.get("major")))
    minor = _number(fields.get("subEventType", fields.get("minor")))
    user = _employee(fields)
    if major is None or minor is None:
        if "eventType" in fields and "AccessControllerEvent" not in fields and user is None:
            return Other("notice", kept(fields, payload))
        raise invalid("its major and minor type cannot be read")
    if major != ACCESS or minor not in _PUNCHES | _option(device, "punch_events"):
        if major == ACCESS and user is not None and minor not in _NO_PUNCHES | _option(device, "other_events"):
            raise invalid(f"whether event {major}/{minor} is a punch is not known: name it in the entry's options")
        return Other("device" if user is None else "refused", kept(fields, payload))
    return punch(
        device,
        user=user,
        time=fields.get("time", fields.get("dateTime")),
        event_type=_DIRECTIONS.get(str(fields.get("attendanceStatus")), "UNKNOWN"),
        received_at=received_at,
        source=source,
        sequence=_number(fields.get("serialNo")),
        historical=fields.get("currentEvent") in (False, "false"),
        payload=scalars(fields, payload),
    )


def _employee(fields: Fields) -> object:
    """The employee's number as it came; None where the event names nobody."""
    for name in ("employeeNoString", "employeeNo"):
        value = fields.get(name)
        if value not in (None, "", 0):
            return value
    return None


def _option(device: Device, name: str) -> frozenset[int]:
    numbers = device.options.get(name)
    return (
        frozenset(number for number in numbers if isinstance(number, int)) if isinstance(numbers, list) else frozenset()
    )


def _number(value: object) -> int | None:
    """An integer, which XML has as digits."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _documents(body: bytes) -> Iterator[bytes]:
    """The parts of a body that are no pictures, or all of it."""
    body = body.strip()
    if not body.startswith(b"--"):
        yield body
        return
    parts: list[bytearray] = []

    def begin() -> None:
        if len(parts) > MAX_EVENTS:
            raise InvalidRecord(Reason.BODY_TOO_LARGE, f"more than {MAX_EVENTS} parts")
        parts.append(bytearray())

    def data(chunk: bytes, start: int, end: int) -> None:
        parts[-1] += chunk[start:end]

    # Some firmware leaves the boundary out of the header, or the last one out of the body.
    boundary = body.split(b"\n", 1)[0].strip()[2:]
    try:
        MultipartParser(boundary, {"on_part_begin": begin, "on_part_data": data}).write(body)
    except (FormParserError, ValueError) as error:
        if not parts:
            raise _unreadable(f"not a form: {error}") from error
    documents = [bytes(part) for part in parts if not part.startswith(_PICTURE)]
    if not documents:
        raise _unreadable("no part of it is a document")
    yield from documents


def _read_document(document: bytes) -> Fields:
    """The fields of an alert with those of its event, which may stand in an `EventNotificationAlert`."""
    text = document.removeprefix(b"\xef\xbb\xbf").strip()
    alert = _read_xml(text) if text.startswith(b"<") else _read_json(text)
    event = alert.get("AccessControllerEvent", {})
    if not isinstance(event, dict):
        raise _unreadable("AccessControllerEvent is no object")
    fields = {**alert, **event}
    if not fields.keys() & {"eventType", "majorEventType", "employeeNoString", "employeeNo"}:
        raise _unreadable("not an event of a terminal")
    return fields


def _read_json(text: bytes) -> dict[str, object]:
    try:
        alert = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _unreadable(f"neither JSON nor XML: {error}") from error
    alert = alert.get("EventNotificationAlert", alert) if isinstance(alert, dict) else None
    if not isinstance(alert, dict):
        raise _unreadable("not an object")
    return alert


def _read_xml(text: bytes) -> dict[str, object]:
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise _unreadable(f"not XML, or more than plain XML: {error}") from error
    alert: dict[str, object] = {}
    for child in root:
        inner = {_local_name(leaf): _text(leaf) for leaf in child if not len(leaf)}
        alert[_local_name(child)] = inner or _text(child)
    return alert


def _local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: Element) -> str:
    return (element.text or "").strip()


def _unreadable(message: str) -> InvalidRecord:
    return InvalidRecord(Reason.UNREADABLE_BODY, message)
