"""What a person decides about a device user: whose number it is, or that nothing is to come of its punches.

Both are entries of the user map. A mapping of the console counts where neither a file nor ERPNext names anybody for the
number, and an entry that ignores it counts where nobody names anybody. What was ignored is a dead letter from then on
(`streams/ignoring.py`), and is sent again once the entry is taken back.
"""

import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Self, TypeVar

from attendance.errors import InvalidRecord, PunchstreamError
from attendance.kafka.records import OutRecord
from attendance.records.dead_letter_action import Action, LetterId
from attendance.records.raw_event import RawEvent
from attendance.records.user_map import EVERYWHERE, IgnoredUser, UserMapping, device_scope, site_scope
from attendance.times import now
from attendance.user_map import UserMap
from operations.dead_letters import BORN_DISCARDED, Letter, State, letters_at, read_letters
from operations.log import Log, Skipped
from streams.ignoring import ignoring_id

_Entry = TypeVar("_Entry")
AT_ONCE: Final = 500
"""Records that wait for one acknowledgement."""
MOST_NOTE: Final = 500
"""Characters of a note: with more, it would not be whole in a dead letter."""


class Why(StrEnum):
    """Why something cannot be decided."""

    NO_NOTE = "no_note"
    LONG_NOTE = "long_note"
    UNKNOWN_EMPLOYEE = "unknown_employee"
    LISTED = "listed"
    MAPPED = "mapped"
    IGNORED = "ignored"
    NOT_MAPPED = "not_mapped"
    NOT_IGNORED = "not_ignored"


class CannotDecide(PunchstreamError):
    """A decision about a device user has no place. `about` is the employee or the source that stands against it."""

    def __init__(self, why: Why, message: str, about: str = "") -> None:
        super().__init__(message)
        self.why = why
        self.about = about


@dataclass(frozen=True, slots=True)
class Number:
    """A device user where they punch: at a site, or on one device of it.

    Attributes:
        user: The number, as devices have it.
        site: The site; that of the device where one is named. None where nobody knows it.
        device: The device; None for every device of the site.
    """

    user: str
    site: str | None
    device: str | None = None

    @classmethod
    def of_scope(cls, scope: str, user: str, site_of: Callable[[str], str | None]) -> Self:
        """The number of an entry of the user map.

        Args:
            scope: Of a site or a device.
            user: The device user.
            site_of: The site of a device; None where nobody knows it.
        """
        kind, _, name = scope.partition(":")
        return cls(user, site_of(name), name) if kind == "device" else cls(user, name)

    @property
    def scope(self) -> str:
        """The scope of its entries of the user map."""
        return site_scope(self.site or "") if self.device is None else device_scope(self.device)

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"site {self.site}" if self.device is None else f"device {self.device}"

    def has(self, event: RawEvent) -> bool:
        """Whether a punch is of this number, where it is meant."""
        where = event.site == self.site if self.device is None else event.device_id == self.device
        return where and event.device_user_id == self.user


class Standing(NamedTuple):
    """What the user map says of a number, in the order in which it counts."""

    listed: UserMapping | None
    """By a file or ERPNext."""
    given: UserMapping | None
    """By the console."""
    ignored: IgnoredUser | None

    @property
    def counts(self) -> UserMapping | IgnoredUser | None:
        """The entry that counts."""
        return self.listed or self.given or self.ignored


def standing(users: UserMap, number: Number) -> Standing:
    """Which entry of the user map counts for a number, and which ones it stands before.

    What a file says of single devices is not looked at for a whole site.

    Args:
        users: The user map.
        number: The number.
    """
    scopes = [*([number.scope] if number.device is not None else []), site_scope(number.site or "")]

    listed = _first(users.in_scope, [*scopes, EVERYWHERE], number.user)
    given = _first(users.from_console, scopes, number.user)
    return Standing(listed, given, _first(users.ignored_in, scopes, number.user))


def _first(find: Callable[[str, str], _Entry | None], scopes: Iterable[str], user: str) -> _Entry | None:
    return next((entry for scope in scopes if (entry := find(scope, user)) is not None), None)


async def map_number(
    log: Log, users: UserMap, number: Number, employee: str, *, by: str, note: str = ""
) -> UserMapping:
    """Say whose number it is. The punches that wait then flow, and those to come too.

    Args:
        log: The topics.
        users: The user map as it is now.
        number: The number.
        employee: Whose it is: the name of an employee in ERPNext.
        by: Who says so.
        note: Why, where there is more to say.

    Returns:
        The entry.

    Raises:
        CannotDecide: the user map does not have the employee, or a file or ERPNext names somebody for the number, or it
            is ignored.
        KafkaUnavailable: Kafka does not answer; the entry may be there or not.
    """
    _check_length(note)
    stands = standing(users, number)
    _check_unlisted(number, stands)
    if stands.ignored is not None:
        raise CannotDecide(
            Why.IGNORED, f"number {number.user} of {number.place} is ignored: take that back first", stands.ignored.by
        )
    if users.employee(employee) is None and next(users.employees(), None) is not None:
        raise CannotDecide(Why.UNKNOWN_EMPLOYEE, f"ERPNext has no employee {employee}, or not yet", employee)
    entry = UserMapping(number.scope, number.user, employee, "console", now(), by, note.strip() or None)
    await _write(log, entry)
    return entry


async def unmap_number(log: Log, users: UserMap, number: Number) -> UserMapping:
    """Take back what `map_number` said. Punches that were delivered stay; those to come wait again.

    Args:
        log: The topics.
        users: The user map as it is now.
        number: The number, in the scope of the entry.

    Returns:
        The entry that is gone.

    Raises:
        CannotDecide: there is no such entry.
        KafkaUnavailable: Kafka does not answer; the entry may be gone or not.
    """
    entry = users.from_console(number.scope, number.user)
    if entry is None:
        raise CannotDecide(Why.NOT_MAPPED, f"nobody mapped number {number.user} of {number.place} by hand")
    await _remove(log, entry)
    return entry


async def ignore_number(log: Log, users: UserMap, number: Number, *, by: str, note: str) -> IgnoredUser:
    """Have nothing come of the punches of a number, of those that wait and of those to come.

    Args:
        log: The topics.
        users: The user map as it is now.
        number: The number.
        by: Who says so.
        note: Why.

    Returns:
        The entry.

    Raises:
        CannotDecide: there is no note, or somebody is named for the number, or it is ignored already.
        KafkaUnavailable: Kafka does not answer; the entry may be there or not.
    """
    if not note.strip():
        raise CannotDecide(Why.NO_NOTE, "a note must say why nothing is to come of the punches")
    _check_length(note)
    stands = standing(users, number)
    _check_unlisted(number, stands)
    if stands.given is not None:
        said = f"number {number.user} of {number.place} is {stands.given.employee}: take that back first"
        raise CannotDecide(Why.MAPPED, said, stands.given.employee)
    if stands.ignored is not None:
        raise CannotDecide(Why.IGNORED, f"number {number.user} of {number.place} is ignored already", stands.ignored.by)
    entry = IgnoredUser(number.scope, number.user, secrets.token_hex(16), now(), by, note.strip())
    await _write(log, entry)
    return entry


async def stop_ignoring(
    log: Log, users: UserMap, number: Number, *, by: str, among: Collection[LetterId] | None = None
) -> int:
    """Take back that a number is ignored, and send again what was ignored. Whoever is interrupted does it again.

    A process that has not read yet that the entry is gone may ignore one more punch. That is sent again by doing this
    once more: it is among what `ignored` lists of an entry that is gone.

    Args:
        log: The topics.
        users: The user map as it is now.
        number: The number, in the scope of the entry.
        by: Who does so.
        among: Letters among which the ignored ones are, if that is known, as from a ledger; else the topic is read.

    Returns:
        How many punches were sent again.

    Raises:
        CannotDecide: it is not ignored, and nothing that was ignored is left.
        KafkaUnavailable: Kafka does not answer; a part may be done.
    """
    entry = users.ignored_in(number.scope, number.user)
    if entry is not None:
        # First: what is sent again is then decided without it.
        await _remove(log, entry)
    in_force = {each.ignoring_id for each in users.ignored_users() if each != entry}
    letters = read_ignored(log, Skipped()) if among is None else _ignored_at(log, among)
    count = 0
    part: list[Letter] = []
    async with aclosing(letters):
        async for letter, event, of in letters:
            if number.has(event) and of not in in_force:
                part.append(letter)
            if len(part) == AT_ONCE:
                await _send_again(log, part, by)
                count += len(part)
                part = []
    await _send_again(log, part, by)
    count += len(part)
    if entry is None and not count:
        raise CannotDecide(Why.NOT_IGNORED, f"number {number.user} of {number.place} is not ignored")
    return count


class IgnoredLetter(NamedTuple):
    """A dead letter of somebody who is or was ignored, its punch, and the id of the entry that did so."""

    letter: Letter
    event: RawEvent
    of: str


async def read_ignored(log: Log, skipped: Skipped) -> AsyncGenerator[IgnoredLetter, None]:
    """The punches that were ignored and not sent again since.

    Args:
        log: The topics.
        skipped: Where the records are counted that cannot be read.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    async with aclosing(read_letters(log, skipped)) as letters:
        async for letter in letters:
            found = _ignored(letter)
            if found is not None:
                yield found


async def _ignored_at(log: Log, ids: Collection[LetterId]) -> AsyncGenerator[IgnoredLetter, None]:
    for letter in await letters_at(log, ids, Skipped()):
        found = _ignored(letter)
        if found is not None:
            yield found


def _ignored(letter: Letter) -> IgnoredLetter | None:
    if letter.content.reason is not BORN_DISCARDED or letter.state is not State.DISCARDED or letter.history:
        return None
    of = ignoring_id(letter.content.headers)
    try:
        return None if of is None else IgnoredLetter(letter, RawEvent.decode(letter.content.value), of.decode())
    except (InvalidRecord, UnicodeDecodeError):
        return None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A number that is ignored, with how many of its punches were and are not sent again since.

    `in_force` is False where the entry is gone, and punches of it are left. Then `at` is when the last one was ignored,
    and `by` is None.
    """

    device_user_id: str
    scope: str
    at: datetime
    by: str | None
    note: str
    punches: int
    in_force: bool


async def ignored(log: Log, users: UserMap, skipped: Skipped) -> list[Ignored]:
    """Who is ignored, by number and scope.

    Args:
        log: The topics.
        users: The user map as it is now.
        skipped: Where the records are counted that cannot be read.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    entries = {each.ignoring_id: each for each in users.ignored_users()}
    counts = dict.fromkeys(entries, 0)
    left: dict[tuple[str, str], Ignored] = {}
    async with aclosing(read_ignored(log, skipped)) as letters:
        async for letter, event, of in letters:
            if of in entries:
                counts[of] += 1
                continue
            key = event.device_user_id, device_scope(event.device_id)
            before = left[key].punches if key in left else 0
            content = letter.content
            left[key] = Ignored(*key, content.at, None, content.message, before + 1, in_force=False)
    standing_now = [
        Ignored(each.device_user_id, each.scope, each.at, each.by, each.note, counts[id_], in_force=True)
        for id_, each in entries.items()
    ]
    return sorted([*standing_now, *left.values()], key=lambda each: (each.device_user_id, each.scope))


def _check_length(note: str) -> None:
    if len(note) > MOST_NOTE:
        raise CannotDecide(Why.LONG_NOTE, f"a note has at most {MOST_NOTE} characters")


def _check_unlisted(number: Number, stands: Standing) -> None:
    listed = stands.listed
    if listed is not None:
        source = "ERPNext" if listed.source == "erpnext" else "a file"
        raise CannotDecide(
            Why.LISTED,
            f"{source} says that number {number.user} is {listed.employee}: change it there",
            listed.employee,
        )


async def _send_again(log: Log, letters: Collection[Letter], by: str) -> None:
    """Whoever ends between the two has sent records again whose letters look as before: once more does no harm."""
    if not letters:
        return
    actions = [Action(each.id, "replayed", now(), by, replay_count=each.content.replay_count + 1) for each in letters]
    async with log.sending() as send:
        await send(*(each.content.to_replay() for each in letters))
        await send(*(OutRecord(log.topics["dead_letter_actions"], each.key, each.encode()) for each in actions))


async def _write(log: Log, entry: UserMapping | IgnoredUser) -> None:
    async with log.sending() as send:
        await send(OutRecord(log.topics["user_map"], entry.key, entry.encode()))


async def _remove(log: Log, entry: UserMapping | IgnoredUser) -> None:
    async with log.sending() as send:
        await send(OutRecord(log.topics["user_map"], entry.key, None))
