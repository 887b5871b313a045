"""How dates and times are written in a file: which of day, month and year comes first, decided over all its rows."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Final, Literal

from attendance.errors import UnreadableFile
from attendance.plausibility import EARLIEST
from attendance.times import now

Order = Literal["ymd", "dmy", "mdy"]
_DATE: Final = re.compile(
    r"(?P<first>\d{1,4})(?P<separator>[-/.\s])(?P<second>\d{1,2}|[^\W\d_]{3,9})(?P=separator)(?P<third>\d{4}|\d{1,2})(?!\d)"
)
_AFTERNOON: Final = frozenset(
    {
        "p", "pm", "م", "مساء", "مساءا", "ظهر", "ظهرا", "بظ", "بعدازظهر", "دن", "ös", "μμ", "ch", "du",
        "下午", "午後", "오후",
    }
)  # fmt: skip
_BEFORE: Final = "上午|下午|午前|午後|오전|오후"
_AFTER: Final = (
    r"[ap](?:\.?\s?m)?\.?|(?:صباح|مساء|ظهر)[\u0627\u064b]{0,2}|[صم]\.?|(?:قبل|بعد)\s?از\s?ظهر|[قب]\.?\s?ظ\.?"
    r"|[پد]\.?\s?ن\.?|ö\.?[ös]\.?|[πμ]\.?\s?μ\.?|sa|ch|d[eu]\."
)
_NO_LETTER: Final = re.compile(r"[.\s\u064b]")
# With dots only where seconds follow: 08.30 may be hours and tenths of one.
_TIME: Final = re.compile(
    rf"(?:(?P<before>{_BEFORE})\s*)?"
    r"(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d{1,6}|,\d{3}(?!\d))?)?"
    r"|(?P<dotted_hour>\d{1,2})\.(?P<dotted_minute>\d{2})\.(?P<dotted_second>\d{2})(?!\d))"
    rf"(?:\s*(?P<after>{_AFTER})(?![^\W\d_]))?",
    re.IGNORECASE,
)
_BETWEEN: Final = re.compile(r"[\s,;/|~&\u2013\-\u060c]*")
_AFTER_DATE: Final = " ,T\t\u00a0\u202f"
_OFFSET: Final = re.compile(
    r".*\d:\d{2}:\d{2}(?:\.\d+)?\s?(?:Z|[+-](?:0\d|1[0-4]):?[0-5]\d)|.*\d:\d{2}\s?(?:Z|\+\d{2}:?\d{2})"
)
_SERIAL: Final = re.compile(r"(\d{5})(?:[.,]\d+)?(?:\s+0?[.,]\d+)?")
_FRACTION: Final = re.compile(r".+\s0?[.,]\d{2,}")
_SERIAL_DAYS: Final = range(25_569, 80_000)  # from 1970; by days since 1900
_OTHER_CALENDARS: Final = (range(1300, 1500), range(2500, 2700))
_ISO_LENGTH: Final = len("2026-01-01 08:00:00")
_FIRST: Final[Mapping[Order, str]] = {"ymd": "year", "dmy": "day", "mdy": "month"}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def to_iso(written: str, order: Order | None) -> str:
    """A wall-clock time as `2026-01-01 08:00:00`; what is none of the known forms stays as it is.

    Args:
        written: As it stands in the table.
        order: The order of day, month and year; None where each date says it by itself.
    """
    moment = to_moment(written, order)
    return written if moment is None else str(moment)


def to_moment(written: str, order: Order | None) -> datetime | None:
    """A date with one time of day, of no zone; None for what is none of the known forms.

    Args:
        written: As it stands in the table.
        order: The order of day, month and year; None where each date says it by itself.
    """
    if len(written) == _ISO_LENGTH and written[4] == "-" and (iso := _from_iso(written)) is not None:
        return iso
    dated = _DATE.match(written)
    timed = None if dated is None else _TIME.fullmatch(written[dated.end() :].lstrip(_AFTER_DATE).strip())
    if dated is None or timed is None:
        return None
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
    clock = _clock_of(timed)
    if clock is None:
        return None
    try:
        number = int(month) if month.isdecimal() else _MONTHS.index(month[:3].lower()) + 1
        century = 2000 if len(year) == 2 else 0
        return datetime.combine(date(century + int(year), number, int(day)), clock)
    except ValueError:
        return None


def _from_iso(written: str) -> datetime | None:
    """The form that nearly every file has, in a fraction of the time."""
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    return moment if moment.tzinfo is None else None


def clocks_of(written: str) -> Sequence[time] | None:
    """The times of day in a cell that holds nothing else, in their order; None where it holds anything else.

    Args:
        written: As it stands in the table.
    """
    found, place = [], 0
    while place < len(written):
        place = _skipped(written, place)
        if place == len(written):
            break
        timed = _TIME.match(written, place)
        clock = None if timed is None else _clock_of(timed)
        if timed is None or clock is None:
            return None
        found.append(clock)
        place = timed.end()
    return found


def split_times(written: str) -> Sequence[str]:
    """The times in a cell, each with its date: `2026-01-01 08:00 17:00` are two.

    Args:
        written: As it stands in the table.

    Returns:
        They as they are written, or the cell as it is where it holds no more than one, or anything else.
    """
    if _OFFSET.fullmatch(written):
        return [written]
    found: list[str] = []
    day, place, has_no_time_yet = "", 0, False
    while place < len(written):
        timed, dated = _TIME.match(written, place), _DATE.match(written, place)
        # What follows a date is a time, and 08.01.11 may be both.
        if timed is not None and (
            dated is None or has_no_time_yet or not _TIME.match(written, _skipped(written, dated.end()))
        ):
            found.append(f"{day} {timed[0]}".strip())
            place, has_no_time_yet = timed.end(), False
        elif dated is not None:
            day, place, has_no_time_yet = dated[0], dated.end(), True
        else:
            return [written]
        if written[place : place + 1] == "T":
            place += 1
        place = _skipped(written, place)
    return found if len(found) > 1 else [written]


def is_serial_day(written: str) -> bool:
    """Whether a text is the number by which a spreadsheet counts days, such as `46085.33`, or ends in a part of a day.

    Args:
        written: As it stands in the table.
    """
    match = _SERIAL.fullmatch(written)
    return _FRACTION.fullmatch(written) is not None or (match is not None and int(match[1]) in _SERIAL_DAYS)


def is_of_another_calendar(year: int) -> bool:
    """Whether a year is of today by the Persian, the Islamic or the Buddhist calendar only."""
    return any(year in years for years in _OTHER_CALENDARS)


def _skipped(written: str, place: int) -> int:
    match = _BETWEEN.match(written, place)
    return place if match is None else match.end()


def _clock_of(timed: re.Match[str]) -> time | None:
    """A time of day; None where there is none such."""
    half = _NO_LETTER.sub("", timed["before"] or timed["after"] or "").casefold()
    hour = int(timed["hour"] or timed["dotted_hour"])
    if half and not 1 <= hour <= 12:
        return None
    if half:
        hour = hour % 12 + (12 if half in _AFTERNOON else 0)
    try:
        return time(
            hour, int(timed["minute"] or timed["dotted_minute"]), int(timed["second"] or timed["dotted_second"] or 0)
        )
    except ValueError:
        return None


def is_date(written: str) -> bool:
    """Whether a text is a date without a time of day, in whatever order.

    Args:
        written: As it stands in the table.
    """
    return _DATE.fullmatch(written) is not None


def leaves_order_open(written: str) -> bool:
    """Whether a date does not say by itself which of its numbers is the day.

    Args:
        written: As it stands in the table.
    """
    match = _DATE.match(written)
    return match is not None and bool(_orders_of(match))


def decide_order(file: str, dates: Iterable[tuple[int, str]]) -> Order | None:
    """The order of day, month and year that all dates of a table have.

    Args:
        file: What messages call the table.
        dates: The number of each row, and the date as it is written there.

    Returns:
        The order; None where each date says it by itself.

    Raises:
        UnreadableFile: day and month, or year, could be exchanged in each of the dates, or two of them contradict each
            other.
    """
    seen: dict[frozenset[Order], int] = {}
    for line, written in dates:
        match = _DATE.match(written)
        if match is not None and (orders := _orders_of(match)):
            seen.setdefault(orders, line)
    if not seen:
        return None
    possible = frozenset[Order].intersection(*seen)
    if not possible:
        found = " and ".join(
            f"line {line} with the {' or '.join(sorted(_FIRST[order] for order in orders))} first"
            for orders, line in seen.items()
        )
        raise UnreadableFile(f"{file}: dates of two orders: {found}")
    if len(possible) > 1:
        line = next(line for orders, line in seen.items() if len(orders) > 1)
        what = "year and day" if possible == {"dmy", "ymd"} else "day and month"
        raise UnreadableFile(
            f"{file}, line {line}: {what} could be exchanged in every date; options.date_format (dmy, mdy or ymd) "
            "says which is first"
        )
    return next(iter(possible))


def _orders_of(match: re.Match[str]) -> frozenset[Order]:
    """The orders in which a date is one; none where it says its order itself, or is a date in none."""
    if len(match["first"]) > 2 or not match["second"].isdecimal():
        return frozenset()
    first, second, third = int(match["first"]), int(match["second"]), int(match["third"])
    ways: dict[Order, tuple[int, int, int]] = {"dmy": (third, second, first), "mdy": (third, first, second)}
    if len(match["third"]) == 4:
        return frozenset(order for order, (_, month, day) in ways.items() if _is_day_and_month(day, month))
    # A year of two digits may stand at either end; one that cannot be that of a punch decides.
    ways["ymd"] = (first, second, third)
    dates = {order: year for order, (year, month, day) in ways.items() if _is_day_and_month(day, month)}
    believed = {order for order, year in dates.items() if EARLIEST.year <= 2000 + year <= now().year + 1}
    return frozenset(believed or dates)


def _is_day_and_month(day: int, month: int) -> bool:
    return 1 <= day <= 31 and 1 <= month <= 12
