"""How the dates of a table are written: which of day, month and year comes first, decided over all its rows."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, Literal

from attendance.errors import UnreadableFile

Order = Literal["ymd", "dmy", "mdy"]
_DATE: Final = re.compile(
    r"(?P<first>\d{1,4})(?P<separator>[-/.\s])(?P<second>\d{1,2}|[^\W\d_]{3,9})(?P=separator)(?P<third>\d{4}|\d{1,2})(?!\d)"
)
_TIME: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d{1,6})?)?(?:\s*([AaPp])\.?[Mm]\.?)?")
_FIRST: Final[Mapping[Order, str]] = {"ymd": "year", "dmy": "day", "mdy": "month"}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def to_iso(written: str, order: Order | None) -> str:
    """A wall-clock time as `2026-01-01 08:00:00`; what is none of the known forms stays as it is.

    Args:
        written: As it stands in the table.
        order: The order of day, month and year; None where each date says it by itself.
    """
    dated = _DATE.match(written)
    timed = None if dated is None else _TIME.fullmatch(written[dated.end() :].lstrip(" ,T\t\u00a0\u202f").strip())
    if dated is None or timed is None:
        return written
    first, second, third = dated["first"], dated["second"], dated["third"]
    if len(first) == 4:
        order = "ymd"
    elif not second.isdecimal():
        order = "dmy"
    year, month, day = {
        "ymd": (first, second, third),
        "dmy": (third, second, first),
        "mdy": (third, first, second),
    }.get(order or "", ("", "", ""))
    hour, half = int(timed[1]), (timed[4] or "").lower()
    if half and not 1 <= hour <= 12:
        return written
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    try:
        number = int(month) if month.isdecimal() else _MONTHS.index(month[:3].lower()) + 1
        century = 2000 if len(year) == 2 else 0
        moment = datetime(century + int(year), number, int(day), hour, int(timed[2]), int(timed[3] or 0))  # noqa: DTZ001 - a wall clock
    except ValueError:
        return written
    return str(moment)


def decide_order(file: str, dates: Iterable[tuple[int, str]]) -> Order | None:
    """The order of day, month and year that all dates of a table have.

    Args:
        file: What messages call the table.
        dates: The number of each row, and the date as it is written there.

    Returns:
        The order; None where each date says it by itself.

    Raises:
        UnreadableFile: day and month could be exchanged in each of the dates, or two of them contradict each other.
    """
    seen: dict[Order | None, int] = {}
    for line, written in dates:
        match = _DATE.match(written)
        if match is not None and _is_undecided(match):
            seen.setdefault(_order_of(match), line)
    known = {order: line for order, line in seen.items() if order is not None}
    if len(known) > 1:
        found = " and ".join(f"line {line} with the {_FIRST[order]} first" for order, line in known.items())
        raise UnreadableFile(f"{file}: dates of two orders: {found}")
    if seen and not known:
        line = next(iter(seen.values()))
        raise UnreadableFile(
            f"{file}, line {line}: day and month could be exchanged in every date; options.date_format (dmy or mdy) "
            "says which is first"
        )
    return next(iter(known), None)


def _is_undecided(match: re.Match[str]) -> bool:
    """Whether a date has day and month as numbers in one of two orders, and is a date in one of them at least."""
    if len(match["first"]) > 2 or not match["second"].isdecimal():
        return False
    first, second = int(match["first"]), int(match["second"])
    return _is_day_and_month(first, second) or _is_day_and_month(second, first)


def _is_day_and_month(day: int, month: int) -> bool:
    return 1 <= day <= 31 and 1 <= month <= 12


def _order_of(match: re.Match[str]) -> Order | None:
    """The one order that a date can have; None where day and month could be exchanged."""
    first, second = int(match["first"]), int(match["second"])
    if _is_day_and_month(second, first):
        return None if _is_day_and_month(first, second) else "mdy"
    return "dmy"
