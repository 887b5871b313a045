"""What the changelog has of a device user who was erased, so that a copy of an old punch is held and not decided.

It is an entry as any other, under a digest of the device user instead of its key: older versions take it for the punch
of nobody. Its time says up to when punches are held.
"""

from hashlib import sha256
from typing import Final

from streams.dedup import PUNCH_BYTES, Kept, Punch

_PREFIX: Final = b"\0"  # no device user's key begins so: theirs are JSON lists
ANYBODY: Final = _PREFIX
"""The key that a partition has if anybody was erased of it."""
_DIGEST_BYTES: Final = 16


def is_erasure(key: bytes) -> bool:
    """Whether an entry of the changelog is about somebody who was erased."""
    return key.startswith(_PREFIX)


def erased_key(user_key: bytes) -> bytes:
    """The key under which the changelog has it that a device user was erased.

    Args:
        user_key: That of the device user, as `streams.pipeline.user_key` writes it.
    """
    return _PREFIX + sha256(user_key).digest()[:_DIGEST_BYTES]


def erasure(user_key: bytes, until: int) -> list[Kept]:
    """The entries that say that a device user was erased.

    Args:
        user_key: That of the device user.
        until: Punches up to this time are held, in seconds since the epoch.
    """
    entry = Punch(until, 0, 0).pack()
    return [Kept(ANYBODY, entry), Kept(erased_key(user_key), entry)]


def holds(packed: bytes, seconds: int) -> bool:
    """Whether a punch of a device user is held.

    Args:
        packed: The list under `erased_key`; empty if the device user was not erased.
        seconds: The time of the punch, since the epoch.
    """
    return bool(packed) and seconds <= Punch.unpack(packed[-PUNCH_BYTES:]).seconds
