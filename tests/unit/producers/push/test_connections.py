"""Which connections make room for others: the oldest that push waits for, of the address that has the most."""

import random

import pytest

from producers.push.connections import Connections, Seat, network_of


class Room:
    """A table of connections, and the names of those that gave up their room, in order."""

    def __init__(self, most: int, most_of_one: int = 1000) -> None:
        self.table = Connections(most, most_of_one)
        self.gone: list[str] = []

    def take(self, name: str, address: str, *, shared: bool = False) -> Seat | None:
        return self.table.take(address, lambda: self.gone.append(name), shared=shared)


def test_the_address_with_the_most_gives_up_its_oldest() -> None:
    room = Room(most=4)
    for name, address in [("t", "10.0.0.1"), ("a", "10.0.0.2"), ("b", "10.0.0.2"), ("c", "10.0.0.2")]:
        assert room.take(name, address)
    assert room.take("d", "10.0.0.2")
    assert room.take("u", "10.0.0.3")
    assert room.gone == ["a", "b"]
    assert len(room.table) == 4


def test_whoever_is_answered_gives_up_nothing_and_half_bodies_do_so_last() -> None:
    room = Room(most=3)
    seats = [room.take(name, "10.0.0.2") for name in "abc"]
    for seat, state in zip(seats, (Seat.works, Seat.receives, Seat.waits), strict=True):
        assert seat
        state(seat)
    assert room.take("d", "10.0.0.3")
    assert room.take("e", "10.0.0.4")
    assert room.gone == ["c", "b"]
    # One that has given up its room is not closed again, whatever still happens on it.
    assert seats[2]
    seats[2].waits()
    assert room.take("f", "10.0.0.5")
    assert room.gone == ["c", "b", "d"]


def test_where_all_are_answered_there_is_no_room() -> None:
    room = Room(most=2)
    for name in "ab":
        seat = room.take(name, "10.0.0.2")
        assert seat
        seat.works()
    assert room.take("c", "10.0.0.3") is None
    assert room.gone == []


def test_one_address_has_no_more_than_it_may_and_takes_it_from_itself() -> None:
    room = Room(most=100, most_of_one=2)
    for name in "abcd":
        assert room.take(name, "10.0.0.2")
    assert room.take("t", "10.0.0.1")
    assert room.gone == ["a", "b"]


def test_a_proxy_has_no_limit_of_its_own_and_gives_up_nothing() -> None:
    room = Room(most=6, most_of_one=2)
    for number in range(5):
        assert room.take(f"p{number}", "10.0.0.9", shared=True)
    assert room.take("a", "10.0.0.2")
    assert room.take("b", "10.0.0.3")
    assert room.gone == ["a"]


def test_a_host_that_has_a_whole_network_of_ipv6_is_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("") == ""


@pytest.mark.parametrize("seed", range(5))
def test_whatever_comes_and_goes_what_is_counted_is_there(seed: int) -> None:
    chance = random.Random(seed)
    room = Room(most=30, most_of_one=8)
    seats: list[Seat] = []
    for number in range(3000):
        match chance.randrange(6):
            case 0 | 1:
                if seat := room.take(str(number), f"10.0.0.{chance.randrange(12)}", shared=chance.random() < 0.1):
                    seats.append(seat)
            case 2 if seats:
                seats.pop(chance.randrange(len(seats))).leave()
            case 3 if seats:
                chance.choice(seats).works()
            case 4 if seats:
                chance.choice(seats).waits()
            case 5 if seats:
                chance.choice(seats).receives()
        assert len(room.table) <= 30
    for seat in seats:
        seat.leave()
    assert len(room.table) == 0
    assert [room.take(str(number), f"10.0.1.{number}") is not None for number in range(31)] == [True] * 31
