"""A person, and which records are theirs.

A person is an employee, or a device user of one scope. An employee's punches are those of the device users that the
user map gives them, and those of which a check-in names them: a number may have been somebody else's before.
"""

import re
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.records.attendance_day import AttendanceDay
from attendance.records.checkin import Checkin
from attendance.records.dead_letter_action import Action, LetterId
from attendance.records.discard import is_discard_key
from attendance.records.outcomes import Delivery, Dropped, Waiting, waiting_event_id
from attendance.records.raw_event import RawEvent, event_id
from attendance.records.unread import UnreadRequest
from attendance.records.user_map import (
    EVERYWHERE,
    EmployeeKey,
    ErasedKey,
    UserKey,
    UserMapping,
    decode,
    decode_key,
    device_scope,
    site_scope,
)
from attendance.sealing import Seal, StaysSealed
from attendance.times import format_seconds
from attendance.topics import Name
from attendance.user_map import UserMap
from operations.dead_letters import dead_letter
from operations.log import Log, Skipped
from operations.users import read_user_map
from streams.dedup import Kept, Punch
from streams.erased import is_erasure
from streams.state import FLOOR_KEY
from streams.state import decode as decode_kept

READ: Final[tuple[Name, ...]] = (
    "user_map",
    "raw",
    "checkins",
    "unmapped",
    "dropped",
    "dead_letters",
    "dead_letter_actions",
    "deliveries",
    "attendance_days",
    "dedup_state",
    "other_events",
    "unread",
)
"""The topics that hold something of a person, in the order in which they are read: what is known grows."""

Pair = tuple[str, str]
"""Device and device user."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is meant: an employee, or else a device user within a scope of the user map."""

    employee: str | None = None
    device_user_id: str | None = None
    scope: str = EVERYWHERE


class Found(NamedTuple):
    """A record of a person. `certain` is False where their number or name only occurs in what a device sent."""

    topic: Name
    record: Record
    certain: bool = True


@dataclass(slots=True)
class Person:
    """Which records are a person's. What is learned of one topic counts for the next.

    Attributes:
        asked: Who is meant.
        users: The user map.
        site_of: The site of a device, for records that do not say it; None where nobody knows.
        seal: Opens what is sealed, where it has the key.
        pairs: The device users that are or were the person's, by device.
        events: The ids of their punches.
        letters: Their dead letters.
        map_keys: The keys of the user map under which it has, or had, a number of the person.
        of_others: The ids of punches of the same device users that are somebody else's.
    """

    asked: Asked
    users: UserMap
    site_of: Callable[[str], str | None] = lambda _: None
    seal: Seal = field(default_factory=Seal)
    pairs: set[Pair] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    letters: set[LetterId] = field(default_factory=set)
    map_keys: set[bytes | None] = field(default_factory=set)
    of_others: set[str] = field(default_factory=set)
    _shared: set[Pair] = field(default_factory=set)
    _sites: dict[str, str] = field(default_factory=dict)
    _keys: dict[bytes, bool] = field(default_factory=dict)
    _keys_for: int = -1
    _words: tuple[frozenset[str], re.Pattern[str]] | None = None

    @property
    def device_users(self) -> list[Pair]:
        """Device and number, in order."""
        return sorted(self.pairs)

    def is_named(self, employee: str | None) -> bool:
        """Whether that is the person's name."""
        return employee is not None and employee == self.asked.employee

    def has(self, device_id: str, user: str, id_: str, site: str | None = None) -> bool:
        """Whether a punch is the person's; if so, its device user and its id are known from now on.

        Args:
            device_id: The device.
            user: The device user.
            id_: The id of the punch.
            site: That of the device, where the record says it.
        """
        if site is not None:
            self._sites[device_id] = site
        mine = id_ in self.events or (
            id_ not in self.of_others and self._owns(device_id, user, site or self._site(device_id))
        )
        if mine:
            self.pairs.add((device_id, user))
            self.events.add(id_)
        return mine

    def is_shared(self, pair: Pair) -> bool:
        """Whether check-ins of the same device user name others too."""
        return pair in self._shared

    def occurs_in(self, text: str, device_id: str) -> bool:
        """Whether the person's name, or their number on a device, is a word of a text.

        Args:
            text: What the device sent.
            device_id: Which one.
        """
        numbers = {user for device, user in self.pairs if device == device_id}
        if self.asked.device_user_id is not None and self._owns(
            device_id, self.asked.device_user_id, self._site(device_id)
        ):
            numbers.add(self.asked.device_user_id)
        words = frozenset(numbers | ({self.asked.employee} if self.asked.employee else set()))
        if self._words is None or self._words[0] != words:
            any_of = "|".join(re.escape(each) for each in sorted(words)) or r"(?!)"
            self._words = words, re.compile(rf"(?<![\w-])(?:{any_of})(?![\w-])")
        return self._words[1].search(text) is not None

    def learn_checkin(self, checkin: Checkin) -> None:
        """Take in whose punch a check-in says that it is."""
        self._sites[checkin.device_id] = checkin.site
        if self.asked.employee is None:
            return
        pair = checkin.device_id, checkin.device_user_id
        if self.is_named(checkin.employee):
            self.events.add(checkin.event_id)
            self.pairs.add(pair)

    def learn_other(self, checkin: Checkin) -> None:
        """Take in that a check-in of a device user of theirs is somebody else's, once all of theirs are known."""
        pair = checkin.device_id, checkin.device_user_id
        if self.asked.employee is None or self.is_named(checkin.employee) or checkin.event_id in self.events:
            return
        if pair in self.pairs or self._owns(*pair, checkin.site):
            self.of_others.add(checkin.event_id)
            self._shared.add(pair)

    def _site(self, device_id: str) -> str | None:
        return self._sites.get(device_id) or self.site_of(device_id)

    def _owns(self, device_id: str, user: str, site: str | None) -> bool:
        """Whether a device user is the person by the user map as it is now; or was, and is nobody's now."""
        mapping = self.users.mapping(site or "", device_id, user)
        if self.asked.employee is None:
            scopes = [device_scope(device_id), site_scope(site or ""), EVERYWHERE]
            if user != self.asked.device_user_id or self.asked.scope not in scopes:
                return False
            return mapping is None or scopes.index(mapping.scope) >= scopes.index(self.asked.scope)
        if mapping is not None:
            return mapping.employee == self.asked.employee
        return (device_id, user) in self.pairs and (device_id, user) not in self._shared

    def punches(self, record: Record) -> list[tuple[Pair, Punch]]:
        """The same with the device user, as punches."""
        return [(_pair(each.key), Punch.unpack(each.entry).as_it_was()) for each in self.kept(record)]

    def kept(self, record: Record) -> list[Kept]:
        """What a record of the changelog has of the person."""
        try:
            return [each for each in decode_kept(record.value) if self.has_kept(each)]
        except InvalidRecord:
            return []

    def _may_have(self, user_key: bytes) -> bool:
        """Whether punches of a device user may be the person's. A changelog has each device user very often."""
        if self._keys_for != len(self.pairs):
            self._keys_for = len(self.pairs)
            self._keys.clear()
        known = self._keys.get(user_key)
        if known is None:
            try:
                pair = _pair(user_key)
                known = pair in self.pairs or self._owns(*pair, self._site(pair[0]))
            except msgspec.MsgspecError:
                known = False
            self._keys[user_key] = known
        return known

    def has_kept(self, kept: Kept) -> bool:
        """Whether an entry of the changelog is the person's."""
        if kept.key == FLOOR_KEY or is_erasure(kept.key):
            return False
        if not self._may_have(kept.key):
            return False
        device_id, user = _pair(kept.key)
        punch = Punch.unpack(kept.entry).as_it_was()
        return self.has(device_id, user, event_id(device_id, user, format_seconds(punch.time), punch.event_type))


def _pair(user_key: bytes) -> Pair:
    return msgspec.json.decode(user_key, type=tuple[str, str])


async def find_person(log: Log, asked: Asked, site_of: Callable[[str], str | None] = lambda _: None) -> Person:
    """A person, with what the user map and the check-ins say of them.

    Args:
        log: The topics.
        asked: Who is meant.
        site_of: The site of a device by the fleet file; None where it does not say.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
        ConfigurationError: `SEAL_KEY` holds no keys.
    """
    person = Person(asked, await read_user_map(log, Skipped()), site_of, Seal.load())
    for learn in (person.learn_checkin, person.learn_other):
        async with aclosing(log.read("checkins")) as batches:
            async for batch in batches:
                for record in batch:
                    try:
                        learn(Checkin.decode(record.value))
                    except InvalidRecord:
                        continue
    return person


async def records_of(log: Log, person: Person, topics: Sequence[Name] = READ) -> AsyncGenerator[Found, None]:
    """Every record of a person, topic by topic.

    Args:
        log: The topics.
        person: As `find_person` found them.
        topics: Which topics, in the order of `READ`.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
        ConfigurationError: the changelog is of a later version.
    """
    for name in topics:
        async with aclosing(log.read(name)) as batches:
            async for batch in batches:
                for record in batch:
                    certain = _CHECKS[name](person, record, log)
                    if certain is not None:
                        yield Found(name, record, certain)


def _check(says: Callable[[Person, Record, Log], bool]) -> Callable[[Person, Record, Log], bool | None]:
    """True where a record is the person's for certain, False where they may occur in one that cannot be read."""

    def check(person: Person, record: Record, log: Log) -> bool | None:
        try:
            return True if says(person, record, log) else None
        except InvalidRecord:
            return False if _occurs(person, record) else None

    return check


def _occurs(person: Person, record: Record) -> bool:
    """Whether the person occurs in what a record holds: their number only in what is of a device of theirs."""
    device_id = (record.key or b"").decode(errors="replace")
    return person.occurs_in((record.value or b"").decode(errors="replace"), device_id)


def _has_event(person: Person, event: RawEvent) -> bool:
    return person.has(event.device_id, event.device_user_id, event.event_id, event.site)


def _user_map(person: Person, record: Record, _: Log) -> bool:
    whose = decode_key(record.key)
    if isinstance(whose, EmployeeKey):
        return person.is_named(whose.name)
    if isinstance(whose, ErasedKey):
        return False  # it names nobody, and stays
    if person.asked.employee is None:
        return (whose.scope, whose.device_user_id) == (person.asked.scope, person.asked.device_user_id)
    if record.value is not None and person.is_named(_mapped(whose, record.value)):
        person.map_keys.add(record.key)
    return record.key in person.map_keys


def _mapped(whose: UserKey, value: bytes) -> str | None:
    entry = decode(whose, value)
    return entry.employee if isinstance(entry, UserMapping) else None


def _raw(person: Person, record: Record, _: Log) -> bool:
    return _has_event(person, RawEvent.decode(record.value))


def _checkins(person: Person, record: Record, _: Log) -> bool:
    checkin = Checkin.decode(record.value)
    named = person.is_named(checkin.employee)
    return person.has(checkin.device_id, checkin.device_user_id, checkin.event_id, checkin.site) or named


def _unmapped(person: Person, record: Record, _: Log) -> bool:
    if record.value is None:
        return waiting_event_id(record.key) in person.events
    if is_discard_key(record.key):  # it has digests, and those of others too
        return False
    waiting = Waiting.decode(record.value)
    return _has_event(person, waiting.event) or person.is_named(waiting.employee)


def _dropped(person: Person, record: Record, _: Log) -> bool:
    dropped = Dropped.decode(record.value)
    kept = dropped.kept_event_id in person.events
    return person.has(dropped.device_id, dropped.device_user_id, dropped.event_id) or kept


def _dead_letters(person: Person, record: Record, log: Log) -> bool:
    letter = dead_letter(record)
    mine = letter.event_id in person.events
    if letter.topic == log.topics["raw"] and letter.value is not None:
        mine |= _has_event(person, RawEvent.decode(letter.value))
    elif letter.topic == log.topics["checkins"] and letter.value is not None:
        checkin = Checkin.decode(letter.value)
        mine |= person.is_named(checkin.employee)
        mine |= person.has(checkin.device_id, checkin.device_user_id, checkin.event_id, checkin.site)
    elif not mine and _occurs(person, record):
        raise InvalidRecord(letter.reason, "")
    if mine:
        person.letters.add(LetterId(record.partition, record.offset))
    return mine


def _actions(person: Person, record: Record, _: Log) -> bool:
    action = Action.decode(record.key, record.value)
    return action.letter in person.letters or person.occurs_in(action.note or "", "")


def _deliveries(person: Person, record: Record, _: Log) -> bool:
    delivery = Delivery.decode(record.value)
    return delivery.event_id in person.events or person.is_named(delivery.employee)


def _days(person: Person, record: Record, _: Log) -> bool:
    return person.is_named(AttendanceDay.decode(record.value).employee)


def _dedup_state(person: Person, record: Record, _: Log) -> bool:
    return bool(person.kept(record))


def _sent(person: Person, record: Record, _: Log) -> bool | None:
    """What a device sent: nobody knows whose number a word of it is."""
    device_id = (record.key or b"").decode(errors="replace")
    try:
        texts = list(_texts(record, person.seal))
    except StaysSealed:
        return False if any(device == device_id for device, _ in person.pairs) else None
    return False if any(person.occurs_in(text, device_id) for text in texts) else None


def _texts(record: Record, seal: Seal) -> Iterator[str]:
    """What a device sent, as text: of an unread request its body and what stood around it.

    This is the one place that opens what an unread request holds. A part of one that is sealed stays sealed.

    Raises:
        StaysSealed: it cannot be opened.
    """
    try:
        request = UnreadRequest.decode(record.value)
    except InvalidRecord:
        yield (record.value or b"").decode(errors="replace")
        return
    # A body as it is encoded or sealed has any short number in it by chance.
    yield msgspec.structs.replace(request, body=b"").encode().decode()
    if request.sealed and request.parts > 1:
        raise StaysSealed("it is a part of one")
    request = seal.open(request)
    yield " ".join((request.path, request.query, request.place, *request.params.values(), *request.headers.values()))
    for encoding in ("utf-8", "utf-16"):
        yield request.body.decode(encoding, errors="replace")


_CHECKS: Final[dict[Name, Callable[[Person, Record, Log], bool | None]]] = {
    "user_map": _check(_user_map),
    "raw": _check(_raw),
    "checkins": _check(_checkins),
    "unmapped": _check(_unmapped),
    "dropped": _check(_dropped),
    "dead_letters": _check(_dead_letters),
    "dead_letter_actions": _check(_actions),
    "deliveries": _check(_deliveries),
    "attendance_days": _check(_days),
    "dedup_state": _check(_dedup_state),
    "other_events": _sent,
    "unread": _sent,
}
