"""The codec of every record: JSON in UTF-8, and the headers that records carry beside it."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import orjson
from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.times import format_milliseconds

_T = TypeVar("_T", bound=Struct)

Text = Annotated[str, Meta(min_length=1)]
Instant = Annotated[datetime, Meta(tz=True)]

_SAME: Final = (("ce_specversion", b"1.0"), ("content-type", b"application/json"))


def cloudevents_headers(id_: str, type_: bytes, source: str, time: datetime) -> list[tuple[str, bytes]]:
    """The headers that every event record carries, in CloudEvents' Kafka binary mode."""
    return [
        *_SAME,
        ("ce_id", id_.encode()),
        ("ce_type", type_),
        ("ce_source", source.encode()),
        ("ce_time", format_milliseconds(time).encode()),
    ]


def position(headers: Sequence[tuple[str, bytes]], name: str) -> tuple[int, int] | None:
    """Partition and offset in the header of that name, None where it is missing or is something else."""
    matches = (re.fullmatch(rb"(\d{1,9}):(\d{1,18})", data) for each, data in headers if each == name)
    return next(((int(match[1]), int(match[2])) for match in matches if match), None)


def decode_as(decoder: Decoder[_T], value: bytes | None, what: str, *times: str) -> _T:
    """What a record's value holds, with these of its times in UTC. Unknown fields are ignored.

    Raises:
        InvalidRecord: not `what` (`undecodable_record`).
    """
    try:
        decoded = decoder.decode(value or b"")
        for name in times:
            time = getattr(decoded, name)
            if time is not None and time.tzinfo is not UTC:
                decoded = replace(decoded, **{name: time.astimezone(UTC)})
    except (MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not {what}: {error}") from error
    return decoded


encode_json: Final = Encoder().encode
"""A value as JSON in UTF-8, in bytes that take no more memory than they need.

Those that `orjson.dumps` returns hold 4 KB or more each, however short they are, for as long as they are kept; and to
fill memory by the page for what is soon let go takes longer than to write the JSON.
"""


def decode_object(value: bytes | None) -> dict[str, Any]:
    """The JSON object in a record's value.

    Raises:
        InvalidRecord: not a JSON object (`undecodable_record`).
    """
    try:
        data = orjson.loads(value or b"")
    except orjson.JSONDecodeError as error:
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"a JSON {type(data).__name__}, not an object")
    return data


def text(data: Mapping[str, Any], name: str) -> str:
    """A field that must be a string and not empty.

    Raises:
        KeyError: it is missing.
        ValueError: it is something else.
    """
    value = data[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a string and not empty, not {value!r}")
    return value
