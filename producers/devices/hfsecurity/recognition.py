"""What HFSECURITY terminals say of one recognition, by whichever way in: the words, and what is a punch.

The vocabulary is that of the "Device LAN Version Interface Document" V5.1. Other firmware and apps of the same
terminals use other names for the same things; they are understood as well. `heystar_records.py` has the words of
HeyStar.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from math import isfinite
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from attendance.fleet import Device
from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.times import read_device_time
from attendance.wire import encode_json
from producers.devices.common.bodies import check_unambiguous
from producers.devices.common.options import HttpOptions
from producers.devices.common.punch import cut, invalid, punch, scalars
from producers.devices.contract import DeviceReport, Other

NAME: Final = "hfsecurity"
VERSION: Final = "1"
VERIFIED_ON: Final = "simulator"

DEVICE_NAMES: Final = ("deviceKey", "deviceId", "device_id", "sn", "SN", "deviceNo")
USER_NAMES: Final = ("personId", "userId", "employeeId", "employeeNo", "customId", "person_id", "personSn")
CARD_NAME: Final = "idcardNum"
TIME_NAMES: Final = ("time", "deviceTimestamp", "recordTime", "createTime", "captureTime", "identifyTime")
HOW_NAMES: Final = ("type", "model", "identifyType")
"""How a person was recognised; only what reports a recognition says so."""

# Other callbacks speak of persons too: of photographs, cards and persons that are enrolled.
ENROLMENT_NAMES: Final = frozenset({"faceId", "imgPath", "newImgPath", "feature", "facePermission", "role"})

NOBODY: Final[Mapping[str, str]] = {
    "STRANGERBABY": "stranger",
    "STRANGER": "stranger",
    "NOMASK": "no_mask",
    # Somebody who has an identity card and is not enrolled.
    "IDCARD": "id_card",
}
"""What stands, in upper case, in the place of a person and is none, and what such a record reports."""

# Not idcardNum, which may be the number of a citizen, nor path, which leads to a photograph.
_PAYLOAD: Final = (
    *("type", "model", "identifyType", "isPass", "aliveType", "passTimeType", "permissionTimeType", "state"),
    *("maskState", "mask", "recType", "recModeType", "passbackTriggerType", "attendance", "workCode", "workCode2"),
    *("dstOffset", "searchScore", "livenessScore"),
    *("action", "biometricType", "attendanceEventId", "clientSequence"),
)
# Photographs and where they are, names, templates, cards, and what an identity card says; in lower case.
_NEVER: Final = frozenset(
    {
        *("base64", "imgbase64", "checkimgbase64", "photo", "path", "imgpath", "newimgpath", "checkimgurl", "imguri"),
        *("name", "personname", "employeename", "person_name", "employee_name", "mobile", "feature", "verifypwd"),
        *("data", "idcard", "idcardnum", "cardno", "card_no", "vouchercode", "attach", "temperature", "deviceinfo"),
    }
)
REPORTED_TEXTS: Final = ("version", "SDKVersion", "ip")
REPORTED_NUMBERS: Final = (
    *("personCount", "faceCount", "fingerCount"),
    *("freeDiskSpace", "cpuUsageRate", "cpuTemperature", "memoryUsageRate"),
)
_DECIDING: Final = frozenset({*DEVICE_NAMES, *USER_NAMES, CARD_NAME, *TIME_NAMES, *HOW_NAMES, "attendance", "action"})
_DOOR_MODELS: Final = frozenset({"4", "5"})  # the exit button, and opened from afar
_DOOR_METHODS: Final = frozenset({"openDoor", "remoteDoor"})
_DENIED: Final = frozenset({"1", "2"})  # outside the permitted time, and not recognised
_ACTIONS: Final[Mapping[str, EventType]] = {"CHECK_IN": "IN", "CHECK_OUT": "OUT"}


_Choice = Annotated[str, StringConstraints(pattern="^[1-4]$")]


def _states(meant: object) -> object:
    """A file in YAML has numbers where a device writes digits."""
    if not isinstance(meant, dict):
        return {} if meant is None else meant
    states: dict[str, str] = {}
    for state, direction in meant.items():
        if isinstance(state, bool) or (name := str(state).strip()) in ("", "None"):
            raise ValueError(f"{state!r} is no state that a device writes")
        if name in states:
            raise ValueError(f"{name} is given twice")
        states[name] = str(direction).upper()
    return states


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        # Reading the port raises where it is none.
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        known = known and "{" not in parts.netloc  # a token in a host never arrives
    except ValueError:
        known = False
    rest = text.replace("{token}", "")
    if not known or not text.isprintable() or any(each in rest for each in " {}?#@\\"):
        raise ValueError("must be an address such as http://punchstream.example:8080/hf/{token}")
    return text


class HfSecurityOptions(HttpOptions):
    """The options of an entry, whether it is pushed or asked.

    `attendance` gives the directions of the states that are chosen on the screen, and `direction` those of HeyStar.
    `visitors` says whether a visitor whom HeyStar let in has punched. `callback_url` is where the device is to post to,
    with `{token}` in the place of the token. `api` is how it is asked: the LAN API, HeyStar on the terminal (`cgi`) or
    by the middleware; without it, what answers is found out. `qr_codes` says that people punch by QR code.
    """

    attendance: Annotated[Mapping[str, EventType], BeforeValidator(_states)] = {}
    direction: Annotated[Mapping[_Choice, EventType], BeforeValidator(_states)] = {}
    visitors: Literal["punches", "others"] = "others"
    callback_url: Annotated[str, AfterValidator(_address)] | None = None
    api: Literal["lan", "cgi", "middleware"] | None = None
    qr_codes: bool = False


def payload_names(configured: Collection[str], own: Collection[str] = _PAYLOAD) -> tuple[str, ...]:
    """The fields that an event keeps: those of the dialect, and the configured ones that may be kept at all.

    Args:
        configured: The names in the setting.
        own: Those of the dialect.
    """
    return tuple(dict.fromkeys(name for name in (*own, *configured) if name.lower() not in _NEVER))


def read_record(
    record: object,
    device: Device,
    options: HfSecurityOptions,
    *,
    received_at: datetime,
    source: Source,
    payload: Collection[str],
    sequence: object = None,
) -> RawEvent | Other:
    """The punch of a record, or the other thing that it reports.

    Args:
        record: As the device wrote it.
        device: Whose it is.
        options: Those of its entry.
        received_at: The server's clock, UTC.
        source: The way in.
        payload: The names of the fields to keep.
        sequence: The device's number of the record, where it has one.

    Raises:
        InvalidRecord: it may have been meant as a punch and can be none (`invalid_event`).
    """
    if not isinstance(record, Mapping):
        raise invalid(f"a record must be an object, not {type(record).__name__}")
    check_unambiguous(record, _DECIDING)
    user = _user(record)
    kind = no_punch(record, user)
    if kind is not None:
        return Other(kind, kept(record, payload))
    return punch(
        device,
        user=user,
        time=first(record, TIME_NAMES),
        event_type=_event_type(record, options),
        received_at=received_at,
        source=source,
        sequence=sequence,
        payload=scalars(record, payload),
    )


def report_of(fields: Mapping[str, object], time_name: str, device: Device) -> DeviceReport | None:
    """What a device says of itself: its clock, which has this name, its versions and its counts; None for nothing.

    Args:
        fields: As the device wrote them.
        time_name: The name of its clock among them.
        device: Its entry.
    """
    details: dict[str, str | int | float] = {
        name: str(value) for name, value in scalars(fields, REPORTED_TEXTS).items() if value is not None
    }
    details |= {name: _number(value) for name, value in scalars(fields, REPORTED_NUMBERS).items() if value is not None}
    time = fields.get(time_name)
    if time is None and not details:
        return None
    return DeviceReport(None if time is None else read_device_time(str(time), device.timezone), details=details)


def _number(value: str | float) -> str | int | float:
    """A number that may be written as text."""
    try:
        number = float(value)
    except ValueError:
        return value
    if not isfinite(number):
        return str(value)
    return int(number) if number.is_integer() else number


def first(record: Mapping[str, object], names: Collection[str]) -> object:
    """The value of the first of these names that has one; None where none has.

    Args:
        record: As the device wrote it.
        names: The names, the most usual first.
    """
    for name in names:
        value = record.get(name)
        if value not in (None, ""):
            return value
    return None


def kept(record: object, payload: Collection[str]) -> bytes:
    """A record as JSON, reduced to the fields that may be kept.

    Args:
        record: As the device wrote it.
        payload: The names of the fields that an event keeps.
    """
    if isinstance(record, Mapping):
        return encode_json(scalars(record, (*DEVICE_NAMES, *USER_NAMES, *TIME_NAMES, "eventType", *payload)))
    return encode_json(cut(record))


def no_punch(record: Mapping[str, object], user: object) -> str | None:
    """What a record reports that is no punch; None where it is one.

    Args:
        record: As the device wrote it.
        user: Whom it recognised; None for nobody.
    """
    method, _, outcome = str(record.get("type", "")).rpartition("_")
    if str(record.get("model")) in _DOOR_MODELS or method in _DOOR_METHODS:
        return "door"
    if user is None and not record.keys().isdisjoint(HOW_NAMES):
        return "stranger"
    if (nobody := NOBODY.get(str(user).strip().upper())) is not None:
        return nobody
    if str(record.get("identifyType")) == "2" or outcome in _DENIED:
        return "denied"
    return None


def _user(record: Mapping[str, object]) -> object:
    """Whom the device recognised; None for nobody."""
    user = first(record, USER_NAMES)
    # A device that names a person and leaves it empty has recognised nobody, whosever card it was.
    if user is None and not any(name in record for name in USER_NAMES):
        return first(record, (CARD_NAME,))
    return user


def _event_type(record: Mapping[str, object], options: HfSecurityOptions) -> EventType:
    action = record.get("action")
    if action is not None:
        return _ACTIONS.get(str(action).upper(), "UNKNOWN")
    return options.attendance.get(str(record.get("attendance")), "UNKNOWN")
