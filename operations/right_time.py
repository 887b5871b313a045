"""The right time of a punch whose clock was wrong: a person gives it, and the punch counts once, at that time.

What is sent is a correction: the same event at the given time, which supersedes the wrong one and says who gave the
time, when, and why (ADR 0064). The wrong record stays as it is.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from msgspec.structs import replace

from attendance.errors import ConfigurationError, Reason, TargetUnavailable
from attendance.fleet import Device
from attendance.kafka.records import OutRecord
from attendance.plausibility import TimeFault, find_time_fault
from attendance.records.dead_letter_action import LetterId
from attendance.records.raw_event import GivenTime, RawEvent
from attendance.times import format_seconds, from_wall_clock
from operations.day_punches import Punch, day_punches
from operations.dead_letter_actions import discard
from operations.facts import ActionFact, Fact, LetterFact, RawFact
from operations.log import Log
from operations.trace import RAW_SUFFIX, Asked, TraceSource

OF_CLOCKS: Final = frozenset({Reason.IMPLAUSIBLE_TIME, Reason.CLOCK_SKEW, Reason.UNREADABLE_TIME})
"""Reasons of dead letters whose punch may be given its right time."""
MOST_NOTE: Final = 500
"""Letters of a note."""
Why = Literal[
    "unknown",
    "gone",
    "no_note",
    "no_time",
    "same",
    "ahead",
    "before_installed",
    "corrected",
    "correction_failed",
    "on_its_way",
    "waits",
    "dropped",
    "other_reason",
]


class TimeRefused(ConfigurationError):
    """The punch cannot be given this time. `why` is one of a closed set; `about` is what it names, if anything."""

    def __init__(self, why: Why, message: str, about: str = "") -> None:
        super().__init__(message)
        self.why = why
        self.about = about


@dataclass(frozen=True, slots=True)
class SaidTime:
    """What a person says of a punch: its right time as text (see `read_given`), who says so, why, and when."""

    text: str
    by: str
    note: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TimePlan:
    """What giving a punch its right time will do.

    Attributes:
        wrong: The event as it stands.
        right: The event that supersedes it.
        is_delivered: Whether the target has the wrong one, which then becomes the right one.
        letters: The dead letters of the wrong one that nobody has settled: they are discarded.
        is_sent: Whether the right one was sent before: only the letters are left.
    """

    wrong: RawEvent
    right: RawEvent
    is_delivered: bool
    letters: Sequence[LetterId]
    is_sent: bool = False


def read_given(text: str, zone_name: str) -> datetime:
    """The instant that a person means, UTC, whole seconds.

    Args:
        text: A date and a time of day, as on the wall where the device is; or one with an offset.
        zone_name: The zone of the device.

    Raises:
        TimeRefused: it is no such time.
    """
    try:
        if ":" not in text:
            raise ValueError("no time of day")
        read = datetime.fromisoformat(text.strip())
        at = from_wall_clock(read, zone_name) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"`{text}` is no time such as 2026-03-02 08:00 or 2026-03-02T08:00:00+03:00"
        raise TimeRefused("no_time", message, text) from error
    return at.replace(microsecond=0)


async def plan_time(
    source: TraceSource,
    log: Log,
    device: Callable[[str], Device | None],
    event_id: str,
    said: SaidTime,
    *,
    future_tolerance: float,
) -> TimePlan:
    """Find out what a punch is, and what giving it its right time will do. Nothing is sent.

    Args:
        source: Has the facts. It must have what the topics have now.
        log: The topics.
        device: Finds a device of the fleet by its device_id.
        event_id: Which punch.
        said: The right time, and who says so.
        future_tolerance: Seconds by which a punch may be ahead of its arrival, as for the stream.

    Raises:
        TimeRefused: it cannot be given this time.
        RetriableError: the source or Kafka does not answer.
    """
    note = said.note.strip()
    if not note or len(note) > MOST_NOTE:
        raise TimeRefused("no_note", f"a note must say why, in at most {MOST_NOTE} letters")
    found = _Found(await source.facts(Asked(event_id=event_id)), event_id)
    wrong = await _standing_event(log, found)
    time = read_given(said.text, wrong.device_timezone)
    given = GivenTime(said.by, said.at, note, wrong.event_time)
    right = replace(wrong, event_time=time, clock_skew=None, supersedes=event_id, given_time=given)
    is_sent = found.is_corrected_by(right.event_id)
    is_delivered = False if is_sent else found.refuse_or_is_delivered()
    _check(wrong, right, device(wrong.device_id), future_tolerance)
    # The document of an earlier correction is not this punch's.
    document = found.document if is_delivered else None
    return TimePlan(
        wrong, replace(right, superseded_document=document), is_delivered, found.open_letters(), is_sent=is_sent
    )


async def give_time(log: Log, plan: TimePlan, *, seconds: float | None = None) -> None:
    """Send the right event, and discard the dead letters of the wrong one. It may be done again.

    What is to be replaced must be there: so first wait until the sink has committed the check-ins that there are.

    Args:
        log: The topics.
        plan: What to do.
        seconds: How long to wait for the sink at most; None for as long as it takes.

    Raises:
        KafkaUnavailable: Kafka does not answer.
        TargetUnavailable: the sink has not come so far in time. Nothing was sent.
    """
    given = plan.right.given_time
    assert given is not None
    assert plan.right.event_time is not None
    if not plan.is_sent:
        if plan.is_delivered:
            try:
                await asyncio.wait_for(log.until_delivered(), seconds)
            except TimeoutError as error:
                raise TargetUnavailable("the sink is still busy with other check-ins: try again in a minute") from error
        async with log.sending() as send:
            await send(OutRecord(log.topics["raw"], *plan.right.record()))
    note = f"given the time {format_seconds(plan.right.event_time)}: {given.note}"
    await discard(log, plan.letters, note=note, by=given.by)


def _check(wrong: RawEvent, right: RawEvent, device: Device | None, future_tolerance: float) -> None:
    if right.event_time == wrong.event_time:
        raise TimeRefused("same", "that is the time which the punch has")
    fault = find_time_fault(right, device, future_tolerance)
    if fault is None:
        return
    if fault.fault is TimeFault.BEFORE_INSTALLED:
        raise TimeRefused("before_installed", fault.message)
    arrived = format_seconds(right.received_at)
    raise TimeRefused("ahead", f"{fault.message}: the punch arrived at {arrived}", arrived)


async def _standing_event(log: Log, found: "_Found") -> RawEvent:
    """The event whose place a correction takes."""
    raw = found.standing
    place = raw.kafka_partition, raw.kafka_offset
    record = (await log.at("raw", [place])).get(place)
    if record is None:
        raise TimeRefused("gone", "the raw record of that punch is not kept any more")
    event = RawEvent.decode(record.value)
    if event.event_id != raw.event_id:
        raise TimeRefused("gone", "where the raw record of that punch was is another one now")
    return event


class _Found:
    """What is known of one punch, and of the corrections of it."""

    def __init__(self, facts: Sequence[Fact], event_id: str) -> None:
        """Raises TimeRefused where there is no such punch."""
        self._event_id = event_id
        raw = [each for each in facts if isinstance(each, RawFact) and each.copy_partition is None]
        its = [each for each in raw if each.event_id == event_id]
        if not its:
            raise TimeRefused("unknown", f"there is no punch {event_id}", event_id)
        # Of copies the first says when the punch arrived. A time that was given back stands again.
        given = [each for each in its if each.time_given_by is not None]
        self.standing = max(given, key=_offset) if given else min(its, key=_offset)
        self._corrections = [
            each
            for each in raw
            if each.supersedes == event_id
            and each.event_id != event_id
            and each.kafka_offset > self.standing.kafka_offset
        ]
        device_id = self.standing.device_id
        of_device = day_punches(facts, Asked(zones={device_id: "UTC"}))[device_id]
        self._punches: dict[str, Punch] = {each.name: each for each in of_device.punches}
        self._letters = [
            each
            for each in facts
            if isinstance(each, LetterFact) and each.event_id == event_id and each.failed_topic == RAW_SUFFIX
        ]
        self._settled = {(each.letter_partition, each.letter_offset) for each in facts if isinstance(each, ActionFact)}

    @property
    def document(self) -> str | None:
        """What the target has of it."""
        deliveries = self._punches[self._event_id].deliveries
        return max(deliveries, key=lambda each: each.delivered_at).document if deliveries else None

    def is_corrected_by(self, event_id: str) -> bool:
        """Whether that event was sent to supersede it, and has not failed."""
        return any(each.event_id == event_id and not self._failed(each) for each in self._corrections)

    def _failed(self, correction: RawFact) -> bool:
        return self._punches[correction.event_id or ""].became in ("dead_lettered", "discarded")

    def open_letters(self) -> list[LetterId]:
        """Its dead letters about which nobody has done anything."""
        places = [(each.kafka_partition, each.kafka_offset) for each in self._letters if _is_of_clock(each)]
        return sorted(LetterId(*place) for place in places if place not in self._settled)

    def refuse_or_is_delivered(self) -> bool:
        """Whether the target has it; False where it failed because of a clock.

        Raises:
            TimeRefused: it is neither.
        """
        for each in self._corrections:
            name = each.event_id or ""
            if not self._failed(each):
                raise TimeRefused("corrected", f"that punch was corrected: {name} stands in its place", name)
        became = self._punches[self._event_id].became
        if became in ("delivered", "superseded"):
            return True
        of = self.standing.supersedes
        if of not in (None, self._event_id):
            message = f"that is a correction which failed: give {of} its time, or repair the cause and replay"
            raise TimeRefused("correction_failed", message, of or "")
        if became in ("undecided", "undelivered"):
            raise TimeRefused("on_its_way", "that punch is on its way: try again in a minute")
        if became == "waiting":
            raise TimeRefused("waits", "that punch waits: map its user first")
        if became == "dropped":
            raise TimeRefused("dropped", "that is a repeat of another punch, which counts: give that one its time")
        newest = max(self._letters, key=lambda each: each.stored_at, default=None)
        if newest is None or not _is_of_clock(newest):
            raise TimeRefused("other_reason", "that punch did not fail for its time: repair the cause, then replay")
        return False


def _offset(raw: RawFact) -> int:
    return raw.kafka_offset


def _is_of_clock(letter: LetterFact) -> bool:
    return letter.reason in OF_CLOCKS
