"""Answers: what one call of the target showed, sorted by what has to be done about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from attendance.errors import (
    AccessDenied,
    InvalidRecord,
    PermissionDenied,
    RequestAbandoned,
    ServerError,
    TargetUnavailable,
)
from sinks.delivery.outcomes import Decided
from sinks.delivery.queue import QueuedCheckin
from sinks.poison import Undecided
from sinks.targets.base import Delivered, FailedTogether, Result, SentBack


@dataclass(slots=True)
class Answers:
    """What became of the check-ins of one call.

    Attributes:
        outcomes: Those that are done.
        alone: Those on which the target failed while they were alone in their request.
        together: Those whose request failed and held others.
        untried: Those that were not tried.
        unserved: Those that the target did not serve, as it serves nothing now.
        failure: Why not.
        written: How many the target stored or changed now.
        served: Whether the target served any of them, be it by a refusal.
    """

    outcomes: list[Decided] = field(default_factory=list)
    alone: list[tuple[QueuedCheckin, Undecided]] = field(default_factory=list)
    together: list[tuple[QueuedCheckin, FailedTogether]] = field(default_factory=list)
    untried: list[QueuedCheckin] = field(default_factory=list)
    unserved: list[QueuedCheckin] = field(default_factory=list)
    failure: TargetUnavailable | AccessDenied | None = None
    written: int = 0
    served: bool = False


def sort_answers(batch: Sequence[QueuedCheckin], results: Sequence[Result], *, rejections_serve: bool) -> Answers:
    """Sort the results of one call.

    Args:
        batch: The check-ins that the target was called with.
        results: What it returned for each of them.
        rejections_serve: Whether a rejection shows that the target is healthy. Where it rejects everything, it does
            not.

    Returns:
        All of them; each check-in is in one of the lists.
    """
    answers = Answers()
    for queued, result in zip(batch, results, strict=True):
        match result:
            case None:
                answers.untried.append(queued)
            case Delivered():
                answers.outcomes.append((queued, result))
                answers.written += result.status != "already_there"
                answers.served = True
            case SentBack():
                answers.outcomes.append((queued, result))
            case FailedTogether():
                answers.together.append((queued, result))
            case ServerError() | PermissionDenied() | RequestAbandoned():
                answers.alone.append((queued, result))
            case TargetUnavailable() | AccessDenied():
                answers.unserved.append(queued)
                answers.failure = result
            case InvalidRecord():
                answers.outcomes.append((queued, result))
                answers.served |= rejections_serve
    return answers
