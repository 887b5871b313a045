"""Removal of duplicates and repeats: pure, for each device user, in event time.

The state of one device user is a packed list of the punches that were kept, oldest first, no further back than the
horizon before the newest. A punch needs no stored id: device, user, time and type are what its `event_id` is made of.
Each entry has the offset of its record, which tells a redelivered record from a duplicate: a redelivered record must be
emitted again, because nobody knows whether its first output got through. A device user's records are all in one
partition of the raw topic, so the offset is enough.

If a punch that was kept turns out to be wrong, a correction supersedes it. Then a superseded entry takes its place: the
same time and offset, with a code that no punch has. It wins over the punch that it replaces whichever comes first, so
that a changelog of both can be read in any order. A genuine punch may stand where a superseded one stood, so what is
near one is neither new nor a repeat by its time alone.

A list says itself how far it reaches: what is further back than the horizon before its newest entry may have been left
out. Nothing is decided by a list that does not reach as far as the punch (`reaches`).
"""

import math
from bisect import bisect_left
from datetime import UTC, datetime
from enum import Enum, auto
from struct import Struct
from typing import Final, NamedTuple

from attendance.records.raw_event import EventType

# Seconds since the epoch, type, offset. Big-endian, so that entries sort as their bytes do.
_ENTRY: Final = Struct(">IBQ")
_TYPES: Final[tuple[EventType, ...]] = ("UNKNOWN", "IN", "OUT")
_CODES: Final = {event_type: code for code, event_type in enumerate(_TYPES)}
_UNKNOWN: Final = _CODES["UNKNOWN"]
_SUPERSEDED: Final = 0x80  # added to the code of a punch that is superseded

PUNCH_BYTES: Final = _ENTRY.size
MAX_KEY_BYTES: Final = 2**16 - 1
"""The longest key of a device user that a record of the changelog has room for."""
_CODE_AT: Final = 4


class Punch(NamedTuple):
    """An entry of a packed list: seconds since the epoch, type code, and the offset of its record."""

    seconds: int
    code: int
    offset: int

    @classmethod
    def of(cls, time: datetime, event_type: EventType, offset: int) -> "Punch":
        """The punch of a raw record.

        Args:
            time: The event time, UTC.
            event_type: What the device said.
            offset: Of the record in its partition.
        """
        return cls(int(time.timestamp()), _CODES[event_type], offset)

    @classmethod
    def unpack(cls, entry: bytes) -> "Punch":
        """What `pack` wrote."""
        return cls(*_ENTRY.unpack(entry))

    @property
    def time(self) -> datetime:
        """The event time, UTC."""
        return datetime.fromtimestamp(self.seconds, UTC)

    @property
    def event_type(self) -> EventType:
        """The event type."""
        return _TYPES[self.code]

    @property
    def is_superseded(self) -> bool:
        """Whether a correction superseded this punch."""
        return self.code >= _SUPERSEDED

    def as_superseded(self) -> "Punch":
        """The entry that takes its place once it is superseded."""
        return self._replace(code=self.code | _SUPERSEDED)

    def as_it_was(self) -> "Punch":
        """The punch whose place a superseded entry takes."""
        return self._replace(code=self.code & ~_SUPERSEDED)

    def is_like(self, other: "Punch") -> bool:
        """Whether two punches of one window are repeats: of the same type, or with one of the two unknown."""
        return self.code == other.code or _UNKNOWN in (self.code, other.code)

    def pack(self) -> bytes:
        """The punch in `PUNCH_BYTES` bytes, which sort as punches do."""
        return _ENTRY.pack(*self)


class Kept(NamedTuple):
    """A punch to keep: its device user's key, and the punch as `Punch.pack` packs it."""

    key: bytes
    entry: bytes


class Verdict(Enum):
    """What a punch is, given those that were kept."""

    NEW = auto()
    REDELIVERY = auto()
    DUPLICATE = auto()
    REPEAT = auto()
    SUPERSEDED = auto()
    """A record whose punch was kept, and superseded since."""
    NEAR_SUPERSEDED = auto()
    """New, unless it is the wrong punch itself once more, or a repeat of that: its time does not tell."""
    BEYOND_HORIZON = auto()
    """Nothing near it is known, and what was kept about that time is not known any more."""


class Classification(NamedTuple):
    """A verdict. `kept` is the kept punch of a redelivery, duplicate or repeat; else the superseded one, if any is."""

    verdict: Verdict
    kept: Punch | None = None


_NEW: Final = Classification(Verdict.NEW)


def unpack(kept: bytes) -> list[Punch]:
    """The punches of a packed list, in its order."""
    return [Punch(*entry) for entry in _ENTRY.iter_unpack(kept)]


def reaches(kept: bytes, since: float, floor: float, horizon: float) -> bool:
    """Whether a list has everything that was kept of its device user from a time on.

    Args:
        kept: The packed list; empty if nothing is in it.
        since: The time, in seconds since the epoch.
        floor: What is not later may be missing in every list, in seconds since the epoch.
        horizon: Seconds. What lies further back before the newest entry may have been left out.
    """
    return since > floor and (not kept or since >= _seconds(kept, -PUNCH_BYTES) - horizon)


def classify(kept: bytes, punch: Punch, window: float) -> Classification:
    """Compare a punch with those of a packed list, which reaches as far as the punch.

    The same time and type is the same punch: a redelivery if the record is the same too, else a duplicate. Within
    `window` seconds of a kept punch of the same type, or with one of the two unknown, it is a repeat of the nearest.

    Args:
        kept: The packed list of the device user; empty if nothing is known.
        punch: The punch to classify.
        window: Seconds.
    """
    if not kept or punch.seconds - window > _seconds(kept, -PUNCH_BYTES):
        return _NEW  # the usual one: later than all that is known
    nearest: Punch | None = None
    superseded: Punch | None = None
    count = len(kept) // PUNCH_BYTES
    for index in range(_first_from(kept, punch.seconds - window), count):
        other = Punch(*_ENTRY.unpack_from(kept, index * PUNCH_BYTES))
        if other.seconds > punch.seconds + window:
            break
        if other.is_superseded:
            if other == punch.as_superseded():
                return Classification(Verdict.SUPERSEDED, punch)
            was = other.as_it_was()
            if was.is_like(punch) and (superseded is None or _distance(was, punch) < _distance(superseded, punch)):
                superseded = was
            continue
        if (other.seconds, other.code) == (punch.seconds, punch.code):
            return Classification(Verdict.REDELIVERY if other.offset == punch.offset else Verdict.DUPLICATE, other)
        if other.is_like(punch) and (nearest is None or _distance(other, punch) < _distance(nearest, punch)):
            nearest = other
    if nearest is not None:
        return Classification(Verdict.REPEAT, nearest)
    return _NEW if superseded is None else Classification(Verdict.NEAR_SUPERSEDED, superseded)


def insert(kept: bytes, entry: bytes, horizon: float) -> bytes:
    """The packed list with one more entry, which is not added twice.

    Args:
        kept: The packed list of the device user.
        entry: A packed punch, superseded or not.
        horizon: Seconds. What lies further back before the newest entry is left out.
    """
    if entry[_CODE_AT] & _SUPERSEDED:
        punch = _with_code(entry, entry[_CODE_AT] ^ _SUPERSEDED)
        at = _place(kept, punch)
        if kept.startswith(punch, at):
            kept = kept[:at] + kept[at + PUNCH_BYTES :]
    if entry > kept[-PUNCH_BYTES:]:
        kept += entry
    else:
        at, superseded = _place(kept, entry), _with_code(entry, entry[_CODE_AT] | _SUPERSEDED)
        if kept.startswith(entry, at) or kept.startswith(superseded, _place(kept, superseded)):
            return kept
        kept = kept[:at] + entry + kept[at:]
    oldest, gone = _seconds(kept, -PUNCH_BYTES) - horizon, 0
    while _seconds(kept, gone) < oldest:  # of a list that is as long as the horizon, each punch drives out one
        gone += PUNCH_BYTES
    return kept[gone:] if gone else kept


def between(kept: bytes, first: float, last: float) -> bytes:
    """The part of a packed list from one time to another, both included."""
    end = PUNCH_BYTES * _first_from(kept, last + 1)  # whole seconds
    return kept[PUNCH_BYTES * _first_from(kept, first) : end]


def is_later(entry: bytes, kept: bytes) -> bool:
    """Whether a punch that is not superseded comes behind all that is in a packed list."""
    return entry > kept[-PUNCH_BYTES:] and not entry[_CODE_AT] & _SUPERSEDED


def union(kept: bytes, *others: bytes) -> bytes:
    """One packed list of all that is in several, whatever its age."""
    for other in others:
        for at in range(0, len(other), PUNCH_BYTES):
            kept = insert(kept, other[at : at + PUNCH_BYTES], math.inf)
    return kept


def _place(kept: bytes, entry: bytes) -> int:
    """Where an entry is in a packed list, or would be, in bytes."""
    return PUNCH_BYTES * bisect_left(
        range(len(kept) // PUNCH_BYTES),
        entry,
        key=lambda index: kept[index * PUNCH_BYTES : (index + 1) * PUNCH_BYTES],
    )


def _with_code(entry: bytes, code: int) -> bytes:
    return entry[:_CODE_AT] + bytes((code,)) + entry[_CODE_AT + 1 :]


def _first_from(kept: bytes, seconds: float) -> int:
    """The index of the first punch that is not before a time."""
    indexes = range(len(kept) // PUNCH_BYTES)
    return bisect_left(indexes, seconds, key=lambda index: _seconds(kept, index * PUNCH_BYTES))


def _seconds(kept: bytes, at: int) -> int:
    seconds: int = _ENTRY.unpack_from(kept, at)[0]
    return seconds


def _distance(one: Punch, other: Punch) -> int:
    return abs(one.seconds - other.seconds)
