"""RawEvent: one punch as a terminal reported it, and the wire format of the raw topic.

Fields are only ever added, with a default; `decode` ignores fields it does not know. `docs/raw-event.schema.json` is
this format for consumers in other languages.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

import orjson
from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.times import format_milliseconds, format_seconds

_T = TypeVar("_T", bound=Struct)

EventType = Literal["IN", "OUT", "UNKNOWN"]
Transport = Literal["push", "pull", "file", "sql"]
Scalar = str | int | float | bool | None

Text = Annotated[str, Meta(min_length=1)]
Instant = Annotated[datetime, Meta(tz=True)]

EVENT_TYPES: Final = frozenset(get_args(EventType))
TRANSPORTS: Final = frozenset(get_args(Transport))

REPLAY_OF: Final = "x-replay-of"
"""The header of a raw record that `punchstream replay` sent again: `partition:offset` of the one it is a copy of."""
RAW_RECORD: Final = "x-raw-record"
"""The header of a check-in, and of what waits to be one: `partition:offset` of the raw record that it was made from."""


class Source(Struct, frozen=True):
    """The way in: which transport and adapter, and where in its batch the record stood."""

    transport: Transport
    adapter: str
    adapter_version: str = "1"
    batch_id: str | None = None
    line: int | None = None


class RawEvent(Struct, frozen=True):
    """One punch, unchanged by any policy.

    `device_user_id` is exactly what the device has, leading zeros and letters kept. `event_time` is UTC in whole
    seconds, or None where it could not be derived from `device_time`. `payload` holds the vendor's own fields, already
    reduced to the allowed ones: no photograph, no template, no name.

    `supersedes` is the `event_id` of an event that was wrong and that this one takes the place of: its own where only
    the employee was wrong. `superseded_document` is the target's name of what it holds for that one, by which a later
    document of the same `event_id` is told from it. No terminal's event has them.

    `clock_skew` is how many seconds the device's clock was ahead of the server's when that was last measured, where it
    was worth a warning; None otherwise.
    """

    device_id: Text
    site: Text
    device_user_id: Text
    event_type: EventType
    event_time: Instant | None
    device_time: str | None
    device_timezone: Text
    received_at: Instant
    source: Source
    sequence: int | None = None
    replayed: bool = False
    payload: Mapping[str, Scalar] = {}
    supersedes: Text | None = None
    superseded_document: Text | None = None
    clock_skew: int | None = None

    @property
    def event_id(self) -> str:
        """32 hex characters, the same for the same punch by whichever way it came. See `event_id`."""
        when = self.device_time or "" if self.event_time is None else format_seconds(self.event_time)
        return event_id(self.device_id, self.device_user_id, when, self.event_type)

    @property
    def key(self) -> bytes:
        """The record key: per-device order is kept."""
        return self.device_id.encode()

    def record(self) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        """Key, value and headers of the record, for less than they cost one by one: the id is computed once."""
        id_ = self.event_id
        return self.key, self._encode(id_), self._headers(id_)

    def headers(self) -> list[tuple[str, bytes]]:
        """CloudEvents 1.0 attributes in Kafka's binary mode."""
        return self._headers(self.event_id)

    def _headers(self, id_: str) -> list[tuple[str, bytes]]:
        return cloudevents_headers(
            id_,
            b"punchstream.attendance.raw.v1",
            f"/sites/{self.site}/devices/{self.device_id}",
            self.event_time or self.received_at,
        )

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return self._encode(self.event_id)

    def _encode(self, id_: str) -> bytes:
        data = {
            "event_id": id_,
            "device_id": self.device_id,
            "site": self.site,
            "device_user_id": self.device_user_id,
            "event_type": self.event_type,
            "event_time": None if self.event_time is None else format_seconds(self.event_time),
            "device_time": self.device_time,
            "device_timezone": self.device_timezone,
            "received_at": format_milliseconds(self.received_at),
            "sequence": self.sequence,
            "source": self.source,
            "replayed": self.replayed,
            "payload": self.payload,
        }
        if self.supersedes is not None:
            data |= {"supersedes": self.supersedes, "superseded_document": self.superseded_document}
        if self.clock_skew is not None:
            data["clock_skew"] = self.clock_skew
        return encode_json(data)

    @classmethod
    def decode(cls, value: bytes | None) -> "RawEvent":
        """The event that `encode` wrote, in this version or an older one.

        Raises:
            InvalidRecord: not such an event (`undecodable_record`).
        """
        return decode_as(_DECODER, value, "a raw event", "event_time", "received_at")


_DECODER: Final = Decoder(RawEvent)


def event_id(device_id: str, device_user_id: str, when: str, event_type: str) -> str:
    """The first 128 bits of SHA-256 over `device_id|device_user_id|when|event_type`, as 32 hex characters.

    `when` is the event time in UTC, whole seconds and `Z` (`2026-01-01T05:00:00Z`); where there is none, the device
    time as the device wrote it.
    """
    return sha256(f"{device_id}|{device_user_id}|{when}|{event_type}".encode()).hexdigest()[:32]


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


def is_replay(headers: Sequence[tuple[str, bytes]] | None) -> bool:
    """Whether a raw record with these headers is a copy."""
    return REPLAY_OF in dict(headers or ())


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
