"""The header of a monthly grid: which of its first rows that is, which columns are days, and which is the user."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import islice, pairwise
from typing import Final

from attendance.errors import UnreadableFile
from producers.devices.common.tables.cells import Cells, cell, normalized, text_of
from producers.devices.common.tables.dates import Order, clocks_of, decide_order, is_date
from producers.devices.common.tables.header import HEADER_ROWS
from producers.devices.common.tables.month import Day, Evidence, day_of, find_evidence, weekday_of
from producers.devices.common.tables.names import USERS
from producers.devices.common.tables.options import TableOptions

_FEWEST_DAYS: Final = 2
_LONGEST_GAP: Final = timedelta(days=7)
_DURATIONS: Final = ("hours", "duration", "overtime", "worktime", "ساعات", "工时")


@dataclass(frozen=True, slots=True)
class GridHeader:
    """Where a grid's columns are, from 0. `line` is the last row of the header, `above` what stands above it."""

    line: int
    user: int
    days: Mapping[int, Day]
    names: Sequence[str]
    evidence: Sequence[Evidence]
    is_of_durations: bool

    @property
    def width(self) -> int:
        """How many cells a row has, but for empty ones at its end."""
        return len(self.names)


def find_grid(rows: Iterator[tuple[int, Cells]], options: TableOptions, file: str) -> GridHeader | None:
    """The header of a grid among its first rows.

    Args:
        rows: The number of each row, from 1, and its cells.
        options: Those of the entry.
        file: What messages call the table.

    Returns:
        The header; None where none of the first rows has days.

    Raises:
        UnreadableFile: no column beside the days is the user, or more than one could be.
    """
    first = list(islice(rows, HEADER_ROWS + 1))
    for place, (line, cells) in enumerate(first):
        order = _order(file, line, cells, options)
        days = {place: day for place, each in enumerate(cells) if (day := day_of(each, order)) is not None}
        if len(days) < _FEWEST_DAYS or not _is_header(cells, days):
            continue
        above = [first[number] for number in range(place)]
        below = first[place + 1] if place + 1 < len(first) else None
        return _grid_header(file, line, cells, days, above, below, options)
    return None


def is_grid_of(rows: Iterator[tuple[int, Cells]]) -> bool:
    """Whether a table seems to be a grid, for a message.

    Args:
        rows: The number of each row, from 1, and its cells.
    """
    try:
        return find_grid(rows, TableOptions(), "") is not None
    except UnreadableFile:
        return False


def _order(file: str, line: int, cells: Cells, options: TableOptions) -> Order | None:
    match options.date_format:
        case "ymd" | "dmy" | "mdy" as order:
            return order
    texts = [text for each in cells if isinstance(each, str) and (text := text_of(each))]
    has_dates = any(isinstance(each, date) for each in cells)
    ways: dict[Order, Sequence[date]] = {
        order: [day.whole for text in texts if (day := day_of(text, order)) and day.whole] for order in ("dmy", "mdy")
    }
    # One column a day: by the other order they are a month from each other.
    follow = [
        order
        for order, days in ways.items()
        if len(days) >= _FEWEST_DAYS and all(timedelta() < later - day <= _LONGEST_GAP for day, later in pairwise(days))
    ]
    if len(follow) == 1:
        return follow[0]
    dates = [(line, text) for text in texts for order in ways if (day := day_of(text, order)) and day.whole]
    return decide_order(file, dates) if len(dates) >= (1 if has_dates else _FEWEST_DAYS) else None


def _is_header(cells: Cells, days: Mapping[int, Day]) -> bool:
    """Whether days stand one beside the other, as they do in a header and seldom in a row of numbers."""
    places = sorted(days)
    numbers = [days[place].day for place in places]
    if None in numbers:
        return True
    follow = sum(later == (earlier or 0) + 1 or later == 1 for earlier, later in pairwise(numbers))
    return follow >= (len(places) - 1) / 2 and not any(clocks_of(text_of(each)) for each in cells)


def _grid_header(
    file: str,
    line: int,
    cells: Cells,
    days: Mapping[int, Day],
    above: Sequence[tuple[int, Cells]],
    below: tuple[int, Cells] | None,
    options: TableOptions,
) -> GridHeader:
    """The header whose days are in a row, and whose names are in that row or in the one above or below."""
    rows = [(line, cells), *above[-1:], *([below] if below else [])]
    for number, row in rows:
        users = _users(row, days, options)
        if len(users) > 1:
            both = " and ".join(repr(text_of(cell(row, place))) for place in users)
            raise UnreadableFile(f"{file}, line {number}: {both} could be the user; options.columns.user says which")
        if users:
            break
    else:
        raise UnreadableFile(
            f"{file}, line {line}: no column beside the days is called as the user is; options.columns.user names it"
        )
    names = [
        text_of(cell(cells if place in days else row, place)) or text_of(cell(cells, place))
        for place in range(max(len(row), len(cells), users[0] + 1))
    ]
    while not names[-1] and len(names) > users[0] + 1:
        names.pop()
    for row in [*(row for _, row in above[-1:]), *([below[1]] if below else [])]:
        if has_weekdays(row, days):
            days = {place: _with_weekday(day, cell(row, place)) for place, day in days.items()}
    _check_other_columns(file, line, cells, days)
    texts = [(at, " ".join(text for each in one if (text := text_of(each)))) for at, one in above]
    evidence = [each for at, text in texts for each in find_evidence(f"line {at}", text)]
    durations = any(says_durations(text) for _, text in texts)
    return GridHeader(max(number, line), users[0], days, names, evidence, durations)


def _check_other_columns(file: str, line: int, cells: Cells, days: Mapping[int, Day]) -> None:
    """See that no column with a date in its header is left out.

    Raises:
        UnreadableFile: one is.
    """
    for place, each in enumerate(cells):
        text = text_of(each)
        if place not in days and is_date(text):
            raise UnreadableFile(f"{file}, line {line}: {text!r} is no date as the other columns have them")


def _users(cells: Cells, days: Mapping[int, Day], options: TableOptions) -> Sequence[int]:
    wanted = None if options.columns is None else options.columns.user
    if isinstance(wanted, int):
        return [wanted - 1]
    known = USERS if wanted is None else {normalized(wanted)}
    return [place for place, each in enumerate(cells) if place not in days and normalized(text_of(each)) in known]


def says_durations(text: str) -> bool:
    """Whether a title says that a table is of hours worked, and not of times.

    Args:
        text: What stands above the header, or a name.
    """
    return any(word in normalized(text) for word in _DURATIONS)


def has_weekdays(cells: Cells, days: Mapping[int, Day]) -> bool:
    """Whether a row has the days of the week in the columns of days.

    Args:
        cells: The row.
        days: The columns of days.
    """
    return all(weekday_of(text_of(cell(cells, place))) is not None for place in days)


def _with_weekday(day: Day, value: object) -> Day:
    return replace(day, weekday=weekday_of(text_of(value)))
