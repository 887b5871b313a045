"""Repeat removal: pure, per device and user, in event time.

The memory of one device user is a packed list of the punches that were kept, oldest first, no further back than the
horizon before the newest. A punch needs no stored id: device, user, time and type are what its `event_id` is made of.
Each entry keeps the partition and offset of the record it came from, so that a redelivered record is told from a
duplicate: it must be emitted again, because nobody knows whether its first output got through.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from struct import Struct
from typing import Final, NamedTuple

from attendance.event import EventType

# time in seconds since the epoch, type, partition, offset
_ENTRY: Final = Struct(">IBHQ")
_TYPES: Final[tuple[EventType, ...]] = ("UNKNOWN", "IN", "OUT")
_CODES: Final = {event_type: code for code, event_type in enumerate(_TYPES)}
_UNKNOWN: Final = _CODES["UNKNOWN"]


class Punch(NamedTuple):
    """A punch as the memory keeps it: seconds since the epoch, type code, and where its record stood."""

    seconds: int
    code: int
    partition: int
    offset: int

    @classmethod
    def of(cls, time: datetime, event_type: EventType, partition: int, offset: int) -> "Punch":
        """The punch of a raw record."""
        return cls(int(time.timestamp()), _CODES[event_type], partition, offset)

    @property
    def time(self) -> datetime:
        """The event time, UTC."""
        return datetime.fromtimestamp(self.seconds, UTC)

    @property
    def event_type(self) -> EventType:
        """The event type."""
        return _TYPES[self.code]


class Verdict(Enum):
    """What a punch is, given those that were kept."""

    NEW = auto()
    REDELIVERY = auto()
    DUPLICATE = auto()
    REPEAT = auto()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict; `kept` is the punch that a duplicate or a repeat repeats."""

    verdict: Verdict
    kept: Punch | None = None


def unpack(state: bytes | None) -> list[Punch]:
    """The kept punches, oldest first."""
    return [Punch(*entry) for entry in _ENTRY.iter_unpack(state or b"")]


def pack(kept: Sequence[Punch]) -> bytes:
    """What `unpack` reads: 15 bytes a punch."""
    return b"".join(_ENTRY.pack(*punch) for punch in kept)


def reaches(state: bytes | None) -> int:
    """The offset of the last record that is in a packed memory, -1 for none.

    A user's memory only grows by later records of the same partition, so of two the one that reaches further is newer.
    """
    return max((punch.offset for punch in unpack(state)), default=-1)


def judge(kept: Sequence[Punch], punch: Punch, window: float) -> Judgement:
    """Tell a punch from those that were kept before it.

    The same time and type is the same punch: a redelivery where the record is the same too, else a duplicate. Within
    `window` seconds of a kept punch of the same type, or with one of the two unknown, it is a repeat of the nearest.
    """
    nearest: Punch | None = None
    start = bisect_left(kept, punch.seconds - window, key=lambda other: other.seconds)
    for other in kept[start:]:
        if other.seconds > punch.seconds + window:
            break
        if (other.seconds, other.code) == punch[:2]:
            same_record = (other.partition, other.offset) == punch[2:]
            return Judgement(Verdict.REDELIVERY if same_record else Verdict.DUPLICATE, other)
        same_kind = other.code == punch.code or _UNKNOWN in (other.code, punch.code)
        if same_kind and (nearest is None or _distance(other, punch) < _distance(nearest, punch)):
            nearest = other
    return Judgement(Verdict.NEW) if nearest is None else Judgement(Verdict.REPEAT, nearest)


def remember(kept: Sequence[Punch], punch: Punch, horizon: float) -> list[Punch]:
    """The memory with a new punch in it, without what lies further back than `horizon` seconds before the newest."""
    newest = max(punch.seconds, kept[-1].seconds if kept else 0)
    return sorted(other for other in (*kept, punch) if other.seconds >= newest - horizon)


def _distance(one: Punch, other: Punch) -> int:
    return abs(one.seconds - other.seconds)
