"""The stream's decisions: raw records of one partition in, outcomes and kept punches out. No Faust, no Kafka."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import MAX_VALUE_BYTES, Record
from attendance.plausibility import find_time_fault
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter, is_dead_letter_replay
from attendance.records.outcomes import Dropped, Waiting
from attendance.records.raw_event import RawEvent, event_id, is_replay_copy
from attendance.registry import Device
from attendance.times import format_seconds
from attendance.user_map import UserMap
from attendance.wire import encode_json
from streams import dedup, mapping
from streams.dedup import Kept, Punch, Verdict
from streams.store import Lists, StoreFailed

log = structlog.get_logger(__name__)

STAGE: Final = "stream"

Outcome = Checkin | Dropped | Waiting | DeadLetter


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decisions depend on, in seconds."""

    window: float
    horizon: float
    future_tolerance: float
    clock_tolerance: float


@dataclass(frozen=True, slots=True)
class Decisions:
    """One outcome for each record, in their order; the punches that are kept now; and the lists that contain them."""

    outcomes: list[Outcome] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    lists: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Decides. Given the same records, state, map, fleet and clock, it decides the same."""

    rules: Rules
    users: UserMap
    device: Callable[[str], Device | None]

    def decide(self, records: Sequence[Record], state: Lists, now: datetime) -> Decisions:
        """One outcome for each record of a partition, in offset order.

        What is kept must be added to the state only once every outcome is acknowledged, and before the records are.

        Args:
            records: Of one partition, in offset order.
            state: The packed list of each device user of that partition. It is not changed.
            now: The server's clock, UTC, for dead letters.

        Raises:
            StoreFailed: the state cannot be read.
        """
        decisions = Decisions()
        for record in records:
            try:
                outcome = self._decide_one(record, state, decisions)
            except StoreFailed:
                raise
            except InvalidRecord as error:
                outcome = DeadLetter.of(record, STAGE, error, now, event_id=_event_id(record))
            except Exception as error:
                log.exception("A record could not be decided.", partition=record.partition, offset=record.offset)
                fault = InvalidRecord(Reason.INTERNAL_ERROR, repr(error))
                outcome = DeadLetter.of(record, STAGE, fault, now, event_id=_event_id(record))
            decisions.outcomes.append(outcome)
        return decisions

    def _decide_one(self, record: Record, state: Lists, decisions: Decisions) -> Outcome:
        if len(record.value or b"") > MAX_VALUE_BYTES:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"larger than {MAX_VALUE_BYTES} bytes")
        event = RawEvent.decode(record.value)
        device = self.device(event.device_id)
        implausible = find_time_fault(event, device, self.rules.future_tolerance)
        if implausible is not None:
            # Reported, never rewritten.
            raise InvalidRecord(implausible.reason, implausible.message)
        event_time = event.event_time
        assert event_time is not None
        self._check_clock(event, record)
        key = user_key(event)
        if len(key) > dedup.MAX_KEY_BYTES:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"a device and user of {len(key)} bytes")
        known = decisions.lists.get(key) or state.get(key, b"")
        punch = Punch.of(event_time, event.event_type, record.offset)
        found = dedup.classify(known, punch, self.rules.window)
        if found.kept is not None and found.verdict is not Verdict.REDELIVERY:
            # A correction replaces a punch that was kept, and a replay copy is there to have its outcome again.
            passes = event.supersedes is not None or (
                found.verdict is Verdict.DUPLICATE and is_replay_copy(record.headers)
            )
            if found.verdict is Verdict.SUPERSEDED or not passes:
                return _dropped(event, event_time, record, found.verdict, found.kept)
        # The outcome first: if it fails, the punch must not be kept.
        outcome = mapping.assign(event, self.users, device)
        entries = [punch.pack()] if found.verdict in (Verdict.NEW, Verdict.REPEAT) else []
        if (
            event.supersedes is not None
            and found.verdict is not Verdict.REDELIVERY
            and not is_replay_copy(record.headers)
        ):
            # Only the first time: later another punch may be where the wrong one was.
            entries += _superseded_entries(event, known)
        for entry in entries:
            decisions.kept.append(Kept(key, entry))
            known = decisions.lists[key] = dedup.insert(known, entry, self.rules.horizon)
        return outcome

    def _check_clock(self, event: RawEvent, record: Record) -> None:
        """Hold back what a clock dated that was known to be wrong, unless a person sent it again as it is."""
        skew = event.clock_skew
        if skew is None or abs(skew) <= self.rules.clock_tolerance or event.supersedes is not None:
            return
        if not is_dead_letter_replay(record.headers):
            raise InvalidRecord(Reason.CLOCK_SKEW, f"the device's clock was {timedelta(seconds=skew)} ahead")


def user_key(event: RawEvent) -> bytes:
    """The key of a device user in the deduplication state."""
    return encode_json([event.device_id, event.device_user_id])


def _superseded_entries(event: RawEvent, known: bytes) -> list[bytes]:
    """The entry of the punch that an event supersedes; none if that is not known, or is the event's own punch."""
    if event.supersedes == event.event_id:
        return []
    return [
        kept.as_superseded().pack()
        for kept in dedup.unpack(known)
        if not kept.is_superseded
        and event.supersedes
        == event_id(event.device_id, event.device_user_id, format_seconds(kept.time), kept.event_type)
    ]


def _event_id(record: Record) -> str | None:
    try:
        return RawEvent.decode(record.value).event_id
    except InvalidRecord:
        return None


def _dropped(event: RawEvent, event_time: datetime, record: Record, verdict: Verdict, kept: Punch) -> Dropped:
    id_ = kept_id = event.event_id
    reason = Reason.DUPLICATE
    if verdict is Verdict.REPEAT:
        reason = Reason.REPEAT
        kept_id = event_id(event.device_id, event.device_user_id, format_seconds(kept.time), kept.event_type)
    return Dropped(
        event_id=id_,
        kept_event_id=kept_id,
        reason=reason,
        device_id=event.device_id,
        device_user_id=event.device_user_id,
        event_time=event_time,
        partition=record.partition,
        offset=record.offset,
    )
