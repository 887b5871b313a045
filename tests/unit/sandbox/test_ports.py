import socket
from pathlib import Path

import pytest

from sandbox.ports import free_port, free_ports


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_several_ports_differ() -> None:
    assert len(set(free_ports(50))) == 50


def test_a_port_is_none_the_kernel_gives_to_clients() -> None:
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    assert all(port < first_ephemeral for port in free_ports(50))


def test_more_ports_than_there_are_is_an_error() -> None:
    with pytest.raises(OSError, match="no 60000 free ports"):
        free_ports(60_000)
