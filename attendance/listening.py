"""Listening: the socket of a process that answers HTTP."""

import socket
from typing import Final

from attendance.errors import ConfigurationError

BACKLOG: Final = 2048
"""Those that connect at the same moment, as terminals do after a power cut."""


def listen(prefix: str, host: str, port: int) -> socket.socket:
    """Listen for connections.

    Args:
        prefix: Of the settings that say where, such as `PUSH`.
        host: A name or an address. IPv4 or IPv6, as the address is; `::` is both.
        port: 0 for any free one.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        names = f"{prefix}_HOST, {prefix}_PORT"
        raise ConfigurationError(f"{names}: cannot listen on {host} port {port}: {error}") from error
