"""Whose request is worked on next: each address in turn, so that none keeps the others waiting.

A process works on one request at a time. Whoever sends as fast as it can has always the next one ready, and each of
them may take long to read. Where nobody else is there, an address has all of the process.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from producers.push.connections import network_of

ROUND: Final = 8
"""Requests that are worked on between two looks at what has arrived; of large bodies one."""
LARGE: Final = 8192
"""Bytes of a body that has a turn of its own."""
LONG: Final = 0.02
"""Seconds. Whoever had a body read for longer pauses as long, while others are there."""
LOOK_AGAIN: Final = 0.02
"""Seconds until it is looked again whether a pause is over, or those have gone for whom it is."""


class _Waiting(NamedTuple):
    turn: asyncio.Future[None]
    reads: bool


class Turns:
    """Lets requests go on. It belongs to one event loop at a time.

    Args:
        clock: Seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The address whose turn it is next is first.
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._there: Counter[str] = Counter()
        self._left = ROUND
        self._goes_round = False
        self._later: asyncio.TimerHandle | None = None
        # Whose body is read since when, and until when an address pauses that had one read.
        self._reads: tuple[str, float] | None = None
        self._pauses: dict[str, float] = {}

    @asynccontextmanager
    async def request(self, address: str) -> AsyncIterator[None]:
        """Work on a request, once it is its turn: at once, where few are worked on.

        Args:
            address: Whom it is from.
        """
        of_one = _one(address)
        self._there[of_one] += 1
        try:
            await self._take(of_one)
            yield
        finally:
            self._there[of_one] -= 1
            if not self._there[of_one]:
                del self._there[of_one]

    async def to_read(self, address: str, size: int) -> None:
        """Return when a body may be read that has arrived. A small one is read in the turn that its request has had.

        An address that had one read for long lets others go on for as long.

        Args:
            address: Whom it is from.
            size: Bytes that are to be read.
        """
        if size >= LARGE:
            await self._take(_one(address), reads=True)

    async def _take(self, address: str, *, reads: bool = False) -> None:
        loop = asyncio.get_running_loop()
        if not self._goes_round:
            self._goes_round = True
            loop.call_soon(self._go_round, loop)
        if not reads and self._left > 0 and not self._waiting:
            self._left -= 1
            return
        waiting = _Waiting(loop.create_future(), reads)
        self._waiting.setdefault(address, deque()).append(waiting)
        if self._later is not None:
            self._later.cancel()
            self._later = None
            loop.call_soon(self._go_round, loop)
        await waiting.turn

    def _go_round(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the next turns. What has arrived meanwhile is seen before the ones after them."""
        moment, self._later = self._clock(), None
        if self._reads is not None:
            reader, since = self._reads
            self._reads = None
            if moment - since > LONG:
                self._pauses[reader] = moment + (moment - since)
        self._pauses = {address: until for address, until in self._pauses.items() if until > moment}
        was_idle = self._left == ROUND and not self._waiting
        self._left = ROUND
        while self._left > 0:
            address = next((each for each in self._waiting if not self._has_to_pause(each)), None)
            if address is None:
                break
            self._give(address, moment)
        self._goes_round = not was_idle
        if self._left < ROUND or not self._waiting:
            if self._goes_round:
                loop.call_soon(self._go_round, loop)
        else:
            self._later = loop.call_later(LOOK_AGAIN, self._go_round, loop)

    def _has_to_pause(self, address: str) -> bool:
        """Whether it had a body read, is to have another, and others are there."""
        return (
            address in self._pauses and self._waiting[address][0].reads and len(self._there) > (address in self._there)
        )

    def _give(self, address: str, moment: float) -> None:
        turns = self._waiting.pop(address)
        turn, reads = turns.popleft()
        if turns:
            self._waiting[address] = turns
        if turn.done():  # whoever has gone away waits no longer
            return
        turn.set_result(None)
        self._left -= 1
        if reads:
            self._left, self._reads = 0, (address, moment)


def _one(address: str) -> str:
    """Whose address it is. Of IPv6 a network of 64 bits is one."""
    return network_of(address) if ":" in address else address
