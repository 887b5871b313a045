"""What is sent without end, or all at once, takes a bounded room and a bounded time."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from attacked import MEGABYTE, TOKEN, Answers, Attacked, batch, post

HEAD = f"POST /v1/events HTTP/1.1\r\nHost: push\r\nX-Device-Token: {TOKEN}\r\n".encode()
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNKNOWN = CHUNKED.replace(TOKEN.encode(), b"nobody")
MUCH = 30 * MEGABYTE


@contextmanager
def pouring(push: Attacked, begins: bytes, repeats: bytes, connections: int = 4) -> Iterator[list[int]]:
    """Connections that send and send, and do not read; how much each got rid of."""
    sent = [0] * connections

    def pour(number: int) -> None:
        with suppress(OSError), push.connect(f"127.0.0.{number + 2}") as connection:
            connection.settimeout(10)
            connection.sendall(begins)
            while sent[number] < MUCH:
                sent[number] += connection.send(repeats)

    threads = [threading.Thread(target=pour, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    yield sent
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("begins", "repeats"),
    [
        pytest.param(b"", b"x" * 65_536, id="no HTTP"),
        pytest.param(b"", b"\r\n" * 32_768, id="line ends"),
        pytest.param(b"GET /", b"x" * 65_536, id="a path"),
        pytest.param(HEAD, b"a: b\r\n" * 10_000, id="headers"),
        pytest.param(HEAD + b"a: ", b"x" * 65_536, id="a header"),
        pytest.param(CHUNKED + b"1", b";a=b" * 16_384, id="the extension of a chunk"),
        pytest.param(CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000, id="trailers"),
        pytest.param(CHUNKED + b"0\r\na: ", b"x" * 65_536, id="a trailer"),
        pytest.param(CHUNKED, b"1\r\n \r\n" * 10_000, id="chunks of one byte"),
        pytest.param(UNKNOWN, b"10000\r\n%b\r\n" % (b"x" * 65_536), id="a body of nobody"),
        pytest.param(UNKNOWN + b"0\r\na: ", b"x" * 65_536, id="a trailer of nobody"),
        pytest.param(b"", b"GET / HTTP/1.1\r\n\r\n" * 4_000, id="requests"),
        pytest.param(b"", b"GET /readyz HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" * 1_000, id="upgrades"),
    ],
)
def test_what_has_no_end_takes_a_bounded_room(push: Attacked, begins: bytes, repeats: bytes) -> None:
    before = push.begin()
    with pouring(push, begins, repeats):
        for number in range(5):
            assert push.is_served(str(number), "127.0.1.1")
    assert push.is_served("after", "127.0.1.1")
    cost = push.cost()
    assert cost.memory - before.memory < 40 * MEGABYTE
    assert cost.cpu - before.cpu < 10
    assert len(push.log.read_bytes()) < 50_000


def test_bodies_that_are_held_back_take_a_bounded_room(push: Attacked) -> None:
    before = push.begin()
    head = HEAD + b"Content-Length: 1000000\r\n\r\n"
    with ExitStack() as ends:
        for number in range(120):
            connection = ends.enter_context(push.connect(f"127.0.0.{number % 8 + 2}"))
            with suppress(OSError):
                connection.sendall(head + b" " * 999_999)
            if number % 20 == 19:
                assert push.is_served(str(number), "127.0.1.1")
                assert push.is_served(str(number), "127.0.0.2")
        cost = push.cost()
    assert cost.memory - before.memory < 60 * MEGABYTE
    assert cost.cpu - before.cpu < 10


def test_whoever_does_not_read_answers_is_given_up(push: Attacked) -> None:
    before = push.begin()
    with ExitStack() as ends:
        for number in range(20):
            connection = ends.enter_context(push.connect(f"127.0.0.{number % 4 + 2}"))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)
            with suppress(BlockingIOError, OSError):
                for _ in range(2_000):
                    connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 16)
        assert push.is_served("after", "127.0.1.1")
    assert push.cost().memory - before.memory < 40 * MEGABYTE


def test_an_answer_is_not_lost_to_what_follows_its_request(push: Attacked) -> None:
    with push.connect() as connection:
        connection.sendall(post(batch("1")) + b"\x00\x01 rubbish")
        assert Answers(connection).next().status == 200
    with push.connect() as connection:
        connection.sendall(b"".join(post(batch(str(number))) for number in range(10)))
        answers = Answers(connection)
        assert [answers.next().status for _ in range(10)] == [200] * 10
