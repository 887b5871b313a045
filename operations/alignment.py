"""Which records of a partition are which of those that were there before. Knows no topic and no Kafka.

A copy keeps the order of records. So it is made of runs: records that followed each other, and do so now.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

Traits = frozenset[bytes]
"""By what a record is known again; two records may share one."""
SURE: Final = b"d"
"""What a trait begins with that hardly any two records share, and that a record has one of."""


class Restored(NamedTuple):
    """A record that is there now."""

    offset: int
    traits: Traits


class Run(NamedTuple):
    """Records from offset `first` up to and without `through` that begin at `now`."""

    first: int
    through: int
    now: int


class NotKnownAgainError(Exception):
    """A record at `offset` is none of those that may come here: it was not there before, or it is there twice."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"offset {offset}")
        self.offset = offset


class NotUniqueError(NotKnownAgainError):
    """The records from `offset` on may be these or those."""


def align(
    known: Mapping[int, Traits],
    restored: Sequence[Restored],
    begin: int | None = None,
    whole: tuple[int, int] | None = None,
) -> list[Run]:
    """Find the runs.

    Args:
        known: By its offset of before, the traits of each record of which anything is known.
        restored: What is there now, in order.
        begin: The offset of before of the first record, where none is surely known again. None where that is
            not known.
        whole: Where records fit in several places, those go first in which nothing between these offsets of before is
            missing.

    Returns:
        The runs in order; none where there is nothing, or nothing is known.

    Raises:
        NotKnownAgainError: A record fits nowhere.
        NotUniqueError: Records fit in two places as well.
    """
    if not restored or (not known and begin is None):
        return []
    places: dict[bytes, list[int]] = defaultdict(list)
    for offset in sorted(known):
        for trait in known[offset]:
            places[trait].append(offset)
    shared = places.keys() & {trait for each in restored for trait in each.traits}
    try:
        if begin is None or shared:
            return _runs(places, known, restored, whole)
    except NotKnownAgainError:
        if begin is None or any(trait.startswith(SURE) for trait in shared):
            raise
    fit = _fit(known, restored, 0, begin)
    if fit.until < len(restored):
        raise NotKnownAgainError(restored[fit.until].offset)
    return [Run(begin, begin + restored[-1].offset + 1 - restored[0].offset, restored[0].offset)]


def _runs(
    places: Mapping[bytes, Sequence[int]],
    known: Mapping[int, Traits],
    restored: Sequence[Restored],
    whole: tuple[int, int] | None,
) -> list[Run]:
    runs: list[Run] = []
    at, end = 0, 0
    while at < len(restored):
        fits = {each: _fit(known, restored, at, each) for each in _begins(places, known, restored, at, end)}
        if whole is not None and not runs:
            # Records may be alike. What explains them without a loss goes before what has more in common.
            fits = _complete(places, known, restored, whole, fits) or fits
        if not fits:
            raise NotKnownAgainError(restored[at].offset)
        now = restored[at].offset
        most = max(fit.traits for fit in fits.values())
        best = [each for each, fit in fits.items() if fit.traits == most]
        if len(best) > 1:
            raise NotUniqueError(now)
        first, at = best[0], fits[best[0]].until
        end = first + restored[at - 1].offset + 1 - now
        runs.append(Run(first, end, now))
    return runs


class _Fit(NamedTuple):
    """How many traits agree if a run begins there, and the index of the first record that is not in it."""

    traits: int
    until: int


def _complete(
    places: Mapping[bytes, Sequence[int]],
    known: Mapping[int, Traits],
    restored: Sequence[Restored],
    whole: tuple[int, int],
    fits: Mapping[int, _Fit],
) -> dict[int, _Fit]:
    """The places in which all records are one run that lacks none of what has to be there."""
    length = restored[-1].offset + 1 - restored[0].offset
    last = whole[1] - length
    found = dict(fits)
    # The last ones may be like others that have an outcome, while of themselves nothing is known.
    if last >= 0 and last not in fits and not _is_elsewhere(places, known, restored, last - restored[0].offset):
        found[last] = _fit(known, restored, 0, last)
    return {
        each: fit
        for each, fit in found.items()
        if each <= whole[0] and each + length >= whole[1] and fit.until == len(restored)
    }


def _is_elsewhere(
    places: Mapping[bytes, Sequence[int]], known: Mapping[int, Traits], restored: Sequence[Restored], by: int
) -> bool:
    """Whether a record surely was at another place than that."""
    return any(
        trait in places and trait not in known.get(offset + by, ())
        for offset, traits in restored
        for trait in traits
        if trait.startswith(SURE)
    )


def _begins(
    places: Mapping[bytes, Sequence[int]], known: Mapping[int, Traits], restored: Sequence[Restored], at: int, end: int
) -> Iterator[int]:
    """Where a run may begin that begins with a record: by the first from there on of which anything is known."""
    for each in restored[at:]:
        named = {offset for trait in each.traits for offset in places.get(trait, ()) if offset >= end}
        found = {offset for offset in named if not _are_others(known[offset], each.traits)}
        if found:
            before = each.offset - restored[at].offset
            yield from (offset - before for offset in sorted(found) if offset - before >= end)
            return


def _fit(known: Mapping[int, Traits], restored: Sequence[Restored], at: int, begin: int) -> _Fit:
    traits, by = 0, begin - restored[at].offset
    for index in range(at, len(restored)):
        offset, mine = restored[index]
        theirs = known.get(offset + by)
        if theirs is not None:
            shared = theirs & mine
            if not shared or _are_others(theirs, mine):
                return _Fit(traits, index)
            traits += len(shared)
    return _Fit(traits, len(restored))


def _are_others(theirs: Traits, mine: Traits) -> bool:
    """Whether two records are not the same one, whatever else they have in common."""
    sure = [trait for trait in theirs if trait.startswith(SURE)]
    return bool(sure) and mine.isdisjoint(sure) and any(trait.startswith(SURE) for trait in mine)
