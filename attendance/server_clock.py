"""Whether this machine's clock can be right: what other clocks say, and the one rule that concludes from them."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from attendance.durations import format_seconds


class Clock(NamedTuple):
    """What another clock says.

    Attributes:
        whose: For a sentence, such as `that of ERPNext`.
        ahead: By how many seconds it is ahead of this machine's.
        uncertainty: By how many seconds more or less it may be.
    """

    whose: str
    ahead: float
    uncertainty: float

    def is_off(self, seconds: float) -> bool:
        """Whether it certainly differs from this machine's by more than that."""
        return abs(self.ahead) - self.uncertainty > seconds

    def __str__(self) -> str:
        """Such as `that of ERPNext is 1 h ahead`."""
        return f"{self.whose} is {format_seconds(abs(round(self.ahead)))} {'ahead' if self.ahead > 0 else 'behind'}"


ClockReader = Callable[[], Awaitable[Clock | None]]
"""Asks another clock; None where it says nothing, or is this machine's own."""


class Conclusion(NamedTuple):
    """What follows from other clocks.

    Attributes:
        reason: Why this process may not work; None where it may.
        warnings: Clocks that differ although this process may work.
    """

    reason: str | None
    warnings: tuple[Clock, ...]


def conclude(broker: Clock | None, others: Sequence[Clock], *, apart: bool, warn: float, limit: float) -> Conclusion:
    """Compare this machine's clock with the others.

    The broker's has to agree in any case: by its clock records are dated and deleted. Apart from that two of three
    clocks are right against the third. So this machine's clock is trusted if that of a broker on another machine agrees
    with it, or any other; and it is not if all that can be compared differ.

    Args:
        broker: The broker's clock; None where it does not tell it.
        others: Clocks of further machines.
        apart: Whether the broker is on another machine. If not, that it agrees proves nothing.
        warn: Seconds by which a clock may differ unmentioned.
        limit: Seconds by which it may differ.
    """
    known = [*([] if broker is None else [broker]), *others]
    warnings = tuple(each for each in known if each.is_off(warn))
    if broker is not None and broker.is_off(limit):
        return Conclusion(_sentence([broker]), warnings)
    off = [each for each in others if each.is_off(limit)]
    is_confirmed = (broker is not None and apart) or len(off) < len(others)
    return Conclusion(_sentence(off) if off and not is_confirmed else None, warnings)


def _sentence(off: Sequence[Clock]) -> str:
    return (
        f"This machine's clock differs from others: {', and '.join(map(str, off))}. Set the clock that is wrong, and "
        "keep it right by NTP."
    )


async def is_here(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
        except OSError:
            return False
    for family, kind, protocol, _, address in found:
        with suppress(OSError), socket.socket(family, kind, protocol) as trial:
            trial.bind(address)  # only one's own address can be
            return True
    return False
