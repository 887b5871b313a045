"""From a vendor's fields to a raw event. What every adapter has in common."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

import orjson

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.records.raw_event import EventType, RawEvent, Scalar, Source
from attendance.times import read_device_time

MAX_TEXT: Final = 256  # characters; no user id or time is longer, and a photograph is
_BEGINNING: Final = 32  # characters


def punch(  # noqa: PLR0913 - the fields of a punch
    device: Device,
    *,
    user: object,
    time: object,
    event_type: EventType,
    received_at: datetime,
    source: Source,
    sequence: object = None,
    historical: bool = False,
    payload: Mapping[str, Scalar] | None = None,
) -> RawEvent:
    """The raw event of a record.

    A time that cannot be read leaves `event_time` None. A sequence that is no integer counts as none.

    Args:
        device: Whose record it is.
        user: The device's user id as it came, a string or an integer. Spaces around it are not part of it.
        time: The device's time as it came; None where it gave none.
        event_type: The direction, as the device says.
        received_at: The server's clock, UTC.
        source: The way in.
        sequence: The vendor's number of the record.
        historical: Whether the device says that the punch is from its past.
        payload: The vendor's own fields, reduced to those that may be kept.

    Raises:
        InvalidRecord: it has no user, or a value is longer than any can be (`invalid_event`).
    """
    device_time = _device_time(time)
    return RawEvent(
        device_id=device.device_id,
        site=device.site,
        device_user_id=_user_id(user),
        event_type=event_type,
        event_time=None if device_time is None else read_device_time(device_time, device.timezone),
        device_time=device_time,
        device_timezone=device.timezone,
        received_at=received_at,
        source=source,
        sequence=sequence if isinstance(sequence, int) and not isinstance(sequence, bool) and _fits(sequence) else None,
        replayed=historical,
        payload=payload or {},
    )


def scalars(record: Mapping[str, object], names: Collection[str]) -> dict[str, Scalar]:
    """The record's fields of these names, as `cut` has them; objects and lists are left out.

    Args:
        record: As the device wrote it.
        names: The names of the fields.
    """
    return {name: cut(record[name]) for name in names if name in record and not isinstance(record[name], (dict, list))}


def cut(value: object) -> Scalar:
    """A scalar as it is, long strings shortened; None for anything else, which could hold what may not be kept.

    Of a string that is longer than `MAX_TEXT` a few characters tell what it is, and more may be part of a template.
    """
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[:_BEGINNING]
    if isinstance(value, int) and not _fits(value):
        return str(value)[:MAX_TEXT]
    return value if isinstance(value, int | float) else None


def invalid(message: str) -> InvalidRecord:
    """The error for a record that cannot be a punch."""
    return InvalidRecord(Reason.INVALID_EVENT, message)


def _fits(number: int) -> bool:
    """Whether it is no larger than a number in a record may be, which has 64 bits."""
    return -(2**63) <= number < 2**63


def _user_id(value: object) -> str:
    match value:
        case str() if "\N{REPLACEMENT CHARACTER}" in value:
            # Two users whose ids differ in the lost bytes would be one.
            raise invalid("user_id has bytes that cannot be read")
        case str() if (user := value.strip()) and len(user) <= MAX_TEXT:
            return user
        case str():
            raise invalid(f"user_id is empty or longer than {MAX_TEXT} characters")
        case bool():
            pass
        case int():
            return str(value)
    raise invalid(f"user_id must be a string or an integer, not {type(value).__name__}")


def _device_time(value: object) -> str | None:
    """What the device wrote; None where it wrote nothing."""
    if value is None:
        return None
    if isinstance(value, str):
        written = value
    elif isinstance(value, int) and not isinstance(value, bool):
        written = str(value)
    else:
        try:
            written = orjson.dumps(value).decode()
        except orjson.JSONEncodeError as error:
            raise invalid(f"time cannot be written: {error}") from error
    if len(written) > MAX_TEXT:
        raise invalid(f"time is longer than {MAX_TEXT} characters")
    return written
