"""The user map: who a device's user is and what is known of that employee; its wire format and its cache.

The topic is compacted and holds two kinds of records. A *user* record says which employee a device user is, within a
scope: one device, one site, or everywhere. An *employee* record says what ERPNext knows of an employee. They are joined
in memory, so that a change of status reaches every mapping of that employee. A record without a value removes.

The source is part of a user record's key: each source writes keys of its own, so neither can overwrite the other, and
what a CSV file said is removed without a trace. Readers prefer the CSV file's word within one scope.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, Protocol, get_args

import orjson
import structlog

from attendance.errors import InvalidRecord, Reason
from attendance.wire import decode_object, encode_json, text

log = structlog.get_logger(__name__)

EVERYWHERE: Final = "*"
MapSource = Literal["csv", "erpnext"]
SOURCES: Final[tuple[MapSource, ...]] = get_args(MapSource)  # the preferred one first


class MapRecord(Protocol):
    """A consumed record of the topic."""

    key: bytes | None
    value: bytes | None


def site_scope(site: str) -> str:
    """The scope of one site."""
    return f"site:{site}"


def device_scope(device_id: str) -> str:
    """The scope of one device."""
    return f"device:{device_id}"


@dataclass(frozen=True, slots=True)
class UserMapping:
    """A device user is this employee, within the scope (`*`, `site:NAME` or `device:ID`)."""

    scope: str
    device_user_id: str
    employee: str
    source: MapSource

    @property
    def key(self) -> bytes:
        """The record key."""
        return _user_key(self.scope, self.device_user_id, self.source)

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return encode_json({"employee": self.employee})


def _user_key(scope: str, device_user_id: str, source: MapSource) -> bytes:
    return encode_json(["user", scope, device_user_id, source])


@dataclass(frozen=True, slots=True)
class Employee:
    """What the directory knows of an employee. `status` is ERPNext's own word, such as `Active` or `Left`."""

    name: str
    status: str
    relieving_date: date | None = None
    company: str | None = None
    branch: str | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(["employee", self.name])

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return encode_json(
            {
                "status": self.status,
                "relieving_date": self.relieving_date,
                "company": self.company,
                "branch": self.branch,
            }
        )


def decode(key: bytes | None, value: bytes) -> UserMapping | Employee:
    """The entry that a record of the topic holds.

    Raises:
        InvalidRecord: the record is neither kind.
    """
    data = decode_object(value)
    try:
        match _decode_key(key):
            case (scope, user, source):
                return UserMapping(scope, user, text(data, "employee"), source)
            case name:
                relieved = data.get("relieving_date")
                return Employee(
                    name,
                    text(data, "status"),
                    None if relieved is None else date.fromisoformat(relieved),
                    data.get("company"),
                    data.get("branch"),
                )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a user map entry: {error!r}") from error


_User = tuple[str, str, MapSource]


def _decode_key(key: bytes | None) -> _User | str:
    """Scope, device user and source of a mapping, or the name of an employee.

    Raises:
        InvalidRecord: neither.
    """
    try:
        match orjson.loads(key or b""):
            case ["user", str(scope), str(user), source] if source in SOURCES:
                return scope, user, source
            case ["employee", str(name)]:
                return name
    except orjson.JSONDecodeError:
        pass  # no JSON is no key either
    raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a user map key: {key!r}")


class UserMap:
    """The user map in memory. Fed record by record; what it answers may be stale by as much as the feed is."""

    def __init__(self) -> None:
        self._mappings: dict[_User, UserMapping] = {}
        self._employees: dict[str, Employee] = {}
        # What was asked before, until a mapping changes: one question instead of six for each punch.
        self._answers: dict[tuple[str, str, str], UserMapping | None] = {}

    def apply(self, key: bytes | None, value: bytes | None) -> UserMapping | Employee | None:
        """Take in one record of the topic; a record without a value removes its key.

        Returns:
            The entry that is new, changed or removed; None where the record says nothing new.

        Raises:
            InvalidRecord: the record is neither kind; the map is unchanged.
        """
        known: UserMapping | Employee | None
        if value is None:
            match _decode_key(key):
                case str(name):
                    return self._employees.pop(name, None)
                case user:
                    self._answers.clear()
                    return self._mappings.pop(user, None)
        entry = decode(key, value)
        if isinstance(entry, Employee):
            known, self._employees[entry.name] = self._employees.get(entry.name), entry
        else:
            user = (entry.scope, entry.device_user_id, entry.source)
            known, self._mappings[user] = self._mappings.get(user), entry
            self._answers.clear()
        return None if entry == known else entry

    def learn(self, record: MapRecord) -> UserMapping | Employee | None:
        """Take in one record, as `apply` does; one that is neither kind is logged and ignored."""
        try:
            return self.apply(record.key, record.value)
        except InvalidRecord as error:
            log.error("A user map entry is ignored.", key=record.key, error=error.message)
            return None

    def mapping(self, site: str, device_id: str, device_user_id: str) -> UserMapping | None:
        """Who this user of this device is: the device's own mapping before the site's before the general one."""
        asked = (site, device_id, device_user_id)
        if asked not in self._answers:
            self._answers[asked] = (
                self.in_scope(device_scope(device_id), device_user_id)
                or self.in_scope(site_scope(site), device_user_id)
                or self.in_scope(EVERYWHERE, device_user_id)
            )
        return self._answers[asked]

    def in_scope(self, scope: str, device_user_id: str) -> UserMapping | None:
        """Who this user is by the mappings of that very scope: the CSV file's before ERPNext's."""
        for source in SOURCES:
            entry = self._mappings.get((scope, device_user_id, source))
            if entry is not None:
                return entry
        return None

    def employee(self, name: str) -> Employee | None:
        """What is known of that employee; None where the directory does not know it."""
        return self._employees.get(name)

    def mappings(self) -> Iterator[UserMapping]:
        """Every mapping, in no order."""
        return iter(self._mappings.values())

    def employees(self) -> Iterator[Employee]:
        """Every employee, in no order."""
        return iter(self._employees.values())

    def __len__(self) -> int:
        return len(self._mappings) + len(self._employees)
