"""What of a device was published lately, so that what a device hands over again is not sent at every turn."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

RECENT: Final = 256
"""Records that are remembered of each device."""


class Recent:
    """What of a device was published lately, by digest. What is forgotten here, the stream drops as a duplicate."""

    def __init__(self, most: int = RECENT) -> None:
        self._most = most
        self._digests: dict[bytes, None] = {}

    def seen(self, digest: bytes) -> bool:
        """Whether it was published lately. If so it is remembered anew."""
        if digest not in self._digests:
            return False
        del self._digests[digest]
        self._digests[digest] = None
        return True

    def add(self, digests: Iterable[bytes]) -> None:
        """Remember these, and forget as many others as it takes, those first that came first."""
        self._digests.update(dict.fromkeys(digests))
        while len(self._digests) > self._most:
            del self._digests[next(iter(self._digests))]


def digest_of(kind: str, value: bytes) -> bytes:
    """What stands for a record.

    Args:
        kind: What it became: a reason, or the kind of an other event.
        value: What was kept of it.
    """
    return blake2b(value, digest_size=16, key=kind.encode()).digest()
