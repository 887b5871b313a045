"""Whose request is worked on next: each address in turn, so that none keeps the others waiting.

A process works on one request at a time. Whoever sends as fast as it can has always the next one ready, and each of
them may take long to read. Where nobody else is there, an address has all of the process.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from producers.push.connections import network_of

ROUND: Final = 32
"""Requests without a body that are worked on between two looks at what has arrived; of large bodies one."""
OF_ONE: Final = 8
"""So many of these are of one address, while others are there. So many there are in all just after somebody connected:
more may wait behind them to be let in, and of those each look lets in one."""
AS_MUCH: Final = 512
"""Bytes of a body that count as one more request."""
LARGE: Final = 8192
"""Bytes of a body that has a turn of its own."""
LONG: Final = 0.02
"""Seconds. Whoever had a body read for longer pauses as long, while others are there."""
LOOK_AGAIN: Final = 0.02
"""Seconds until it is looked again whether a pause is over, or those have gone for whom it is."""


class _Waiting(NamedTuple):
    turn: asyncio.Future[None]
    counts: int
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
        # What may still be worked on before the next look, and what each address has had since the last one.
        self._round = self._left = ROUND
        self._had: Counter[str] = Counter()
        self._connected = False
        self._goes_round = False
        self._later: asyncio.TimerHandle | None = None
        # Whose body is read since when, and until when an address pauses that had one read.
        self._reads: tuple[str, float] | None = None
        self._pauses: dict[str, float] = {}

    async def enter(self, address: str, size: int | None) -> None:
        """Return when a request is to be worked on: at once, where few are. `leave` has to follow, whatever happens.

        Args:
            address: Whom it is from.
            size: Bytes of its body; None where that is not known.
        """
        of_one = network_of(address)
        self._there[of_one] += 1
        await self._take(of_one, _counts(size))

    def connected(self) -> None:
        """Somebody has just connected."""
        self._connected = True

    def leave(self, address: str) -> None:
        """A request that has entered has its answer, or nobody waits for that any more.

        Args:
            address: As it entered.
        """
        of_one = network_of(address)
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
            await self._take(network_of(address), 1, reads=True)

    async def _take(self, address: str, counts: int, *, reads: bool = False) -> None:
        loop = asyncio.get_running_loop()
        if not self._goes_round:
            self._goes_round = True
            loop.call_soon(self._go_round, loop)
        if not reads and address not in self._waiting and self._left > 0 and self._has_a_turn(address):
            self._left -= counts
            self._had[address] += counts
            return
        waiting = _Waiting(loop.create_future(), counts, reads)
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
        was_idle = self._left == self._round and not self._waiting
        self._round = self._left = OF_ONE if self._connected else ROUND
        self._connected = False
        self._had.clear()
        while self._left > 0:
            may = (each for each in self._waiting if self._has_a_turn(each) and not self._has_to_pause(each))
            address = next(may, None)
            if address is None:
                break
            self._give(address, moment)
        self._goes_round = not was_idle
        if self._left < self._round or not self._waiting:
            if self._goes_round:
                loop.call_soon(self._go_round, loop)
        else:
            self._later = loop.call_later(LOOK_AGAIN, self._go_round, loop)

    def _has_a_turn(self, address: str) -> bool:
        """Whether it may have another request worked on before the next look."""
        return self._had[address] < OF_ONE or len(self._there) == 1

    def _has_to_pause(self, address: str) -> bool:
        """Whether it had a body read, is to have another, and others are there."""
        return (
            address in self._pauses and self._waiting[address][0].reads and len(self._there) > (address in self._there)
        )

    def _give(self, address: str, moment: float) -> None:
        turns = self._waiting.pop(address)
        turn, counts, reads = turns.popleft()
        if turns:
            self._waiting[address] = turns
        if turn.done():  # whoever has gone away waits no longer
            return
        turn.set_result(None)
        self._left -= counts
        self._had[address] += counts
        if reads:
            self._left, self._reads = 0, (address, moment)


def _counts(size: int | None) -> int:
    """As how many requests one counts."""
    if size is None:
        return LARGE // AS_MUCH
    return 1 + size // AS_MUCH if size < LARGE else 1
