"""Who a device's user is and what is known of that employee: the wire format of the user-map topic.

The topic is compacted and holds two kinds of records. A *user* record says which employee a device user is, within a
scope: one device, one site, or everywhere. An *employee* record says what ERPNext knows of an employee. A record
without a value removes.

The source is part of a user record's key: each source writes keys of its own, so neither can overwrite the other, and
what a CSV file said is removed without a trace. Readers prefer the CSV file's word within one scope.
"""

from collections.abc import Sequence
from datetime import date
from typing import ClassVar, Final, Literal, get_args

from msgspec import Struct
from msgspec.json import Decoder

from attendance.wire import KeyedRecord, Text, decode_json, encode_json

EVERYWHERE: Final = "*"
MapSource = Literal["csv", "erpnext"]
SOURCES: Final[tuple[MapSource, ...]] = get_args(MapSource)  # the preferred one first


def site_scope(site: str) -> str:
    """The scope of one site."""
    return f"site:{site}"


def device_scope(device_id: str) -> str:
    """The scope of one device."""
    return f"device:{device_id}"


class UserKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="user"):
    """The key of a user record: `["user", scope, device_user_id, source]`."""

    scope: str
    device_user_id: str
    source: MapSource


class EmployeeKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="employee"):
    """The key of an employee record: `["employee", name]`."""

    name: str


class UserMapping(KeyedRecord, frozen=True):
    """A device user is this employee, within the scope (`*`, `site:NAME` or `device:ID`)."""

    what: ClassVar[str] = "a user map entry"
    in_key: ClassVar[Sequence[str]] = ("scope", "device_user_id", "source")

    scope: str
    device_user_id: str
    employee: Text
    source: MapSource

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(UserKey(self.scope, self.device_user_id, self.source))


class Employee(KeyedRecord, frozen=True):
    """What the directory knows of an employee. `status` is ERPNext's own word, such as `Active` or `Left`."""

    what: ClassVar[str] = "a user map entry"
    in_key: ClassVar[Sequence[str]] = ("name",)

    name: str
    status: Text
    relieving_date: date | None = None
    company: str | None = None
    branch: str | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(EmployeeKey(self.name))


def decode_key(key: bytes | None) -> UserKey | EmployeeKey:
    """Whose entry a record of the topic is.

    Raises:
        InvalidRecord: neither kind's (`undecodable_record`).
    """
    whose: UserKey | EmployeeKey = decode_json(_KEY, key, "a user map key")
    return whose


def decode(key: UserKey | EmployeeKey, value: bytes | None) -> UserMapping | Employee:
    """The entry that a record of the topic holds.

    Args:
        key: As `decode_key` returned it.
        value: The record value.

    Raises:
        InvalidRecord: it is no such entry (`undecodable_record`).
    """
    match key:
        case UserKey(scope, user, source):
            return UserMapping.decode_value(value, scope=scope, device_user_id=user, source=source)
        case EmployeeKey(name):
            return Employee.decode_value(value, name=name)


_KEY: Final = Decoder(UserKey | EmployeeKey)
