"""The release of waiting punches: they flow by themselves once the user map lets them. Knows no Faust and no consumer.

What waits is in the unmapped topic, and the tombstones there are the only record of progress. A check-in is
acknowledged before its tombstone is sent. So a crash between the two has the punch released a second time, with the
same `event_id`, and none is lost.

What the sink sent back is released again when the user map names somebody else for it or says something new, and
otherwise at growing intervals (ADR 0030).
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from typing import Final, NamedTuple

import structlog

from attendance.errors import InvalidRecord, Reason
from attendance.guards import Guards
from attendance.kafka.producer import Producer, send_until_acknowledged
from attendance.kafka.records import KeyValue, OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Waiting, is_of_older_checkin, waiting_event_id
from attendance.records.raw_event import RAW_RECORD
from attendance.records.user_map import Employee, UserMapping
from attendance.registry import Device
from attendance.times import now
from attendance.topics import Topics
from attendance.user_map import UserMap
from streams.mapping import assign
from streams.step import checkin_record
from streams.trials import Cause, Trials, pause

log = structlog.get_logger(__name__)

BATCH: Final = 500
NAMED: Final = 5  # so many employees of a batch are logged
REASONS: Final = (
    Reason.UNMAPPED_USER,
    Reason.EMPLOYEE_INACTIVE,
    Reason.BEFORE_JOINING,
    Reason.UNKNOWN_EMPLOYEE,
    Reason.COORDINATES_REFUSED,
)

# The agent runs in the same event loop. So many punches are assigned before it gets a turn.
TURN: Final = 100


class SentBack(NamedTuple):
    """What a waiting record says of the check-in that the sink sent back."""

    employee: str | None
    employee_created: str | None
    reason: Reason
    times: int
    due: datetime
    """From when on the same is tried again."""
    cause: Cause
    """What it has in common with others that were sent back."""

    def was_for(self, checkin: Checkin) -> bool:
        """Whether a check-in is for the same person."""
        return (checkin.employee, checkin.employee_created) == (self.employee, self.employee_created)


@dataclass(slots=True)
class WaitingPunch:
    """A waiting punch in memory: encoded, because that is smaller. `reason` is what it waits for by the map now.

    `raw_record` says where its raw record is, `partition:offset`; None if an older version wrote it. `has_news` means
    that the user map said something new of its user or employee since it was read.
    """

    value: bytes
    raw_record: bytes | None
    partition: int
    device_user_id: str
    reason: Reason
    sent_back: SentBack | None = None
    has_news: bool = False


class Ready(NamedTuple):
    """A punch that need not wait any more. `key` and `partition` are its waiting record's."""

    key: bytes
    partition: int
    checkin: Checkin
    raw_record: bytes | None
    sent_back: int


class Release:
    """Keeps what waits in this process's share of the unmapped topic, and releases what need not wait any more.

    What waits bounds the memory. A punch is assigned when it is read, and again when the user map says something new of
    its device user or of an employee that this user is mapped to.
    """

    def __init__(
        self,
        users: UserMap,
        device: Callable[[str], Device | None],
        producer: Producer,
        topics: Topics,
        metrics: Metrics,
        clock: Callable[[], datetime] = now,
        guards: Guards | None = None,
    ) -> None:
        """Wire a release. It has no partition yet.

        Args:
            users: The user map, which `learn` keeps up to date.
            device: The policies of a device; None for one that is not in the fleet.
            producer: Sends check-ins and tombstones.
            topics: Their names.
            metrics: Counts what waits and what was released.
            clock: The server's clock, UTC.
            guards: What may keep it from releasing anything; None is nothing.
        """
        self._users = users
        self._device = device
        self._producer = producer
        self._topics = topics
        self._metrics = metrics
        self._clock = clock
        self._guards = guards or Guards(metrics)
        self._waiting: dict[bytes, WaitingPunch] = {}
        self._by_event: dict[str, bytes] = {}
        self._replaced: dict[bytes, int] = {}  # older records of events that have a newer one, with their partitions
        self._due: list[tuple[datetime, bytes]] = []  # a heap
        self._trials = Trials()
        self._by_user: dict[str, set[bytes]] = defaultdict(set)
        self._counts: Counter[Reason] = Counter()
        self._unassigned: set[bytes] = set()
        self._changed_employees: set[str] = set()

    def learn(self, record: KeyValue) -> None:
        """Take one record into the user map, and have the punches that it may concern assigned again."""
        match self._users.learn(record):
            case UserMapping(device_user_id=user):
                self._add_news(self._by_user.get(user, set()))
            case Employee(name=name) if self._waiting:
                self._changed_employees.add(name)

    def lost(self) -> None:
        """Forget everything: whoever has the partitions next reads them from the beginning."""
        self._waiting.clear()
        self._by_user.clear()
        self._by_event.clear()
        self._replaced.clear()
        self._due.clear()
        self._trials.clear()
        self._counts.clear()
        self._unassigned.clear()
        self._changed_employees.clear()
        self._show()

    def take(self, record: Record) -> None:
        """Take in a record of the unmapped topic. One that cannot be read is logged and left where it is."""
        key = record.key or b""
        self._forget(key)
        self._replaced.pop(key, None)
        if record.value is None:
            return
        try:
            waiting = Waiting.decode(record.value)
        except InvalidRecord as error:
            log.error("A waiting punch cannot be read.", key=key, error=error.message)
            return
        event_id = waiting_event_id(key)
        other = self._by_event.get(event_id)
        if other is not None and is_of_older_checkin(key, other):
            self._replaced[key] = record.partition
            return
        if other is not None:
            self._replaced[other] = self._waiting[other].partition
            self._forget(other)
        sent_back = self._sent_back(waiting)
        if sent_back is not None:
            self._trials.came_back(sent_back.cause, event_id, self._clock())
        user = waiting.event.device_user_id
        self._waiting[key] = WaitingPunch(
            record.value,
            dict(record.headers).get(RAW_RECORD),
            record.partition,
            user,
            waiting.reason,
            sent_back,
        )
        self._by_event[event_id] = key
        self._by_user[user].add(key)
        self._counts[waiting.reason] += 1
        self._unassigned.add(key)

    def _sent_back(self, waiting: Waiting) -> SentBack | None:
        if waiting.sent_back_at is None:
            return None
        # The clock of the sink may be ahead of ours.
        due = min(waiting.sent_back_at, self._clock()) + pause(waiting.sent_back)
        whom: Cause = (waiting.employee, waiting.employee_created)
        cause: Cause = (waiting.reason, *whom, None)
        if waiting.reason is Reason.COORDINATES_REFUSED:
            device = self._device(waiting.event.device_id)
            # A device that has some is too far from where these employees have to be, and not from where others have.
            far = device is not None and device.latitude is not None
            cause = (waiting.reason, *(whom if far else (None, None)), waiting.event.device_id)
        return SentBack(waiting.employee, waiting.employee_created, waiting.reason, waiting.sent_back, due, cause)

    async def caught_up(self) -> None:
        """Release every punch that need not wait any more: an employee's in the order of their event times."""
        if self._guards.standing:
            return
        if self._replaced:
            await self._remove(list(self._replaced.items()))
            self._replaced.clear()
        ready = sorted(await self._ready(), key=lambda each: (each.checkin.employee, each.checkin.event_time))
        for start in range(0, len(ready), BATCH):
            await self._release(ready[start : start + BATCH])
        self._show()

    async def _ready(self) -> list[Ready]:
        ready = []
        for number, key in enumerate(self._to_reassign(), 1):
            punch = self._waiting.get(key)
            outcome = punch and self._assign(key, punch)
            match outcome:
                case Checkin():
                    assert punch is not None
                    again = self._again(punch, outcome)
                    due = again and self._due_at(again, outcome.event_id)
                    if again is not None and due is not None:
                        heappush(self._due, (due, key))
                        self._waits_for(punch, again.reason)
                    else:
                        times = 0 if again is None else again.times
                        ready.append(Ready(key, punch.partition, outcome, punch.raw_record, times))
                case Waiting():
                    assert punch is not None
                    self._waits_for(punch, outcome.reason)
            if number % TURN == 0:
                await asyncio.sleep(0)
        return ready

    def _again(self, punch: WaitingPunch, checkin: Checkin) -> SentBack | None:
        """What was sent back, if this check-in would be the same once more; None where something is new."""
        again = punch.sent_back
        return None if again is None or punch.has_news or not again.was_for(checkin) else again

    def _due_at(self, again: SentBack, event_id: str) -> datetime | None:
        """When the same may be tried once more; None for now."""
        now = self._clock()
        return again.due if again.due > now else self._trials.wait_until(again.cause, event_id, now)

    def _waits_for(self, punch: WaitingPunch, reason: Reason) -> None:
        self._counts[punch.reason] -= 1
        self._counts[reason] += 1
        punch.reason = reason

    def _to_reassign(self) -> set[bytes]:
        employees, self._changed_employees = self._changed_employees, set()
        if employees and self._waiting:
            users = {entry.device_user_id for entry in self._users.mappings() if entry.employee in employees}
            for user in users & self._by_user.keys():
                self._add_news(self._by_user[user])
        while self._due and self._due[0][0] <= self._clock():
            self._unassigned.add(heappop(self._due)[1])
        keys, self._unassigned = self._unassigned, set()
        return keys

    def _add_news(self, keys: set[bytes]) -> None:
        self._unassigned |= keys
        for key in keys:
            self._waiting[key].has_news = True

    def _assign(self, key: bytes, punch: WaitingPunch) -> Checkin | Waiting | None:
        """What the user map says now; None after a fault of our own, which leaves the punch waiting."""
        try:
            event = Waiting.decode(punch.value).event
            return assign(event, self._users, self._device(event.device_id))
        except Exception:
            log.exception("A waiting punch could not be assigned.", key=key)
            return None

    async def _release(self, ready: list[Ready]) -> None:
        await send_until_acknowledged(
            self._producer,
            [checkin_record(each.checkin, self._topics, each.raw_record, each.sent_back) for each in ready],
        )
        await self._remove([(each.key, each.partition) for each in ready])
        for each in ready:
            self._forget(each.key)
        self._metrics.count("punchstream_outcomes_total", len(ready), outcome="released")
        employees = list(dict.fromkeys(each.checkin.employee for each in ready))
        named = ", ".join(employees[:NAMED]) + (", …" if len(employees) > NAMED else "")
        log.info("Released waiting punches.", punches=len(ready), employees=named)

    async def _remove(self, records: Iterable[tuple[bytes, int]]) -> None:
        unmapped = self._topics["unmapped"]
        await send_until_acknowledged(
            self._producer, [OutRecord(unmapped, key, None, partition=partition) for key, partition in records]
        )

    def _forget(self, key: bytes) -> None:
        punch = self._waiting.pop(key, None)
        if punch is None:
            return
        self._by_event.pop(waiting_event_id(key), None)
        self._counts[punch.reason] -= 1
        keys = self._by_user[punch.device_user_id]
        keys.discard(key)
        if not keys:
            del self._by_user[punch.device_user_id]

    def _show(self) -> None:
        for reason in REASONS:
            self._metrics.gauge("punchstream_waiting", self._counts[reason], reason=reason)
