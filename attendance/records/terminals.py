"""What has to be known of terminals beside the fleet file: the wire format of the terminals topic.

The topic is compacted and holds four kinds of records, told apart by their key: the stamps that a terminal has to be
given back (the stamp of its last upload), the commands that wait for a terminal to fetch them and what it answered, the
serial numbers that nobody has approved, and the knocks: requests that push turned away. A record without a value
removes.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from msgspec import Struct
from msgspec.json import Decoder

from attendance.wire import JsonRecord, decode_json, encode_json

RESET: Final = "Reset"
"""Among the stamps of a device: when a person had them reset. Until it has connected, no upload moves them."""


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


class KnockKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="knock"):
    """The key of a knock: `["knock", client, cause, sender]`."""

    client: str
    cause: str
    sender: str


class PendingDevice(JsonRecord, frozen=True, omit_defaults=True):
    """A serial number that no entry has. Times are UTC, `YYYY-MM-DDTHH:MM:SSZ`; `facts` are what it said of itself.

    With a `device_id`, the entry of that device has it, and not the address that it came from. `client` is the last
    address, `clients` how many requests came from each of the first ones, `visits` in how many stretches of half a
    minute it came.
    """

    what: ClassVar[str] = "a pending device"

    adapter: str
    serial: str
    first_seen: str
    last_seen: str
    requests: int
    client: str | None
    facts: Mapping[str, str]
    device_id: str | None = None
    clients: Mapping[str, int] = {}
    visits: int = 1

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(PendingKey(self.adapter, self.serial))


class Knock(JsonRecord, frozen=True):
    """What came from one address and was turned away for one cause.

    `cause` is a reason of a refusal, or one of `producers/knocks.py`; `sender` is what most likely sent it, a word of
    the same module. The other facts are those of the last such request: `path` has no token and no value of the query,
    `status` is what it was answered, `device_id` is the device whose token or serial number it had. Times are UTC,
    `YYYY-MM-DDTHH:MM:SSZ`.
    """

    what: ClassVar[str] = "a knock"

    client: str
    cause: str
    sender: str
    first_seen: str
    last_seen: str
    requests: int = 1
    method: str = ""
    path: str = ""
    status: int = 0
    user_agent: str = ""
    device_id: str | None = None

    @property
    def about(self) -> KnockKey:
        """What its key says."""
        return KnockKey(self.client, self.cause, self.sender)

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(self.about)


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


def decode_key(key: bytes | None) -> StampsKey | OrderKey | PendingKey | KnockKey:
    """What a record of the topic is about.

    Raises:
        InvalidRecord: nothing that is known (`undecodable_record`).
    """
    about: StampsKey | OrderKey | PendingKey | KnockKey = decode_json(_KEY, key, "a key of the terminals topic")
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


_KEY: Final = Decoder(StampsKey | OrderKey | PendingKey | KnockKey)
_STAMPS: Final = Decoder(dict[str, str])
