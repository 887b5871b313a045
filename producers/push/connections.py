"""Room for connections: how many there may be, in all and from one address, and which make room for others.

Whoever opens connections and sends nothing, or half of something, takes the room of nobody: where there is none left,
the address that has the most connections gives up the one that has kept push waiting for longest.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Final

LOOKED_AT: Final = 64
"""So many addresses are looked at for a connection that may be closed."""


class _Address:
    """One address, and its connections that push waits for: for a head, or for the rest of a body."""

    __slots__ = ("number", "receiving", "waiting")

    def __init__(self) -> None:
        self.number = 0
        # The one that has been waited for longest is first.
        self.waiting: dict[Seat, None] = {}
        self.receiving: dict[Seat, None] = {}

    def oldest(self) -> "Seat | None":
        """The one that is closed first: one on which no head came sooner than one on which half a body did."""
        return next(iter(self.waiting or self.receiving), None)


class Seat:
    """The room of one connection."""

    __slots__ = ("_in", "_of", "_table", "give_up", "name")

    def __init__(self, table: "Connections", of: _Address | None, name: str, give_up: Callable[[], None]) -> None:
        self._table = table
        self._of = of
        self._in: dict[Seat, None] | None = None
        self.name = name
        self.give_up = give_up

    def waits(self) -> None:
        """Nothing of a request is there, or half a head."""
        if self._of is not None and self._in is not self._of.waiting:
            self._move(self._of.waiting)

    def receives(self) -> None:
        """A head is there, and its body is not."""
        if self._of is not None and self._in is not self._of.receiving:
            self._move(self._of.receiving)

    def works(self) -> None:
        """A request is there: the connection is not closed before it has its answer."""
        if self._in is not None:
            self._move(None)

    def leave(self) -> None:
        """The connection is gone. May be called again."""
        self._move(None)
        self._table.left(self, self._of)
        self._of = None

    def _move(self, to: "dict[Seat, None] | None") -> None:
        if self._in is not None:
            del self._in[self]
        if to is not None:
            to[self] = None
        self._in = to


class Connections:
    """All connections.

    Args:
        most: How many there may be.
        most_of_one: How many from one address.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._seats: set[Seat] = set()
        self._addresses: dict[str, _Address] = {}
        # Addresses by how many connections they have; the first of each has had so many for longest.
        self._by_number: dict[int, dict[_Address, None]] = defaultdict(dict)
        self._highest = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._seats)

    def take(self, name: str, give_up: Callable[[], None], *, shared: bool = False) -> Seat | None:
        """Take in a connection. Another one may have to give up its room.

        Args:
            name: The address that it is from.
            give_up: Closes it, and is called at most once.
            shared: Whether many stand behind the address, as behind a proxy: such a one gives up no room, and only the
                limit of all counts.

        Returns:
            Its room, while push waits for it; None where there is none.
        """
        name = network_of(name)
        of = None if shared else self._addresses.get(name)
        if of is not None and of.number >= self._most_of_one:
            gives = of.oldest()
        elif len(self._seats) >= self._most:
            gives = self._oldest_of_most()
        else:
            return self._seated(name, give_up, shared=shared)
        if gives is None:
            return None
        gives.leave()
        gives.give_up()
        return self._seated(name, give_up, shared=shared)

    def left(self, seat: Seat, of: _Address | None) -> None:
        """Take note that a connection is gone."""
        if seat in self._seats:
            self._seats.discard(seat)
            if of is not None:
                self._set_number(of, of.number - 1)
                if not of.number:
                    del self._addresses[seat.name]

    def _seated(self, name: str, give_up: Callable[[], None], *, shared: bool) -> Seat:
        of = None if shared else self._addresses.setdefault(name, _Address())
        seat = Seat(self, of, name, give_up)
        self._seats.add(seat)
        if of is not None:
            self._set_number(of, of.number + 1)
        seat.waits()
        return seat

    def _set_number(self, of: _Address, number: int) -> None:
        if of.number:
            with_as_many = self._by_number[of.number]
            del with_as_many[of]
            if not with_as_many:
                del self._by_number[of.number]
        of.number = number
        if number:
            self._by_number[number][of] = None
            self._highest = max(self._highest, number)
        while self._highest and self._highest not in self._by_number:
            self._highest -= 1

    def _oldest_of_most(self) -> Seat | None:
        """The connection that gives up its room; None where those with the most are all being answered."""
        numbers = (number for number in range(self._highest, 0, -1) if number in self._by_number)
        addresses = islice((each for number in numbers for each in self._by_number[number]), LOOKED_AT)
        return next((oldest for each in addresses if (oldest := each.oldest()) is not None), None)


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, in which one host may have any address.

    Args:
        address: As the socket has it. What is no address stands for itself.
    """
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
