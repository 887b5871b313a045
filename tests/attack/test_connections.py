"""Connections on which nothing comes, or half of something: however many there are, terminals get their answers."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from attacked import MEGABYTE, TOKEN, Answers, Attack, Attacked, batch, post

HALF = f"POST /v1/events HTTP/1.1\r\nHost: push\r\nX-Device-Token: {TOKEN}\r\n".encode()
FILES = 300


def crowd(push: Attacked, ends: ExitStack, addresses: int, each: int, sends: bytes) -> list[socket.socket]:
    """So many connections from each of so many addresses, on which that much is sent and no more."""
    connections = []
    for number in range(each):
        for address in range(addresses):
            connection = ends.enter_context(push.connect(f"127.0.0.{address + 2}"))
            connection.sendall(sends)
            connections.append(connection)
            if number % 20 == 19 and address == 0:
                # A terminal comes in the middle of them, from an address of its own and from one that attacks.
                assert push.is_served(f"{number}", "127.0.1.1")
                assert push.is_served(f"{number}", "127.0.0.2")
    return connections


@pytest.mark.parametrize("sends", [b"", b"\r\n", HALF, HALF + b"Content-Length: 100\r\n\r\n{"])
def test_connections_that_send_half_of_something_shut_nobody_out(attacked: Attack, sends: bytes) -> None:
    push = attacked(files=(200, FILES), PUSH_MAX_CONNECTIONS="100000")
    before = push.begin()
    with ExitStack() as ends:
        crowd(push, ends, 4, 150, sends)
        assert push.is_served("after", "127.0.1.1")
        assert push.process.num_fds() <= FILES
        cost = push.cost()
    assert cost.memory - before.memory < 40 * MEGABYTE
    assert cost.cpu - before.cpu < 10
    said = [each for each in push.logged() if each["event"].startswith("Closed a connection")]
    assert 0 < len(said) <= 3
    assert len(push.log.read_bytes()) < 20_000
    assert len(set(push.users())) == 7 + 1


def test_the_terminals_behind_a_nat_share_one_address_and_all_are_served(attacked: Attack) -> None:
    push = attacked()
    with ExitStack() as ends:
        connections = [ends.enter_context(push.connect()) for _ in range(500)]
        with ThreadPoolExecutor(50) as threads:
            assert all(threads.map(push.is_answered, connections, map(str, range(500))))
    assert len(set(push.users())) == 500


def test_one_address_has_no_more_connections_than_it_may(attacked: Attack) -> None:
    push = attacked(PUSH_MAX_CONNECTIONS_PER_ADDRESS="20")
    with ExitStack() as ends:
        crowd(push, ends, 2, 60, b"")
        assert push.process.num_fds() < 100
        # Whoever is being answered is not closed for others of its address.
        with push.connect("127.0.0.2") as connection, ThreadPoolExecutor() as threads:
            connection.sendall(post(batch("half"))[:-1])
            served = list(threads.map(lambda number: push.is_served(f"n{number}", "127.0.0.2"), range(30)))
            connection.sendall(post(batch("half"))[-1:])
            assert Answers(connection).next().status == 200
        assert all(served)


@pytest.mark.long
def test_thousands_of_them_from_hundreds_of_addresses_shut_nobody_out(attacked: Attack) -> None:
    push = attacked(files=(1024, 4096))
    with ExitStack() as ends:
        crowd(push, ends, 250, 24, HALF)
        assert push.is_served("after", "127.0.1.1")
        assert push.cost().memory < 250 * MEGABYTE
