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

Where a person said that a time is wrong, no record tells by its zone that it is the wrong one once more. So there is a
superseded entry of `ANY_RECORD` besides: whatever record has that very time and type, it is the wrong punch. Whether
another one near it is a second tap of the wrong clock or a punch of a right one, nobody knows.

Whoever knows a serial number may send a punch that is dated ahead of its arrival, and so have it stand before the
genuine one comes. An entry therefore says by how much its punch was ahead (`lead_of`), and drops no repeat that was
less ahead than it, give or take how unevenly a terminal sends. What is not ahead is dropped by nothing that is.

A list says itself how far it reaches: what is further back than the horizon before its newest entry may have been left
out. Nothing is decided by a list that does not reach as far as the punch (`reaches`).
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
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
_TYPE: Final = 0x03  # the bits of the code that are the type; those between are the lead
_LEAD_AT: Final = 2
_LEAD_SECONDS: Final = 10
_MOST_LEAD: Final = 31

PUNCH_BYTES: Final = _ENTRY.size
ANY_RECORD: Final = 2**64 - 2
"""In the place of an offset: whichever record it is."""
MAX_SECONDS: Final = 2**32 - 1
"""The latest time that an entry has room for."""
MAX_KEY_BYTES: Final = 2**16 - 1
"""The longest key of a device user that a record of the changelog has room for."""
_CODE_AT: Final = 4
_OFFSET_AT: Final = 5


class Punch(NamedTuple):
    """An entry of a packed list: seconds since the epoch, code, and the offset of its record.

    The code is the type, by how much the punch was ahead of its arrival, and whether it is superseded.
    """

    seconds: int
    code: int
    offset: int

    @classmethod
    def of(cls, time: datetime, event_type: EventType, offset: int, ahead: float = 0) -> "Punch":
        """The punch of a raw record.

        Args:
            time: The event time, UTC.
            event_type: What the device said.
            offset: Of the record in its partition.
            ahead: Seconds by which the time is ahead of the arrival; not above 0 where it is not.
        """
        return cls(int(time.timestamp()), _CODES[event_type] | lead_of(ahead) << _LEAD_AT, offset)

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
        return _TYPES[self.code & _TYPE]

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
        one, another = self.code & _TYPE, other.code & _TYPE
        return one == another or _UNKNOWN in (one, another)

    def is_same(self, other: "Punch") -> bool:
        """Whether two punches have one id: the same time and type."""
        return self.seconds == other.seconds and self.code & _TYPE == other.code & _TYPE

    def may_drop(self, other: "Punch") -> bool:
        """Whether another punch may be a repeat of this one, by how much each was ahead of its arrival."""
        lead, others = (each.code >> _LEAD_AT & _MOST_LEAD for each in (self, other))
        # The next one of the same clock may have been on its way for a little longer.
        return lead == 0 or (others > 0 and lead <= others + 1)

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
    """A verdict. `kept` is the kept punch of a redelivery, duplicate or repeat; else the superseded one, if any is.

    `confirmed` is the entry that replaces that of a kept punch once the same came again and was less ahead. It then
    drops what it would have dropped had it come only then. None where nothing changes.
    """

    verdict: Verdict
    kept: Punch | None = None
    confirmed: Punch | None = None


_NEW: Final = Classification(Verdict.NEW)


def lead_of(ahead: float) -> int:
    """What an entry has of how much its punch was ahead of its arrival: tens of seconds, rounded up, at most 31.

    Args:
        ahead: Seconds; not above 0 where it was not ahead.
    """
    return min(math.ceil(ahead / _LEAD_SECONDS), _MOST_LEAD) if ahead > 0 else 0


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
    `window` seconds of a kept punch of the same type, or with one of the two unknown, it is a repeat of the nearest of
    those that may drop it.

    Args:
        kept: The packed list of the device user; empty if nothing is known.
        punch: The punch to classify.
        window: Seconds.
    """
    if not kept or punch.seconds - window > _seconds(kept, -PUNCH_BYTES):
        return _NEW  # the usual one: later than all that is known
    near = _near(kept, punch.seconds - window, punch.seconds + window)
    for other in near:
        if other.is_same(punch) and (other.offset in (punch.offset, ANY_RECORD) or not other.is_superseded):
            return _classify_same(near, punch, other)
    nearest = _nearest(punch, near)
    if nearest is not None:
        return Classification(Verdict.REPEAT, nearest)
    of_any = [each for each in near if each.offset == ANY_RECORD]
    wrong = _nearest(punch, of_any, superseded=True) or _nearest(punch, near, superseded=True)
    return _NEW if wrong is None else Classification(Verdict.NEAR_SUPERSEDED, wrong.as_it_was())


def _classify_same(near: Sequence[Punch], punch: Punch, known: Punch) -> Classification:
    if known.is_superseded:
        return Classification(Verdict.SUPERSEDED, known.as_it_was())
    if known.offset == punch.offset:
        return Classification(Verdict.REDELIVERY, known)
    confirmed = None
    if known.code > punch.code:
        others = [each for each in near if not each.is_same(punch)]
        # As a repeat of another it would not have been kept.
        confirmed = None if _nearest(punch, others) else known._replace(code=punch.code)
    return Classification(Verdict.DUPLICATE, known, confirmed)


def _near(kept: bytes, first: float, last: float) -> list[Punch]:
    near = []
    for index in range(_first_from(kept, first), len(kept) // PUNCH_BYTES):
        punch = Punch(*_ENTRY.unpack_from(kept, index * PUNCH_BYTES))
        if punch.seconds > last:
            break
        near.append(punch)
    return near


def _nearest(punch: Punch, near: Iterable[Punch], *, superseded: bool = False) -> Punch | None:
    """The nearest of the punches of its window that a punch repeats, if there is one; or of the superseded ones."""
    nearest, least = None, math.inf
    for each in near:
        distance = abs(each.seconds - punch.seconds)
        if distance >= least or each.is_superseded is not superseded:
            continue
        if each.is_same(punch) or (each.is_like(punch) and each.may_drop(punch)):
            nearest, least = each, distance
    return nearest


def insert(kept: bytes, entry: bytes, horizon: float) -> bytes:
    """The packed list with one more entry. Of one record it has one: a superseded one, or the least ahead.

    Args:
        kept: The packed list of the device user.
        entry: A packed punch, superseded or not.
        horizon: Seconds. What lies further back before the newest entry is left out.
    """
    if is_later(entry, kept):
        kept += entry
    else:
        at = PUNCH_BYTES * _first_from(kept, _seconds(entry, 0))
        while kept.startswith(entry[:_CODE_AT], at):
            other = kept[at : at + PUNCH_BYTES]
            if (other[_CODE_AT] ^ entry[_CODE_AT]) & _TYPE == 0 and other[_OFFSET_AT:] == entry[_OFFSET_AT:]:
                if _weight(other) >= _weight(entry):
                    return kept
                kept = kept[:at] + kept[at + PUNCH_BYTES :]
                break
            at += PUNCH_BYTES
        at = _place(kept, entry)
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
    """Whether a punch is of a later second than all that is in a packed list."""
    return entry[:_CODE_AT] > kept[-PUNCH_BYTES:][:_CODE_AT]


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


def _weight(entry: bytes) -> tuple[bool, int]:
    """Of two entries of one record, the one with the greater counts."""
    code = entry[_CODE_AT]
    return code >= _SUPERSEDED, -(code & ~_SUPERSEDED)


def _first_from(kept: bytes, seconds: float) -> int:
    """The index of the first punch that is not before a time."""
    indexes = range(len(kept) // PUNCH_BYTES)
    return bisect_left(indexes, seconds, key=lambda index: _seconds(kept, index * PUNCH_BYTES))


def _seconds(kept: bytes, at: int) -> int:
    seconds: int = _ENTRY.unpack_from(kept, at)[0]
    return seconds
