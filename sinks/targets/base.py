"""Target: the contract of a place that check-ins are delivered to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from attendance.errors import AccessDenied, InvalidRecord, PunchstreamError, Reason, TargetUnavailable
from attendance.records.checkin import Checkin
from attendance.records.outcomes import DeliveryStatus, Late
from attendance.server_clock import Clock
from attendance.site import ZoneStore


@dataclass(frozen=True, slots=True)
class Delivered:
    """The target holds the check-in.

    Attributes:
        document: The target's own name of what it holds.
        status: Whether this call stored it.
        late: What it came too late for, where it did.
    """

    document: str
    status: DeliveryStatus
    late: Late | None = None


@dataclass(frozen=True, slots=True)
class SentBack:
    """The check-in is wrong as it was decided: its punch has to wait until it can be decided anew.

    Attributes:
        reason: `unknown_employee`, `employee_inactive` or `before_joining`, where the user map has to know better;
            `coordinates_refused`, where the fleet file has to.
        message: Why, for people.
    """

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class FailedTogether:
    """The target failed on a request that held several check-ins, and it was not divided. Any of them may be stored.

    Attributes:
        error: What the target answered.
        size: How many check-ins the request held.
    """

    error: PunchstreamError
    size: int


Result = Delivered | SentBack | InvalidRecord | FailedTogether | TargetUnavailable | AccessDenied | None
"""What became of one check-in.

- `Delivered`: the target holds it, from this call or from before.
- `SentBack`: nothing was stored, because of its employee or its device; its punch waits again.
- `InvalidRecord`: the target will never take it; it is dead-lettered.
- `ServerError`, `RequestAbandoned` (each a `TargetUnavailable`) or `PermissionDenied` (an `AccessDenied`): the target
  failed on it or forbade it, and it was alone in its request. `sinks.poison` decides whether the record or the target
  is the cause.
- `FailedTogether`: it is tried again with fewer others.
- any other `TargetUnavailable` or `AccessDenied`: it may be stored or not; it is tried again when the target has
  recovered.
- None: not tried. An earlier check-in of the same employee has to come first, or the call took too long already.
"""


class Target(Protocol):
    """A place that check-ins are delivered to.

    1. *Create*: by the factory in `sinks.targets.TARGETS`, from settings. No input or output yet; a wrong setting is a
       `ConfigurationError`.
    2. *Open*: `open` verifies that the target is there, lets us in and can hold check-ins. It is called before the
       first `deliver`, and again at any time, also while deliveries are in flight: to see whether a target that denied
       access has been repaired, or whether one that failed on a record is healthy otherwise.
    3. *Deliver*: `deliver` is called with one to `max_batch` check-ins, by several tasks at once, but never by two for
       the same employee. Check-ins of one employee, in one call or in several, come in the order of their records.
    4. *Retry*: what was not delivered is delivered again, in this process or in another, whatever was answered before.
    5. *Close*: `close`, once, also where `open` failed. A cancelled `deliver` may still be at work.

    A target promises to be idempotent: a check-in that it holds already, by `event_id`, is `already_there` and is not
    stored again. What it cannot promise, it logs when it opens.
    """

    name: str
    """The word by which it is chosen; every delivery has it."""

    looks_up_employees: bool
    """Whether `deliver` finds out by itself which employees exist. If not, the sink asks the user map before."""

    @property
    def max_batch(self) -> int:
        """The most check-ins in one call. May change when it opens."""

    async def open(self) -> None:
        """Return when check-ins can be delivered.

        Raises:
            TargetUnavailable: Not now; it is tried again.
            AccessDenied: Credentials or a permission are missing; it is tried again when a person may have acted.
            ConfigurationError: A setting is wrong; the process ends.
        """

    async def deliver(self, checkins: Sequence[Checkin]) -> list[Result]:
        """Store check-ins.

        Args:
            checkins: One to `max_batch` of them.

        Returns:
            What became of each check-in, in their order. What was stored before the target failed is returned as
            delivered, beside the failures of the others.

        Raises:
            TargetUnavailable: No answer, or "later". Anything may have been stored.
            AccessDenied: Credentials or a permission are missing. Nothing was stored.

        An error that is raised is the result of every check-in of the call. `RequestAbandoned`, `ServerError` and
        `PermissionDenied` of several check-ins count as `FailedTogether`.
        """

    async def close(self) -> None:
        """Let go of connections and files. Does not raise."""


@runtime_checkable
class HasClock(Protocol):
    """A target that tells the time, so that the sink can compare its own clock with it."""

    async def read_clock(self) -> Clock | None:
        """What its clock says; None where it says nothing, or is this machine's own. Does not raise."""


@runtime_checkable
class HasZone(Protocol):
    """A target that keeps naive times, in a zone of its own."""

    def use_zones(self, zones: ZoneStore, report: Callable[[str | None], object]) -> None:
        """Keep there what is found out of the zone. Called once, before `open`.

        Args:
            zones: Where it stands.
            report: Called with the reason why the zone is in doubt, and nothing is delivered; None where it is not.
        """

    async def look_at_zone(self) -> None:
        """See whether the zone is still the same. Called now and then, once the target is open. Does not raise."""
