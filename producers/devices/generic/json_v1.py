"""The JSON of `POST /v1/events`: `{"device_id": "D1", "events": [{"user_id": "7", "time": "...", "type": "IN"}]}`.

That of `POST /v1/heartbeat` is `{"device_id": "D1", "time": "...", "pending": 0, "last_sequence": 17}`. At the address
of a Frappe app's `attendance_ingest` the answer to events stands under `message` as well, as Frappe has it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from secrets import token_hex
from typing import Final

import orjson

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.times import read_device_time
from attendance.wire import encode_json
from producers.devices.common.bodies import check_unambiguous, given_twice, read_json, write_record
from producers.devices.common.listed import Keeper, KeptRequest, UnclearText, kept_batch, says_no_more
from producers.devices.common.punch import invalid, punch, scalars
from producers.devices.contract import (
    STATUS,
    Answer,
    DeviceReport,
    Head,
    Options,
    Parsed,
    PushRequest,
    Rejected,
    Route,
    Sender,
)

EVENTS: Final = "/v1/events"
HEARTBEAT: Final = "/v1/heartbeat"
FRAPPE_EVENTS: Final = "/api/method/{app}.api.attendance_ingest"

_BATCH_NAMES: Final = ("device_id", "events")
_HEARTBEAT_NAMES: Final = ("device_id", "time", "pending", "last_sequence")
_EVENT_NAMES: Final = ("user_id", "time", "type", "sequence", "replayed")
_LISTED: Final = (*_BATCH_NAMES, *_HEARTBEAT_NAMES, *_EVENT_NAMES)
_TYPES: Final[Mapping[str, EventType]] = {"IN": "IN", "OUT": "OUT"}


class JsonV1:
    """The adapter. Beside the names of the contract it keeps the vendor's fields that `payload_fields` names.

    An event without a time that can be read is kept, with `event_time` None. One without a user cannot be anybody's
    punch and is rejected, as is one that gives a name of the contract twice, for then either value may be meant.
    """

    name: Final = "json"
    version: Final = "1"
    verified_on: Final = "simulator"
    options: Final = Options

    def __init__(self, payload_fields: Collection[str]) -> None:
        self._payload_fields = tuple(payload_fields)
        self._kept_fields = tuple(dict.fromkeys((*_EVENT_NAMES, *payload_fields)))

    @property
    def routes(self) -> Sequence[Route]:
        """Events, the same at a Frappe app's address, and heartbeats."""
        return [Route("POST", path) for path in (EVENTS, FRAPPE_EVENTS, HEARTBEAT)]

    def sender(self, head: Head) -> Sender:
        """The token in `X-Device-Token`."""
        return Sender(token=head.headers.get("x-device-token"))

    def parse(self, request: PushRequest, devices: Mapping[str, Device]) -> Parsed:
        """Read one request. See `PushAdapter.parse`."""
        if request.head.route == HEARTBEAT:
            return self._parse_heartbeat(request, devices)
        return self._parse_events(request, devices)

    def refuse(self, head: Head, reason: Reason, retry_after: int) -> Answer:
        """`{"ok": false, "error": reason}`. See `PushAdapter.refuse`."""
        status = STATUS[reason]
        headers = {"Retry-After": str(retry_after)} if status == 503 else {}
        return _answer(head, {"ok": False, "error": reason}, status, headers)

    def kept_request(self, head: Head, body: bytes, query: str) -> KeptRequest | None:
        """A request without the fields that are not of the contract. See `ListingAdapter.kept_request`.

        What names no device, or has no event with a `user_id`, is none of the contract: whose punches it holds may be
        in fields that only a later release knows.
        """
        content = read_json(body)
        if not isinstance(content, dict):
            return None
        keeper = Keeper((*_LISTED, *self._payload_fields), ("time",))
        try:
            kept = self._listed(keeper, head, content)
        except UnclearText:
            return None
        if kept is None:
            return None
        as_it_came = not keeper.left_out and says_no_more(body)
        return KeptRequest(body if as_it_came else write_record(kept), keeper.query(query), keeper.left_out)

    def _listed(self, keeper: Keeper, head: Head, content: Mapping[str, object]) -> object:
        """What is kept of a body; None where it is none of the contract."""
        if head.route == HEARTBEAT:
            return keeper.fields(content, is_dated=keeper.is_dated(content))
        records = content.get("events")
        if not isinstance(content.get("device_id"), str) or not isinstance(records, list):
            return None

        def message(fields: Mapping[str, object]) -> Mapping[str, object] | None:
            return keeper.fields(fields, is_dated=keeper.is_dated(fields)) if "user_id" in fields else None

        return kept_batch(keeper, content, records, message)

    def _parse_events(self, request: PushRequest, devices: Mapping[str, Device]) -> Parsed:
        device_id, records = _read_batch(request.body)
        device = _sender(devices, device_id)
        if len(records) > request.most:
            raise InvalidRecord(Reason.BODY_TOO_LARGE, f"{len(records)} events, more than {request.most}")
        batch_id = token_hex(16)
        events: list[RawEvent] = []
        rejected: list[Rejected] = []
        for index, record in enumerate(records):
            source = Source("push", self.name, self.version, batch_id, index)
            try:
                events.append(self._read_event(record, device, request.received_at, source))
            except InvalidRecord as error:
                rejected.append(Rejected(index, error.reason, error.message, self._kept(record)))
        content = {
            "ok": True,
            "inserted": len(events),
            "rejected": [{"index": each.index, "reason": each.reason} for each in rejected],
        }
        return Parsed(device_id, _answer(request.head, content), events, rejected)

    def _parse_heartbeat(self, request: PushRequest, devices: Mapping[str, Device]) -> Parsed:
        fields = _read_object(request.body, _HEARTBEAT_NAMES)
        device = _sender(devices, fields.get("device_id"))
        device_time = read_device_time(str(fields["time"]), device.timezone) if fields.get("time") is not None else None
        if fields.get("time") is not None and device_time is None:
            # Without its clock a claim would rest on ours.
            raise InvalidRecord(Reason.UNREADABLE_BODY, "time cannot be read")
        report = DeviceReport(device_time, _count(fields, "pending"), _count(fields, "last_sequence"))
        return Parsed(device.device_id, _answer(request.head, {"ok": True}), report=report)

    def _read_event(self, record: object, device: Device, received_at: datetime, source: Source) -> RawEvent:
        if not isinstance(record, dict):
            raise invalid(f"an event must be an object, not {type(record).__name__}")
        check_unambiguous(record, _EVENT_NAMES)
        return punch(
            device,
            user=record.get("user_id"),
            time=record.get("time"),
            event_type=_event_type(record.get("type")),
            received_at=received_at,
            source=source,
            sequence=record.get("sequence"),
            historical=record.get("replayed") is True,
            payload=scalars(record, self._payload_fields),
        )

    def _kept(self, record: object) -> bytes:
        """What a dead letter keeps of a rejected event, as JSON: its listed fields; null where it is no object."""
        return encode_json(scalars(record, self._kept_fields) if isinstance(record, dict) else None)


def _sender(devices: Mapping[str, Device], device_id: object) -> Device:
    device = devices.get(device_id) if isinstance(device_id, str) else None
    if device is None:
        raise InvalidRecord(Reason.UNKNOWN_DEVICE, "the token is not that of the device named in the body")
    return device


def _count(fields: Mapping[str, object], name: str) -> int | None:
    """A number that is not negative; None where nothing is given."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InvalidRecord(Reason.UNREADABLE_BODY, f"{name} must be an integer from 0")
    return value


def _read_object(body: bytes, names: Collection[str]) -> dict[str, object]:
    """The object in a body, which gives none of these names different values.

    Raises:
        InvalidRecord: there is none (`unreadable_body`).
    """
    content = read_json(body)
    if not isinstance(content, dict):
        raise InvalidRecord(Reason.UNREADABLE_BODY, "not an object")
    if ambiguous := given_twice(content, names):
        raise InvalidRecord(Reason.UNREADABLE_BODY, f"{', '.join(ambiguous)} is given twice")
    return content


def _read_batch(body: bytes) -> tuple[str, list[object]]:
    match _read_object(body, _BATCH_NAMES):
        case {"device_id": str(device_id), "events": list(records)}:
            return device_id, records
        case _:
            raise InvalidRecord(Reason.UNREADABLE_BODY, "not an object with a string device_id and a list of events")


def _event_type(value: object) -> EventType:
    return _TYPES.get(value.upper(), "UNKNOWN") if isinstance(value, str) else "UNKNOWN"


def _answer(
    head: Head, content: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    body = {**content, "message": content} if head.route == FRAPPE_EVENTS else content
    return Answer(orjson.dumps(body), status, "application/json", headers or {})
