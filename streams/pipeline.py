"""The stream's decisions: raw records of one partition in, outcomes and changed state out. No Faust, no Kafka."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import orjson
import structlog

from attendance.checkin import Checkin
from attendance.dead_letter import DeadLetter, Record
from attendance.errors import InvalidRecord, Reason
from attendance.event import RawEvent, event_id
from attendance.outcomes import Dropped, Waiting
from attendance.registry import Device
from attendance.times import format_seconds, to_wall_clock
from attendance.user_map import UserMap
from streams import dedup, mapping
from streams.dedup import Judgement, Punch, Verdict

log = structlog.get_logger(__name__)

STAGE: Final = "stream"

# Clocks that lost their battery come back in 1970, 2000, 2010 or 2015. This is the floor for a device without
# `installed_on`.
EARLIEST: Final = date(2016, 1, 1)

Outcome = Checkin | Dropped | Waiting | DeadLetter


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decisions depend on, in seconds."""

    window: float
    horizon: float
    future_tolerance: float


@dataclass(frozen=True, slots=True)
class Decisions:
    """One outcome for each record, in their order, and the state entries that changed."""

    outcomes: list[Outcome] = field(default_factory=list)
    state: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Decides. Given the same records, state, map, fleet and clock, it decides the same."""

    rules: Rules
    users: UserMap
    device: Callable[[str], Device | None]

    def decide(self, records: Sequence[Record], state: Mapping[bytes, bytes], now: datetime) -> Decisions:
        """One outcome for each record of a partition, in offset order.

        `state` is the memory of all device users of that partition and is not changed; the entries to write are
        returned. They must be written only once every outcome is acknowledged, and before the records are.
        """
        decisions = Decisions()
        for record in records:
            try:
                outcome = self._decide_one(record, state, decisions.state)
            except InvalidRecord as error:
                outcome = DeadLetter.of(record, STAGE, error, now, event_id=_event_id(record))
            except Exception as error:
                log.exception("A record could not be decided.", partition=record.partition, offset=record.offset)
                fault = InvalidRecord(Reason.INTERNAL_ERROR, repr(error))
                outcome = DeadLetter.of(record, STAGE, fault, now, event_id=_event_id(record))
            decisions.outcomes.append(outcome)
        return decisions

    def _decide_one(self, record: Record, state: Mapping[bytes, bytes], changed: dict[bytes, bytes]) -> Outcome:
        event = RawEvent.decode(record.value)
        device = self.device(event.device_id)
        event_time = self._plausible_time(event, device)
        key = state_key(event)
        kept = dedup.unpack(changed.get(key) or state.get(key))
        punch = Punch.of(event_time, event.event_type, record.partition, record.offset)
        judgement = dedup.judge(kept, punch, self.rules.window)
        if judgement.verdict in {Verdict.DUPLICATE, Verdict.REPEAT}:
            return _dropped(event, event_time, punch, judgement)
        # The outcome first: should it fail, the memory must not hold the punch.
        outcome = mapping.assign(event, self.users, device)
        if judgement.verdict is Verdict.NEW:
            changed[key] = dedup.pack(dedup.remember(kept, punch, self.rules.horizon))
        return outcome

    def _plausible_time(self, event: RawEvent, device: Device | None) -> datetime:
        """The event time, if it can be true. Implausible times are reported, never rewritten."""
        if event.event_time is None:
            raise InvalidRecord(Reason.UNREADABLE_TIME, f"device time {event.device_time!r} is not a time")
        if event.event_time > event.received_at + timedelta(seconds=self.rules.future_tolerance):
            ahead = event.event_time - event.received_at
            raise InvalidRecord(
                Reason.IMPLAUSIBLE_TIME, f"{format_seconds(event.event_time)} is {ahead} ahead of its arrival"
            )
        installed = device.installed_on if device and device.installed_on else EARLIEST
        # The year 1 in a zone west of Greenwich has no wall clock, so the floor is compared in UTC first.
        if event.event_time < datetime.combine(EARLIEST, time(), UTC) - timedelta(days=1) or (
            to_wall_clock(event.event_time, event.device_timezone).date() < installed
        ):
            raise InvalidRecord(
                Reason.IMPLAUSIBLE_TIME, f"{format_seconds(event.event_time)} is before the device was installed"
            )
        return event.event_time


def state_key(event: RawEvent) -> bytes:
    """The key of a device user's memory."""
    return orjson.dumps([event.device_id, event.device_user_id])


def _event_id(record: Record) -> str | None:
    try:
        return RawEvent.decode(record.value).event_id
    except InvalidRecord:
        return None


def _dropped(event: RawEvent, event_time: datetime, punch: Punch, judgement: Judgement) -> Dropped:
    kept = judgement.kept
    assert kept is not None
    return Dropped(
        event_id=event.event_id,
        kept_event_id=event_id(event.device_id, event.device_user_id, format_seconds(kept.time), kept.event_type),
        reason=Reason.DUPLICATE if judgement.verdict is Verdict.DUPLICATE else Reason.REPEAT,
        device_id=event.device_id,
        device_user_id=event.device_user_id,
        event_time=event_time,
        partition=punch.partition,
        offset=punch.offset,
    )
