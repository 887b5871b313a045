"""A port for a server that a test starts."""

import random
import socket
from contextlib import suppress


def unused_port() -> int:
    """One of 127.0.0.1, outside the range of outgoing connections.

    While its server is down, a client could take a port of that range, or meet itself.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as server, suppress(OSError):
            server.bind(("127.0.0.1", port))
            return port
