"""The attendance log of a ZKTeco terminal as it comes over TCP 4370: records of 8, 16 or 40 bytes, one after the other.

Source: pyzk's reading of it and reports from the field; ZKTeco has published nothing. What comes is not to be trusted:
terminals cut the log off, put records into it that are no records, and count them wrongly.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from attendance.errors import UnreadableAnswer

NOBODY: Final = "0"
"""The user id of nobody: no terminal lets anybody have it."""

# uid, verify, time, state
_SHORT: Final = struct.Struct("<HBIB")
# user id, time, verify, state, 2 reserved, work code
_MIDDLE: Final = struct.Struct("<IIBB2xI")
# uid, user id, verify, time, state, 8 reserved
_LONG: Final = struct.Struct("<H24sBIB8x")
WIDTHS: Final = (_SHORT.size, _MIDDLE.size, _LONG.size)


@dataclass(frozen=True, slots=True)
class Users:
    """The terminal's users, by the two numbers that short records have instead of a user id.

    `by_uid` is by their place in the terminal's memory, `by_number` by their user id as a number: a short record loses
    the zeros that lead it.
    """

    by_uid: Mapping[int, str] = field(default_factory=dict)
    by_number: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, users: Iterable[tuple[int, str]]) -> "Users":
        """From pairs of place and user id. A number that two users share stands for neither."""
        by_uid: dict[int, str] = {}
        by_number: dict[int, list[str]] = {}
        for uid, user in users:
            by_uid[uid] = user
            if user.isascii() and user.isdecimal():
                by_number.setdefault(int(user), []).append(user)
        return cls(by_uid, {number: found[0] for number, found in by_number.items() if len(found) == 1})


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `user` is None where it holds none that can be read; `time` is as a push writes it, valid or not."""

    user: str | None
    time: str
    verify: int
    state: int


@dataclass(frozen=True, slots=True)
class Log:
    """The records' bytes, `width` each, none cut off."""

    data: bytes
    width: int

    def __len__(self) -> int:
        return len(self.data) // self.width

    def raw(self, index: int) -> bytes:
        """The bytes of a record."""
        return self.data[index * self.width : (index + 1) * self.width]

    def kept(self, index: int) -> bytes:
        """The bytes of a record, with zeros where it says nothing that is known: behind its user, and reserved."""
        form = {_SHORT.size: _SHORT, _MIDDLE.size: _MIDDLE, _LONG.size: _LONG}[self.width]
        fields = form.unpack(self.raw(index))
        return form.pack(*(each.partition(b"\0")[0] if isinstance(each, bytes) else each for each in fields))

    def record(self, index: int, users: Users) -> Record:
        """What a record says.

        Args:
            index: Its place in the log, from 0.
            users: The terminal's users.
        """
        raw = self.raw(index)
        user: str | None
        if self.width == _SHORT.size:
            uid, verify, time, state = _SHORT.unpack(raw)
            # A place in memory is nobody's user id, though another user's may look the same.
            user = users.by_uid.get(uid, f"uid:{uid}")
        elif self.width == _MIDDLE.size:
            number, time, verify, state, _ = _MIDDLE.unpack(raw)
            user = users.by_number.get(number, str(number))
        else:
            _, name, verify, time, state = _LONG.unpack(raw)
            user = _text(name)
        return Record(user, time_text(time), verify, state)


def read_log(data: bytes, size: int, counts: Sequence[int], users: Users) -> Log:
    """The log, once all that is said of it agrees.

    Args:
        data: What came.
        size: How many bytes the terminal said would come.
        counts: How many records it counted before and after.
        users: Its users.

    Raises:
        UnreadableAnswer: it was cut off, its records are of no known width, or they cannot be records.
    """
    if len(data) < size:
        raise UnreadableAnswer(f"the log was cut off: {len(data)} of {size} bytes came")
    before, after = counts
    if after == 0:
        return Log(b"", _LONG.size)
    fitting = [width for width in WIDTHS if size % width == 0 and before <= size // width <= after]
    if len(fitting) != 1:
        raise UnreadableAnswer(f"a log of {size} bytes cannot hold the {before} records that the terminal counts")
    log = Log(data[:size], fitting[0])
    if all(log.record(index, users).user is None for index in range(len(log))):
        raise UnreadableAnswer("no record of the log has a user, so they were cut at the wrong places")
    if len(log) > 1 and all(log.record(index, users).time == _ZERO for index in range(len(log))):
        raise UnreadableAnswer(f"every record of the log is of {_ZERO}, so they were cut at the wrong places")
    return log


def time_text(code: int) -> str:
    """`2026-01-01 08:00:02`, also where there is no such day."""
    minutes, second = divmod(code, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    months, day = divmod(days, 31)
    years, month = divmod(months, 12)
    return f"{years + 2000:04}-{month + 1:02}-{day + 1:02} {hour:02}:{minute:02}:{second:02}"


_ZERO: Final = time_text(0)


def clock(code: int) -> datetime | None:
    """The naive time that a terminal's clock shows; None where it shows none."""
    try:
        return datetime.fromisoformat(time_text(code))
    except ValueError:
        return None


def _text(field: bytes) -> str | None:
    try:
        text = field.partition(b"\0")[0].decode()
    except UnicodeDecodeError:
        return None
    return text if text and text.isprintable() else None
