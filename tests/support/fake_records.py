"""Consumed records that no broker has."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class CheckinRecord:
    """A record of the check-ins topic, known by its offset."""

    offset: int
    value: bytes | None = b"{}"
    topic: str = "test.checkins.v1"
    partition: int = 0
    timestamp: int = 0
    key: bytes | None = b"key"
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class UnmappedRecord:
    """A record of the unmapped topic, known by its key."""

    key: bytes | None
    value: bytes | None
    partition: int = 0
    offset: int = 0
    topic: str = "t.unmapped.v1"
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes]] = ()
