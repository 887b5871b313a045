"""Room in memory for what is being received: heads that are not whole, and bodies until they are answered.

Where there is none left, the sender that has the most of it loses the request that began first and is not whole yet: it
is asked to send it again. What is whole is never lost, and where that alone fills the room, nothing more is begun.
"""

from collections import defaultdict
from collections.abc import Callable
from heapq import heapify, heappop, heapreplace
from typing import Final

from attendance.errors import Overloaded
from producers.push.connections import network_of

FREED: Final = 8
"""Where there is no room, this part of it is made free: who has the most is not looked for at every byte."""


class Share:
    """What one request takes of the room.

    Attributes:
        bytes: How many.
        lost: Whether it was given up for others. It has to be sent again.
        is_whole: Whether all of it is there. Then it is not given up.
        interrupt: Called when it is given up; None where nobody waits for the rest of it.
    """

    __slots__ = ("_receiving", "address", "bytes", "interrupt", "is_whole", "lost")

    def __init__(self, receiving: "Receiving", address: str) -> None:
        self._receiving = receiving
        self.address = address
        self.bytes = 0
        self.lost = False
        self.is_whole = False
        self.interrupt: Callable[[], object] | None = None

    def take(self, size: int) -> None:
        """Hold so many bytes more.

        Raises:
            Overloaded: there is no room for them; it takes nothing any more.
        """
        self._receiving.take(self, size)

    def give_back(self, size: int) -> None:
        """Hold so many bytes less."""
        self._receiving.give_back(self, min(size, self.bytes))

    def whole(self) -> None:
        """All of it is there."""
        self.is_whole = True
        if self.bytes:
            self._receiving.keep(self)

    def release(self) -> None:
        """It takes nothing any more. May be called again."""
        if self.bytes:
            self._receiving.give_back(self, self.bytes)

    def lose(self) -> None:
        """Give it up, for others."""
        self.lost = True
        self.release()
        if self.interrupt is not None:
            self.interrupt()


class Receiving:
    """The room for all.

    Args:
        most: Bytes in all.
        most_of_one: Bytes from one address.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._of: dict[str, int] = defaultdict(int)  # bytes, by address
        # By address, what began first is first.
        self._partial: dict[str, dict[Share, None]] = defaultdict(dict)
        self.bytes = 0

    def begin(self, address: str) -> Share:
        """Begin to receive a request.

        Args:
            address: Whom it is from.
        """
        return Share(self, network_of(address) if ":" in address else address)

    def take(self, share: Share, size: int) -> None:
        """Hold more of a request.

        Raises:
            Overloaded: there is no room for it; it takes nothing any more.
        """
        if share.lost:
            raise Overloaded("given up for others")
        if not share.bytes and not share.is_whole:
            self._partial[share.address][share] = None
        self._add(share, size)
        if self._of[share.address] > self._most_of_one:
            self._make_room_of_one(share)
        if self.bytes > self._most:
            self._make_room(share)
        # What alone is larger than the room is taken, or it would never be.
        of_one = self._of[share.address]
        if (of_one > self._most_of_one and of_one > share.bytes) or (
            self.bytes > self._most and self.bytes > share.bytes
        ):
            share.release()
            raise Overloaded("too much is being received")

    def keep(self, share: Share) -> None:
        """Do not give a request up."""
        partial = self._partial.get(share.address)
        if partial is not None:
            partial.pop(share, None)
            if not partial:
                del self._partial[share.address]

    def give_back(self, share: Share, size: int) -> None:
        """Hold less of a request."""
        if size:
            self._add(share, -size)
            if not share.bytes and not share.is_whole:
                self.keep(share)

    def _add(self, share: Share, size: int) -> None:
        share.bytes += size
        self.bytes += size
        self._of[share.address] += size
        if not self._of[share.address]:
            del self._of[share.address]

    def _make_room_of_one(self, share: Share) -> None:
        while self._of[share.address] > self._most_of_one:
            first = next(iter(self._partial.get(share.address, ())), share)
            if first is share:
                return
            first.lose()

    def _make_room(self, share: Share) -> None:
        by_size = [(-self._of[address], address) for address in self._partial]
        heapify(by_size)
        while by_size and self.bytes > self._most - self._most // FREED:
            address = by_size[0][1]
            first = next(iter(self._partial[address]))
            if first is share:
                return
            first.lose()
            if address in self._partial:
                heapreplace(by_size, (-self._of[address], address))
            else:
                heappop(by_size)
