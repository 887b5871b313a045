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
from attendance.kafka.records import OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RAW_RECORD
from attendance.records.user_map import Employee, MapRecord, UserMap, UserMapping
from attendance.registry import Device
from attendance.topics import Topics
from streams.mapping import assign
from streams.step import checkin_record

log = structlog.get_logger(__name__)

BATCH: Final = 500
NAMED: Final = 5  # so many employees of a batch are logged
REASONS: Final = (Reason.UNMAPPED_USER, Reason.EMPLOYEE_INACTIVE)

# The agent lives in the same event loop. So many punches are judged before it gets a turn.
TURN: Final = 100


@dataclass(slots=True)
class Held:
    """A waiting punch in memory: encoded, because that is smaller. `reason` is what it waits for by the map now.

    `raw_record` says where its raw record stands, `partition:offset`; None where an older version wrote it.
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
    """Holds what waits in this process's share of the unmapped topic, and releases what need not wait any more.

    Memory is bounded by what waits. A punch is judged when it is read, and again when the user map says something new
    of its device user or of an employee that this user is mapped to.
    """

    def __init__(
        self,
        users: UserMap,
        device: Callable[[str], Device | None],
        producer: Producer,
        topics: Topics,
        metrics: Metrics,
    ) -> None:
        self._users = users
        self._device = device
        self._producer = producer
        self._topics = topics
        self._metrics = metrics
        self._held: dict[bytes, Held] = {}
        self._by_user: dict[str, set[bytes]] = defaultdict(set)
        self._counts: Counter[Reason] = Counter()
        self._unjudged: set[bytes] = set()
        self._changed_employees: set[str] = set()

    def learn(self, record: MapRecord) -> None:
        """Have the user map take in one record of its topic, and the punches judged again that this may concern."""
        match self._users.learn(record):
            case UserMapping(device_user_id=user):
                self._unjudged |= self._by_user.get(user, set())
            case Employee(name=name):
                self._changed_employees.add(name)

    def lost(self) -> None:
        """Forget everything: whoever has the partitions next reads them from the beginning."""
        self._held.clear()
        self._by_user.clear()
        self._counts.clear()
        self._unjudged.clear()
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
        self._held[key] = Held(
            record.value, dict(record.headers).get(RAW_RECORD), record.partition, user, waiting.reason
        )
        self._by_user[user].add(key)
        self._counts[waiting.reason] += 1
        self._unjudged.add(key)

    async def caught_up(self) -> None:
        """Release every punch that need not wait any more: an employee's in the order of their event times."""
        ready = sorted(await self._ready(), key=lambda each: (each.checkin.employee, each.checkin.event_time))
        for start in range(0, len(ready), BATCH):
            await self._release(ready[start : start + BATCH])
        self._show()

    async def _ready(self) -> list[Ready]:
        ready = []
        for number, key in enumerate(self._to_judge(), 1):
            held = self._held.get(key)
            outcome = held and self._judge(key, held)
            match outcome:
                case Checkin():
                    assert held is not None
                    ready.append(Ready(key, held.partition, outcome, held.raw_record))
                case Waiting():
                    assert held is not None
                    self._counts[held.reason] -= 1
                    self._counts[outcome.reason] += 1
                    held.reason = outcome.reason
            if number % TURN == 0:
                await asyncio.sleep(0)
        return ready

    def _to_judge(self) -> set[bytes]:
        keys, self._unjudged = self._unjudged, set()
        employees, self._changed_employees = self._changed_employees, set()
        if employees and self._held:
            users = {entry.device_user_id for entry in self._users.mappings() if entry.employee in employees}
            keys.update(*(self._by_user[user] for user in users & self._by_user.keys()))
        return keys

    def _judge(self, key: bytes, held: Held) -> Checkin | Waiting | None:
        """What the user map says now; None after a fault of our own, which leaves the punch waiting."""
        try:
            event = Waiting.decode(held.value).event
            return assign(event, self._users, self._device(event.device_id))
        except Exception:
            log.exception("A waiting punch could not be judged.", key=key)
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
        log.info("Waiting punches are released.", punches=len(ready), employees=named)

    def _forget(self, key: bytes) -> None:
        held = self._held.pop(key, None)
        if held is None:
            return
        self._counts[held.reason] -= 1
        keys = self._by_user[held.device_user_id]
        keys.discard(key)
        if not keys:
            del self._by_user[held.device_user_id]

    def _show(self) -> None:
        for reason in REASONS:
            self._metrics.gauge("punchstream_waiting", self._counts[reason], reason=reason)
