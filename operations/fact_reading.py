"""Makes facts of records (`operations.facts`)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from attendance.adoptions import Moves
from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action
from attendance.records.device_status import DeviceStatus
from attendance.records.discard import DiscardedWaiting, is_discard_key
from attendance.records.outcomes import Delivery, Dropped, Waiting, waiting_event_id
from attendance.records.raw_event import REPLAY_OF, RawEvent
from attendance.topics import TABLE, Name, Topics
from attendance.wire import Place, encode_json, position
from operations.dead_letters import dead_letter, device_of
from operations.facts import (
    ActionFact,
    CheckinFact,
    DeliveryFact,
    DiscardFact,
    DroppedFact,
    Fact,
    LetterFact,
    RawFact,
    StatusFact,
    Unreadable,
    WaitingEnded,
    WaitingFact,
)
from operations.origin import raw_place


def milliseconds(instant: datetime) -> int:
    """An instant as the facts have it."""
    return round(instant.timestamp() * 1000)


def _milliseconds_or_none(instant: datetime | None) -> int | None:
    return None if instant is None else milliseconds(instant)


_MOST: Final = 2**63 - 1


def _given(event: RawEvent) -> tuple[str | None, int | None, str | None, int | None]:
    """Who gave the punch its time, when, why, and instead of which one."""
    given = event.given_time
    if given is None:
        return None, None, None, None
    wrong = None if given.instead_of is None else milliseconds(given.instead_of)
    return given.by, milliseconds(given.at), given.note, wrong


def _storable(fact: Fact) -> Fact:
    """The fact as every database takes it: without NUL characters, and without numbers of more than 64 bits."""
    for value in fact:
        if (type(value) is str and "\0" in value) or (type(value) is int and not -_MOST <= value <= _MOST):
            break
    else:
        return fact
    kind: Any = type(fact)
    plain: Fact = kind(*map(_plain, fact))
    return plain


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    return max(-_MOST, min(value, _MOST)) if isinstance(value, int) else value


def _unreadable(name: Name, record: Record, error: InvalidRecord) -> Unreadable:
    message = error.message.replace("\0", "\ufffd")
    return Unreadable(TABLE[name].suffix, record.partition, record.offset, record.timestamp, message)


class FactReader:
    """Makes facts of records, whose places are those of today."""

    def __init__(self, topics: Topics, moves: Moves) -> None:
        """Nothing is read.

        Args:
            topics: The full names.
            moves: The adoptions: places that records name are those of today.
        """
        self._topics = topics
        self._moves = moves
        self._of: Mapping[Name, Callable[[Record], list[Fact]]] = {
            "raw": self._raw,
            "checkins": self._checkin,
            "dropped": self._dropped,
            "unmapped": self._unmapped,
            "deliveries": self._delivery,
            "dead_letters": self._letter,
            "dead_letter_actions": self._action,
            "device_status": self._status,
        }

    def of(self, name: Name, record: Record) -> list[Fact]:
        """What a record says. One that cannot be read says that.

        Args:
            name: Its topic, one of `FACT_TOPICS`.
            record: Any record of it.
        """
        try:
            return [_storable(each) for each in self._of[name](record)]
        except InvalidRecord as error:
            return [_unreadable(name, record, error)]

    def _raw(self, record: Record) -> list[Fact]:
        copy = position(record.headers, REPLAY_OF)
        if copy is not None:
            copy = self._moves.now(record.topic, copy, record)
        of_partition, of_offset = copy or (None, None)
        try:
            event = RawEvent.decode(record.value)
        except InvalidRecord:
            key = (record.key or b"").decode(errors="replace")
            unknown = dict.fromkeys(RawFact._fields)
            known = {"device_id": key, "stored_at": record.timestamp}
            known |= {"kafka_partition": record.partition, "kafka_offset": record.offset}
            copied = {"copy_partition": of_partition, "copy_offset": of_offset}
            return [RawFact._make((unknown | known | copied).values())]
        return [
            RawFact(
                record.partition,
                record.offset,
                event.event_id,
                event.device_id,
                event.device_user_id,
                event.site,
                event.event_type,
                None if event.event_time is None else milliseconds(event.event_time),
                event.device_time,
                event.device_timezone,
                milliseconds(event.received_at),
                record.timestamp,
                event.source.transport,
                event.source.adapter,
                event.sequence,
                event.clock_skew,
                event.supersedes,
                of_partition,
                of_offset,
                *_given(event),
            )
        ]

    def _dropped(self, record: Record) -> list[Fact]:
        dropped = Dropped.decode(record.value)
        place = self._moves.now(self._topics["raw"], (dropped.partition, dropped.offset), record)
        partition, offset = place or (None, None)
        return [
            DroppedFact(
                record.partition,
                record.offset,
                dropped.event_id,
                dropped.kept_event_id,
                dropped.reason.value,
                dropped.device_id,
                dropped.device_user_id,
                milliseconds(dropped.event_time),
                record.timestamp,
                partition,
                offset,
            )
        ]

    def _checkin(self, record: Record) -> list[Fact]:
        checkin = Checkin.decode(record.value)
        place = raw_place(record.headers)
        if place is not None:
            place = self._moves.now(self._topics["raw"], place, record)
        partition, offset = place or (None, None)
        return [
            CheckinFact(
                record.partition,
                record.offset,
                checkin.event_id,
                checkin.employee,
                checkin.device_id,
                checkin.device_user_id,
                checkin.site,
                checkin.log_type,
                milliseconds(checkin.event_time),
                checkin.device_timezone,
                record.timestamp,
                partition,
                offset,
                checkin.supersedes,
            )
        ]

    def _delivery(self, record: Record) -> list[Fact]:
        delivery = Delivery.decode(record.value)
        late = delivery.late
        return [
            DeliveryFact(
                record.partition,
                record.offset,
                delivery.event_id,
                delivery.employee,
                delivery.document,
                delivery.status,
                delivery.target,
                milliseconds(delivery.delivered_at),
                delivery.attempts,
                late is not None,
                None if late is None else late.shift_type,
                None if late is None or late.attendance_date is None else late.attendance_date.isoformat(),
                delivery.supersedes,
                delivery.removed,
            )
        ]

    def _unmapped(self, record: Record) -> list[Fact]:
        key = record.key or b""
        if is_discard_key(key):
            return self._discarded(record)
        wait_key = key.decode(errors="replace")
        # Whatever comes under a key takes the place of what waited under it, also what cannot be read.
        ended = WaitingEnded(record.partition, wait_key)
        if record.value is None:
            return [ended]
        try:
            waiting = Waiting.decode(record.value)
        except InvalidRecord as error:
            return [ended, _unreadable("unmapped", record, error)]
        event = waiting.event
        fact = WaitingFact(
            record.partition,
            record.offset,
            wait_key,
            waiting_event_id(key),
            waiting.reason.value,
            waiting.employee,
            event.device_id,
            event.device_user_id,
            event.site,
            None if event.event_time is None else milliseconds(event.event_time),
            record.timestamp,
            waiting.message,
        )
        return [ended, fact]

    def _discarded(self, record: Record) -> list[Fact]:
        discard = DiscardedWaiting.decode(record.value)
        at = milliseconds(discard.at)
        return [
            DiscardFact(
                record.partition, record.offset, id_, discard.device_id, record.timestamp, at, discard.by, discard.note
            )
            for id_ in dict.fromkeys(discard.events)
        ]

    def _letter(self, record: Record) -> list[Fact]:
        letter = dead_letter(record)
        partition, offset = self._failed(letter, record) or (None, None)
        event_id, device_id, device_user_id, employee = self._whose(letter)
        # A restored record may have another time than the one that failed.
        stored_at = None if self._moves.is_before(record) else letter.timestamp
        return [
            LetterFact(
                record.partition,
                record.offset,
                letter.stage,
                letter.reason.value,
                letter.message,
                milliseconds(letter.at),
                record.timestamp,
                letter.attempts,
                letter.replay_count,
                None if letter.topic is None else letter.topic.removeprefix(f"{self._topics.prefix}."),
                partition,
                offset,
                stored_at,
                letter.where,
                event_id,
                device_id,
                device_user_id,
                employee,
            )
        ]

    def _failed(self, letter: DeadLetter, record: Record) -> Place | None:
        if letter.topic is None or letter.partition is None or letter.offset is None:
            return None
        return self._moves.now(letter.topic, (letter.partition, letter.offset), record)

    def _whose(self, letter: DeadLetter) -> tuple[str | None, str | None, str | None, str | None]:
        """The id of the punch, device, device user and employee, as far as the letter says it."""
        try:
            if letter.topic == self._topics["checkins"]:
                checkin = Checkin.decode(letter.value)
                return checkin.event_id, checkin.device_id, checkin.device_user_id, checkin.employee
            if letter.topic == self._topics["raw"]:
                event = RawEvent.decode(letter.value)
                return event.event_id, event.device_id, event.device_user_id, None
        except InvalidRecord:
            pass
        return letter.event_id, device_of(letter, self._topics), None, None

    def _action(self, record: Record) -> list[Fact]:
        action = Action.decode(record.key, record.value)
        letter = action.letter
        place = self._moves.now(self._topics["dead_letters"], (letter.partition, letter.offset), record)
        if place is None:
            return []
        at = milliseconds(action.at)
        return [ActionFact(record.partition, record.offset, *place, action.action, at, action.by, action.note)]

    def _status(self, record: Record) -> list[Fact]:
        if record.value is None:
            return []
        status = DeviceStatus.decode(record.value)
        return [
            StatusFact(
                record.partition,
                record.offset,
                status.device_id,
                milliseconds(status.heard_at),
                record.timestamp,
                _milliseconds_or_none(status.last_event),
                status.pending,
                _milliseconds_or_none(status.complete_until),
                status.last_sequence,
                status.clock_skew,
                _milliseconds_or_none(status.clock_measured_at),
                encode_json(status.details).decode(),
            )
        ]
