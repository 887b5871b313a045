"""Which records of the topics are a person's (`operations.persons`)."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.records.activity import Activity
from attendance.records.attendance_day import AttendanceDay
from attendance.records.checkin import Checkin
from attendance.records.dead_letter_action import Action, LetterId
from attendance.records.discard import is_discard_key
from attendance.records.job import JobAsked, JobProgress
from attendance.records.job import decode as decode_job
from attendance.records.outcomes import Delivery, Dropped, Waiting, waiting_event_id
from attendance.records.raw_event import RawEvent
from attendance.records.unread import UnreadRequest
from attendance.records.user_map import (
    EmployeeKey,
    ErasedKey,
    IgnoredKey,
    UserKey,
    UserMapping,
    decode,
    decode_key,
)
from attendance.sealing import Seal, StaysSealed
from attendance.topics import Name
from operations.dead_letters import dead_letter
from operations.log import Log
from operations.persons import Person

READ: Final[tuple[Name, ...]] = (
    "user_map",
    "raw",
    "checkins",
    "unmapped",
    "dropped",
    "dead_letters",
    "dead_letter_actions",
    "jobs",
    "deliveries",
    "attendance_days",
    "dedup_state",
    "other_events",
    "unread",
    "console_activity",
)
"""The topics that hold something of a person, in the order in which they are read: what is known grows."""


class Found(NamedTuple):
    """A record of a person. `certain` is False where their number or name only occurs in what a device sent."""

    topic: Name
    record: Record
    certain: bool = True


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
    if isinstance(whose, IgnoredKey):
        return person.has_ignored(whose)
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


def _activity(person: Person, record: Record, _: Log) -> bool | None:
    """What is about a number without its device may be somebody else's."""
    try:
        activity = Activity.decode(record.value)
    except InvalidRecord:
        return False if person.occurs_in((record.value or b"").decode(errors="replace"), "") else None
    about = activity.about
    if person.is_named(about.get("employee")) or about.get("event_id") in person.events:
        return True
    if (about.get("device", ""), about.get("number", "")) in person.pairs:
        return True
    has_number = "device" not in about and about.get("number") in {user for _, user in person.pairs}
    texts = (activity.note or "", activity.result or "")
    return False if has_number or any(person.occurs_in(text, "") for text in texts) else None


def _jobs(person: Person, record: Record, _: Log) -> bool:
    job = decode_job(record.key, record.value)
    if isinstance(job, JobAsked):
        named = any(str(each) in job.wanted.ids for each in person.letters)
        note, devices = job.note or "", job.wanted.devices or ("",)
        return named or (note != "" and any(person.occurs_in(note, each) for each in devices))
    return isinstance(job, JobProgress) and any(person.occurs_in(each, "") for each in job.problems)


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
    "jobs": _check(_jobs),
    "deliveries": _check(_deliveries),
    "attendance_days": _check(_days),
    "dedup_state": _check(_dedup_state),
    "other_events": _sent,
    "unread": _sent,
    "console_activity": _activity,
}
