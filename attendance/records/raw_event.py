"""RawEvent: one punch as a terminal reported it, and the wire format of the raw topic.

Fields are only ever added, with a default; `decode` ignores fields it does not know. `docs/schemas/raw.v1.json` is this
format for consumers in other languages.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import ClassVar, Final, Literal, get_args

from msgspec import Struct

from attendance.kafka.records import Record
from attendance.times import format_milliseconds, format_seconds
from attendance.wire import (
    JsonRecord,
    Milliseconds,
    Place,
    Seconds,
    Text,
    cloudevents_headers,
    encode_json,
    position,
)

EventType = Literal["IN", "OUT", "UNKNOWN"]
Transport = Literal["push", "pull", "file", "sql"]
Scalar = str | int | float | bool | None


EVENT_TYPES: Final = frozenset(get_args(EventType))
TRANSPORTS: Final = frozenset(get_args(Transport))

TYPE: Final = b"punchstream.attendance.raw.v1"
"""CloudEvents' type of the record."""
REPLAY_OF: Final = "x-replay-of"
"""The header of a raw record that `punchstream replay` sent again: `partition:offset` of the one it is a copy of."""
ARRIVED_AT: Final = "x-arrived-at"
"""The header of such a copy: when the broker took the original, in milliseconds since the epoch, if that is known."""
UNREAD_ID: Final = "x-unread-id"
"""The header of a raw record that was made by reading an unread request again: the id of that request."""
RAW_RECORD: Final = "x-raw-record"
"""The header of a check-in, and of what waits to be one: `partition:offset` of the raw record that it was made from."""
IGNORED_BY: Final = "x-ignored-by"
"""The header of a punch that was ignored, kept when it is sent again: the `ignoring_id` of the entry that did so."""


LOG_APPEND_TIME: Final = 1
"""The type of a record's timestamp where that is the broker's."""
_MILLISECONDS: Final = re.compile(rb"\d{1,15}")


class Source(Struct, frozen=True):
    """The way in: which transport and adapter, and where in its batch the record stood."""

    transport: Transport
    adapter: str
    adapter_version: str = "1"
    batch_id: str | None = None
    line: int | None = None


class GivenTime(Struct, frozen=True):
    """Who gave a punch its right time, when, and why. `instead_of` is the wrong one; None where it cannot be read."""

    by: Text
    at: Milliseconds
    note: Text
    instead_of: Seconds | None = None


class RawEvent(JsonRecord, frozen=True):
    """One punch, unchanged by any policy.

    `device_user_id` is what the device has, leading zeros and letters kept, without the spaces around it. `event_time`
    is UTC in whole seconds, or None where it could not be derived from `device_time`. `payload` holds the vendor's own
    fields, already reduced to the allowed ones: no photograph, no template, no name.

    `supersedes` is the `event_id` of an event that was wrong and that this one takes the place of: its own where only
    the employee was wrong. `superseded_document` is the target's name of what it holds for that one, by which a later
    document of the same `event_id` is told from it. No terminal's event has them.

    `clock_skew` is how many seconds the device's clock was ahead of the server's when that was last measured, where it
    was worth a warning; None otherwise.

    `given_time` says that a person, and no clock, gave the punch its `event_time`. Only an event that supersedes
    another has it.
    """

    what: ClassVar[str] = "a raw event"

    device_id: Text
    site: Text
    device_user_id: Text
    event_type: EventType
    event_time: Seconds | None
    device_time: str | None
    device_timezone: Text
    received_at: Milliseconds
    source: Source
    sequence: int | None = None
    replayed: bool = False
    payload: Mapping[str, Scalar] = {}
    supersedes: Text | None = None
    superseded_document: Text | None = None
    clock_skew: int | None = None
    given_time: GivenTime | None = None

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
        return self.key, self.encode(id_), self.headers(id_)

    def headers(self, id_: str | None = None, type_: bytes = TYPE) -> list[tuple[str, bytes]]:
        """CloudEvents 1.0 attributes in Kafka's binary mode.

        Args:
            id_: The `event_id`, where it is known already.
            type_: Of the record that holds the event, where that is another.
        """
        source = f"/sites/{self.site}/devices/{self.device_id}".encode()
        return cloudevents_headers(id_ or self.event_id, type_, source, self.event_time or self.received_at)

    def encode(self, id_: str | None = None) -> bytes:
        """The record value: JSON in UTF-8. `id_` is the `event_id`, where it is known already."""
        data = {
            "event_id": id_ or self.event_id,
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
        if self.supersedes is not None or self.superseded_document is not None:
            data |= {"supersedes": self.supersedes, "superseded_document": self.superseded_document}
        if self.clock_skew is not None:
            data["clock_skew"] = self.clock_skew
        if self.given_time is not None:
            given = self.given_time
            data["given_time"] = {
                "by": given.by,
                "at": format_milliseconds(given.at),
                "note": given.note,
                "instead_of": None if given.instead_of is None else format_seconds(given.instead_of),
            }
        return encode_json(data)


def event_id(device_id: str, device_user_id: str, when: str, event_type: str) -> str:
    """The first 128 bits of SHA-256 over `device_id|device_user_id|when|event_type`, as 32 hex characters.

    `when` is the event time in UTC, whole seconds and `Z` (`2026-01-01T05:00:00Z`); where there is none, the device
    time as the device wrote it.
    """
    return sha256(f"{device_id}|{device_user_id}|{when}|{event_type}".encode()).hexdigest()[:32]


def broker_time(record: Record) -> int | None:
    """When the broker took a raw record or, of a replay copy, the one that it is a copy of.

    Returns:
        Milliseconds since the epoch by the broker's clock; None where nobody knows: the record has its sender's time.
    """
    headers = dict(record.headers or ())
    if REPLAY_OF in headers:
        noted = headers.get(ARRIVED_AT)
        return int(noted) if noted and _MILLISECONDS.fullmatch(noted) else None
    # What is no record of Kafka's own need not say whose time it has.
    is_brokers = getattr(record, "timestamp_type", 0) == LOG_APPEND_TIME
    return record.timestamp if is_brokers else None


def raw_place(data: bytes | None) -> Place | None:
    """The place that a header `RAW_RECORD` says; None where it is missing or is something else."""
    return position([(RAW_RECORD, data or b"")], RAW_RECORD)


def is_replay_copy(headers: Sequence[tuple[str, bytes]] | None) -> bool:
    """Whether a raw record with these headers is a copy."""
    return REPLAY_OF in dict(headers or ())
