"""What was done about a dead letter: the wire format of the dead-letter-actions topic.

A dead letter is never changed, and goes with its retention. What it is now (open, replayed, discarded) follows from
these records.
"""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from msgspec import Struct

from attendance.errors import InvalidRecord, Reason
from attendance.wire import KeyedRecord, Milliseconds, Text

Done = Literal["replayed", "discarded"]


class LetterId(Struct, frozen=True, order=True):
    """Where a dead letter stands on the dead-letter topic. As text `partition:offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `str` wrote.

        Raises:
            ValueError: it is something else.
        """
        match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", text)
        if match is None:
            raise ValueError(f"{text!r} is not partition:offset")
        return cls(int(match[1]), int(match[2]))


class Action(KeyedRecord, frozen=True):
    """One replay or discard of one dead letter.

    `by` is the operating system's user. `replay_count` is the count that the replayed record carries, None for a
    discard; a discard has a `note`.
    """

    what: ClassVar[str] = "a dead-letter action"
    in_key: ClassVar[Sequence[str]] = ("letter",)

    letter: LetterId
    action: Done
    at: Milliseconds
    by: Text
    note: str | None = None
    replay_count: int | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return str(self.letter).encode()

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None) -> Self:
        """What `key` and `encode` wrote.

        Raises:
            InvalidRecord: it is something else (`undecodable_record`).
        """
        try:
            letter = LetterId.parse((key or b"").decode())
        except ValueError as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a dead-letter action: {error}") from error
        return cls.decode_value(value, letter=letter)
