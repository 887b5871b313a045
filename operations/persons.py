"""A person, and which records are theirs.

A person is an employee, or a device user of one scope. An employee's punches are those of the device users that the
user map gives them, and those of which a check-in names them: a number may have been somebody else's before.
"""

import re
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec

from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.records.checkin import Checkin
from attendance.records.dead_letter_action import LetterId
from attendance.records.raw_event import event_id
from attendance.records.user_map import (
    EVERYWHERE,
    IgnoredKey,
    device_scope,
    site_scope,
)
from attendance.sealing import Seal
from attendance.times import format_seconds
from attendance.user_map import UserMap
from operations.log import Log, Skipped
from operations.users import read_user_map
from streams.dedup import Kept, Punch
from streams.erased import is_erasure
from streams.state import FLOOR_KEY
from streams.state import decode as decode_kept

Pair = tuple[str, str]
"""Device and device user."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is meant: an employee, or else a device user within a scope of the user map."""

    employee: str | None = None
    device_user_id: str | None = None
    scope: str = EVERYWHERE


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

    def has_ignored(self, key: IgnoredKey) -> bool:
        """Whether an entry by which somebody is ignored is about a number of the person, where that is theirs."""
        theirs = [(device_scope(device_id), number) for device_id, number in self.pairs]
        if self.asked.device_user_id is not None:
            theirs.append((self.asked.scope, self.asked.device_user_id))
        theirs += [(each.scope, each.device_user_id) for each in self.users.mappings() if self.is_named(each.employee)]
        return any(user == key.device_user_id and self._overlap(scope, key.scope) for scope, user in theirs)

    def _overlap(self, scope: str, other: str) -> bool:
        return any(
            outer in (EVERYWHERE, inner) or outer == site_scope(self._site(inner.removeprefix(device_scope(""))) or "")
            for inner, outer in ((scope, other), (other, scope))
        )

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
