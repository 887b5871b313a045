"""PoisonDetector: whether a target that fails on a check-in is broken, or the check-in is what breaks it."""

from collections.abc import Awaitable, Callable

from attendance.errors import PermissionDenied, ServerError
from sinks.delivery.queue import Entry


class PoisonDetector:
    """Collects evidence against check-ins that were alone in their request when the target failed or forbade it.

    What acquits a check-in is that the target stores nothing else either: then the target is broken, or the permission
    is missing altogether. What convicts it is that the target stored others between its tries, often enough.
    """

    def __init__(self, attempts: int, opens: Callable[[], Awaitable[bool]]) -> None:
        """`attempts` is how many failures convict; `opens` asks whether the target is well otherwise."""
        self._attempts = attempts
        self._opens = opens
        self._suspects: set[Entry] = set()
        self.stored = 0
        """How many check-ins the target has stored; the caller counts."""

    def accuse(self, entry: Entry, stored_before: int) -> None:
        """The target failed on this entry, in a call before which it had stored so many."""
        if not entry.alone:
            entry.alone, entry.stored = True, stored_before
        self._suspects.add(entry)

    def acquit(self, entry: Entry) -> None:
        """The entry is settled."""
        self._suspects.discard(entry)

    def clear(self) -> None:
        """Forget all suspects."""
        self._suspects.clear()

    def others_stored(self, entry: Entry) -> bool:
        """Whether the target ever stored something else between two failures on this entry, or beside it."""
        return entry.others_stored or self.stored > entry.stored

    async def falls_on(self, entry: Entry, error: ServerError | PermissionDenied, *, well: bool) -> bool:
        """Whether the target has now failed on this entry so often, while it was well, that the entry is the cause.

        It was well if it stored something else since it last failed on this one. Where nothing else comes, that it
        opens has to do for a fault; but then only for an entry that once failed while others were stored, or that is
        the only one it fails on: a target that answers and cannot store anything fails on several, and none of them is
        to blame. That it opens says nothing of the permission to write.
        """
        counts = self.stored > entry.stored
        entry.others_stored |= counts
        entry.stored = self.stored
        by_opening = well and isinstance(error, ServerError) and (entry.others_stored or self._suspects == {entry})
        if not counts and by_opening:
            counts = await self._opens()
        entry.faults += counts
        return entry.faults >= self._attempts
