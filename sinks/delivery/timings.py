"""SinkTimings: how long the sink waits for what."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SinkTimings:
    """How long the sink waits, in seconds.

    Attributes:
        recheck: Before a target that denied access is asked again, and between tries while the limit of dead letters is
            reached.
        recovery: The longest pause before a target that did not serve is tried again, so that it is noticed soon when
            it does.
        retry_after: The longest pause that a target may ask for.
        doubt: The longest pause between two requests to a target that fails on one employee after the other.
        unknown: For the user map to learn of an employee: it may be a little behind the stream, which knows them
            already.
        commit: Between two commits.
        stop: For the requests that are in flight when the process is to stop.
    """

    recheck: float = 30
    recovery: float = 10
    retry_after: float = 60
    doubt: float = 1
    unknown: float = 5
    commit: float = 1
    stop: float = 20
