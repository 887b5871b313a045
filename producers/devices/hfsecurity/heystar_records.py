"""What a HeyStar terminal says of one recognition, pushed or asked for: the words, and what is a punch.

HeyStar is most likely the software of a stock X05, and HF-IMS its server. A record has `personSn` for the person,
`recordTime` or, where it was asked for, `createTime`, and its verdict in three fields. Values are text, numbers or
empty. Nothing of this was tried on hardware.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, Literal

from attendance.fleet import Device
from attendance.records.raw_event import RawEvent, Scalar, Source
from attendance.times import read_device_time
from producers.devices.common.bodies import check_unambiguous
from producers.devices.common.punch import MAX_TEXT, cut, invalid, punch
from producers.devices.contract import Other
from producers.devices.hfsecurity.recognition import (
    NOBODY,
    USER_NAMES,
    HfSecurityOptions,
    first,
    kept,
    no_punch,
    payload_names,
)

PERSON: Final = "personSn"

_VERDICTS: Final = frozenset({"resultFlag", "strangerFlag"})
_RECORD_NAMES: Final = frozenset({"recordId", "recordTime", "recordTimeStr"})
NUMBER_NAMES: Final = ("recordId", "id")
RECORD_TIME_NAMES: Final = ("recordTime", "createTime", "recordTimeStr")
_DECIDING: Final = frozenset(
    {*_VERDICTS, *NUMBER_NAMES, *RECORD_TIME_NAMES, *USER_NAMES, "deviceKey", "personType", "cardFlag", "direction"}
)
# Not cardNo, idCard, voucherCode or attach, which say who it is, nor temperature.
_PAYLOAD: Final = (
    *("personType", "resultFlag", "strangerFlag", "direction", "verifyStyle", "openDoorFlag", "recordTimeStr"),
    *("faceFlag", "fingerFlag", "cardFlag", "palmFlag", "pwdFlag", "idCardFlag", "maskFlag", "capFlag"),
)
_NO_FLAG: Final = "?"
_NO: Final = ("", "0")
_LONGEST_NUMBER: Final = 18  # digits


def is_record(fields: Mapping[str, object]) -> bool:
    """Whether these fields are a record of HeyStar, and neither an enrolled person nor another dialect.

    Args:
        fields: As the device wrote them.
    """
    names = fields.keys()
    return not names.isdisjoint(_VERDICTS) or (PERSON in names and not names.isdisjoint(_RECORD_NAMES))


def is_refusal(fields: Mapping[str, object]) -> bool:
    """Whether a record says that nobody was let in, whoever else it names.

    Args:
        fields: As the device wrote them.
    """
    return _refused(fields) is not None


def _refused(fields: Mapping[str, object]) -> Literal["stranger", "blacklist", "denied"] | None:
    """Why a record says that nobody was let in; None where it does not."""
    if _text(fields.get("strangerFlag")) == "1":
        return "stranger"
    if _text(fields.get("personType")) == "3":
        return "blacklist"
    return "denied" if _text(fields.get("resultFlag")) in ("2", "3") else None


def record_payload_names(configured: Collection[str]) -> tuple[str, ...]:
    """The fields that an event keeps: those of a record, and the configured ones that may be kept at all.

    Args:
        configured: The names in the setting.
    """
    return payload_names(configured, _PAYLOAD)


def kept_record(record: object, payload: Collection[str]) -> bytes:
    """A record as JSON, reduced to the fields that may be kept.

    Args:
        record: As the device wrote it.
        payload: What `record_payload_names` returned.
    """
    return kept(record, (*NUMBER_NAMES, *payload))


def read_heystar_record(
    record: object,
    device: Device,
    options: HfSecurityOptions,
    *,
    received_at: datetime,
    source: Source,
    payload: Collection[str],
) -> RawEvent | Other:
    """The punch of a record, or the other thing that it reports.

    Args:
        record: As the device wrote it.
        device: Whose it is.
        options: Those of its entry.
        received_at: The server's clock, UTC.
        source: The way in.
        payload: What `record_payload_names` returned.

    Raises:
        InvalidRecord: it may have been meant as a punch and can be none (`invalid_event`).
    """
    if not isinstance(record, dict):
        raise invalid(f"a record must be an object, not {type(record).__name__}")
    check_unambiguous(record, _DECIDING)
    user = _user(record)
    kind = _no_punch(record, user, options)
    if kind is not None:
        return Other(kind, kept_record(record, payload))
    return punch(
        device,
        user=user,
        time=_time(record, device),
        event_type=options.direction.get(_text(record.get("direction")), "UNKNOWN"),
        received_at=received_at,
        source=source,
        sequence=_number(record),
        payload=_payload(record, payload),
    )


def _user(record: Mapping[str, object]) -> object:
    """Whom the terminal recognised; None for nobody. A card says nothing of who holds it."""
    user = record.get(PERSON) if PERSON in record else first(record, USER_NAMES)
    return (user.strip() or None) if isinstance(user, str) else user


def _no_punch(record: Mapping[str, object], user: object, options: HfSecurityOptions) -> str | None:  # noqa: PLR0911 - one for each kind
    """What a record reports that is no punch; None where it is one. The order decides.

    Raises:
        InvalidRecord: the verdict has a value that nobody has written down (`invalid_event`).
    """
    unknown, person = _text(record.get("strangerFlag")), _text(record.get("personType"))
    result, refused = _text(record.get("resultFlag")), _refused(record)
    if refused in ("stranger", "blacklist"):
        return refused
    if user is None:
        return _nobody(record, result)
    if (nobody := NOBODY.get(str(user).upper())) is not None:
        return nobody
    if refused is not None:
        return refused
    if result not in ("", "0", "1") or unknown not in _NO:
        raise invalid("the verdict of the terminal has a value that is not known")
    # A record that also has the LAN API's word for the outcome is a punch where both say so.
    if "_" in _text(record.get("type")) and (kind := no_punch(record, user)) is not None:
        return kind
    if person == "2":
        return None if options.visitors == "punches" else "visitor"
    if person not in ("", "1"):
        raise invalid("personType has a value that is not known, or is 0 beside a person")
    return None


def _nobody(record: Mapping[str, object], result: str) -> str:
    """What a record reports that names no person.

    Raises:
        InvalidRecord: somebody was let in, and has no name that is known (`invalid_event`).
    """
    if result == "1" and record.keys().isdisjoint(USER_NAMES):
        raise invalid("somebody was let in, and no field that is known says who")
    return "unknown_card" if _text(record.get("cardFlag")) == "1" else "stranger"


def _text(value: object) -> str:
    """A flag, number or time as text, however it is written: text, a number or a truth value; empty for nothing.

    A list or an object is no flag, nor is it nothing.
    """
    if isinstance(value, str):
        return value.strip()
    match value:
        case bool():
            return str(int(value))
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
        case None:
            return ""
    return _NO_FLAG


def _time(record: Mapping[str, object], device: Device) -> str | None:
    """The first time that can be read; what stands there instead where none can."""
    given = None
    for name in RECORD_TIME_NAMES:
        time = _text(record.get(name))
        if time == _NO_FLAG:
            continue
        if time and read_device_time(time, device.timezone) is not None:
            return time
        given = given or time or None
    return given


def _number(record: Mapping[str, object]) -> int | None:
    digits = _text(first(record, NUMBER_NAMES))
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= _LONGEST_NUMBER else None


def _payload(record: Mapping[str, object], names: Collection[str]) -> dict[str, Scalar]:
    payload: dict[str, Scalar] = {}
    for name, value in zip(names, map(record.get, names), strict=True):
        if isinstance(value, str):  # nearly always
            if value:
                payload[name] = value[:MAX_TEXT]
        elif value is not None and not isinstance(value, (dict, list)):
            payload[name] = cut(value)
    # That the terminal said nothing of the verdict is worth knowing.
    payload.setdefault("resultFlag", None)
    return payload
