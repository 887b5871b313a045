"""The stream's decisions: raw records of one partition in, outcomes and kept punches out. No Faust, no Kafka."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device
from attendance.kafka.records import MAX_VALUE_BYTES, Record
from attendance.plausibility import arrived_at, find_time_fault
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter, is_dead_letter_replay, was_dead_letter_of
from attendance.records.outcomes import Dropped, Waiting
from attendance.records.raw_event import RawEvent, event_id, is_replay_copy
from attendance.records.user_map import IgnoredUser
from attendance.times import format_seconds, read_device_time
from attendance.user_map import UserMap
from attendance.wire import encode_json
from streams import dedup, erased, ignoring, mapping
from streams.dedup import Kept, Punch, Verdict
from streams.store import HistoryNeeded, Known, StoreFailed

log = structlog.get_logger(__name__)

_NOT_KNOWN: Final = (Verdict.NEW, Verdict.NEAR_SUPERSEDED, Verdict.BEYOND_HORIZON)
_SAME: Final = (Verdict.DUPLICATE, Verdict.SUPERSEDED)  # as the kept punch: the id is the same too

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
    _by_user: dict[bytes, bytes] = field(default_factory=dict)
    _counted: list[int] = field(default_factory=lambda: [0])

    def keep(self, key: bytes, entry: bytes, known: bytes, horizon: float) -> bytes:
        """Keep a packed punch of a device user, beside what is known of them. Returns the list that contains it."""
        self.kept.append(Kept(key, entry))
        self.lists[key] = dedup.insert(known, entry, horizon)
        return self.lists[key]

    def kept_of(self, key: bytes) -> bytes:
        """The packed list of all that is kept now of a device user, whatever its age."""
        for user, entry in self.kept[self._counted[0] :]:
            self._by_user[user] = dedup.union(self._by_user.get(user, b""), entry)
        self._counted[0] = len(self.kept)
        return self._by_user.get(key, b"")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Decides. Given the same records, state, map, fleet and clock, it decides the same."""

    rules: Rules
    users: UserMap
    device: Callable[[str], Device | None]

    def decide(self, records: Sequence[Record], state: Known, now: datetime) -> Decisions:
        """One outcome for each record of a partition, in offset order.

        What is kept must be added to the state only once every outcome is acknowledged, and before the records are.

        Args:
            records: Of one partition, in offset order.
            state: What is known of that partition. It is not changed.
            now: The server's clock, UTC, for dead letters.

        Raises:
            HistoryNeeded: the changelog has to be read first. Nothing is decided.
            StoreFailed: the state cannot be read.
        """
        decisions = Decisions()
        anybody_erased = bool(state.get(erased.ANYBODY, b""))
        for record in records:
            try:
                outcome = self._decide_one(record, state, decisions, anybody_erased=anybody_erased)
            except (StoreFailed, HistoryNeeded):
                raise
            except ignoring.IgnoredPunch as punch:
                outcome = ignoring.letter_of_record(record, punch, now)
            except InvalidRecord as error:
                outcome = DeadLetter.of(record, ignoring.STAGE, error, now, event_id=_event_id(record))
            except Exception as error:
                log.exception("A record could not be decided.", partition=record.partition, offset=record.offset)
                fault = InvalidRecord(Reason.INTERNAL_ERROR, repr(error))
                outcome = DeadLetter.of(record, ignoring.STAGE, fault, now, event_id=_event_id(record))
            decisions.outcomes.append(outcome)
        return decisions

    def _decide_one(self, record: Record, state: Known, decisions: Decisions, *, anybody_erased: bool) -> Outcome:
        if len(record.value or b"") > MAX_VALUE_BYTES:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"larger than {MAX_VALUE_BYTES} bytes")
        event = RawEvent.decode(record.value)
        device = self.device(event.device_id)
        arrived = arrived_at(event, record)
        implausible = find_time_fault(event, device, self.rules.future_tolerance, arrived)
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
        ahead = (event_time - arrived).total_seconds()
        punch = Punch.of(event_time, event.event_type, record.offset, ahead)
        rules = self.rules
        found = self._classify(record, key, known, punch, state, decisions, anybody_erased=anybody_erased)
        if found.confirmed is not None:
            known = decisions.keep(key, found.confirmed.pack(), known, rules.horizon)
        if (
            found.verdict is not Verdict.NEW
            and found.verdict is not Verdict.REDELIVERY
            and not _is_given_back(event, found, key, known, state, decisions)
        ):
            dropped = self._dropped(event, record, found, device)
            if dropped is not None:
                return dropped
        # The outcome first: if it fails, the punch must not be kept.
        outcome = self._assign(event, record, device)
        entries = [] if found.verdict in (Verdict.REDELIVERY, Verdict.DUPLICATE) else [punch.pack()]
        if (
            event.supersedes is not None
            and found.verdict is not Verdict.REDELIVERY
            and not is_replay_copy(record.headers)
        ):
            # Only the first time: later another punch may be where the wrong one was.
            entries += _superseded_entries(event, key, known, state, decisions)
            entries += _wrong_time_entries(event, rules.horizon)
        for entry in entries:
            known = decisions.keep(key, entry, known, rules.horizon)
        return outcome

    def _assign(self, event: RawEvent, record: Record, device: Device | None) -> Checkin | Waiting:
        """The check-in of a punch, or what it waits for.

        Raises:
            IgnoredPunch: its device user is ignored. It is not kept: so it is new if somebody sends it again.
        """
        outcome = mapping.assign(event, self.users, device)
        if isinstance(outcome, IgnoredUser):
            # Few are. So only these pay for the look at whether this entry ignored them before.
            outcome = mapping.assign(event, self.users, device, ignoring.ignoring_id(record.headers))
        if isinstance(outcome, IgnoredUser):
            raise ignoring.IgnoredPunch(event, outcome)
        return outcome

    def _classify(
        self,
        record: Record,
        key: bytes,
        known: bytes,
        punch: Punch,
        state: Known,
        decisions: Decisions,
        *,
        anybody_erased: bool,
    ) -> dedup.Classification:
        """Compare a punch with those that were kept of its device user.

        Raises:
            InvalidRecord: it is from before its device user was erased, and nobody knows whether it is new.
        """
        rules = self.rules
        if dedup.reaches(known, punch.seconds - rules.window, state.floor, rules.horizon):
            found = dedup.classify(known, punch, rules.window)
            erasure = state.get(erased.erased_key(key), b"") if anybody_erased else b""
        else:
            found = self._classify_by_history(key, known, punch, state, decisions)
            erasure = state.everything(erased.erased_key(key))
        if erasure and found.verdict in _NOT_KNOWN and erased.holds(erasure, punch.seconds):
            _check_erased(record)
        return found

    def _classify_by_history(
        self, key: bytes, known: bytes, punch: Punch, state: Known, decisions: Decisions
    ) -> dedup.Classification:
        """Compare a punch with all that was ever kept near it, for a list that does not reach as far back."""
        window = self.rules.window
        first, last = punch.seconds - window, punch.seconds + window
        near, unknown_until = state.near(key, first, last)
        ours = (dedup.between(packed, first, last) for packed in (known, decisions.kept_of(key)))
        found = dedup.classify(dedup.union(near, *ours), punch, window)
        if found.verdict in (Verdict.NEW, Verdict.NEAR_SUPERSEDED) and first <= unknown_until:
            return dedup.Classification(Verdict.BEYOND_HORIZON)
        return found

    def _dropped(
        self, event: RawEvent, record: Record, found: dedup.Classification, device: Device | None
    ) -> Dropped | None:
        """The outcome of a punch that is not new; None where it passes nevertheless.

        Raises:
            InvalidRecord: nobody knows whether it is new.
        """
        verdict, kept = found.verdict, found.kept
        if verdict is Verdict.BEYOND_HORIZON:
            # A correction replaces what stands in the target, and a person decided about what was a dead letter.
            if event.supersedes is None and not was_dead_letter_of(record.headers, Reason.BEYOND_HORIZON):
                raise InvalidRecord(
                    Reason.BEYOND_HORIZON, "nobody knows any more what was kept at that time: it may be there already"
                )
            return None
        assert kept is not None
        if verdict is Verdict.NEAR_SUPERSEDED:
            _check_given(event, record, kept)
            # The cause of the correction is repaired. What is read as it was before is the wrong one once more.
            passes = event.supersedes is not None or _is_read_so_today(event, device)
        else:
            # A correction replaces a punch that was kept, and a replay copy is there to have its outcome again.
            passes = verdict is not Verdict.SUPERSEDED and (
                event.supersedes is not None or (verdict is Verdict.DUPLICATE and is_replay_copy(record.headers))
            )
        return None if passes else _dropped(event, record, kept, same=verdict in _SAME)

    def _check_clock(self, event: RawEvent, record: Record) -> None:
        """Hold back what a clock dated that was known to be wrong, unless a person sent it again as it is."""
        skew = event.clock_skew
        if skew is None or abs(skew) <= self.rules.clock_tolerance or event.supersedes is not None:
            return
        if not is_dead_letter_replay(record.headers):
            raise InvalidRecord(Reason.CLOCK_SKEW, f"the device's clock was {timedelta(seconds=skew)} ahead")


def _check_erased(record: Record) -> None:
    """Hold back a punch from before its person was erased, unless a person sent it again.

    What was kept of them is not known any more: stored once more, it would be a second row, or one of whoever has the
    number now.

    Raises:
        InvalidRecord: it is held.
    """
    if not was_dead_letter_of(record.headers, Reason.ERASED):
        raise InvalidRecord(Reason.ERASED, "of a device user who was erased: it may be there already")


def _check_given(event: RawEvent, record: Record, wrong: Punch) -> None:
    """Hold back what is near a time that a person said is wrong, unless a person sent it again.

    Raises:
        InvalidRecord: it is held.
    """
    if wrong.offset != dedup.ANY_RECORD or event.supersedes is not None or is_dead_letter_replay(record.headers):
        return
    message = f"the device's clock was wrong about {format_seconds(wrong.time)}, as a person said: this may be so too"
    raise InvalidRecord(Reason.CLOCK_SKEW, message)


def user_key(event: RawEvent) -> bytes:
    """The key of a device user in the deduplication state."""
    return encode_json([event.device_id, event.device_user_id])


def _is_read_so_today(event: RawEvent, device: Device | None) -> bool:
    """Whether the device's zone of today gives the time that an event has. A device that is gone sends nothing new."""
    if device is None:
        return False
    if event.device_timezone == device.timezone:
        return True
    return event.device_time is not None and read_device_time(event.device_time, device.timezone) == event.event_time


def _superseded_entries(event: RawEvent, key: bytes, known: bytes, state: Known, decisions: Decisions) -> list[bytes]:
    """The entry of the punch that an event supersedes; none if that is not known, or is the event's own punch."""
    if event.supersedes == event.event_id:
        return []
    return _superseded_among(event, known) or _superseded_among(
        event, dedup.union(state.everything(key), decisions.kept_of(key))
    )


def _is_given_back(
    event: RawEvent, found: dedup.Classification, key: bytes, known: bytes, state: Known, decisions: Decisions
) -> bool:
    """Whether a person says of a time that it was right, after a person had said that it was wrong.

    It takes the place of a punch that stands. The first correction of all does not, if it comes again.
    """
    if event.given_time is None or found.kept is None or found.kept.offset != dedup.ANY_RECORD:
        return False
    is_same = found.verdict is Verdict.SUPERSEDED
    return is_same and bool(_superseded_entries(event, key, known, state, decisions))


def _wrong_time_entries(event: RawEvent, horizon: float) -> list[bytes]:
    """The entry of the time that a person said was wrong: a terminal may send its history again.

    A time that lies far ahead has none, because a list lets go of what is older than the horizon before its newest.
    """
    given = event.given_time
    if given is None or given.instead_of is None:
        return []
    wrong = replace(event, event_time=given.instead_of)
    seconds = given.instead_of.timestamp()
    latest = min(dedup.MAX_SECONDS, given.at.timestamp() + horizon / 2)
    if wrong.event_id != event.supersedes or not 0 <= seconds <= latest:
        return []
    return [Punch.of(given.instead_of, event.event_type, dedup.ANY_RECORD).as_superseded().pack()]


def _superseded_among(event: RawEvent, packed: bytes) -> list[bytes]:
    return [
        kept.as_superseded().pack()
        for kept in dedup.unpack(packed)
        if not kept.is_superseded
        and event.supersedes
        == event_id(event.device_id, event.device_user_id, format_seconds(kept.time), kept.event_type)
    ]


def _event_id(record: Record) -> str | None:
    try:
        return RawEvent.decode(record.value).event_id
    except InvalidRecord:
        return None


def _dropped(event: RawEvent, record: Record, kept: Punch, *, same: bool) -> Dropped:
    id_ = kept_id = event.event_id
    if not same:
        kept_id = event_id(event.device_id, event.device_user_id, format_seconds(kept.time), kept.event_type)
    assert event.event_time is not None
    return Dropped(
        event_id=id_,
        kept_event_id=kept_id,
        reason=Reason.DUPLICATE if kept_id == id_ else Reason.REPEAT,
        device_id=event.device_id,
        device_user_id=event.device_user_id,
        event_time=event.event_time,
        partition=record.partition,
        offset=record.offset,
    )
