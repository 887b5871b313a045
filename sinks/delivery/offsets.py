"""OffsetTracker: how far each partition may be committed when its records are done out of order."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Partition:
    pending: deque[int] = field(default_factory=deque)  # from the first that is not done, in order
    done: set[int] = field(default_factory=set)  # of the pending ones
    next_offset: int | None = None  # the offset after the contiguous prefix
    committed: int | None = None


class OffsetTracker:
    """Tracks which records of a partition are done. Pure: no Kafka, no clock.

    Offsets need not be consecutive: a compacted or transactional log has gaps.
    """

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def add(self, partition: int, offset: int) -> None:
        """A record was fetched. Records of one partition are added in the order of their offsets.

        Args:
            partition: The record's partition.
            offset: Its offset there.
        """
        self._partitions.setdefault(partition, _Partition()).pending.append(offset)

    def done(self, partition: int, offset: int) -> None:
        """The outcome of a record is durable. A record that is not tracked (any more) is ignored.

        Args:
            partition: The record's partition.
            offset: Its offset there.
        """
        state = self._partitions.get(partition)
        if state is None or not state.pending or offset < state.pending[0]:
            return
        state.done.add(offset)
        while state.pending and state.pending[0] in state.done:
            first = state.pending.popleft()
            state.done.remove(first)
            state.next_offset = first + 1

    def skip(self, partition: int, offset: int) -> None:
        """There is nothing to do for any record of a partition before an offset but for those that were added.

        Args:
            partition: The partition.
            offset: Beyond those that were added.
        """
        self.add(partition, offset - 1)
        self.done(partition, offset - 1)

    def committable(self) -> dict[int, int]:
        """For each partition that got further since `committed`: the offset after its contiguous prefix."""
        return {
            partition: state.next_offset
            for partition, state in self._partitions.items()
            if state.next_offset is not None and state.next_offset != state.committed
        }

    def committed(self, offsets: dict[int, int]) -> None:
        """Kafka has committed these offsets."""
        for partition, offset in offsets.items():
            if partition in self._partitions:
                self._partitions[partition].committed = offset

    def clear(self) -> None:
        """Forget every partition: they may belong to another consumer now."""
        self._partitions.clear()
