"""The network that can break."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from harness.network import Network


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that answers with what it is sent."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


def connect(network: Network, port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", network.forward(port)), timeout=10)
    connection.sendall(b"hello")
    assert connection.recv(100) == b"hello"
    return connection


def test_a_cut_holds_bytes_back_and_its_end_lets_them_through(network: Network, echo: int) -> None:
    with connect(network, echo) as connection:
        cut = network.cut(os.getpid)
        connection.sendall(b"later")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        network.heal(cut)
        connection.settimeout(10)
        assert connection.recv(100) == b"later"


def test_a_connection_made_during_a_cut_is_cut_as_well(network: Network, echo: int) -> None:
    cut = network.cut(os.getpid)
    way_in = network.forward(echo)
    with socket.create_connection(("127.0.0.1", way_in), timeout=10) as connection:
        connection.sendall(b"hello")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        network.heal(cut)
        connection.settimeout(10)
        assert connection.recv(100) == b"hello"


def test_a_cut_leaves_other_processes_alone(network: Network, echo: int) -> None:
    with connect(network, echo) as connection:
        network.cut(os.getppid)
        connection.sendall(b"again")
        assert connection.recv(100) == b"again"


def test_a_server_is_cut_off_by_its_port(network: Network, echo: int) -> None:
    with connect(network, echo) as connection:
        network.cut(os.getppid, echo)
        connection.sendall(b"again")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(100)


def test_a_slow_answer_comes_late_and_whole(network: Network, echo: int) -> None:
    with connect(network, echo) as connection:
        network.slow(0.5, os.getpid)
        began = time.monotonic()
        connection.sendall(b"again")
        assert connection.recv(100) == b"again"
        assert time.monotonic() - began >= 0.5
