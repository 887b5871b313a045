"""PositionsGuard: are the partitions still those that the ledger has read, and is what comes next still there?"""

from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, NamedTuple, Protocol

from attendance.accounts import is_fingerprint_of
from attendance.kafka.readers import Extent
from attendance.kafka.records import Record
from attendance.topics import TABLE, Name
from attendance.wire import Place
from ledger.store import Partition, Position

REMEDY: Final = (
    "`punchstream ledger --delete` deletes the ledger, and the next start makes it anew of what the topics have."
)
MOST: Final = 3  # partitions in one line


class Places(Protocol):
    """Single records of a topic, and what its partitions have."""

    async def __call__(self, places: Collection[Place]) -> Mapping[Place, Record]:
        """The records at these places, as far as they are there."""

    async def extents(self, partitions: Collection[int]) -> Mapping[int, Extent]:
        """What these partitions have."""


class Look(NamedTuple):
    """What a partition has now, and the record at the place of the last one that was read, if there is one."""

    extent: Extent
    last: Record | None


def why_not(partition: Partition, position: Position, look: Look) -> str | None:
    """Why a partition cannot be read on from its position: a sentence. None where it can.

    Args:
        partition: Which one.
        position: Up to where it was read.
        look: What it has now.
    """
    name, number = partition
    is_compacted = TABLE[name].cleanup == "compact"
    first, end = look.extent
    last = position.last
    is_other = last is not None and look.last is not None and not is_fingerprint_of(last, look.last)
    # Compaction may have removed the record. Retention may have too, and then what is before is gone.
    is_missing = last is not None and look.last is None and not is_compacted and first <= last.offset
    if is_other or is_missing or position.next_offset > end:
        return f"{TABLE[name].suffix}:{number} was made anew or cut short: its offsets are of other records."
    if first > position.next_offset and not is_compacted:
        gone = first - position.next_offset
        return f"{gone} records of {TABLE[name].suffix}:{number} are gone that the ledger has not read."
    return None


class PositionsGuard:
    """A guard of what the ledger has read. It stands until a person has the ledger made anew."""

    cause: Literal["offsets"] = "offsets"

    def __init__(self, positions: Callable[[], Mapping[Partition, Position]], places: Mapping[Name, Places]) -> None:
        """Nobody is asked yet.

        Args:
            positions: Gives the positions as they are.
            places: By topic where to look.
        """
        self._positions = positions
        self._places = places

    async def find_reason(self) -> str | None:
        """Why the ledger may not read on: what is other than it was, and what to do. None where nothing is."""
        by_topic: dict[Name, dict[int, Position]] = {}
        for (name, number), position in self._positions().items():
            by_topic.setdefault(name, {})[number] = position
        found = []
        for name, positions in by_topic.items():
            for number, look in (await self._look(name, positions)).items():
                if (reason := why_not((name, number), positions[number], look)) is not None:
                    found.append(reason)
        if not found:
            return None
        more = [f"So it is of {len(found) - MOST} more partitions."] if len(found) > MOST else []
        return " ".join([*found[:MOST], *more, REMEDY])

    async def _look(self, name: Name, positions: Mapping[int, Position]) -> dict[int, Look]:
        places = self._places[name]
        extents = await places.extents(positions)
        wanted = {number: (number, each.last.offset) for number, each in positions.items() if each.last is not None}
        records = await places(list(wanted.values()))
        return {number: Look(extents[number], records.get(wanted.get(number, (-1, -1)))) for number in positions}
