"""Who a device's user is and what is known of that employee: the wire format of the user-map topic.

The topic is compacted and holds four kinds of records. A *user* record says which employee a device user is, within a
scope: one device, one site, or everywhere. An *ignored* record says that nothing is to come of a device user's punches.
An *employee* record says what ERPNext knows of an employee. An *erased* record says, without naming them, that an
employee was erased. A record without a value removes.

The source is part of a user record's key: each source writes keys of its own, so neither can overwrite the other, and
what a CSV file said is removed without a trace. Readers prefer the CSV file's word within one scope. The console's word
counts for whom neither the file nor ERPNext names, in whichever scope.
"""

from collections.abc import Sequence
from datetime import date, datetime
from hashlib import sha256
from typing import ClassVar, Final, Literal, get_args

from msgspec import Struct
from msgspec.json import Decoder

from attendance.errors import Reason
from attendance.wire import KeyedRecord, Milliseconds, Text, decode_json, encode_json

EVERYWHERE: Final = "*"
ListSource = Literal["csv", "erpnext"]
"""Who lists everybody: a file, and ERPNext."""
LIST_SOURCES: Final[tuple[ListSource, ...]] = get_args(ListSource)  # the preferred one first
MapSource = Literal["csv", "erpnext", "console"]


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


class IgnoredKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="ignored"):
    """The key of who is ignored: `["ignored", scope, device_user_id]`."""

    scope: str
    device_user_id: str


class EmployeeKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="employee"):
    """The key of an employee record: `["employee", name]`."""

    name: str


class ErasedKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="erased"):
    """The key of who was erased: `["erased", digest]`, the digest being that of an employee or of a device user."""

    digest: str


class UserMapping(KeyedRecord, frozen=True):
    """A device user is this employee, within the scope (`*`, `site:NAME` or `device:ID`).

    One of the console, or of a command that does the same, says when, by whom and why: `at`, `by`, `note`.
    """

    what: ClassVar[str] = "a user map entry"
    in_key: ClassVar[Sequence[str]] = ("scope", "device_user_id", "source")

    scope: str
    device_user_id: str
    employee: Text
    source: MapSource
    at: Milliseconds | None = None
    by: str | None = None
    note: str | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(UserKey(self.scope, self.device_user_id, self.source))

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8. Fields that came later are left out where nothing is known."""
        return super().encode() if self.at is not None else encode_json({"employee": self.employee})


class IgnoredUser(KeyedRecord, frozen=True):
    """Nothing is to come of the punches of a device user, such as a visitor, within the scope.

    It counts only for whom no mapping names an employee. `ignoring_id` is random: a punch that was ignored says by
    which entry, so that it is not ignored by the same one once more after it was sent again.
    """

    what: ClassVar[str] = "a user map entry"
    in_key: ClassVar[Sequence[str]] = ("scope", "device_user_id")

    scope: str
    device_user_id: str
    ignoring_id: Text
    at: Milliseconds
    by: Text
    note: Text

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(IgnoredKey(self.scope, self.device_user_id))


class Employee(KeyedRecord, frozen=True):
    """What the directory knows of an employee. `status` is ERPNext's own word, such as `Active` or `Left`.

    `created` is ERPNext's `creation` of the document, as it writes it. It says who has this name: ERPNext gives the
    number of a deleted employee to the next one, whose `creation` is another.
    """

    what: ClassVar[str] = "a user map entry"
    in_key: ClassVar[Sequence[str]] = ("name",)

    name: str
    status: Text
    relieving_date: date | None = None
    company: str | None = None
    branch: str | None = None
    date_of_joining: date | None = None
    created: str | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(EmployeeKey(self.name))

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8. Fields that came later are left out where nothing is known."""
        later = {"date_of_joining": self.date_of_joining, "created": self.created}
        return encode_json(
            {
                "status": self.status,
                "relieving_date": self.relieving_date,
                "company": self.company,
                "branch": self.branch,
                **{name: value for name, value in later.items() if value is not None},
            }
        )

    def may_check_in(self, day: date) -> bool:
        """Whether a punch of that day is to be stored for this employee. This is the one rule, for every stage.

        Args:
            day: The date on the clock of the device, in its zone, when the person punched. The check-out of a night
                shift is of the day on which it ends.
        """
        return self.refusal(day) is None

    def refusal(self, day: date) -> Reason | None:
        """Why no punch of that day is to be stored for this employee; None where it is.

        Nothing is stored from before the joining date. From then on an Active employee may check in, and one who left
        or is suspended up to the relieving date. Both days are included. ERPNext refuses an Inactive employee whatever
        the date.

        Args:
            day: As in `may_check_in`.

        Returns:
            `before_joining`, `employee_inactive` or None.
        """
        if self.status == "Inactive":
            return Reason.EMPLOYEE_INACTIVE
        if self.date_of_joining is not None and day < self.date_of_joining:
            return Reason.BEFORE_JOINING
        if self.status == "Active" or (self.relieving_date is not None and day <= self.relieving_date):
            return None
        return Reason.EMPLOYEE_INACTIVE


class ErasedEmployee(KeyedRecord, frozen=True):
    """An employee who was erased, and whom the directory leaves out, though ERPNext has them; or a device user.

    `digest` is that of the name, `created` that of ERPNext's `creation`, by which somebody else of the same name is
    told from them; None where it was not known. `by` is the operating system's user.
    """

    what: ClassVar[str] = "a user map entry"
    in_key: ClassVar[Sequence[str]] = ("digest",)

    digest: str
    at: Milliseconds
    by: Text
    created: str | None = None

    @classmethod
    def of(cls, employee: Employee, at: datetime, by: str) -> "ErasedEmployee":
        """That an employee was erased.

        Args:
            employee: As the user map had them.
            at: When.
            by: Who did so.
        """
        created = None if employee.created is None else _digest(employee.created)
        return cls(_digest(employee.name), at, by, created)

    def is_of(self, employee: Employee) -> bool:
        """Whether an employee is the one who was erased."""
        known = None if employee.created is None else _digest(employee.created)
        return self.digest == _digest(employee.name) and (None in (self.created, known) or self.created == known)

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(ErasedKey(self.digest))

    @staticmethod
    def key_of(name: str) -> bytes:
        """The record key of an employee of that name."""
        return encode_json(ErasedKey(_digest(name)))

    @classmethod
    def of_user(cls, device_id: str, device_user_id: str, at: datetime, by: str) -> "ErasedEmployee":
        """That a device user was erased, for whoever keeps punches elsewhere. No employee has such a digest.

        Args:
            device_id: The device.
            device_user_id: As the device has it.
            at: When.
            by: Who did so.
        """
        return cls(digest_of_user(device_id, device_user_id), at, by)


def digest_of_name(name: str) -> str:
    """The digest of an employee who was erased.

    Args:
        name: In ERPNext.
    """
    return _digest(name)


def digest_of_user(device_id: str, device_user_id: str) -> str:
    """The digest of a device user who was erased.

    Args:
        device_id: The device.
        device_user_id: As the device has it.
    """
    return _digest(encode_json((device_id, device_user_id)).decode())


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


Key = UserKey | IgnoredKey | EmployeeKey | ErasedKey
"""Whose entry a record is."""


def decode_key(key: bytes | None) -> Key:
    """Whose entry a record of the topic is.

    Raises:
        InvalidRecord: no kind's (`undecodable_record`).
    """
    whose: Key = decode_json(_KEY, key, "a user map key")
    return whose


def decode(key: Key, value: bytes | None) -> UserMapping | IgnoredUser | Employee | ErasedEmployee:
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
        case IgnoredKey(scope, user):
            return IgnoredUser.decode_value(value, scope=scope, device_user_id=user)
        case EmployeeKey(name):
            return Employee.decode_value(value, name=name)
        case ErasedKey(digest):
            return ErasedEmployee.decode_value(value, digest=digest)


_KEY: Final = Decoder(Key)
