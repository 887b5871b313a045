"""RawEvent: one punch as a terminal reported it, and the wire format of the raw topic.

Fields are only ever added, with a default; `decode` ignores fields it does not know. `docs/raw-event.schema.json` is
this format for consumers in other languages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal, get_args

import orjson

from attendance.errors import InvalidRecord, Reason
from attendance.times import format_milliseconds, format_seconds, parse_utc

EventType = Literal["IN", "OUT", "UNKNOWN"]
Transport = Literal["push", "pull", "file", "sql"]
Scalar = str | int | float | bool | None

EVENT_TYPES: Final = frozenset(get_args(EventType))
TRANSPORTS: Final = frozenset(get_args(Transport))


@dataclass(frozen=True, slots=True)
class Source:
    """The way in: which transport and adapter, and where in its batch the record stood."""

    transport: Transport
    adapter: str
    adapter_version: str = "1"
    batch_id: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One punch, unchanged by any policy.

    `device_user_id` is exactly what the device has, leading zeros and letters kept. `event_time` is UTC in whole
    seconds, or None where it could not be derived from `device_time`. `payload` holds the vendor's own fields, already
    reduced to the allowed ones: no photograph, no template, no name.
    """

    device_id: str
    site: str
    device_user_id: str
    event_type: EventType
    event_time: datetime | None
    device_time: str | None
    device_timezone: str
    received_at: datetime
    source: Source
    sequence: int | None = None
    replayed: bool = False
    payload: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def event_id(self) -> str:
        """32 hex characters, the same for the same punch by whichever way it came. See `event_id`."""
        when = self.device_time or "" if self.event_time is None else format_seconds(self.event_time)
        return event_id(self.device_id, self.device_user_id, when, self.event_type)

    @property
    def key(self) -> bytes:
        """The record key: per-device order is kept."""
        return self.device_id.encode()

    def headers(self) -> list[tuple[str, bytes]]:
        """CloudEvents 1.0 attributes in Kafka's binary mode."""
        return cloudevents_headers(
            self.event_id,
            "punchstream.attendance.raw.v1",
            f"/sites/{self.site}/devices/{self.device_id}",
            self.event_time or self.received_at,
        )

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return orjson.dumps(
            {
                "event_id": self.event_id,
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
        )

    @classmethod
    def decode(cls, value: bytes | None) -> "RawEvent":
        """The event that `encode` wrote, in this version or an older one.

        Raises:
            InvalidRecord: not such an event (`undecodable_record`).
        """
        data = decode_object(value)
        try:
            source = data["source"]
            when = data["event_time"]
            event = cls(
                device_id=text(data, "device_id"),
                site=text(data, "site"),
                device_user_id=text(data, "device_user_id"),
                event_type=data["event_type"],
                event_time=None if when is None else parse_utc(when),
                device_time=data["device_time"],
                device_timezone=text(data, "device_timezone"),
                received_at=parse_utc(data["received_at"]),
                source=Source(
                    transport=source["transport"],
                    adapter=source["adapter"],
                    adapter_version=source.get("adapter_version", "1"),
                    batch_id=source.get("batch_id"),
                    line=source.get("line"),
                ),
                sequence=data.get("sequence"),
                replayed=data.get("replayed", False),
                payload=data.get("payload", {}),
            )
            if event.event_type not in EVENT_TYPES or event.source.transport not in TRANSPORTS:
                raise ValueError(f"type {event.event_type!r}, transport {event.source.transport!r}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a raw event: {error!r}") from error
        return event


def event_id(device_id: str, device_user_id: str, when: str, event_type: str) -> str:
    """The first 128 bits of SHA-256 over `device_id|device_user_id|when|event_type`, as 32 hex characters.

    `when` is the event time in UTC, whole seconds and `Z` (`2026-01-01T05:00:00Z`); where there is none, the device
    time as the device wrote it.
    """
    return sha256(f"{device_id}|{device_user_id}|{when}|{event_type}".encode()).hexdigest()[:32]


def cloudevents_headers(id_: str, type_: str, source: str, time: datetime) -> list[tuple[str, bytes]]:
    """The headers that every event record carries, in CloudEvents' Kafka binary mode."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", id_.encode()),
        ("ce_type", type_.encode()),
        ("ce_source", source.encode()),
        ("ce_time", format_milliseconds(time).encode()),
        ("content-type", b"application/json"),
    ]


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
