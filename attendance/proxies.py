"""Whom a request is from, where a proxy passes it on."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_HOPS: Final = 32
"""So many addresses of a header are read, from its end."""
_LONGEST: Final = 64


class Proxies:
    """The proxies that are believed.

    Args:
        networks: Where they are.
    """

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)

    def are_at(self, address: str) -> bool:
        """Whether one of them is at an address."""
        found = _address(address) if self._networks else None
        return found is not None and any(
            found in network for network in self._networks if network.version == found.version
        )

    def client(self, address: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """The address that a request is from: the last one of `X-Forwarded-For` at which no proxy is.

        Args:
            address: That of the proxy, which is believed.
            headers: Those of the request, with names in lower case.
        """
        hops = b",".join(value for name, value in headers if name == b"x-forwarded-for").split(b",")[-MOST_HOPS:]
        for hop in reversed(hops):
            found = _address(hop.decode("latin-1"))
            if found is None:
                # What is before it was written by nobody who is known.
                return address
            address = str(found)
            if not self.are_at(address):
                return address
        return address


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, which may have a port; None where it is none."""
    text = text.strip()[:_LONGEST]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
