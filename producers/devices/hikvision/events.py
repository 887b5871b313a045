"""What a Hikvision access terminal says of one event, by push or by pull: the words, and what is a punch.

Sources: Hikvision, "ISAPI Developer Guide" (Access Control) for the messages; "Device Network SDK Programming Guide",
appendix on access control event types, for the numbers of events.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from attendance.fleet import Device
from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.wire import encode_json
from producers.devices.common.bodies import check_unambiguous
from producers.devices.common.options import EventOptions, HttpOptions
from producers.devices.common.punch import cut, invalid, punch, scalars
from producers.devices.contract import Other

Fields = Mapping[str, object]
"""What a document says of one event: names and values as the device wrote them."""

DECIDING: Final = frozenset(
    {
        *("eventType", "AccessControllerEvent", "majorEventType", "major", "subEventType", "minor"),
        *("employeeNoString", "employeeNo", "time", "dateTime", "currentEvent", "serialNo"),
        *("attendanceStatus", "label"),
    }
)
"""The names that decide what an event is, and whose."""

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

_DIRECTION: Final = re.compile(r"(?:check|clock|sign|break|overtime|ot)?(in|out)", re.ASCII)
"""What firmware calls a direction, without spaces and signs, in lower case: `checkIn`, `Check In`, `overTimeOut`."""


class HikvisionOptions(HttpOptions, EventOptions):
    """The options of an entry, whether it is pushed or asked. The numbers of events are minor types of major type 5."""


_PAYLOAD: Final = (
    *("majorEventType", "subEventType", "major", "minor"),
    *("attendanceStatus", "currentVerifyMode", "userType", "cardReaderNo", "doorNo"),
)
KEPT: Final = ("eventType", "dateTime", "time", "employeeNoString", "employeeNo", "serialNo", "frontSerialNo")
"""Beside the payload, what is kept of a record that becomes no event."""

_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_HEX_NUMBER: Final = re.compile(r"0x[0-9a-f]{1,8}", re.ASCII | re.IGNORECASE)


def punch_events(options: HikvisionOptions) -> Sequence[int]:
    """The minor types that are punches, by this module and by the options, faces, cards and fingers first."""
    return sorted(
        (_PUNCHES | options.punch_events) - options.other_events, key=lambda minor: (minor not in (75, 1, 38), minor)
    )


def is_known(fields: Fields) -> bool:
    """Whether an event says by a known name who came, or that it is not one of somebody who was let in.

    Args:
        fields: As the terminal wrote them.
    """
    major = read_number(fields.get("majorEventType", fields.get("major")))
    minor = read_number(fields.get("subEventType", fields.get("minor")))
    if major is None or minor is None:
        names = fields.keys()
        is_event = not names.isdisjoint({"majorEventType", "major"}) and not names.isdisjoint({"subEventType", "minor"})
        return is_event and _employee(fields) is not None
    return _employee(fields) is not None or major != ACCESS or minor in _NO_PUNCHES


def payload_names(payload_fields: Collection[str]) -> tuple[str, ...]:
    """The vendor's fields that an event keeps."""
    return tuple(dict.fromkeys((*_PAYLOAD, *payload_fields)))


def kept(fields: object, payload: Collection[str]) -> bytes:
    """What is kept of a record that becomes no event, as JSON.

    Args:
        fields: As the terminal wrote them.
        payload: The names of the fields that an event keeps.
    """
    return encode_json(scalars(fields, (*KEPT, *payload)) if isinstance(fields, dict) else cut(fields))


def read_record(
    fields: Fields,
    device: Device,
    options: HikvisionOptions,
    *,
    received_at: datetime,
    source: Source,
    payload: Collection[str],
) -> RawEvent | Other:
    """What one event of a terminal is, by push or by pull.

    A punch is an event that says that somebody was recognised and let in. One that is on neither list of this module,
    nor in the entry's options `punch_events` and `other_events`, is no punch and no other if it names an employee: to
    take it for a punch could pay for a refused access, to pass it over could lose a punch.

    Args:
        fields: As the terminal wrote them.
        device: Whose event it is.
        options: Those of its entry.
        received_at: The server's clock, UTC.
        source: The way in.
        payload: The names of the fields to keep.

    Raises:
        InvalidRecord: it may be a punch, or may have been one, and cannot be read as one.
    """
    check_unambiguous(fields, DECIDING)
    major = read_number(fields.get("majorEventType", fields.get("major")))
    minor = read_number(fields.get("subEventType", fields.get("minor")))
    user = _employee(fields)
    if major is None or minor is None:
        says_access = str(fields.get("eventType")).lower() == "accesscontrollerevent"
        # One that says it is of a door and holds none may have it where nobody looks.
        if "eventType" in fields and not says_access and "AccessControllerEvent" not in fields and user is None:
            return Other("notice", kept(fields, payload))
        raise invalid("its major and minor type cannot be read")
    is_other = minor in options.other_events
    if major != ACCESS or is_other or not (minor in _PUNCHES or minor in options.punch_events):
        is_known = is_other or minor in _NO_PUNCHES
        if major == ACCESS and user is not None and not is_known:
            raise invalid(f"whether event {major}/{minor} is a punch is not known: name it in the entry's options")
        return Other("device" if user is None else "refused", kept(fields, payload))
    return punch(
        device,
        user=user,
        time=fields.get("time") or fields.get("dateTime"),
        event_type=_direction(fields),
        received_at=received_at,
        source=source,
        sequence=read_number(fields.get("serialNo")),
        historical=fields.get("currentEvent") in (False, "false"),
        payload=scalars(fields, payload),
    )


def _direction(fields: Fields) -> EventType:
    """The direction by the attendance status; by the label that the terminal shows for it where it gives no status."""
    written = fields.get("attendanceStatus") or fields.get("label")
    letters = "".join(filter(str.isalnum, written)).lower() if isinstance(written, str) else ""
    found = _DIRECTION.fullmatch(letters)
    if found is None:
        return "UNKNOWN"
    return "IN" if found[1] == "in" else "OUT"


def _employee(fields: Fields) -> object:
    """The employee's number as it came; None where the event names nobody."""
    for name, nobody in (("employeeNoString", ("",)), ("employeeNo", ("", "0"))):  # XML has numbers as digits
        value = fields.get(name)
        if value is not None and value != 0 and not (isinstance(value, str) and value.strip() in nobody):
            return value
    return None


def read_number(value: object) -> int | None:
    """An integer, which XML and some firmware have as digits, or as those of base 16 behind `0x`."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    if isinstance(value, str) and _HEX_NUMBER.fullmatch(value):
        return int(value, 16)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
