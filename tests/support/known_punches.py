"""What is known of a partition, as a plain dictionary and without a changelog."""

import math
from collections.abc import Mapping

from streams.dedup import between, union
from streams.pipeline import Decisions


class KnownPunches(dict[bytes, bytes]):
    """A `streams.store.Known`: the lists, and beside them everything that was ever kept.

    `unknown_until` is up to when something may have been kept that nobody knows any more.
    """

    def __init__(self, lists: Mapping[bytes, bytes] | None = None, *, unknown_until: float = 0) -> None:
        super().__init__(lists or {})
        self.floor = self._unknown_until = unknown_until
        self._kept: dict[bytes, bytes] = dict(lists or {})

    def take(self, decisions: Decisions) -> None:
        """Take in what a step has kept."""
        self.update(decisions.lists)
        for key, entry in decisions.kept:
            self._kept[key] = union(self._kept.get(key, b""), entry)

    def forget(self, floor: float = math.inf) -> None:
        """Have the lists start anew, as those of a process that read nothing that is not later than this."""
        self.clear()
        self.floor = floor

    def near(self, key: bytes, first: float, last: float, /) -> tuple[bytes, float]:
        return between(self.everything(key), first, last), self._unknown_until

    def everything(self, key: bytes, /) -> bytes:
        return self._kept.get(key, b"")
