"""What has to be known of terminals beside the fleet file: the wire format of the terminals topic.

The topic is compacted and holds three kinds of records, told apart by their key: the stamps that a terminal has to be
given back (the stamp of its last upload), the commands that wait for a terminal to fetch them and what it answered, and
the serial numbers that nobody has approved. A record without a value removes.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from msgspec import Struct
from msgspec.json import Decoder

from attendance.wire import JsonRecord, decode_json, encode_json


class StampsKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="marks"):
    """The key of a device's stamps: `["marks", device_id]`."""

    device_id: str


class OrderKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="command"):
    """The key of a command: `["command", device_id, id]`."""

    device_id: str
    id: str


class PendingKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="stranger"):
    """The key of a serial number that no entry has: `["stranger", adapter, serial]`."""

    adapter: str
    serial: str


class PendingDevice(JsonRecord, frozen=True):
    """A serial number that no entry has. Times are UTC, `YYYY-MM-DDTHH:MM:SSZ`; `facts` are what it said of itself."""

    what: ClassVar[str] = "a pending device"

    adapter: str
    serial: str
    first_seen: str
    last_seen: str
    requests: int
    client: str | None
    facts: Mapping[str, str]

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(PendingKey(self.adapter, self.serial))


class Order(JsonRecord, frozen=True):
    """A command for a device. `returned` is what the terminal answered, None while it has not."""

    what: ClassVar[str] = "a command"

    device_id: str
    id: str
    command: str
    queued_at: str
    returned: str | None = None
    answered_at: str | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(OrderKey(self.device_id, self.id))


class Stamps(Struct, frozen=True):
    """What a device is to be given back. The value is the stamps alone, the device stands in the key."""

    device_id: str
    stamps: Mapping[str, str]

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(StampsKey(self.device_id))

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return encode_json(self.stamps)


def decode_key(key: bytes | None) -> StampsKey | OrderKey | PendingKey:
    """What a record of the topic is about.

    Raises:
        InvalidRecord: nothing that is known (`undecodable_record`).
    """
    about: StampsKey | OrderKey | PendingKey = decode_json(_KEY, key, "a key of the terminals topic")
    return about


def decode_stamps(key: StampsKey, value: bytes | None) -> Stamps:
    """The stamps that a record holds; none where it has no value.

    Args:
        key: As `decode_key` returned it.
        value: The record value.

    Raises:
        InvalidRecord: it holds something else (`undecodable_record`).
    """
    stamps: dict[str, str] = {} if value is None else decode_json(_STAMPS, value, "stamps")
    return Stamps(key.device_id, stamps)


_KEY: Final = Decoder(StampsKey | OrderKey | PendingKey)
_STAMPS: Final = Decoder(dict[str, str])
