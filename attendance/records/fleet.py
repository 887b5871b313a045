"""Entries of the fleet: the wire format of the fleet topic.

The topic is compacted and has one partition. A key names an entry and its source, so that what one source writes never
takes the place of what another wrote. Whose entry counts, `attendance.fleet_topic` says by the order of the records.

A pause of a device stands beside the entries and belongs to no source: the last word counts.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from msgspec import Meta, Struct
from msgspec.json import Decoder

from attendance.wire import KeyedRecord, Milliseconds, Offset, Text, decode_json, encode_json

Kind = Literal["site", "device", "shift"]


class FleetKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The key of an entry: `[kind, name, source]`."""

    kind: Kind
    name: Text
    source: Text


class FleetEntry(KeyedRecord, frozen=True):
    """What one source says of a site, a device or a shift.

    `name` is the site, the device_id or the Shift Type. `fields` has what the entry says itself, by the names of the
    fleet file: a device has the defaults of its site for the others. `claimed` is the offset of the record by which the
    entry came to the topic; None in that record. `handed_over` counts how often it was given to another source.
    `by` is the operating system's user, or a process.
    """

    what: ClassVar[str] = "an entry of the fleet"
    in_key: ClassVar[Sequence[str]] = ("kind", "name", "source")

    kind: Kind
    name: Text
    source: Text
    fields: Mapping[str, Any]
    by: Text
    claimed: Offset | None = None
    handed_over: Annotated[int, Meta(ge=0)] = 0

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(FleetKey(self.kind, self.name, self.source))

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None) -> Self:
        """What `key` and `encode` wrote.

        Raises:
            InvalidRecord: It is something else (`undecodable_record`).
        """
        about: FleetKey = decode_json(_KEY, key, "a key of an entry of the fleet")
        return cls.decode_value(value, kind=about.kind, name=about.name, source=about.source)


class PauseKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="pause"):
    """The key of a pause: `["pause", device_id]`."""

    device_id: Text


class DevicePause(KeyedRecord, frozen=True):
    """Nothing is taken from a device for now: it is not asked, and what it sends is refused, so that it keeps that.

    `by` had it so from `since` on, and `why` is what they said of it. A record without a value ends the pause.
    """

    what: ClassVar[str] = "a pause of a device"
    in_key: ClassVar[Sequence[str]] = ("device_id",)

    device_id: Text
    since: Milliseconds
    by: Text
    why: Text

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(PauseKey(self.device_id))

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None) -> Self:
        """What `key` and `encode` wrote.

        Raises:
            InvalidRecord: It is something else (`undecodable_record`).
        """
        about: PauseKey = decode_json(_PAUSE_KEY, key, "a key of a pause")
        return cls.decode_value(value, device_id=about.device_id)


def decode_key(key: bytes | None) -> FleetKey | PauseKey:
    """What a record of the topic is about.

    Raises:
        InvalidRecord: Nothing that is known (`undecodable_record`).
    """
    about: FleetKey | PauseKey
    # No union of the decoder's: the one begins with a fixed word, the other with one of several.
    if (key or b"").startswith(_PAUSED):
        about = decode_json(_PAUSE_KEY, key, "a key of the fleet topic")
    else:
        about = decode_json(_KEY, key, "a key of the fleet topic")
    return about


_KEY: Final = Decoder(FleetKey)
_PAUSE_KEY: Final = Decoder(PauseKey)
_PAUSED: Final = b'["pause",'
