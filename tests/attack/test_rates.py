"""One address sends as fast as it can: a terminal at another one does not wait for all that is sent before it."""

import socket
from contextlib import ExitStack, suppress
from statistics import median
from threading import Event, Thread

import pytest
from attacked import MEGABYTE, Attack, Attacked

from producers.push.protocol import MOST_PIPELINED

LINES = b"no\r\n" * (MEGABYTE // 4)
UPLOAD = b"POST /iclock/cdata?SN=SN1&table=ATTLOG&Stamp=1 HTTP/1.1\r\nHost: push\r\nContent-Length: %d\r\n\r\n" % len(
    LINES
)
POLL = b"GET /iclock/getrequest?SN=%b HTTP/1.1\r\nHost: push\r\n\r\n"


class Flood:
    """Sends one request again and again on many connections from one address, and reads what is answered.

    Args:
        push: Whom it attacks.
        connections: How many.
        request: What is sent.
    """

    def __init__(self, push: Attacked, connections: int, request: bytes) -> None:
        self._push = push
        self._request = request
        self._ends = ExitStack()
        self._stops = Event()
        self._left = {self._connect(): request for _ in range(connections)}
        self._thread = Thread(target=self._send)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_failure: object) -> None:
        self._stops.set()
        self._thread.join()
        self._ends.close()

    def _connect(self) -> socket.socket:
        connection = self._ends.enter_context(self._push.connect("127.0.0.66"))
        connection.setblocking(False)
        return connection

    def _send(self) -> None:
        while not self._stops.is_set():
            for connection, left in list(self._left.items()):
                try:
                    with suppress(BlockingIOError):
                        connection.recv(65_536)
                    with suppress(BlockingIOError):
                        sent = connection.send(left)
                        self._left[connection] = left[sent:] or self._request
                except ConnectionError:
                    del self._left[connection]
                    self._left[self._connect()] = self._request


@pytest.mark.parametrize(
    ("connections", "request_", "most"),
    [
        pytest.param(300, POLL % b"MADEUP" * MOST_PIPELINED, 0.5, id="made-up serial numbers"),
        pytest.param(300, POLL % b"SN1" * MOST_PIPELINED, 0.5, id="a known serial number"),
        pytest.param(300, b"GET /x HTTP/1.1\r\nHost: push\r\n\r\n" * MOST_PIPELINED, 0.5, id="no such path"),
        pytest.param(20, UPLOAD + LINES, 2.0, id="bodies that take long to read"),
    ],
)
def test_a_terminal_does_not_wait_for_another_address(
    attacked: Attack, connections: int, request_: bytes, most: float
) -> None:
    push = attacked(PUSH_BODY_TIMEOUT="300")
    waited = []
    with Flood(push, connections, request_):
        before = push.begin()
        while push.cost().cpu - before.cpu < 2:
            assert push.is_served("warm", "127.0.1.1")
        # What the process does while a terminal waits, and not how long: other programs are on this machine too.
        for number in range(7):
            began = push.cost().cpu
            assert push.is_served(f"{number}", "127.0.1.1")
            waited.append(push.cost().cpu - began)
    assert median(waited) < most
    assert push.cost().memory - before.memory < 150 * MEGABYTE
    assert len(set(push.users())) == 8
