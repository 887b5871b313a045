"""What a look at the site found: one `Check` for each thing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from attendance.errors import PunchstreamError, TargetUnavailable

NAMED: Final = 5  # so many of several are named

State = Literal["ok", "warning", "failed", "not checked"]
"""`warning`: deliveries work, and a person should look. `not checked`: nobody may take it for ok."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        state: What was found.
        detail: What was found, in words.
        remedy: What to do, where it is not ok.
        only_for: The commands that need it, where deliveries do not.
        optional: Whether deliveries may go on although it is not ok.
    """

    name: str
    state: State
    detail: str
    remedy: str | None = None
    only_for: str | None = None
    optional: bool = False

    @property
    def hinders(self) -> bool:
        """Whether deliveries may fail, as far as this was looked at."""
        return self.state != "ok" and self.only_for is None and not self.optional


def ok(name: str, detail: str, only_for: str | None = None) -> Check:
    """It is as it should be."""
    return Check(name, "ok", detail, None, only_for)


def failed(name: str, detail: str, remedy: str, only_for: str | None = None) -> Check:
    """It is not as it has to be."""
    return Check(name, "failed", detail, remedy, only_for)


def warning(name: str, detail: str, remedy: str, only_for: str | None = None) -> Check:
    """Deliveries work, and a person should look."""
    return Check(name, "warning", detail, remedy, only_for, optional=True)


def unseen(name: str, detail: str, remedy: str) -> Check:
    """The API user may not look; `remedy` says who may."""
    return Check(name, "not checked", detail, remedy, optional=True)


def attempt(name: str, remedy: str, look: Callable[[], str | Check], only_for: str | None = None) -> Check:
    """Look at one thing.

    Args:
        name: What is looked at.
        remedy: What to do if the look raises.
        look: Returns what is ok, in words, or what was found.
        only_for: See `Check`.

    Returns:
        What was found. A site that does not answer is not taken for one that is wrong.
    """
    try:
        found = look()
    except TargetUnavailable as error:
        return Check(name, "not checked", str(error), "try again when the site answers", only_for)
    except PunchstreamError as error:
        return failed(name, str(error), remedy, only_for)
    return found if isinstance(found, Check) else ok(name, found, only_for)


def some(names: Iterable[str], between: str = ", ") -> str:
    """The first of these names, with this between them, and how many there are besides."""
    found: Sequence[str] = list(names)
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return between.join(found[:NAMED]) + more
