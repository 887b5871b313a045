"""Hikvision access terminals that push: ISAPI "HTTP listening" (`/ISAPI/Event/notification/httpHosts`).

A terminal sends each access event as it happens: `multipart/form-data` with a JSON or XML part and perhaps a picture,
or the document alone. What it could not send it may send later, or never, which depends on its firmware; so an entry
should have an `interval` too, for the pull adapter to read what was lost. See docs/devices/hikvision.md.

Nothing of this was tried on hardware.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

import structlog

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.logs import Seldom
from attendance.records.raw_event import RawEvent, Source
from attendance.times import read_device_time
from producers.devices.common.bodies import Ambiguous, check_unambiguous, given_twice, read_records
from producers.devices.common.listed import KeptRequest
from producers.devices.common.multipart import parts_of
from producers.devices.common.options import read_options
from producers.devices.contract import (
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
from producers.devices.hikvision.events import (
    DECIDING,
    Fields,
    HikvisionOptions,
    kept,
    payload_names,
    read_number,
    read_record,
)
from producers.devices.hikvision.listed import KeptFields

log = structlog.get_logger(__name__)

_TOKEN: Final = re.compile(r"[!-~]{8,200}")
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
    options: Final = HikvisionOptions
    routes: Final = (Route("POST", "/hik/{token}"),)

    def __init__(self, payload_fields: Collection[str]) -> None:
        self._payload = payload_names(payload_fields)
        self._kept_fields = KeptFields(payload_fields)
        self._newest: dict[str, int] = {}
        self._seldom = Seldom()

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
        options = read_options(device, HikvisionOptions)
        events: list[RawEvent] = []
        others: list[Other] = []
        rejected: list[Rejected] = []
        report: DeviceReport | None = None
        batch_id = token_hex(16)
        documents = _documents(request)
        if not documents:
            return Parsed(device.device_id, Answer(), others=[Other("picture", kept({}, self._payload))])
        alerts = [alert for document in documents for alert in _alerts(document, request.most)]
        for index, alert in enumerate(alerts):
            fields: Fields | None = None
            try:
                fields = alert.fields()
                check_unambiguous(fields, DECIDING)
                if str(fields.get("eventType")).lower() == "heartbeat":
                    report = DeviceReport(device_time=read_device_time(str(fields.get("dateTime")), device.timezone))
                    continue
                source = Source("push", self.name, self.version, batch_id, index)
                outcome = read_record(
                    fields,
                    device,
                    options,
                    received_at=request.received_at,
                    source=source,
                    payload=self._payload,
                )
            except InvalidRecord as error:
                if fields is None and len(alerts) == 1:
                    raise
                value = kept(fields or {}, self._payload)
                rejected.append(Rejected(index, error.reason, error.message, value, alert.document))
                continue
            report = self._look_for_gap(device, fields) or report
            if isinstance(outcome, Other):
                others.append(outcome)
            else:
                events.append(outcome)
        return Parsed(device.device_id, Answer(), events, rejected, others, report)

    def refuse(self, head: Head, reason: Reason, retry_after: int) -> Answer:  # noqa: ARG002 - the same for every route
        """Anything but 2xx is "not taken"; whether it is sent again is up to the firmware. See `PushAdapter.refuse`."""
        status = _STATUS.get(reason, 503)
        return Answer(status=status, headers={"Retry-After": str(retry_after)} if status == 503 else {})

    def kept_request(self, head: Head, body: bytes, query: str) -> KeptRequest | None:
        """A request without the fields that are not on the list. See `ListingAdapter.kept_request`."""
        return self._kept_fields.of_request(head, body, query)

    def _look_for_gap(self, device: Device, fields: Fields) -> DeviceReport | None:
        """What the number of the event before this one tells; None where nothing is missing that is known of."""
        number, before = read_number(fields.get("serialNo")), read_number(fields.get("frontSerialNo"))
        if number is None:
            return None
        self._seldom.flush()
        newest = self._newest.get(device.device_id)
        # Numbers begin again after a reset; what is merely old is an event that was sent late.
        if newest is None or number > newest or before == 0:
            self._newest[device.device_id] = number
        if newest is None or before is None or before <= newest:
            return None
        self._seldom.say(
            device.device_id,
            log.warning,
            "Events of a terminal are missing; a pull reads them.",
            device_id=device.device_id,
            after=newest,
            through=before,
            pulled=device.interval is not None,
        )
        return DeviceReport(details={"missing_after": newest, "missing_through": before})


@dataclass(frozen=True, slots=True)
class _Alert:
    """What a document says of one event, or why nothing; and the document, as it came."""

    document: bytes
    content: object | InvalidRecord

    def fields(self) -> Fields:
        """Those of the alert with those of its event.

        Raises:
            InvalidRecord: it is no alert (`unreadable_body`).
        """
        if isinstance(self.content, InvalidRecord):
            raise self.content
        if not isinstance(self.content, dict):
            raise _unreadable("not an object")
        alert, event = self.content, self.content.get("AccessControllerEvent", {})
        if not isinstance(event, dict):
            raise _unreadable("AccessControllerEvent is no object")
        fields = alert | event
        # What the event says counts before what stands around it.
        ambiguous = {*given_twice(event, DECIDING), *(set(given_twice(alert, DECIDING)) - event.keys())}
        if ambiguous:
            fields = Ambiguous(fields, ambiguous)
        if not fields.keys() & {"eventType", "majorEventType", "major", "employeeNoString", "employeeNo"}:
            raise _unreadable("not an event of a terminal")
        return fields


def _documents(request: PushRequest) -> Sequence[bytes]:
    """The parts of a body that are no pictures, or all of it; nothing where it is whole and holds only pictures."""
    found = parts_of(request.head.headers.get("content-type", ""), request.body, request.most)
    if found is None:
        return [request.body]
    documents = [part.content for part in found.parts if not part.is_picture]
    if not documents and not found.complete:
        raise _unreadable("it breaks off before a document")
    return documents


def _alerts(document: bytes, most: int) -> Sequence[_Alert]:
    """The alerts in a document, which may be a list of them, or hold a list of events; never none."""
    try:
        contents = read_records(document, "EventNotificationAlert", most)
    except InvalidRecord as error:
        return [_Alert(document, error)]
    if not contents:
        return [_Alert(document, _unreadable("an empty list"))]
    alerts = []
    for content in contents:
        events = content.get("AccessControllerEvent") if isinstance(content, dict) else None
        if isinstance(content, dict) and isinstance(events, list) and events and not given_twice(content, DECIDING):
            alerts += [_Alert(document, content | {"AccessControllerEvent": event}) for event in events]
        else:
            alerts.append(_Alert(document, content))
    return alerts


def _unreadable(message: str) -> InvalidRecord:
    return InvalidRecord(Reason.UNREADABLE_BODY, message)
