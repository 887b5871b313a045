"""Where records are now whose places were written down before an adoption. Loads no Kafka library.

Records name others by partition and offset, and nothing of theirs is ever rewritten: an adoption is one record, which
is there or not. So whoever reads such a place asks where that record is now, and says where it has read the place:
what was written after an adoption names places as they are.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from msgspec import structs

from attendance.kafka.records import Headers
from attendance.records.account import Account, Adoption, Ended, Moved
from attendance.records.raw_event import RAW_RECORD, REPLAY_OF
from attendance.wire import Place, position

_Partition = tuple[str, int]


class Standing(Protocol):
    """A record, by where it stands."""

    @property
    def topic(self) -> str:
        """The full name."""

    @property
    def partition(self) -> int:
        """Its number."""

    @property
    def offset(self) -> int:
        """Of today."""


class Moves:
    """Every adoption that there was, in order. Of none, everything is where it was."""

    def __init__(self, adoptions: Iterable[Adoption] = ()) -> None:
        """Take them in.

        Args:
            adoptions: In the order in which they were recorded.
        """
        self._steps: list[tuple[dict[_Partition, int], dict[_Partition, list[Moved]]]] = []
        for adoption in adoptions:
            runs: dict[_Partition, list[Moved]] = {}
            for each in sorted(adoption.moved):
                runs.setdefault((each.topic, each.partition), []).append(each)
            # Where the partitions ended at the adoptions before is somewhere else now too.
            self._steps = [
                (_by_partition(restated), before)
                for restated, (_, before) in zip(adoption.earlier, self._steps, strict=False)
            ]
            self._steps.append((_by_partition(adoption.ended), runs))

    def __bool__(self) -> bool:
        return bool(self._steps)

    def is_before(self, standing: Standing) -> bool:
        """Whether a record was there at an adoption, so that the places that it names may be others now."""
        if not self._steps:
            return False
        at = standing.topic, standing.partition
        return any(standing.offset < ended.get(at, 0) for ended, _ in self._steps)

    def now(self, topic: str, place: Place, read_in: Standing) -> Place | None:
        """Where a record is now.

        Args:
            topic: Of which topic, its full name.
            place: Where it was when that was written.
            read_in: The record in which this was read.

        Returns:
            Its place; None where it is not there any more.
        """
        partition, offset = place
        for runs in self._since(read_in):
            for each in runs.get((topic, partition), ()):
                if each.first <= offset < each.through:
                    offset = each.now + offset - each.first
                    break
            else:
                return None
        return partition, offset

    def next_now(self, topic: str, place: Place, read_in: Standing) -> int:
        """From which offset on those records are now that were there from a place on. Takes what `now` takes."""
        partition, offset = place
        for runs in self._since(read_in):
            offset = next_of(runs.get((topic, partition), ()), offset)
        return offset

    def first_was(self, topic: str, place: Place) -> int:
        """At which offset a record was before every adoption; where it is, if it came after them."""
        partition, offset = place
        for _, runs in reversed(self._steps):
            for each in runs.get((topic, partition), ()):
                if each.now <= offset < each.now + each.through - each.first:
                    offset = each.first + offset - each.now
                    break
        return offset

    def headers(self, headers: Headers, topic: str, raw: str, read_in: Standing) -> Headers:
        """The headers of a record with the places that it names as they are now.

        Args:
            headers: As they were read.
            topic: On which topic the record was that they are of.
            raw: The full name of the raw topic.
            read_in: The record in which they were read: that one, or a dead letter of it.
        """
        if not self.is_before(read_in):
            return headers
        found = []
        for name, data in headers:
            of = {RAW_RECORD: raw, REPLAY_OF: topic}.get(name)
            place = None if of is None else position([(name, data)], name)
            if of is None or place is None:
                found.append((name, data))
                continue
            now = self.now(of, place, read_in)
            # A copy stays a copy, also where nobody knows any more of what.
            found.append((name, b"" if now is None else b"%d:%d" % now))
        return found

    def _since(self, read_in: Standing) -> Iterable[dict[_Partition, list[Moved]]]:
        if not self._steps:
            return ()
        at = read_in.topic, read_in.partition
        return (runs for ended, runs in self._steps if read_in.offset < ended.get(at, 0))


def _by_partition(ended: Iterable[Ended]) -> dict[_Partition, int]:
    return {(each.topic, each.partition): each.offset for each in ended}


NOTHING_MOVED: Final = Moves()


def next_of(runs: Sequence[Moved], offset: int) -> int:
    """From which offset on those records of a partition are now that were there from an offset on.

    Args:
        runs: Those of the partition, in order.
        offset: As it was.
    """
    now = 0
    for each in runs:
        if offset < each.through:
            return each.now + max(0, offset - each.first)
        now = each.now + each.through - each.first
    return now


def account_now(account: Account, adoptions: Iterable[Adoption]) -> Account | None:
    """An account with the offsets that its records have now; None where they are not there any more.

    Args:
        account: As it was written.
        adoptions: Those since then, in their order.
    """
    for adoption in adoptions:
        moved = _moved(account, adoption)
        if moved is None:
            return None
        account = moved
    return account


def _moved(account: Account, adoption: Adoption) -> Account | None:
    for each in adoption.moved:
        is_there = (each.topic, each.partition) == (account.topic, account.partition)
        if is_there and each.first <= account.through <= each.through:
            by = each.now - each.first
            end = None if account.end is None else min(account.end, each.through) + by
            first, through = max(account.first, each.first) + by, account.through + by
            identity = account.identity
            if identity is not None:
                # A copy may have another time.
                offset = identity.offset + by
                identity = identity._replace(offset=offset, timestamp=-1) if each.first <= identity.offset else None
            return structs.replace(account, first=first, through=through, end=end, identity=identity)
    return None
