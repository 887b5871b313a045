"""Whether a failure is the record's or the target's. This is the one rule, for every target.

A request is for one document, for several, or for none (a look-up):

| the target answers                                   | one document | several    | none       |
|------------------------------------------------------|--------------|------------|------------|
| `DocumentRejected`                                   | the record   | divide     | the target |
| `ServerError`, `PermissionDenied`, `RequestAbandoned` | undecided   | divide     | the target |
| any other `TargetUnavailable` or `AccessDenied`      | the target   | the target | the target |

- *The record*: it is dead-lettered at once, as is every `InvalidRecord`.
- *The target*: nothing is dead-lettered. Everything is tried again when the target may have recovered.
- *Divide*: the request is divided until the documents are alone: in the same call (`sinks.targets.erpnext.call`), or,
  where that would take long, in later ones (`sinks.delivery.queue`).
- *Undecided*: the record is tried again alone, and only its own employee waits with it. What the target does with
  other records decides: `Doubt` whether to go on asking the target, `PoisonDetector` whether the record is the cause.
"""

import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from attendance.errors import (
    AccessDenied,
    DocumentRejected,
    InvalidRecord,
    PermissionDenied,
    Reason,
    RequestAbandoned,
    ServerError,
    TargetUnavailable,
)

Undecided = ServerError | PermissionDenied | RequestAbandoned
"""Either the record breaks the target, or the target is broken. Its answer alone does not tell."""

LASTING_SECONDS: Final = 600.0
"""A lock, or a target that is slow with one record, may last some minutes and be no fault of the record."""
IN_DOUBT: Final = 2  # employees on whom the target failed while it stored nothing

_Suspect = TypeVar("_Suspect", bound=Hashable)


def as_target_failure(error: TargetUnavailable | AccessDenied | DocumentRejected) -> TargetUnavailable | AccessDenied:
    """The failure of a request that was for no document: whatever the target answered, it is the target's."""
    match error:
        case ServerError() | RequestAbandoned():
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


class Doubt(Generic[_Suspect]):
    """Whether the target itself may be broken: it fails on one employee after the other, and stores nothing."""

    def __init__(self) -> None:
        """Nothing failed yet."""
        self._failed: dict[str, _Suspect] = {}

    @property
    def exists(self) -> bool:
        """Whether it may be broken."""
        return len(self._failed) >= IN_DOUBT

    @property
    def employees(self) -> int:
        """On how many employees it failed since it last stored something."""
        return len(self._failed)

    def add(self, employee: str, suspect: _Suspect) -> None:
        """The target failed on a check-in of this employee, against which there is no evidence, and stored no other."""
        self._failed[employee] = suspect

    def end(self) -> dict[str, _Suspect]:
        """The target stored something. Returns those on whom it failed before."""
        failed, self._failed = self._failed, {}
        return failed


@dataclass(slots=True)
class _Evidence:
    stored: int
    """How many records the target had stored at the last failure."""
    since: float
    """When the target first failed on the record, in seconds."""
    failures: int = 0
    """Those that count against the record."""
    others_stored: bool = False
    """Whether the target ever stored another record between two failures."""


class PoisonDetector(Generic[_Suspect]):
    """Collects evidence against records on which the target failed while they were alone in their request.

    A record is poison if the target stored others between its failures, often enough. As long as the target stores
    nothing else either, the target is broken, or the permission is missing altogether.
    """

    def __init__(
        self, attempts: int, is_reachable: Callable[[], Awaitable[bool]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is suspected yet.

        Args:
            attempts: How many failures make a record poison.
            is_reachable: Whether the target can be opened, which is asked of it at once.
            clock: Seconds, monotonic.
        """
        self._attempts = attempts
        self._is_reachable = is_reachable
        self._clock = clock
        self._suspects: dict[_Suspect, _Evidence] = {}
        self.stored = 0
        """How many records the target has stored. The caller counts them."""

    def suspect(self, suspects: Iterable[_Suspect], stored_before: int) -> None:
        """Suspect the records on which the target failed in one call.

        Args:
            suspects: The records.
            stored_before: How many records the target had stored before the call.
        """
        for suspect in suspects:
            self._suspects.setdefault(suspect, _Evidence(stored_before, self._clock()))

    def has_evidence(self, suspect: _Suspect) -> bool:
        """Whether a failure counts against this record, or the next one would: others were stored since the last."""
        evidence = self._suspects.get(suspect)
        return evidence is not None and (evidence.failures > 0 or self.stored > evidence.stored)

    async def is_poison(self, suspect: _Suspect, error: Undecided, *, healthy: bool) -> bool:
        """Count a failure, and say whether the record is the cause of all of them.

        A failure counts if the target was well: if it stored something else since the last failure on this record.
        Where nothing else comes, a server error counts also if the target can be opened; but only for a record that
        once failed while others were stored, or that is the only suspect. A target that answers and cannot store
        anything fails on several records, and none of them is the cause. That a target can be opened says nothing about
        the permission to write. Where requests are given up, it has to go on for `LASTING_SECONDS`.

        Args:
            suspect: One of the records that were last given to `suspect`.
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
        lasts = not isinstance(error, RequestAbandoned) or self._clock() - evidence.since >= LASTING_SECONDS
        return lasts and evidence.failures >= self._attempts

    def discard(self, suspect: _Suspect) -> None:
        """The record has its outcome."""
        self._suspects.pop(suspect, None)

    def clear(self) -> None:
        """Forget all suspects."""
        self._suspects.clear()
