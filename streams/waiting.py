"""The release of waiting punches: they flow by themselves once the user map lets them. Knows no Faust and no consumer.

What waits is in the unmapped topic, and the tombstones there are the only record of progress. A check-in is
acknowledged before its tombstone is sent. So a crash between the two has the punch released a second time, with the
same `event_id`, and none is lost.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.producer import Producer, send_until_acknowledged
from attendance.kafka.records import KeyValue, OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RAW_RECORD
from attendance.records.user_map import Employee, UserMapping
from attendance.registry import Device
from attendance.topics import Topics
from attendance.user_map import UserMap
from streams.mapping import assign
from streams.step import checkin_record

log = structlog.get_logger(__name__)

BATCH: Final = 500
NAMED: Final = 5  # so many employees of a batch are logged
REASONS: Final = (Reason.UNMAPPED_USER, Reason.EMPLOYEE_INACTIVE, Reason.BEFORE_JOINING)

# The agent runs in the same event loop. So many punches are assigned before it gets a turn.
TURN: Final = 100


@dataclass(slots=True)
class WaitingPunch:
    """A waiting punch in memory: encoded, because that is smaller. `reason` is what it waits for by the map now.

    `raw_record` says where its raw record is, `partition:offset`; None if an older version wrote it.
    """

    value: bytes
    raw_record: bytes | None
    partition: int
    device_user_id: str
    reason: Reason


class Ready(NamedTuple):
    """A punch that need not wait any more. `key` and `partition` are its waiting record's."""

    key: bytes
    partition: int
    checkin: Checkin
    raw_record: bytes | None


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
    ) -> None:
        """Wire a release. It has no partition yet.

        Args:
            users: The user map, which `learn` keeps up to date.
            device: The policies of a device; None for one that is not in the fleet.
            producer: Sends check-ins and tombstones.
            topics: Their names.
            metrics: Counts what waits and what was released.
        """
        self._users = users
        self._device = device
        self._producer = producer
        self._topics = topics
        self._metrics = metrics
        self._waiting: dict[bytes, WaitingPunch] = {}
        self._by_user: dict[str, set[bytes]] = defaultdict(set)
        self._counts: Counter[Reason] = Counter()
        self._unassigned: set[bytes] = set()
        self._changed_employees: set[str] = set()

    def learn(self, record: KeyValue) -> None:
        """Take one record into the user map, and have the punches that it may concern assigned again."""
        match self._users.learn(record):
            case UserMapping(device_user_id=user):
                self._unassigned |= self._by_user.get(user, set())
            case Employee(name=name):
                self._changed_employees.add(name)

    def lost(self) -> None:
        """Forget everything: whoever has the partitions next reads them from the beginning."""
        self._waiting.clear()
        self._by_user.clear()
        self._counts.clear()
        self._unassigned.clear()
        self._show()

    def take(self, record: Record) -> None:
        """Take in a record of the unmapped topic. One that cannot be read is logged and left where it is."""
        key = record.key or b""
        self._forget(key)
        if record.value is None:
            return
        try:
            waiting = Waiting.decode(record.value)
        except InvalidRecord as error:
            log.error("A waiting punch cannot be read.", key=key, error=error.message)
            return
        user = waiting.event.device_user_id
        self._waiting[key] = WaitingPunch(
            record.value, dict(record.headers).get(RAW_RECORD), record.partition, user, waiting.reason
        )
        self._by_user[user].add(key)
        self._counts[waiting.reason] += 1
        self._unassigned.add(key)

    async def caught_up(self) -> None:
        """Release every punch that need not wait any more: an employee's in the order of their event times."""
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
                    ready.append(Ready(key, punch.partition, outcome, punch.raw_record))
                case Waiting():
                    assert punch is not None
                    self._counts[punch.reason] -= 1
                    self._counts[outcome.reason] += 1
                    punch.reason = outcome.reason
            if number % TURN == 0:
                await asyncio.sleep(0)
        return ready

    def _to_reassign(self) -> set[bytes]:
        keys, self._unassigned = self._unassigned, set()
        employees, self._changed_employees = self._changed_employees, set()
        if employees and self._waiting:
            users = {entry.device_user_id for entry in self._users.mappings() if entry.employee in employees}
            keys.update(*(self._by_user[user] for user in users & self._by_user.keys()))
        return keys

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
            self._producer, [checkin_record(each.checkin, self._topics, each.raw_record) for each in ready]
        )
        unmapped = self._topics["unmapped"]
        await send_until_acknowledged(
            self._producer, [OutRecord(unmapped, each.key, None, partition=each.partition) for each in ready]
        )
        for each in ready:
            self._forget(each.key)
        self._metrics.count("punchstream_outcomes_total", len(ready), outcome="released")
        employees = list(dict.fromkeys(each.checkin.employee for each in ready))
        named = ", ".join(employees[:NAMED]) + (", …" if len(employees) > NAMED else "")
        log.info("Released waiting punches.", punches=len(ready), employees=named)

    def _forget(self, key: bytes) -> None:
        punch = self._waiting.pop(key, None)
        if punch is None:
            return
        self._counts[punch.reason] -= 1
        keys = self._by_user[punch.device_user_id]
        keys.discard(key)
        if not keys:
            del self._by_user[punch.device_user_id]

    def _show(self) -> None:
        for reason in REASONS:
            self._metrics.gauge("punchstream_waiting", self._counts[reason], reason=reason)
