"""What is done about dead letters: they are replayed, read again, or discarded with a note.

What is to be done is planned first, so that a dead letter that comes back meanwhile is not taken a second time.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from attendance.errors import InvalidRecord
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.records.dead_letter_action import Action, LetterId
from attendance.times import now
from attendance.topics import Topics
from attendance.user_map import UserMap
from attendance.wire import Place
from operations.dead_letters import SETTLED, Letter, Selection, State, begin_at, read_letters
from operations.log import Log, Send, Skipped
from operations.origin import DECIDED_BY_THE_STREAM, is_for_somebody_else, raw_copies, raw_place
from operations.pace import Pace
from operations.reading_again import NotUnderstood, holds_request
from operations.superseded import Versions
from operations.unread import GONE, Read, ReadingAgain, new_records
from operations.users import read_user_map

REPLAYS_PER_SECOND: Final = 100.0
AT_ONCE: Final = 500  # records that wait for one acknowledgement


@dataclass(slots=True)
class Plan:
    """What a command will do, in the order of the topic, and what it will not, with the reason.

    `ids` has all of it, also what is read again.
    """

    ids: list[LetterId] = field(default_factory=list)
    refused: dict[LetterId, str] = field(default_factory=dict)
    begin_at_raw: dict[LetterId, Place] = field(default_factory=dict)
    """The raw record to be sent in place of a check-in, because that is not for whom it names."""
    reading: ReadingAgain | None = None
    """What is given to an adapter once more; None where nothing is."""
    superseded: int = 0
    """How many are refused because their punch was corrected since."""
    skipped: Skipped = field(default_factory=Skipped)


def objection_to_replay(letter: Letter, topics: Topics, *, force: bool) -> str | None:
    """Why a letter is not replayed.

    Args:
        letter: Any dead letter.
        topics: The full names.
        force: Whether to replay also what is parked or settled. What has no record to send is never replayed.

    Returns:
        The reason; None where it is replayed.
    """
    content = letter.content
    if content.topic is None:
        return f"never became a record ({content.where or content.stage}): repair the sender, then discard this"
    # These two are consumed by who takes the same punch twice for one.
    if content.topic not in (topics["raw"], topics["checkins"]):
        return f"{content.topic} is not a topic that can be replayed to"
    if content.value is None:
        return f"has no value; the original stands at {content.topic} {content.partition}:{content.offset}"
    return None if force else _objection_to_state(letter)


def _objection_to_state(letter: Letter) -> str | None:
    """Why a letter is not replayed for what was done about it; None where nothing was."""
    content = letter.content
    if letter.state is State.PARKED:
        return f"parked: failed after {content.replay_count} replays; repair the cause, then --force"
    return f"{letter.state} already; --force does it again" if letter.state in SETTLED else None


def raw_record_to_replay(letter: Letter, topics: Topics, users: UserMap) -> Place | None:
    """The raw record that is to be sent in place of a letter's own.

    A check-in names its employee, and where its device hangs, for ever: sent as it is, it fails again.

    Args:
        letter: One that is to be replayed.
        topics: The full names.
        users: The user map.

    Returns:
        Its place; None where the letter's own record is sent.
    """
    content = letter.content
    if content.topic != topics["checkins"]:
        return None
    try:
        checkin = Checkin.decode(content.value)
    except InvalidRecord:
        return None
    if content.reason in DECIDED_BY_THE_STREAM or is_for_somebody_else(checkin, users):
        return raw_place(content.headers)
    return None


def objection_to_discard(letter: Letter) -> str | None:
    """Why a letter is not discarded, None where it is."""
    return f"{letter.state} already" if letter.state in SETTLED else None


async def make_plan(log: Log, wanted: Selection, objection: Callable[[Letter], str | None]) -> Plan:
    """Sort the wanted letters by whether there is an objection.

    Args:
        log: Where they stand.
        wanted: Which letters.
        objection: Why a letter is to be left alone; None where it is not.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    plan = Plan()
    missing = set(wanted.ids)
    async with aclosing(read_letters(log, plan.skipped, begin_at(wanted.ids) if wanted.ids else None)) as letters:
        async for letter in letters:
            if not wanted.includes(letter, log.topics):
                continue
            problem = objection(letter)
            if problem is None:
                plan.ids.append(letter.id)
            else:
                plan.refused[letter.id] = problem
            missing.discard(letter.id)
            if wanted.ids and not missing:
                break
    plan.refused |= dict.fromkeys(sorted(missing), "no such dead letter")
    return plan


async def make_replay_plan(log: Log, wanted: Selection, read: Read, *, force: bool) -> Plan:
    """The plan of a replay. What was corrected since is refused, also with `force`: it would be stored once more.

    A check-in that is not for whom it names begins at its raw record, so that its employee is decided anew. What no
    adapter understood is read again, or refused with the reason of today's adapter.

    Args:
        log: Where the letters stand.
        wanted: Which letters.
        read: What today's adapter makes of a request.
        force: Also those that `objection_to_replay` lets through only then.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    versions = Versions()
    users = await read_user_map(log, Skipped())
    begin_at_raw: dict[LetterId, Place] = {}
    reading = ReadingAgain(read, log.topics)

    def objection(letter: Letter) -> str | None:
        if holds_request(letter.content):
            problem = None if force else _objection_to_state(letter)
            if problem is None:
                reading.add(letter)
            return problem
        problem = objection_to_replay(letter, log.topics, force=force)
        if problem is None:
            versions.add(letter.id, letter.content, log.topics)
            place = raw_record_to_replay(letter, log.topics, users)
            if place is not None:
                begin_at_raw[letter.id] = place
        return problem

    plan = await make_plan(log, wanted, objection)
    plan.begin_at_raw, plan.reading = begin_at_raw, reading
    await reading.find(log, plan.skipped)
    await reading.compare(log)
    superseded = await versions.superseded(log)
    plan.ids = [id_ for id_ in plan.ids if id_ not in superseded and id_ not in reading.refused]
    plan.refused |= reading.refused
    plan.refused |= {id_: f"superseded: {by} corrects this punch; discard the letter" for id_, by in superseded.items()}
    plan.superseded = len(superseded)
    return plan


async def replay(
    log: Log,
    plan: Plan,
    *,
    per_second: float,
    by: str,
    report: Callable[[LetterId, str | None], None],
) -> None:
    """Send the planned letters back to where they came from, one after the other, and record each.

    They were planned before, so that a letter that comes back meanwhile is not sent a second time. Where the raw record
    that is to be sent in place of a check-in is gone, the check-in is sent.

    Args:
        log: Where the letters stand.
        plan: Which letters.
        per_second: At most so many in a second.
        by: Who does so.
        report: Called for each letter once its replay is recorded, or with why it could not be sent.

    Raises:
        KafkaUnavailable: Kafka does not answer; those that were reported are replayed.
    """
    reading = plan.reading
    remaining = set(plan.ids)
    pace = Pace(per_second)
    if reading is not None:
        await _read_again(log, reading, pace, by, partial(_finish, remaining, report))
        for id_ in sorted(reading.ids() & remaining):
            _finish(remaining, report, id_, GONE)
    if not remaining:
        return
    places = {id_: place for id_, place in plan.begin_at_raw.items() if id_ in remaining}
    raw = await raw_copies(log, set(places.values()))
    async with log.sending() as send, aclosing(read_letters(log, Skipped(), begin_at(plan.ids))) as letters:
        async for letter in letters:
            if letter.id not in remaining:
                continue
            await asyncio.sleep(pace.delay())
            copy = raw.get(places[letter.id]) if letter.id in places else None
            report(letter.id, await replay_one(letter, send, log.topics, by, copy))
            remaining.discard(letter.id)
            if not remaining:
                break
        for id_ in sorted(remaining):
            report(id_, "is not there any more")


def _finish(
    remaining: set[LetterId], report: Callable[[LetterId, str | None], None], id_: LetterId, problem: str | None
) -> None:
    remaining.discard(id_)
    report(id_, problem)


async def _read_again(
    log: Log, reading: ReadingAgain, pace: Pace, by: str, report: Callable[[LetterId, str | None], None]
) -> None:
    """Publish what is made of requests, one after the other, and record that for each of their letters."""
    skipped = Skipped()
    async with log.sending() as send, aclosing(reading.requests(log, skipped)) as requests:
        async for request, letters in requests:
            await asyncio.sleep(pace.delay())
            try:
                records = new_records(reading.read(request), request, letters, reading.there, log.topics)
                for start in range(0, len(records), AT_ONCE):
                    await send(*records[start : start + AT_ONCE])
            except (InvalidRecord, NotUnderstood) as error:
                for each in letters:
                    report(each.id, str(error))
                continue
            # Whoever ends here has read a request whose letters still look open. Read once more, it adds nothing.
            for each in letters:
                action = Action(each.id, "replayed", now(), by, replay_count=each.replay_count + 1)
                await send(_record(log.topics, action))
                report(each.id, None)


async def replay_one(
    letter: Letter, send: Send, topics: Topics, by: str, instead: OutRecord | None = None
) -> str | None:
    """Send a letter's record back and then record that.

    Args:
        letter: One that has a record to send.
        send: See `Log.sending`.
        topics: The full names.
        by: Who does so.
        instead: What is sent in place of the letter's own record, if anything is.

    Returns:
        Why Kafka will not take the record; None where it did.

    Raises:
        KafkaUnavailable: the record may be there or not; that it was sent is not recorded.
    """
    try:
        await send(instead or letter.content.to_replay())
    except InvalidRecord as error:
        return str(error)
    # Whoever ends here has replayed a letter that still looks open. Replayed once more, it does no harm: the stream
    # drops the punch as a duplicate, and the sink finds the check-in in the target.
    count = letter.content.replay_count + 1
    await send(_record(topics, Action(letter.id, "replayed", now(), by, replay_count=count)))
    return None


async def discard(log: Log, ids: Sequence[LetterId], *, note: str, by: str) -> None:
    """Record that nothing more is to be done about these letters.

    Args:
        log: Where the letters stand.
        ids: Which letters.
        note: Why.
        by: Who says so.

    Raises:
        KafkaUnavailable: Kafka does not answer; each may be recorded or not.
    """
    await discard_each(log, dict.fromkeys(ids, note), by=by)


async def discard_each(log: Log, notes: Mapping[LetterId, str], *, by: str) -> None:
    """The same, with a note for each letter."""
    ids = list(notes)
    async with log.sending() as send:
        for start in range(0, len(ids), AT_ONCE):
            part = ids[start : start + AT_ONCE]
            await send(*(_record(log.topics, Action(id_, "discarded", now(), by, note=notes[id_])) for id_ in part))


def _record(topics: Topics, action: Action) -> OutRecord:
    return OutRecord(topics["dead_letter_actions"], action.key, action.encode())
