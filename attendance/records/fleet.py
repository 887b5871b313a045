"""Entries of the fleet: the wire format of the fleet topic.

The topic is compacted and has one partition. A key names an entry and its source, so that what one source writes never
takes the place of what another wrote. Whose entry counts, `attendance.fleet_topic` says by the order of the records.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from msgspec import Meta, Struct
from msgspec.json import Decoder

from attendance.wire import KeyedRecord, Offset, Text, decode_json, encode_json

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
        about = decode_key(key)
        return cls.decode_value(value, kind=about.kind, name=about.name, source=about.source)


def decode_key(key: bytes | None) -> FleetKey:
    """What a record of the topic is about.

    Raises:
        InvalidRecord: Nothing that is known (`undecodable_record`).
    """
    about: FleetKey = decode_json(_KEY, key, "a key of the fleet topic")
    return about


_KEY: Final = Decoder(FleetKey)
