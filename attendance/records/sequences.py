"""Sequences: how far the record numbers of devices were counted, and the wire format of the sequences topic."""

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, NamedTuple, Self

from msgspec import Meta, Struct

from attendance.errors import InvalidRecord, Reason
from attendance.wire import KeyedRecord, Offset, Partition

# Of the years 1 and 9999: there is no datetime outside. Older versions wrote what a reset clock dated before 1970.
FIRST_SECOND: Final = -62_135_596_800
LAST_SECOND: Final = 253_402_300_799

EpochSeconds = Annotated[int, Meta(ge=FIRST_SECOND, le=LAST_SECOND)]


class Run(NamedTuple):
    """Records whose numbers follow each other without a gap. The times are the latest of them, seconds since 1970."""

    first: int
    last: int
    dated: EpochSeconds
    """As the device wrote it. 0 where that cannot be."""
    safe: EpochSeconds
    """The same, but not after the record's arrival: a clock that is ahead may yet be put right."""


class Counted(Struct, frozen=True, array_like=True):
    """The numbers of one device that were seen, and up to when they prove it complete, seconds since 1970.

    `renewed` are low numbers that are dated later than the runs: of the next count.
    """

    until: EpochSeconds = 0
    runs: tuple[Run, ...] = ()
    renewed: tuple[Run, ...] = ()


class Sequences(KeyedRecord, frozen=True):
    """What was counted, by device, in one partition of the raw topic up to `offset`."""

    what: ClassVar[str] = "a record of sequences"
    in_key: ClassVar[Sequence[str]] = ("partition",)

    partition: Partition
    offset: Offset
    devices: dict[str, Counted]

    @property
    def key(self) -> bytes:
        """The record key."""
        return str(self.partition).encode()

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None) -> Self:
        """What `key` and `encode` wrote.

        Raises:
            InvalidRecord: it is something else (`undecodable_record`).
        """
        if not re.fullmatch(rb"\d{1,9}", key or b""):
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a partition: {key!r}")
        return cls.decode_value(value, partition=int(key or b""))
