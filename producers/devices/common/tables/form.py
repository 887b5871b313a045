"""What the form of a whole table shows before its first row is taken in: what cannot be read is refused as a whole.

A row that is broken among others is another matter: it is rejected, or the stream makes a dead letter of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from attendance.errors import UnreadableFile
from producers.devices.common.tables.cells import Cells, Rows, cell, fits, moment_of, normalized, text_of
from producers.devices.common.tables.clock import Clock
from producers.devices.common.tables.dates import (
    Order,
    decide_order,
    is_of_another_calendar,
    is_serial_day,
    leaves_order_open,
    split_times,
)
from producers.devices.common.tables.header import Header, aligned
from producers.devices.common.tables.names import is_total

_FEWEST: Final = 3  # rows whose user column counts them, so that it is no chance; 2, if it begins with 1
_SHOWN: Final = 40  # characters of a cell that a message quotes
_MONTHS: Final = 12


def lay_out(read: Rows, header: Header) -> Header:
    """The header as the rows fit it: with a last column that has no name, or without empty cells of its own.

    Args:
        read: Reads the table from its beginning.
        header: As it was found.
    """
    names = header.names
    if header.width is None or all(names):
        return header
    named = sum(map(bool, names))
    is_uniform = could_be_aligned = True
    for line, cells in read():
        if line > header.line and not _begins_as_sum(cells, header):
            is_uniform &= len(cells) == len(names)
            could_be_aligned &= named <= len(cells) < header.width and fits(cells, named)
    if header.aligned and could_be_aligned:
        return aligned(header)
    return header if is_uniform else replace(header, most=header.width)


@dataclass(slots=True)
class _Seen:
    """What the rows of a table were so far."""

    rows: int = 0
    fitting: int = 0
    first_unlike: tuple[int, int] = 0, 0
    times: int = 0
    readable: int = 0
    first_unreadable: tuple[int, str] = 0, ""
    other_calendar: int = 0
    first_of_other: tuple[int, str] = 0, ""
    line_of_text: int = 0
    line_of_date: int = 0
    latest_day: int = 0
    counts: bool = True
    first_user: str = ""
    last_user: str = ""


def decide(file: str, read: Rows, clock: Clock) -> Order | None:
    """The order of day, month and year, once the form of the table shows nothing that would be read wrongly.

    Args:
        file: What messages call the table.
        read: Reads it from its beginning.
        clock: Reads its times.

    Raises:
        UnreadableFile: day and month could be exchanged in each of its dates, rows contradict each other, cells hold
            more times than one and the options do not say so, times are a spreadsheet's numbers, the dates are of
            another calendar, a spreadsheet has exchanged day and month in some of them, none of the times can be read,
            no row fits the header, or the user's column counts the rows.
    """
    seen = _Seen()
    dates = _dates(file, read, clock, seen)
    if clock.options.date_format in (None, "excel", "excel1904"):
        order = decide_order(file, dates)
    else:
        for _ in dates:
            pass
        order = clock.given_order
    if seen.fitting == 0 and seen.rows > 1:
        line, cells = seen.first_unlike
        raise UnreadableFile(
            f"{file}: no row has as many cells as the header, which has {clock.header.width}: line {line} has {cells}"
        )
    if seen.times and not seen.readable:
        line, written = seen.first_unreadable
        raise UnreadableFile(
            f"{file}, line {line}: {written[:_SHOWN]!r} is no date with a time of day that is known, and neither is "
            "what any other row has; options.date_format says how they are written"
        )
    if seen.other_calendar * 2 > seen.readable:
        line, written = seen.first_of_other
        raise UnreadableFile(
            f"{file}, line {line}: {written[:_SHOWN]!r} is of another calendar (Persian, Islamic or Buddhist); export "
            "the file with Gregorian dates"
        )
    if seen.line_of_text and seen.line_of_date and seen.latest_day <= _MONTHS:
        # A spreadsheet that takes the month for the day leaves as text what it cannot take so.
        raise UnreadableFile(
            f"{file}: line {seen.line_of_text} has its date as text, line {seen.line_of_date} as a spreadsheet's own, "
            f"and none of these is after the {_MONTHS}th of a month: it has taken days for months; import what it was "
            "made of, or correct its dates"
        )
    if clock.header.is_vague and seen.counts and seen.fitting >= _FEWEST - (seen.first_user == "1"):
        name = clock.header.names[clock.header.places["user"]]
        raise UnreadableFile(
            f"{file}: its column {name!r} counts the rows and is not the user; options.columns says which column is"
        )
    return order


def _dates(file: str, read: Rows, clock: Clock, seen: _Seen) -> Iterator[tuple[int, str]]:
    header = clock.header
    for line, cells in read():
        if line <= header.line or _begins_as_sum(cells, header) or is_header_again(cells, header):
            continue
        seen.rows += 1
        if header.width is not None and clock.options.several_times:
            _check_lines(file, line, cells, header)
        if not fits(cells, header.width, header.most):
            seen.first_unlike = seen.first_unlike if seen.first_unlike[0] else (line, len(cells))
            continue
        seen.fitting += 1
        if header.is_vague and seen.counts:
            user = text_of(cell(cells, header.places["user"]))
            seen.counts = user.isdecimal() and (not seen.last_user or int(user) == int(seen.last_user) + 1)
            seen.first_user, seen.last_user = seen.first_user or user, user
        value = cell(cells, header.places.get("time", header.places.get("date", 0)))
        if not isinstance(value, str) and isinstance(moment := moment_of(value, clock.epoch), date):
            seen.line_of_date = seen.line_of_date or line
            seen.latest_day = max(seen.latest_day, moment.day)
        elif not seen.line_of_text and header.width is None and leaves_order_open(text_of(value)):
            seen.line_of_text = line
        for written in clock.written(cells):
            _look(file, line, written, clock, seen)
            yield line, written


def _check_lines(file: str, line: int, cells: Cells, header: Header) -> None:
    """See that no cell but those of the times goes on in the next line.

    Raises:
        UnreadableFile: one does, and rows could be lost in it.
    """
    times = {header.places.get(column) for column in ("time", "date", "clock")}
    if any("\n" in text_of(each) for place, each in enumerate(cells) if place not in times):
        raise UnreadableFile(f"{file}, line {line}: a cell that is no time goes on in the next line")


def _look(file: str, line: int, written: str, clock: Clock, seen: _Seen) -> None:
    """See whether a time can be read.

    Raises:
        UnreadableFile: it shows that the whole table is written otherwise.
    """
    seen.times += 1
    moment = clock.moment(written)
    if moment is None:
        if len(split_times(written)) > 1:
            raise UnreadableFile(
                f"{file}, line {line}: {written[:_SHOWN]!r} is more than one time; with options.several_times each "
                "is read as a punch"
            )
        if is_serial_day(written):
            raise UnreadableFile(
                f"{file}, line {line}: {written[:_SHOWN]!r} is a spreadsheet's number of a day or of a part of one; "
                "options.date_format excel reads it (excel1904, where it counts from 1904)"
            )
        moment = clock.any_moment(written)
    if moment is None:
        seen.first_unreadable = seen.first_unreadable if seen.first_unreadable[0] else (line, written)
        return
    seen.readable += 1
    if is_of_another_calendar(moment.year):
        seen.other_calendar += 1
        seen.first_of_other = seen.first_of_other if seen.first_of_other[0] else (line, written)


def is_header_again(cells: Cells, header: Header) -> bool:
    """Whether a row is the header once more, as where several exports stand in one file.

    Args:
        cells: The row.
        header: The header.
    """
    return header.line > 0 and normalized(text_of(cell(cells, header.places["user"]))) == header.user_column


def is_sum(cells: Cells, clock: Clock) -> bool:
    """Whether a row is a sum below the others: its first cell says so, it has no user and no time.

    Args:
        cells: The row.
        clock: Reads the times of the table.
    """
    return _begins_as_sum(cells, clock.header) and not any(clock.any_moment(each) for each in clock.written(cells))


def _begins_as_sum(cells: Cells, header: Header) -> bool:
    user = text_of(cell(cells, header.places["user"]))
    if user and not is_total(user):
        return False
    first = next((text for each in cells if (text := text_of(each))), "")
    return is_total(first) and user in ("", first)
