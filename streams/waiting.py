"""The release of waiting punches: they flow by themselves once the user map lets them. Knows no Faust and no consumer.

What waits is in the unmapped topic, and the tombstones there are the only record of progress. A check-in is
acknowledged before its tombstone is sent. So a crash between the two has the punch released a second time, with the
same `event_id`, and none is lost.

What waits of somebody who is ignored is released the same way, as dead letters (`streams/ignoring.py`).

What the sink sent back is released again when the user map names somebody else for it or says something new, and
otherwise at growing intervals (ADR 0030).
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog

from attendance.adoptions import NOTHING_MOVED, Moves
from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.guards import Guards
from attendance.kafka.producer import Producer, send_until_acknowledged
from attendance.kafka.records import KeyValue, OutRecord, Record
from attendance.metrics import Metrics
from attendance.records.checkin import Checkin
from attendance.records.discard import is_discard_key
from attendance.records.outcomes import Waiting, is_of_older_checkin, waiting_event_id
from attendance.records.raw_event import IGNORED_BY, RAW_RECORD, raw_place
from attendance.records.user_map import Employee, IgnoredUser, UserMapping
from attendance.times import now
from attendance.topics import Topics
from attendance.user_map import UserMap
from streams.ignoring import STAGE, letter_of_waiting
from streams.mapping import assign
from streams.step import checkin_record
from streams.trials import Cause, Trials, pause
from streams.waiting_by_device import WARN_USERS, WaitingByDevice
from streams.waiting_table import Origin, WaitingPunch, WaitingTable

log = structlog.get_logger(__name__)

BATCH: Final = 500
BATCHES: Final = 10  # that are released before what arrived meanwhile is taken in
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


class Ready(NamedTuple):
    """A punch that need not wait any more. `key` and `partition` are its waiting record's."""

    key: bytes
    partition: int
    checkin: Checkin
    raw_record: bytes | None
    sent_back: int


class Release:
    """Keeps what waits in this process's share of the unmapped topic, and releases what need not wait any more.

    A punch is assigned when it is read, and again when the user map says something new of its device user or of an
    employee that this user is mapped to. What waits is in a `WaitingTable`, so that it does not bound the memory.
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
        warn_users: int = WARN_USERS,
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
            warn_users: If more device users of one device wait, the log names the device.
        """
        self._users = users
        self._device = device
        self._producer = producer
        self._topics = topics
        self._metrics = metrics
        self._clock = clock
        self._guards = guards or Guards(metrics)
        self.moves: Callable[[], Moves] = lambda: NOTHING_MOVED
        """The adoptions, to be asked for whenever a record is taken in."""
        self._before: set[bytes] = set()  # keys of check-ins that were sent back before an adoption
        self._waiting = WaitingTable()
        self._by_device = WaitingByDevice(metrics, self._waiting, warn_users)
        self._trials = Trials()
        self._changed_employees: set[str] = set()
        self._served = ""  # the employee who had their turn last

    def learn(self, record: KeyValue) -> None:
        """Take one record into the user map, and have the punches that it may concern assigned again."""
        match self._users.learn(record):
            case UserMapping(device_user_id=user) | IgnoredUser(device_user_id=user) if self._waiting:
                self._waiting.add_news(user)
            case Employee(name=name) if self._waiting:
                self._changed_employees.add(name)

    def lost(self) -> None:
        """Forget everything: whoever has the partitions next reads them from the beginning."""
        self._waiting.clear()
        self._before.clear()
        self._trials.clear()
        self._changed_employees.clear()
        self._show()

    def take(self, record: Record) -> None:
        """Take in a record of the unmapped topic. One that cannot be read is logged and left where it is."""
        key = record.key or b""
        if is_discard_key(key):
            return
        event_id = waiting_event_id(key)
        other = self._waiting.of_event(event_id)
        if other is not None and other[0] == key:
            self._waiting.forget(key)
            other = None
        self._waiting.not_replaced(key)
        if record.value is None:
            return
        try:
            waiting = Waiting.decode(record.value)
        except InvalidRecord as error:
            log.error("A waiting punch cannot be read.", key=key, error=error.message)
            return
        moves = self.moves()
        is_before = moves.is_before(record)
        if is_before and key.count(b":"):
            self._before.add(key)
        # Check-ins of before an adoption have offsets of then.
        is_like_other = other is not None and is_before == (other[0] in self._before)
        if other is not None and is_like_other and is_of_older_checkin(key, other[0]):
            self._waiting.replace(key, record.partition)
            return
        if other is not None:
            self._waiting.replace(*other)
        due = self._due(waiting)
        if due is not None:
            self._trials.came_back(self._cause(waiting), event_id, self._clock())
        # Most of what waits for an unknown user is done with here: of that, nothing is looked at again.
        headers = dict(moves.headers(record.headers, record.topic, self._topics["raw"], record))
        origin = Origin(headers.get(RAW_RECORD) or None, headers.get(IGNORED_BY))
        outcome = self._assign(key, waiting, origin)
        self._waiting.add(
            key,
            record.partition,
            record.value,
            origin,
            event=waiting.event,
            reason=outcome.reason if isinstance(outcome, Waiting) else waiting.reason,
            due=due,
            undecided=isinstance(outcome, Checkin | IgnoredUser),
        )

    def _due(self, waiting: Waiting) -> datetime | None:
        """From when on the same may be tried again; None where nothing was sent back."""
        if waiting.sent_back_at is None:
            return None
        # The clock of the sink may be ahead of ours.
        return min(waiting.sent_back_at, self._clock()) + pause(waiting.sent_back)

    def _cause(self, waiting: Waiting) -> Cause:
        """What a punch has in common with others that were sent back."""
        whom: Cause = (waiting.employee, waiting.employee_created)
        if waiting.reason is not Reason.COORDINATES_REFUSED:
            return (waiting.reason, *whom, None)
        device = self._device(waiting.event.device_id)
        # A device that has some is too far from where these employees have to be, and not from where others have.
        far = device is not None and device.latitude is not None
        return (waiting.reason, *(whom if far else (None, None)), waiting.event.device_id)

    async def caught_up(self) -> None:
        """Release what need not wait any more: an employee's in the order of their event times.

        At most so much that what arrives meanwhile does not wait for long; the next call goes on.
        """
        if self._guards.standing:
            return
        while replaced := self._waiting.replaced(BATCH):
            await self._remove(replaced)
            for key, _ in replaced:
                self._waiting.not_replaced(key)
        # Once: what the user map says meanwhile may make an older punch of the same employee ready.
        await self._decide()
        for _ in range(BATCHES):
            ignored = self._waiting.ignored(BATCH)
            if not ignored:
                break
            await self._end_ignored(ignored)
        for _ in range(BATCHES):
            ready = self._ready()
            if not ready:
                break
            await self._release(ready)
        self._show()

    async def _decide(self) -> None:
        """Assign again what the user map or the clock has something new for."""
        employees, self._changed_employees = self._changed_employees, set()
        if employees and self._waiting:
            for user in {entry.device_user_id for entry in self._users.mappings() if entry.employee in employees}:
                self._waiting.add_news(user)
        self._waiting.wake(self._clock())
        while punches := self._waiting.undecided(TURN):
            for punch in punches:
                self._decide_one(punch)
            if len(punches) == TURN:
                await asyncio.sleep(0)

    def _decide_one(self, punch: WaitingPunch) -> None:
        waiting = Waiting.decode(punch.value)
        outcome = self._assign(punch.key, waiting, punch.origin)
        match outcome:
            case IgnoredUser():
                self._waiting.decide(punch, ignored=True)
            case Checkin():
                later = self._tried_again_at(punch, waiting, outcome)
                if later is None:
                    self._waiting.decide(punch, employee=outcome.employee)
                else:
                    self._waiting.decide(punch, reason=waiting.reason, later=later)
            case Waiting():
                self._waiting.decide(punch, reason=outcome.reason)
            case None:
                self._waiting.decide(punch)

    def _tried_again_at(self, punch: WaitingPunch, waiting: Waiting, checkin: Checkin) -> datetime | None:
        """When a check-in that was sent back may be tried once more; None for now, and where something is new."""
        if punch.due is None or not _is_the_same_again(punch, waiting, checkin):
            return None
        now = self._clock()
        if punch.due > now.timestamp():
            return datetime.fromtimestamp(punch.due, UTC)
        return self._trials.wait_until(self._cause(waiting), checkin.event_id, now)

    def _ready(self) -> list[Ready]:
        """The next batch. Employees have their turns, so that nobody's many punches hold up those of others."""
        ready: list[Ready] = []
        first = self._served
        is_second_round = False
        while len(ready) < BATCH:
            employee = self._waiting.next_employee(self._served)
            if employee is None and not is_second_round:
                is_second_round, self._served = True, ""
                continue
            if employee is None or (is_second_round and employee > first):
                break
            for punch in self._waiting.ready(employee, BATCH - len(ready)):
                ready += self._checkin(punch, employee)
            self._served = employee
        return ready

    def _checkin(self, punch: WaitingPunch, employee: str) -> list[Ready]:
        waiting = Waiting.decode(punch.value)
        checkin = self._assign(punch.key, waiting, punch.origin)
        if not isinstance(checkin, Checkin) or checkin.employee != employee:
            # The user map was changed since that was decided.
            self._waiting.decide(punch, again=True)
            return []
        sent_back = waiting.sent_back if punch.due is not None and _is_the_same_again(punch, waiting, checkin) else 0
        return [Ready(punch.key, punch.partition, checkin, punch.raw_record, sent_back)]

    def _assign(self, key: bytes, waiting: Waiting, origin: Origin) -> Checkin | Waiting | IgnoredUser | None:
        """What the user map says now; None after a fault of our own, which leaves the punch waiting."""
        try:
            outcome = assign(waiting.event, self._users, self._device(waiting.event.device_id), origin.ignored_before)
        except Exception:
            log.exception("A waiting punch could not be assigned.", key=key)
            return None
        if isinstance(outcome, IgnoredUser) and raw_place(origin.raw_record) is None:
            # An older version wrote it, and a dead letter could not say of which record it is the outcome.
            return Waiting(waiting.event, Reason.UNMAPPED_USER)
        return outcome

    async def _release(self, ready: Sequence[Ready]) -> None:
        await send_until_acknowledged(
            self._producer,
            [checkin_record(each.checkin, self._topics, each.raw_record, each.sent_back) for each in ready],
        )
        await self._remove([(each.key, each.partition) for each in ready])
        for each in ready:
            self._waiting.forget(each.key)
        self._metrics.count("punchstream_outcomes_total", len(ready), outcome="released")
        employees = list(dict.fromkeys(each.checkin.employee for each in ready))
        named = ", ".join(employees[:NAMED]) + (", …" if len(employees) > NAMED else "")
        log.info("Released waiting punches.", punches=len(ready), employees=named)

    async def _end_ignored(self, punches: Sequence[WaitingPunch]) -> None:
        """Have punches end as dead letters. The letters come first, and then the tombstones, as with check-ins."""
        ended: list[WaitingPunch] = []
        letters: list[OutRecord] = []
        for punch in punches:
            waiting, place = Waiting.decode(punch.value), raw_place(punch.raw_record)
            ignored = self._assign(punch.key, waiting, punch.origin)
            if place is None or not isinstance(ignored, IgnoredUser):
                # The user map was changed since that was decided.
                self._waiting.decide(punch, again=True)
                continue
            letter = letter_of_waiting(waiting, place, ignored, self._clock(), self._topics["raw"])
            ended.append(punch)
            letters.append(letter.to_record(self._topics["dead_letters"]))
        if not ended:
            return
        await send_until_acknowledged(self._producer, letters)
        await self._remove([(punch.key, punch.partition) for punch in ended])
        for punch in ended:
            self._waiting.forget(punch.key)
        self._metrics.count("punchstream_dead_letters_total", len(ended), stage=STAGE, reason=Reason.USER_IGNORED)
        log.info("Waiting punches of ignored users became dead letters.", punches=len(ended))

    async def _remove(self, records: Iterable[tuple[bytes, int]]) -> None:
        unmapped = self._topics["unmapped"]
        await send_until_acknowledged(
            self._producer, [OutRecord(unmapped, key, None, partition=partition) for key, partition in records]
        )

    def _show(self) -> None:
        for reason in REASONS:
            self._metrics.gauge("punchstream_waiting", self._waiting.reasons[reason], reason=reason)
        self._by_device.show()


def _is_the_same_again(punch: WaitingPunch, waiting: Waiting, checkin: Checkin) -> bool:
    """Whether a check-in is the one that was sent back, and nothing is new."""
    who = (waiting.employee, waiting.employee_created)
    return not punch.news and (checkin.employee, checkin.employee_created) == who
