"""The cells of a table, whichever file it stands in: as text, and as the dates and times of a spreadsheet."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final

from producers.devices.common.punch import invalid

Cells = Sequence[object]
Rows = Callable[[], Iterator[tuple[int, Cells]]]
"""Reads a table from its beginning: the number of each row that is not empty, from 1, and its cells."""
UNCOMPUTED: Final = object()
"""A cell with a formula whose value is not in the file."""
EPOCH: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - a spreadsheet's first day, in no zone
_ROUNDED_ID: Final = re.compile(r"\d+(\.\d*)?[Ee]\+?\d+|\d+\.\d+")
_UNSEEN: Final = re.compile(r"[\u200b\u200e\u200f\u061c\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_DIGIT: Final = re.compile(r"\d")
_ERROR: Final = re.compile(r"#(?!\d)\S*")
_NEITHER_LETTER_NOR_DIGIT: Final = re.compile(r"[\W_]+")
_LAST_DAY: Final = 100_000  # of a spreadsheet's days; that is in 2173


def cell(cells: Cells, place: int) -> object:
    """The cell at a place; None beyond the end of the row.

    Args:
        cells: The row.
        place: The place, from 0.
    """
    return cells[place] if place < len(cells) else None


def fits(cells: Cells, width: int | None, most: int | None = None) -> bool:
    """Whether a row has as many cells as the header, but for empty ones at its end.

    Args:
        cells: The row.
        width: How many cells the header has; None for a table in which that tells nothing.
        most: How many a row may have; None for as many as the header.
    """
    if width is None:
        return True
    return len(cells) >= width and not any(map(text_of, cells[most or width :]))


def text_of(value: object) -> str:
    """A cell as text, with the digits of ASCII, and without spaces around it or what keeps it from being a number."""
    match value:
        case None:
            return ""
        case _ if value is UNCOMPUTED:
            return ""
        case str():
            text = (value if value.isascii() else _plain(value)).strip()
            if len(text) > 3 and text.startswith('="') and text.endswith('"'):
                text = text[2:-1].strip()
            return text.removeprefix("'")
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def is_error(text: str) -> bool:
    """Whether a cell has what a spreadsheet shows where it has no value or no room: `#N/A`, `#NAME?`, `####`.

    Args:
        text: The cell, as `text_of` has it.
    """
    return _ERROR.fullmatch(text) is not None


def is_nobody(user: str) -> bool:
    """Whether the log of a terminal has a user id that nobody can have there: a zero, of whatever length.

    Args:
        user: As `text_of` has it.
    """
    return bool(user) and not user.strip("0")


def in_json(value: object) -> object:
    """A cell as JSON has it: a spreadsheet's own dates and times by their kind, and all else as it is.

    Args:
        value: The cell.
    """
    match value:
        case datetime():
            return {"moment": value.isoformat()}
        case date():
            return {"day": value.isoformat()}
        case time():
            return {"time": value.isoformat()}
        case timedelta():
            return {"seconds": value.total_seconds()}
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def of_json(value: object) -> object:
    """What `in_json` was given.

    Args:
        value: What it returned.
    """
    match value:
        case {"moment": str(text)}:
            return datetime.fromisoformat(text)
        case {"day": str(text)}:
            return date.fromisoformat(text)
        case {"time": str(text)}:
            return time.fromisoformat(text)
        case {"seconds": int(number) | float(number)}:
            return timedelta(seconds=number)
        case _:
            return value


def user_id_of(value: object, width: int) -> str:
    """The user id in a cell.

    Args:
        value: The cell.
        width: The length to which digits are filled up with zeros; 0 leaves them as they are.

    Raises:
        InvalidRecord: a spreadsheet has made another number or an error of it (`invalid_event`).
    """
    text = text_of(value)
    if is_error(text):
        raise invalid("user_id is an error of a spreadsheet's formula, or a cell that was too narrow for it")
    if isinstance(value, bool | datetime | date | time) or _ROUNDED_ID.fullmatch(text):
        raise invalid("user_id is a number that a spreadsheet rounded, or no number at all")
    return text.zfill(width) if text.isdecimal() else text


def normalized(name: str) -> str:
    """A name without case, spaces and punctuation, which differ from one export to the next."""
    return _NEITHER_LETTER_NOR_DIGIT.sub("", name.casefold())


def when(cells: Cells, places: Mapping[str, int], epoch: datetime) -> str:
    """Date and time of a row as one text, that of a spreadsheet's own dates and times in ISO 8601.

    Args:
        cells: The row.
        places: Where the columns are, from 0, by what they hold: `time`, or `date` and `clock`.
        epoch: The day from which the file counts days.
    """
    if "time" in places:
        value = cell(cells, places["time"])
        return text_of(moment_of(value, epoch))
    day, clock = moment_of(cell(cells, places["date"]), epoch), cell(cells, places["clock"])
    day = day.date() if isinstance(day, datetime) else day
    if isinstance(clock, int | float) and not isinstance(clock, bool) and 0 <= clock < 1:
        clock = timedelta(days=clock)
    if isinstance(clock, timedelta):
        clock = _rounded(epoch + clock).time()
    elif isinstance(clock, datetime):
        clock = _rounded(clock).time()
    return f"{text_of(day)} {text_of(clock)}".strip()


def moment_of(value: object, epoch: datetime) -> object:
    """A spreadsheet's date, which may be a number of days; whole seconds.

    Args:
        value: The cell.
        epoch: The day from which the file counts days.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value < _LAST_DAY:
        value = epoch + timedelta(days=value)
    return _rounded(value) if isinstance(value, datetime) else value


def _plain(text: str) -> str:
    """The text with the digits of ASCII, whichever a language has, and without marks that nobody sees."""
    return _DIGIT.sub(lambda digit: str(int(digit[0])), _UNSEEN.sub("", text))


def _rounded(moment: datetime) -> datetime:
    """To the nearest second: a spreadsheet keeps a time as a fraction of a day."""
    return (moment + timedelta(milliseconds=500)).replace(microsecond=0)
