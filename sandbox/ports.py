"""TCP ports for servers that listen on 127.0.0.1."""

import random
import socket
from contextlib import ExitStack
from pathlib import Path

# Below what Linux gives to outgoing connections, unless its setting says otherwise.
_LOWEST, _EPHEMERAL = 15_000, 32_768


def free_port() -> int:
    """A port on 127.0.0.1 that no socket uses now; `free_ports` tells why it stays free."""
    return free_ports(1)[0]


def free_port_like(wanted: int) -> int:
    """A port on 127.0.0.1 that no socket uses now: the wanted one, or any where that is taken.

    Args:
        wanted: 0 for any.
    """
    with socket.socket() as server:
        # As a server binds it: connections of one that has just ended do not keep it.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted or free_port()


def free_ports(count: int) -> list[int]:
    """As many different ports on 127.0.0.1 that no socket uses now.

    They lie outside the range the kernel takes for outgoing connections. A port from that range may go to a
    client while its server restarts, and a client that keeps trying to reach it may even connect to itself.

    Raises:
        OSError: No free port was found.
    """
    highest = _first_ephemeral_port()
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(_LOWEST, highest), k=highest - _LOWEST):
            server = held.enter_context(socket.socket())
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError(f"no {count} free ports between {_LOWEST} and {highest}")


def _first_ephemeral_port() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except OSError:
        return _EPHEMERAL
    return first if first > _LOWEST + 1_000 else _EPHEMERAL
