"""Journeys: what became of each raw record, step by step. The rules are those of the audit and of the ledger's view."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

from attendance.topics import TABLE
from attendance.wire import Place
from operations.facts import (
    CheckinFact,
    DeliveryFact,
    DiscardFact,
    DroppedFact,
    Fact,
    LetterFact,
    RawFact,
    WaitingFact,
)

Outcome = Literal["delivered", "dropped", "waiting", "dead_lettered", "discarded_waiting", "undelivered", "undecided"]

_RAW: Final = TABLE["raw"].suffix
_F = TypeVar("_F", CheckinFact, DeliveryFact, LetterFact, WaitingFact)


class Milestone(NamedTuple):
    """One step of a journey.

    Attributes:
        name: `received`, `stored`, `decided` or `delivered`.
        at: Milliseconds since the epoch.
        after: Seconds since the step before; None for the first. The clocks of several machines are compared, so it may
            be below zero.
    """

    name: str
    at: int
    after: float | None


@dataclass(frozen=True, slots=True)
class Journey:
    """What became of one raw record.

    Attributes:
        raw: The record.
        outcome: As the audit counts it. `undelivered` is on its way to the target, `undecided` to the stream.
        reason: Why it was dropped, waits, or failed.
        kept_event_id: Of a dropped one the punch that was kept.
        employee: Whom the newest check-in names, or what waits.
        decided_at: When the broker took what the stream decided.
        delivered_at: When the target had it.
        document: The target's name of it.
        message: What is said of why it waits or failed.
    """

    raw: RawFact
    outcome: Outcome
    reason: str | None = None
    kept_event_id: str | None = None
    employee: str | None = None
    decided_at: int | None = None
    delivered_at: int | None = None
    document: str | None = None
    message: str | None = None

    @property
    def milestones(self) -> list[Milestone]:
        """From the arrival on."""
        raw = self.raw
        times = {"received": raw.received_at, "stored": raw.stored_at, "decided": self.decided_at}
        milestones: list[Milestone] = []
        for name, at in {**times, "delivered": self.delivered_at}.items():
            if at is not None:
                milestones.append(Milestone(name, at, (at - milestones[-1].at) / 1000 if milestones else None))
        return milestones


def journeys(facts: Iterable[Fact]) -> list[Journey]:
    """What became of each raw record, by time of the punch.

    Args:
        facts: All of the punches that are asked about.
    """
    found = _Facts(facts)
    return sorted(
        map(found.journey, found.raw),
        key=lambda each: (each.raw.event_time or each.raw.stored_at, each.raw.kafka_partition, each.raw.kafka_offset),
    )


class _Facts:
    """Facts of punches, by what is asked of them."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.raw: list[RawFact] = []
        self._copies: dict[Place, list[RawFact]] = defaultdict(list)
        self._dropped: dict[Place, list[DroppedFact]] = defaultdict(list)
        self._letters: dict[Place, list[LetterFact]] = defaultdict(list)
        self._later_letters: dict[str, list[LetterFact]] = defaultdict(list)
        self._checkins: dict[str, list[CheckinFact]] = defaultdict(list)
        self._deliveries: dict[str, list[DeliveryFact]] = defaultdict(list)
        self._waiting: dict[str, list[WaitingFact]] = defaultdict(list)
        self._discards: dict[str, list[DiscardFact]] = defaultdict(list)
        for each in facts:
            self._take(each)

    def _take(self, fact: Fact) -> None:
        match fact:
            case RawFact():
                self.raw.append(fact)
                if fact.copy_partition is not None and fact.copy_offset is not None:
                    self._copies[fact.copy_partition, fact.copy_offset].append(fact)
            case DroppedFact(raw_partition=int(partition), raw_offset=int(offset)):
                self._dropped[partition, offset].append(fact)
            case LetterFact():
                self._take_letter(fact)
            case CheckinFact():
                self._checkins[fact.event_id].append(fact)
            case DeliveryFact():
                self._deliveries[fact.event_id].append(fact)
            case WaitingFact():
                self._waiting[fact.event_id].append(fact)
            case DiscardFact():
                self._discards[fact.event_id].append(fact)

    def _take_letter(self, fact: LetterFact) -> None:
        if fact.failed_topic == _RAW:
            if fact.failed_partition is not None and fact.failed_offset is not None:
                self._letters[fact.failed_partition, fact.failed_offset].append(fact)
        elif fact.event_id is not None:
            self._later_letters[fact.event_id].append(fact)

    def journey(self, raw: RawFact) -> Journey:
        """What became of a raw record."""
        return next(each for each in self._in_order(raw) if each is not None)

    def _in_order(self, raw: RawFact) -> Iterator[Journey | None]:
        """What may have become of a raw record; the first that is there counts."""
        id_ = raw.event_id or ""
        checkin = _newest(self._checkins[id_], "decided_at")
        waiting = _newest(self._waiting[id_], "waiting_since")
        employee = None if waiting is None else waiting.employee
        if checkin is not None:
            employee = checkin.employee
        copies = [each for each in self._copies[_place(raw)] if raw.event_id is not None and each.event_id == id_]
        yield _dropped(raw, self._drop_of(raw, [raw]), employee)
        yield _delivered(raw, _newest(self._deliveries[id_], "delivered_at"), checkin)
        yield _failed(raw, self._letter_of([raw], of_its_time=True), employee)
        yield _waits(raw, waiting, employee)
        yield _failed(raw, _newest(self._later_letters[id_], "stored_at"), employee)
        yield _dropped(raw, self._drop_of(raw, copies), employee)
        yield _failed(raw, self._letter_of(copies), employee)
        yield self._discarded(raw, checkin, employee)
        if checkin is not None:
            yield Journey(raw, "undelivered", employee=employee, decided_at=checkin.decided_at)
        yield Journey(raw, "undecided", employee=employee)

    def _discarded(self, raw: RawFact, checkin: CheckinFact | None, employee: str | None) -> Journey | None:
        newest = -1 if checkin is None else checkin.decided_at
        discards = [each for each in self._discards[raw.event_id or ""] if each.stored_at >= raw.stored_at]
        last = max(discards, key=lambda each: each.stored_at, default=None)
        if last is None or last.stored_at < newest:
            return None
        return Journey(raw, "discarded_waiting", None, None, employee, last.stored_at, message=last.note)

    def _drop_of(self, raw: RawFact, of: Sequence[RawFact]) -> DroppedFact | None:
        # A place is another record's once a topic was made anew: an outcome also names its event.
        found = [
            each for record in of for each in self._dropped[_place(record)] if raw.event_id in (None, each.event_id)
        ]
        return min(found, key=_place, default=None)

    def _letter_of(self, of: Sequence[RawFact], *, of_its_time: bool = False) -> LetterFact | None:
        found = [
            each
            for record in of
            for each in self._letters[_place(record)]
            if not of_its_time or each.failed_stored_at in (None, record.stored_at)
        ]
        return _newest(found, "stored_at")


def _place(fact: RawFact | DroppedFact) -> Place:
    return fact.kafka_partition, fact.kafka_offset


def _newest(facts: Sequence[_F], at: str) -> _F | None:
    return max(facts, key=lambda each: (getattr(each, at), each.kafka_partition, each.kafka_offset), default=None)


def _dropped(raw: RawFact, dropped: DroppedFact | None, employee: str | None) -> Journey | None:
    if dropped is None:
        return None
    return Journey(raw, "dropped", dropped.reason, dropped.kept_event_id, employee, dropped.decided_at)


def _delivered(raw: RawFact, delivery: DeliveryFact | None, checkin: CheckinFact | None) -> Journey | None:
    if delivery is None:
        return None
    employee, decided_at = (None, None) if checkin is None else (checkin.employee, checkin.decided_at)
    at = delivery.delivered_at
    return Journey(raw, "delivered", None, None, employee, decided_at, at, delivery.document)


def _failed(raw: RawFact, letter: LetterFact | None, employee: str | None) -> Journey | None:
    if letter is None:
        return None
    at, why = letter.stored_at, letter.message
    return Journey(raw, "dead_lettered", letter.reason, None, employee, at, message=why)


def _waits(raw: RawFact, waiting: WaitingFact | None, employee: str | None) -> Journey | None:
    if waiting is None:
        return None
    since, why = waiting.waiting_since, waiting.message
    return Journey(raw, "waiting", waiting.reason, None, employee, since, message=why)
