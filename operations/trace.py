"""trace: every punch of somebody on a day, of a device user, of devices, or of an event id, and what became of it."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

from attendance.errors import ConfigurationError
from attendance.times import from_milliseconds, to_wall_clock
from attendance.topics import TABLE, Name
from attendance.user_map import UserMap
from operations.audit_accounts import read_moves
from operations.fact_reading import FactReader
from operations.facts import ActionFact, CheckinFact, Fact, LetterFact, RawFact, WaitingEnded, WaitingFact
from operations.log import Log, Skipped
from operations.sources import FromTopics, Source
from operations.users import read_user_map

EARLIER: Final = timedelta(days=1)
"""A day begins so much before midnight in UTC, in some zone, and no punch arrives before it happens."""
RAW_SUFFIX: Final = TABLE["raw"].suffix
_OF_EVENTS: Final[tuple[Name, ...]] = ("checkins", "dropped", "deliveries", "dead_letters")


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose punches: those of an employee on a day, of a device user, of whole devices on a day, or of one id.

    `day` is the date on the device's clock. None is every day. `zones` are the devices whose punches are asked about,
    all of them, each with the zone in which its day is. Of these, what was rejected before it became a raw record is
    asked about too, and the check-ins that supersede one of theirs. Of others, the corrections of their punches are, of
    whatever day.
    """

    employee: str | None = None
    day: date | None = None
    device: str | None = None
    user: str | None = None
    event_id: str | None = None
    zones: Mapping[str, str] = field(default_factory=dict)

    def is_on_day(self, fact: RawFact | CheckinFact) -> bool:
        """Whether a punch is of the day, by the clock of its device; where it has no time, by its arrival in UTC."""
        if self.day is None:
            return True
        at, zone = fact.event_time, self.zones.get(fact.device_id, fact.device_timezone or "UTC")
        if at is None:
            assert isinstance(fact, RawFact)
            at, zone = fact.stored_at, self.zones.get(fact.device_id, "UTC")
        return self._has(at, zone)

    def is_rejected(self, letter: LetterFact) -> bool:
        """Whether a dead letter is of what one of the devices sent on the day, and never became a raw record."""
        zone = self.zones.get(letter.device_id or "")
        return letter.failed_topic is None and zone is not None and self._has(letter.failed_at, zone)

    def _has(self, at: int, zone: str) -> bool:
        try:
            return to_wall_clock(from_milliseconds(at), zone).date() == self.day
        except (ConfigurationError, OverflowError):
            return from_milliseconds(at).date() == self.day

    def is_devices(self, fact: RawFact) -> bool:
        """Whether a raw record is of one of the devices and of the day."""
        return fact.device_id in self.zones and self.is_on_day(fact)

    def is_users(self, fact: RawFact) -> bool:
        """Whether a raw record is of the device user and of the day."""
        return (fact.device_id, fact.device_user_id) == (self.device, self.user) and self.is_on_day(fact)

    @property
    def since(self) -> datetime | None:
        """From when on its punches arrived; None where that is not known."""
        return None if self.day is None else datetime.combine(self.day, time(), UTC) - EARLIER

    @property
    def whom(self) -> str:
        """Who or what it is, in words."""
        if self.event_id is not None:
            return f"event {self.event_id}"
        return f"employee {self.employee}" if self.employee is not None else f"user {self.user} of device {self.device}"


class TraceSource(Source, Protocol):
    """Where facts of punches are."""

    async def facts(self, asked: Asked) -> list[Fact]:
        """Every fact of the punches that are asked about.

        Raises:
            RetriableError: it does not answer.
        """

    async def is_known(self, asked: Asked) -> bool:
        """Whether whoever is asked about is there at all, on whatever day. Raises what `facts` raises."""


class TopicsSource(FromTopics):
    """The topics as a source: they are read from the day on that is asked about. See `TraceSource`."""

    def __init__(self, log: Log, skipped: Skipped) -> None:
        """Nothing is read yet.

        Args:
            log: The topics.
            skipped: Where the entries of the user map are counted that cannot be read.
        """
        self._log = log
        self._skipped = skipped
        self._users: UserMap | None = None

    async def facts(self, asked: Asked) -> list[Fact]:
        """See `TraceSource.facts`."""
        reader = FactReader(self._log.topics, await read_moves(self._log))
        theirs = await self._theirs(reader, asked)
        raw, ids = await self._raw(reader, theirs, asked)
        unreadable = {(each.kafka_partition, each.kafka_offset) for each in raw if each.event_id is None}
        found: list[Fact] = [*raw]
        for name in _OF_EVENTS:
            found += [
                each
                async for each in self._read(reader, name, asked)
                if getattr(each, "event_id", None) in ids or _is_of_devices(each, asked, ids, unreadable)
            ]
        found += await self._waiting(reader, ids)
        letters = {(each.kafka_partition, each.kafka_offset) for each in found if isinstance(each, LetterFact)}
        if letters:
            actions = self._read(reader, "dead_letter_actions", asked)
            found += [each async for each in actions if isinstance(each, ActionFact) and _of(each) in letters]
        return found

    async def _raw(self, reader: FactReader, theirs: "_Theirs", asked: Asked) -> tuple[list[RawFact], set[str]]:
        """The raw records that are asked about, with the corrections of them, and the ids of all of these punches."""
        while True:
            raw: list[RawFact] = []
            corrected_by: dict[str, set[str]] = defaultdict(set)
            async for each in self._read(reader, "raw", asked):
                if not isinstance(each, RawFact):
                    continue
                if theirs.has(each):
                    raw.append(each)
                if each.supersedes is not None and each.event_id is not None:
                    corrected_by[each.supersedes].add(each.event_id)
            ids = {each.event_id for each in raw if each.event_id is not None} | theirs.ids
            later = set().union(*(corrected_by[id_] for id_ in ids if id_ in corrected_by)) - ids
            # Of devices a day is asked about, and a correction may be of another.
            if not later or asked.zones:
                return raw, ids
            theirs.ids |= later

    async def is_known(self, asked: Asked) -> bool:
        """See `TraceSource.is_known`."""
        users = await self._user_map()
        if asked.employee is not None:
            mapped = any(each.employee == asked.employee for each in users.mappings())
            return mapped or users.employee(asked.employee) is not None
        if asked.event_id is not None or asked.day is None:
            return False
        return bool(await self.facts(replace(asked, day=None)))

    async def _user_map(self) -> UserMap:
        if self._users is None:
            self._users = await read_user_map(self._log, self._skipped)
        return self._users

    async def _theirs(self, reader: FactReader, asked: Asked) -> "_Theirs":
        if asked.employee is None:
            return _Theirs(asked, set() if asked.event_id is None else {asked.event_id})
        theirs = _Theirs(asked, set(), await self._user_map())
        async for each in self._read(reader, "checkins", asked):
            if isinstance(each, CheckinFact):
                theirs.learn(each)
        return theirs

    async def _waiting(self, reader: FactReader, ids: Collection[str | None]) -> list[Fact]:
        waiting: dict[tuple[int, str], WaitingFact] = {}
        found: list[Fact] = []
        # What waits may have come before the day.
        async for each in self._read(reader, "unmapped", Asked()):
            if isinstance(each, WaitingEnded):
                waiting.pop((each.kafka_partition, each.wait_key), None)
            elif getattr(each, "event_id", None) in ids:
                if isinstance(each, WaitingFact):
                    waiting[each.kafka_partition, each.wait_key] = each
                else:
                    found.append(each)
        return [*found, *waiting.values()]

    async def _read(self, reader: FactReader, name: Name, asked: Asked) -> AsyncIterator[Fact]:
        async with aclosing(self._log.read(name, since=asked.since)) as batches:
            async for batch in batches:
                for record in batch:
                    for fact in reader.of(name, record):
                        yield fact


class _Theirs:
    """Which raw records are asked about, by what check-ins and the user map say."""

    def __init__(self, asked: Asked, ids: set[str], users: UserMap | None = None) -> None:
        self.ids = ids
        self._asked = asked
        self._users = users
        self._pairs: set[tuple[str, str | None]] = set()
        self._of_others: set[str] = set()

    def learn(self, checkin: CheckinFact) -> None:
        """Take in whose punch a check-in says that it is."""
        if not self._asked.is_on_day(checkin):
            return
        if checkin.employee == self._asked.employee:
            self.ids.add(checkin.event_id)
            self._pairs.add((checkin.device_id, checkin.device_user_id))
        else:
            self._of_others.add(checkin.event_id)

    def has(self, raw: RawFact) -> bool:
        """Whether a raw record is asked about."""
        if raw.event_id in self.ids:
            return True
        if self._asked.event_id is not None:
            return False
        if self._asked.zones:
            return self._asked.is_devices(raw)
        if self._asked.employee is None:
            return self._asked.is_users(raw)
        return raw.event_id not in self._of_others and self._is_mapped(raw) and self._asked.is_on_day(raw)

    def _is_mapped(self, raw: RawFact) -> bool:
        if (raw.device_id, raw.device_user_id) in self._pairs:
            return True
        if self._users is None or raw.device_user_id is None:
            return False
        mapping = self._users.mapping(raw.site or "", raw.device_id, raw.device_user_id)
        return mapping is not None and mapping.employee == self._asked.employee


def _is_of_devices(fact: Fact, asked: Asked, ids: Collection[str], unreadable: Collection[tuple[int, int]]) -> bool:
    """Whether a fact that names none of the punches is still of the devices that are asked about.

    It supersedes one of the punches; or it is the letter of a raw record that cannot be read, or of what was rejected.
    """
    if isinstance(fact, CheckinFact):
        return bool(asked.zones) and fact.supersedes in ids
    if not isinstance(fact, LetterFact):
        return False
    failed = fact.failed_partition, fact.failed_offset
    return asked.is_rejected(fact) or (fact.failed_topic == RAW_SUFFIX and failed in unreadable)


def _of(action: ActionFact) -> tuple[int, int]:
    return action.letter_partition, action.letter_offset
