"""Monthly grids: a row for each person, a column for each day, and in a cell the times of that day.

Nothing in such a table but the header says when a punch was, so whatever leaves a doubt refuses the table as a whole.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import combinations, pairwise
from typing import Any, Final

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason, UnreadableFile
from attendance.fleet import Device
from attendance.records.raw_event import Source
from attendance.wire import encode_json
from producers.devices.common.options import read_options
from producers.devices.common.punch import cut, punch
from producers.devices.common.tables.cells import (
    UNCOMPUTED,
    Cells,
    Rows,
    cell,
    in_json,
    is_error,
    normalized,
    of_json,
    text_of,
    user_id_of,
)
from producers.devices.common.tables.dates import clocks_of
from producers.devices.common.tables.grid_header import GridHeader, has_weekdays, says_durations
from producers.devices.common.tables.listed import listed_cell
from producers.devices.common.tables.month import dates_of, find_evidence
from producers.devices.common.tables.names import is_total
from producers.devices.common.tables.options import TableOptions
from producers.devices.common.tables.profiles import GRID
from producers.devices.contract import Ignored, Reading, Rejected, Row, terminal_of

_SHOWN: Final = 40  # characters of a cell that a message quotes
# A spreadsheet that has a time and no date writes one of these as its date.
_NO_DATES: Final = (date(1899, 12, 30), date(1899, 12, 31), date(1900, 1, 1), date(1904, 1, 1))


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid of which every cell was looked at.

    `dates` are those of the columns, by their places. `users` are those who punched. `backwards` is how many times are
    before the one above them in their cell.
    """

    file: str
    read: Rows
    header: GridHeader
    options: TableOptions
    dates: Mapping[int, date]
    source_of_month: str
    users: Collection[str]
    backwards: int

    def rows(
        self, device: Device, terminals: Mapping[str, Device], source: Source, received_at: datetime
    ) -> Iterator[Row]:
        """Every punch of every person. See `Table.rows`."""
        for line, cells in _below(self.read, self.header):
            if _is_sum(cells, self.header):
                yield Row(line, Ignored("a sum"))
                continue
            person = _Person(line, in_json(cell(cells, self.header.user)), [str(each) for each in self._moments(cells)])
            if person.times:
                yield from _punches(person, self.options, terminal_of("", terminals, device), source, received_at)
            else:
                yield Row(line, Ignored("a row without times"))

    def reading(self) -> Reading:
        """Which of its columns is taken for what."""
        header, places = self.header, sorted(self.dates)
        columns = {
            "user": f"{header.names[header.user]} (column {header.user + 1})",
            "days": (
                f"{self.dates[places[0]]} to {self.dates[places[-1]]} (columns {places[0] + 1} to {places[-1] + 1})"
            ),
        }
        notes = [f"The month is from {self.source_of_month}."]
        if self.backwards and self.options.after_midnight == "same_day":
            notes.append(
                f"Times that are before the one above them in their cell: {self.backwards}. They stay on the day of "
                "their column; options.after_midnight says otherwise."
            )
        return Reading(self.file, GRID, columns, notes=notes)

    def _moments(self, cells: Cells) -> Iterator[datetime]:
        limit = self.options.after_midnight
        for place, day in self.dates.items():
            clocks = _clocks(cell(cells, place), day) if cell(cells, place) is not None else ()
            if self.options.midnight == "nothing" and _is_midnight(clocks):
                continue
            days = 0
            for number, clock in enumerate(clocks):
                if limit == "next_day":
                    days = 1 if days or (number and clock < clocks[number - 1]) else 0
                elif limit != "same_day":
                    days = 1 if clock < time.fromisoformat(limit) else 0
                yield datetime.combine(day + timedelta(days=days), clock)


class _Person(Struct):
    """A row, with the times that the whole grid decided; as `Rejected.raw` has it. `user` is as `in_json` has it."""

    line: int
    user: Any
    times: list[str]


_decode_person: Final = Decoder(_Person).decode


def read_person(
    raw: bytes, device: Device, terminals: Mapping[str, Device], source: Source, received_at: datetime
) -> Iterator[Row]:
    """What a row of a grid that was once rejected comes to today. See `FileAdapter.read_again`.

    Args:
        raw: As `Rejected.raw` had it.
        device: The entry that the file belongs to.
        terminals: The entries by serial number.
        source: What the adapter says of itself.
        received_at: When the file was read, UTC.

    Raises:
        InvalidRecord: the bytes are no such row (`undecodable_record`), or the device is disabled.
    """
    try:
        person = _decode_person(raw)
    except MsgspecError as error:
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a row: {error}") from error
    options = read_options(device, TableOptions)
    yield from _punches(person, options, terminal_of("", terminals, device), source, received_at)


def _punches(
    person: _Person, options: TableOptions, device: Device, source: Source, received_at: datetime
) -> Iterator[Row]:
    line, user = person.line, of_json(person.user)
    for number, moment in enumerate(person.times):
        try:
            event = punch(
                device,
                user=user_id_of(user, options.user_width),
                time=moment,
                event_type="UNKNOWN",
                received_at=received_at,
                source=replace(source, line=line),
            )
        except InvalidRecord as error:
            kept = encode_json({"user": cut(text_of(user))})
            raw = encode_json(replace(person, user=listed_cell(person.user)))
            yield Row(line, Rejected(line - 1, error.reason, error.message, kept, raw))
            return
        yield Row(line, event, number > 0)


class _NoTimeError(Exception):
    """What a cell has that is no time."""


def open_grid(
    file: str, read: Rows, header: GridHeader, options: TableOptions, names: Sequence[str], *, is_text: bool
) -> Grid:
    """Look at every cell of a grid.

    Args:
        file: What messages call it.
        read: Reads it from its beginning.
        header: Its header.
        options: Those of the entry.
        names: Those of its file and its sheet, which may say the month.
        is_text: Whether rows have as many cells as the header where nothing is wrong.

    Raises:
        UnreadableFile: its month is not known, or a cell could be read in two ways, or in none.
    """
    places = list(header.days)
    named = [each for name in names for each in find_evidence(f"the name {name!r}", text_of(name))]
    found, source = dates_of(file, list(header.days.values()), options.month, header.evidence, named)
    by_place = dict(zip(places, found, strict=True))
    dates = {place: day for place, day in by_place.items() if day is not None}
    if any(says_durations(name) for name in names):
        header = dataclasses.replace(header, is_of_durations=True)
    users, backwards = _check(file, read, header, options, by_place, is_text=is_text)
    return Grid(file, read, header, options, dates, source, users, backwards)


def check_together(grids: Sequence[Grid]) -> None:
    """See that no person has two rows for a day on several sheets, one of which may hold hours.

    Args:
        grids: Those of a file.

    Raises:
        UnreadableFile: somebody has.
    """
    for one, other in combinations(grids, 2):
        if set(one.dates.values()) & set(other.dates.values()) and set(one.users) & set(other.users):
            raise UnreadableFile(
                f"{other.file}: it has days of persons whom {one.file} has on the same days; options.sheet says which "
                "sheet is read"
            )


def _below(read: Rows, header: GridHeader) -> Iterator[tuple[int, Cells]]:
    """The rows below the header, but for the header once more and days of the week."""
    name = normalized(header.names[header.user])
    for line, cells in read():
        user = normalized(text_of(cell(cells, header.user)))
        if line > header.line and not (name and user == name) and (user or not has_weekdays(cells, header.days)):
            yield line, cells


def _is_sum(cells: Cells, header: GridHeader) -> bool:
    first = next((text for each in cells if (text := text_of(each))), "")
    return is_total(first) and text_of(cell(cells, header.user)) in ("", first)


def _check(
    file: str,
    read: Rows,
    header: GridHeader,
    options: TableOptions,
    dates: Mapping[int, date | None],
    *,
    is_text: bool,
) -> tuple[Collection[str], int]:
    """Look at every cell. Returns who punched, and how many times are before the one above them in their cell.

    Raises:
        UnreadableFile: see `open_grid`.
    """
    users: dict[str, int] = {}
    most = times = backwards = 0
    for line, cells in _below(read, header):
        if _is_sum(cells, header):
            continue
        clocks = _check_row(f"{file}, line {line}", cells, header, options, dates, is_text=is_text)
        if not any(clocks):
            continue
        user = _user(cell(cells, header.user), options)
        if user in users:
            raise UnreadableFile(
                f"{file}, line {line}: its user has the row {users[user]} already, and each is to have one; rows of "
                "hours and sums are no punches"
            )
        users[user] = line
        times += sum(map(len, clocks))
        most = max(most, *map(len, clocks))
        backwards += sum(later < earlier for each in clocks for earlier, later in pairwise(each))
    if not times:
        raise UnreadableFile(f"{file}: no cell of its days holds a time")
    if header.is_of_durations and most == 1:
        raise UnreadableFile(
            f"{file}: its title says that it is of hours, and no cell holds two times: its cells may be no punches"
        )
    return users, backwards


def _user(value: object, options: TableOptions) -> str:
    """Who a row is of; what can be no user id stays as it is, and its row is rejected."""
    try:
        return user_id_of(value, options.user_width)
    except InvalidRecord:
        return text_of(value)


def _check_row(
    place_in_file: str,
    cells: Cells,
    header: GridHeader,
    options: TableOptions,
    dates: Mapping[int, date | None],
    *,
    is_text: bool,
) -> Sequence[Sequence[time]]:
    """The times of a row, by its columns of days.

    Raises:
        UnreadableFile: see `open_grid`.
    """
    if is_text and any("\n" in text_of(each) for place, each in enumerate(cells) if place not in header.days):
        raise UnreadableFile(f"{place_in_file}: a cell that is no day goes on in the next line")
    clocks = [_read(place_in_file, cells, place, day, header) for place, day in dates.items()]
    user = text_of(cell(cells, header.user))
    texts = [text for each in cells if (text := text_of(each))]
    is_sentence = len(texts) == 1 and len(texts[0].split()) > 1
    if not any(clocks) and (not user or is_sentence):
        return ()
    if is_text and (len(cells) < header.width or any(map(text_of, cells[header.width :]))):
        raise UnreadableFile(f"{place_in_file}: {len(cells)} columns, but the header has {header.width}")
    _check_beside(place_in_file, cells, header)
    if not user and any(clocks):
        raise UnreadableFile(f"{place_in_file}: it has times and no user")
    if options.midnight is None and any(map(_is_midnight, clocks)):
        raise UnreadableFile(
            f"{place_in_file}: a cell has 00:00 and nothing else; options.midnight says whether that is a punch "
            "(punch) or none (nothing)"
        )
    return clocks


def _read(place_in_file: str, cells: Cells, place: int, day: date | None, header: GridHeader) -> Sequence[time]:
    value = cell(cells, place)
    if value is None or value == "":
        return ()
    try:
        clocks = _clocks(value, day)
    except _NoTimeError as error:
        raise UnreadableFile(f"{place_in_file}, column {header.names[place]!r}: {error}") from None
    if clocks and day is None:
        raise UnreadableFile(
            f"{place_in_file}: its month has no day {header.names[place]!r}, and there are times on it"
        )
    return clocks


def _check_beside(place_in_file: str, cells: Cells, header: GridHeader) -> None:
    """See that there are no times where the header has no day.

    Raises:
        UnreadableFile: there are, in a column without a name.
    """
    for place, value in enumerate(cells):
        if place in header.days:
            continue
        text = text_of(value)
        is_time = isinstance(value, time | timedelta) or bool(text and clocks_of(text))
        if is_time and (place >= len(header.names) or not header.names[place]):
            raise UnreadableFile(f"{place_in_file}: there are times in column {place + 1}, which has no day")


def _clocks(value: object, day: date | None) -> Sequence[time]:
    """The times in a cell.

    Raises:
        _NoTimeError: it holds something else than times and words.
    """
    match value:
        case None:
            return ()
        case _ if value is UNCOMPUTED:
            raise _NoTimeError("a formula that was never computed")
        case datetime() if value.date() in {*_NO_DATES, day}:
            return (_rounded(value.time()),)
        case time():
            return (_rounded(value),)
        case str():
            text = text_of(value)
            if is_error(text):
                raise _NoTimeError(f"{text[:_SHOWN]!r} is an error of a formula, or a cell that was too narrow")
            if not any(map(str.isdigit, text)):
                return ()
            clocks = clocks_of(text)
            if clocks is not None:
                return clocks
            raise _NoTimeError(f"{text[:_SHOWN]!r} is more than times, or none")
        case _:
            raise _NoTimeError(
                f"{text_of(value)[:_SHOWN]!r} is a number, a duration or another date, and no time of day"
            )


def _rounded(clock: time) -> time:
    """To the nearest second: a spreadsheet keeps a time as a fraction of a day."""
    moment = datetime.combine(date.min, clock)
    later = moment + timedelta(milliseconds=500)
    return (later if later.date() == moment.date() else moment).time().replace(microsecond=0)


def _is_midnight(clocks: Sequence[time]) -> bool:
    return bool(clocks) and not any(map(_seconds, clocks))


def _seconds(clock: time) -> int:
    return clock.hour * 3600 + clock.minute * 60 + clock.second
