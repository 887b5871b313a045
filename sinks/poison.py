"""Whether a failure is the record's or the target's. This is the one rule, for every target.

A request is for one document, for several, or for none (a look-up):

| the target answers                               | one document | several    | none       |
|--------------------------------------------------|--------------|------------|------------|
| `DocumentRejected`                               | the record   | divide     | the target |
| `ServerError`, `PermissionDenied`                | undecided    | divide     | the target |
| any other `TargetUnavailable` or `AccessDenied`  | the target   | the target | the target |

- *The record*: it is dead-lettered at once, as is every `InvalidRecord`.
- *The target*: nothing is dead-lettered. Everything is tried again when the target may have recovered.
- *Divide*: the request is divided until the documents are alone (`sinks.targets.erpnext.call`).
- *Undecided*: the record is tried again alone, and only its own employee waits with it. What the target does with
  other records decides: `FailureRun` within one call of the target, `PoisonDetector` over all calls.
"""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from attendance.errors import (
    AccessDenied,
    DocumentRejected,
    InvalidRecord,
    PermissionDenied,
    Reason,
    ServerError,
    TargetUnavailable,
)

Undecided = ServerError | PermissionDenied
"""Either the record breaks the target, or the target is broken. Its answer alone does not tell."""

FAILURES_IN_A_ROW: Final = 2  # different documents, each alone in its request

_Suspect = TypeVar("_Suspect", bound=Hashable)


def as_target_failure(error: TargetUnavailable | AccessDenied | DocumentRejected) -> TargetUnavailable | AccessDenied:
    """The failure of a request that was for no document: whatever the target answered, it is the target's."""
    match error:
        case ServerError():
            return TargetUnavailable(str(error))
        case PermissionDenied():
            return AccessDenied(str(error))
        case DocumentRejected():
            return AccessDenied(f"the target rejects a look-up: {error}")
        case _:
            return error


def as_dead_letter(error: Undecided) -> InvalidRecord:
    """Why a record is dead-lettered that was found to be the cause of the failures."""
    if isinstance(error, PermissionDenied):
        return InvalidRecord(Reason.TARGET_FORBIDDEN, f"the target takes others, and forbids this check-in: {error}")
    return InvalidRecord(Reason.TARGET_ERROR, f"the target fails whenever it gets this check-in: {error}")


class FailureRun:
    """Counts the documents of one call that failed one after the other: from the second on, it is the target's failure.

    A missing permission is the target's only as long as it has stored nothing at all: those that it hides from us may
    well come one after the other, such as the employees of one site.
    """

    def __init__(self, *, stores: bool) -> None:
        """`stores` says whether the target has stored a document since it was opened."""
        self.stores = stores
        self._length = 0

    def clear(self) -> None:
        """A document was served."""
        self._length = 0

    def add(self, error: Undecided) -> None:
        """The target failed on a document that was alone in its request.

        Raises:
            TargetUnavailable: The target fails on every document.
            AccessDenied: It forbids every document.
        """
        self._length += 1
        if self._length < FAILURES_IN_A_ROW:
            return
        if isinstance(error, ServerError):
            raise TargetUnavailable(f"the target fails on one document after the other: {error}")
        if not self.stores:
            raise AccessDenied(f"the target forbids one document after the other: {error}")


@dataclass(slots=True)
class _Evidence:
    stored: int
    """How many records the target had stored at the last failure."""
    failures: int = 0
    """Those that count against the record."""
    others_stored: bool = False
    """Whether the target ever stored another record between two failures."""


class PoisonDetector(Generic[_Suspect]):
    """Collects evidence against records on which the target failed while they were alone in their request.

    A record is poison if the target stored others between its failures, often enough. As long as the target stores
    nothing else either, the target is broken, or the permission is missing altogether.
    """

    def __init__(self, attempts: int, is_reachable: Callable[[], Awaitable[bool]]) -> None:
        """Nothing is suspected yet.

        Args:
            attempts: How many failures make a record poison.
            is_reachable: Whether the target can be opened, which is asked of it at once.
        """
        self._attempts = attempts
        self._is_reachable = is_reachable
        self._suspects: dict[_Suspect, _Evidence] = {}
        self.stored = 0
        """How many records the target has stored. The caller counts them."""

    def add_failures(
        self, failures: Sequence[tuple[_Suspect, Undecided]], stored_before: int
    ) -> PermissionDenied | None:
        """Suspect the records on which the target failed in one call.

        Args:
            failures: Each record, with what the target answered.
            stored_before: How many records it had stored before the call.

        Returns:
            The denial that has to be taken for the target's, because it has stored no other record either. None if
            there is none.
        """
        denial: PermissionDenied | None = None
        for suspect, error in failures:
            evidence = self._suspects.setdefault(suspect, _Evidence(stored_before))
            others_stored = evidence.others_stored or self.stored > evidence.stored
            if isinstance(error, PermissionDenied) and not others_stored:
                denial = error
        return denial

    async def is_poison(self, suspect: _Suspect, error: Undecided, *, healthy: bool) -> bool:
        """Count a failure, and say whether the record is the cause of all of them.

        A failure counts if the target was well: if it stored something else since the last failure on this record.
        Where nothing else comes, a server error counts also if the target can be opened; but only for a record that
        once failed while others were stored, or that is the only suspect. A target that answers and cannot store
        anything fails on several records, and none of them is the cause. That a target can be opened says nothing about
        the permission to write.

        Args:
            suspect: One of the records that were last given to `add_failures`.
            error: What the target answered.
            healthy: Whether the circuit breaker was closed before the request and still is.

        Returns:
            Whether the record is to be dead-lettered.
        """
        evidence = self._suspects.get(suspect)
        if evidence is None:
            return False  # its partition was revoked in the meantime: the next owner finds out
        counts = self.stored > evidence.stored
        evidence.others_stored |= counts
        evidence.stored = self.stored
        if not counts and healthy and isinstance(error, ServerError):
            only_suspect = len(self._suspects) == 1
            counts = (evidence.others_stored or only_suspect) and await self._is_reachable()
        evidence.failures += counts
        return evidence.failures >= self._attempts

    def discard(self, suspect: _Suspect) -> None:
        """The record has its outcome."""
        self._suspects.pop(suspect, None)

    def clear(self) -> None:
        """Forget all suspects."""
        self._suspects.clear()
