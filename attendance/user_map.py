"""The user map in memory: mappings and employees joined, so that a change of status reaches every mapping of theirs."""

from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from typing import Final, TypeVar

import structlog

from attendance.errors import InvalidRecord
from attendance.kafka.records import KeyValue
from attendance.records.user_map import (
    EVERYWHERE,
    LIST_SOURCES,
    Employee,
    EmployeeKey,
    ErasedEmployee,
    ErasedKey,
    IgnoredKey,
    IgnoredUser,
    UserKey,
    UserMapping,
    decode,
    decode_key,
    device_scope,
    site_scope,
)
from attendance.wire import encode_json

log = structlog.get_logger(__name__)

ANSWERS: Final = 100_000
"""That are remembered at most: a device may send the punches of everybody who is in the map."""

Entry = UserMapping | IgnoredUser | Employee
"""What the map says of a device user or of an employee."""
_Record = TypeVar("_Record", bound=KeyValue)
_Key = TypeVar("_Key")
_Entry = TypeVar("_Entry")


class UserMap:
    """Fed record by record; what it answers may be stale by as much as the feed is."""

    def __init__(self) -> None:
        self._mappings: dict[UserKey, UserMapping] = {}
        # The console's are few, and asked for last.
        self._from_console: dict[UserKey, UserMapping] = {}
        self._ignored: dict[IgnoredKey, IgnoredUser] = {}
        self._employees: dict[str, Employee] = {}
        self._erased: dict[bytes, ErasedEmployee] = {}
        # Who was asked for before, until a mapping changes: one question instead of six for each punch. Whoever is not
        # in the map is not remembered: a sender makes up as many as it likes.
        self._answers: dict[tuple[str, str, str], UserMapping] = {}

    def apply(self, key: bytes | None, value: bytes | None) -> Entry | None:
        """Take in one record of the topic; a record without a value removes its key.

        Args:
            key: The record key.
            value: The record value.

        Returns:
            The entry that is new, changed or removed; None where the record says nothing new.

        Raises:
            InvalidRecord: the record is of no kind; the map is unchanged.
        """
        whose = decode_key(key)
        if isinstance(whose, ErasedKey):
            self._learn_erased(whose, value)
            return None
        entry = None if value is None else decode(whose, value)
        assert not isinstance(entry, ErasedEmployee)
        known: Entry | None
        if isinstance(whose, EmployeeKey):
            assert entry is None or isinstance(entry, Employee)
            known = _put(self._employees, whose.name, entry)
        elif isinstance(whose, IgnoredKey):
            assert entry is None or isinstance(entry, IgnoredUser)
            known = _put(self._ignored, whose, entry)
        else:
            assert entry is None or isinstance(entry, UserMapping)
            known = _put(self._from_console if whose.source == "console" else self._mappings, whose, entry)
            self._answers.clear()
        return None if entry == known else entry or known

    def _learn_erased(self, whose: ErasedKey, value: bytes | None) -> None:
        key = encode_json(whose)
        if value is None:
            self._erased.pop(key, None)
            return
        entry = decode(whose, value)
        assert isinstance(entry, ErasedEmployee)
        self._erased[key] = entry

    def learn(self, record: KeyValue) -> Entry | None:
        """Take in one record, as `apply` does; one that is of no kind is logged and ignored."""
        try:
            return self.apply(record.key, record.value)
        except InvalidRecord as error:
            log_ignored(record, error)
            return None

    def mapping(self, site: str, device_id: str, device_user_id: str) -> UserMapping | None:
        """Who this user of this device is: the device's own mapping before the site's before the general one.

        What the console says counts only where neither a file nor ERPNext names anybody.
        """
        asked = (site, device_id, device_user_id)
        answer = self._answers.get(asked)
        if answer is None:
            answer = self.listed(site, device_id, device_user_id) or self._by_console(site, device_id, device_user_id)
            if answer is not None:
                if len(self._answers) >= ANSWERS:
                    self._answers.clear()
                self._answers[asked] = answer
        return answer

    def listed(self, site: str, device_id: str, device_user_id: str) -> UserMapping | None:
        """Who this user is by the file or ERPNext alone."""
        return (
            self.in_scope(device_scope(device_id), device_user_id)
            or self.in_scope(site_scope(site), device_user_id)
            or self.in_scope(EVERYWHERE, device_user_id)
        )

    def _by_console(self, site: str, device_id: str, device_user_id: str) -> UserMapping | None:
        if not self._from_console:
            return None
        return self.from_console(device_scope(device_id), device_user_id) or self.from_console(
            site_scope(site), device_user_id
        )

    def in_scope(self, scope: str, device_user_id: str) -> UserMapping | None:
        """Who this user is by the mappings of that very scope: the CSV file's before ERPNext's."""
        for source in LIST_SOURCES:
            entry = self._mappings.get(UserKey(scope, device_user_id, source))
            if entry is not None:
                return entry
        return None

    def from_console(self, scope: str, device_user_id: str) -> UserMapping | None:
        """Whose the console says this user is in that very scope, whether or not it counts."""
        return self._from_console.get(UserKey(scope, device_user_id, "console"))

    def ignored(self, site: str, device_id: str, device_user_id: str) -> IgnoredUser | None:
        """By which entry this user of this device is ignored, the device's own before the site's.

        It counts where there is no `mapping`.
        """
        if not self._ignored:
            return None
        return self.ignored_in(device_scope(device_id), device_user_id) or self.ignored_in(
            site_scope(site), device_user_id
        )

    def ignored_in(self, scope: str, device_user_id: str) -> IgnoredUser | None:
        """By which entry of that very scope this user is ignored, whether or not it counts."""
        return self._ignored.get(IgnoredKey(scope, device_user_id))

    def employee(self, name: str) -> Employee | None:
        """What is known of that employee; None where the directory does not know it."""
        return self._employees.get(name)

    def erased(self, name: str) -> ErasedEmployee | None:
        """That an employee of that name was erased; None where nobody was."""
        return self._erased.get(ErasedEmployee.key_of(name))

    def has_erased(self, employee: Employee) -> bool:
        """Whether this very employee was erased."""
        erased = self.erased(employee.name)
        return erased is not None and erased.is_of(employee)

    def mappings(self) -> Iterator[UserMapping]:
        """Every mapping, in no order."""
        yield from self._mappings.values()
        yield from self._from_console.values()

    def mappings_by_hand(self) -> Iterator[UserMapping]:
        """Every mapping of the console, in no order."""
        return iter(self._from_console.values())

    def ignored_users(self) -> Iterator[IgnoredUser]:
        """Everybody who is ignored, in no order."""
        return iter(self._ignored.values())

    def employees(self) -> Iterator[Employee]:
        """Every employee, in no order."""
        return iter(self._employees.values())

    def __len__(self) -> int:
        return len(self._mappings) + len(self._from_console) + len(self._ignored) + len(self._employees)


def _put(entries: dict[_Key, _Entry], key: _Key, entry: _Entry | None) -> _Entry | None:
    """Put an entry in its place, or remove what is there. Returns what was there."""
    known = entries.pop(key, None)
    if entry is not None:
        entries[key] = entry
    return known


def log_ignored(record: KeyValue, error: InvalidRecord) -> None:
    """Say that a record of the topic is no entry.

    Args:
        record: The record.
        error: Why it is none.
    """
    log.error("A user map entry is ignored.", key=record.key, error=error.message)


async def read_user_map(
    batches: AsyncIterable[Iterable[_Record]], ignore: Callable[[_Record, InvalidRecord], object]
) -> UserMap:
    """The user map that records make.

    Args:
        batches: The records of the topic, in the order of their offsets.
        ignore: Called with each record that is no entry, and why.
    """
    users = UserMap()
    async for batch in batches:
        for record in batch:
            try:
                users.apply(record.key, record.value)
            except InvalidRecord as error:
                ignore(record, error)
    return users
