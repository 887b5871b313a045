"""What was done about a dead letter: the wire format of the dead-letter-actions topic.

A dead letter is never changed or removed. What it is now (open, replayed, discarded) follows from these records.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from attendance.errors import InvalidRecord, Reason
from attendance.times import format_milliseconds, parse_utc
from attendance.wire import decode_object, encode_json, text

Done = Literal["replayed", "discarded"]


@dataclass(frozen=True, order=True, slots=True)
class LetterId:
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


@dataclass(frozen=True, slots=True)
class Action:
    """One replay or discard of one dead letter.

    `by` is the operating system's user. `replay_count` is the count that the replayed record carries, None for a
    discard; a discard has a `note`.
    """

    letter: LetterId
    action: Done
    at: datetime
    by: str
    note: str | None = None
    replay_count: int | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return str(self.letter).encode()

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return encode_json(
            {
                "action": self.action,
                "at": format_milliseconds(self.at),
                "by": self.by,
                "note": self.note,
                "replay_count": self.replay_count,
            }
        )

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None) -> Self:
        """What `key` and `encode` wrote.

        Raises:
            InvalidRecord: it is something else.
        """
        data = decode_object(value)
        try:
            if data["action"] not in ("replayed", "discarded"):
                raise ValueError(f"action {data['action']!r}")
            return cls(
                letter=LetterId.parse((key or b"").decode()),
                action=data["action"],
                at=parse_utc(data["at"]),
                by=text(data, "by"),
                note=data.get("note"),
                replay_count=data.get("replay_count"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a dead-letter action: {error!r}") from error
