"""`attlog.dat`: what a ZKTeco terminal writes to a USB stick. One line a punch, separated by tabs, without a header.

ZKTeco documents neither the columns nor their order. Seen are the user id padded with spaces, the time, and after them
the columns of `_ORDERS`; where a terminal has another order, the entry's `options.columns` says it. With 5 or 6 columns
the third is the terminal's number or the state, and no line alone tells which: the whole file does. The file decides
also whether day or month comes first. A line without a tab is separated by spaces.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder
from msgspec.structs import replace
from pydantic import field_validator

from attendance.errors import InvalidRecord, Reason, UnreadableFile
from attendance.fleet import Device
from attendance.records.raw_event import Source
from attendance.times import now, read_device_time
from attendance.wire import encode_json
from producers.devices.common.attendance_states import direction_of_state
from producers.devices.common.files import batch_id, encoding_of, lines, rejected
from producers.devices.common.options import read_options
from producers.devices.common.punch import invalid, punch, scalars
from producers.devices.common.tables.cells import is_nobody, text_of
from producers.devices.common.tables.dates import Order, decide_order, is_of_another_calendar, to_iso, to_moment
from producers.devices.common.tables.listed import listed_cells, unplaced_cells
from producers.devices.contract import Ignored, Options, Reading, Row

_Column = Literal["user", "time", "terminal", "state", "verify", "work_code", "ignored"]

_WITH_TERMINAL: Final[Sequence[_Column]] = ("user", "time", "terminal", "state", "verify", "work_code")
_WITHOUT: Final[Sequence[_Column]] = ("user", "time", "state", "verify", "work_code", "ignored", "ignored")
_ORDERS: Final[Mapping[int, Sequence[_Column]]] = {
    2: ("user", "time"),
    3: ("user", "time", "state"),
    4: ("user", "time", "state", "verify"),
    5: _WITHOUT[:5],
    6: _WITHOUT[:6],
    7: _WITHOUT,
}
_STATES: Final = frozenset({"0", "1", "2", "3", "4", "5", "255"})
_MOST_VALUES: Final = 300  # of a column of small numbers; a file that means ill has more
_SHOWN: Final = 40  # characters of a cell that a message quotes
_PAYLOAD: Final = ("verify", "work_code")
_BEFORE_FIRST: Final = 100  # lines that are no record, after which the file is of another format


class AttlogOptions(Options):
    """The options of an entry whose files are attendance logs.

    `columns` are named where they are in another order, `date_format` where every date leaves open which is the day.
    """

    columns: tuple[_Column, ...] | None = None
    date_format: Order | None = None

    @field_validator("columns")
    @classmethod
    def _has_a_punch(cls, columns: tuple[_Column, ...] | None) -> tuple[_Column, ...] | None:
        if columns is not None and not {"user", "time"} <= set(columns):
            raise ValueError("user and time must be among them")
        named = [column for column in columns or () if column != "ignored"]
        if twice := [column for column in named if named.count(column) > 1]:
            raise ValueError(f"{twice[0]} is among them twice")
        return columns


class Attlog:
    """The file adapter. See `FileAdapter`.

    How many columns the first record has, and what the file has in them, decides on their order; a line with another
    number of them is rejected.
    """

    name: Final = "attlog"
    version: Final = "1"
    verified_on: Final = "simulator"
    options: Final = AttlogOptions

    def __init__(self, payload_fields: Collection[str]) -> None:
        self._payload = tuple(dict.fromkeys((*_PAYLOAD, *payload_fields)))

    def rows(
        self,
        path: Path,
        device: Device,
        terminals: Mapping[str, Device],  # noqa: ARG002 - the file has no serial number
    ) -> Iterator[Row]:
        """Every line that is not empty. See `FileAdapter.rows`."""
        form = _form(path, read_options(device, AttlogOptions))
        batch, received_at = batch_id(path), now()
        for line, cells in _cells(path, form.encoding):
            source = Source("file", self.name, self.version, batch, line)
            if len(cells) == len(form.columns) and is_nobody(cells[form.columns.index("user")]):
                yield Row(line, Ignored("a record of nobody"))
            else:
                yield self._row(line, cells, form, device, source, received_at)

    def read_again(
        self,
        raw: bytes,
        device: Device,
        terminals: Mapping[str, Device],  # noqa: ARG002 - the file has no serial number
        received_at: datetime,
    ) -> Iterator[Row]:
        """What a line that was once rejected comes to today. See `FileAdapter.read_again`."""
        try:
            kept = _decode_kept(raw)
        except MsgspecError as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a line of an attendance log: {error}") from error
        given = read_options(device, AttlogOptions)
        form = _Form("utf-8", given.columns or kept.columns, given.date_format or kept.dates)
        source = Source("file", self.name, self.version, line=kept.line)
        yield self._row(kept.line, kept.cells, form, device, source, received_at)

    def readings(self, path: Path, device: Device) -> Sequence[Reading]:
        """See `FileAdapter.readings`."""
        form = _form(path, read_options(device, AttlogOptions))
        columns: Mapping[str, str] = {
            name: f"column {place + 1}" for place, name in enumerate(form.columns) if name != "ignored"
        }
        return [Reading(path.name, self.name, columns, form.dates or "")]

    def _row(
        self,
        line: int,
        cells: Sequence[str],
        form: "_Form",
        device: Device,
        source: Source,
        at: datetime,
    ) -> Row:
        try:
            if len(cells) != len(form.columns):
                raise invalid(f"{len(cells)} columns, unlike the first record")
            record: Mapping[str, str] = dict(zip(form.columns, cells, strict=True))
            event = punch(
                device,
                user=record["user"],
                time=_readable(record["time"], form.dates) or None,
                event_type=direction_of_state(record.get("state")),
                received_at=at,
                source=source,
                payload=scalars(record, self._payload),
            )
        except InvalidRecord as error:
            kept = _listed(cells, form.columns)
            raw = encode_json(_KeptLine(line, kept, list(form.columns), form.dates))
            return Row(line, replace(rejected(line, error, kept), raw=raw))
        return Row(line, event)


@dataclass(frozen=True, slots=True)
class _Form:
    """How a file is read. `dates` is the order of day, month and year; None where each date says it by itself."""

    encoding: str
    columns: Sequence[_Column]
    dates: Order | None


def _listed(cells: Sequence[str], columns: Sequence[_Column]) -> list[str]:
    """The cells of a line that are kept to read it again."""
    if len(cells) != len(columns):
        return list(map(str, unplaced_cells(cells, len(columns))))
    places = [place for place, column in enumerate(columns) if column != "ignored"]
    return list(map(str, listed_cells(cells, places)))


class _KeptLine(Struct):
    """A line as `Rejected.raw` has it, with how its file was read."""

    line: int
    cells: list[str]
    columns: list[_Column]
    dates: Order | None


_decode_kept: Final = Decoder(_KeptLine).decode


def _form(path: Path, given: AttlogOptions) -> _Form:
    """How a file is read, which the whole of it decides.

    Raises:
        UnreadableFile: none of the first lines is a record, or its records can be read in two ways, or in none.
    """
    encoding = encoding_of(path)
    columns = given.columns or _columns(path, encoding)
    if columns is None:
        return _Form(encoding, _ORDERS[2], None)  # the file is empty
    times = _times(path, encoding, columns)
    dates = given.date_format or decide_order(path.name, ((line, time) for line, time in times if _is_time(time)))
    rows = readable = others = 0
    unreadable = of_others = ""
    for line, time in _times(path, encoding, columns):
        rows += 1
        moment = to_moment(time, dates) or read_device_time(time, "UTC")
        if moment is None:
            unreadable = unreadable or f"line {line}: {time[:_SHOWN]!r}"
        else:
            readable += 1
            if is_of_another_calendar(moment.year):
                others += 1
                of_others = of_others or f"line {line}: {time[:_SHOWN]!r}"
    if rows and not readable:
        raise UnreadableFile(f"{path.name}, {unreadable} is no time that is known, and neither is any other")
    if others * 2 > readable:
        raise UnreadableFile(
            f"{path.name}, {of_others} is of another calendar (Persian, Islamic or Buddhist); export the file with "
            "Gregorian dates"
        )
    return _Form(encoding, columns, dates)


def _columns(path: Path, encoding: str) -> Sequence[_Column] | None:
    """The columns of a file; None where it holds nothing.

    Raises:
        UnreadableFile: none of the first lines is a record, or neither its third nor its fourth column is the state.
    """
    before, hint = 0, ""
    for _, cells in _cells(path, encoding):
        width = len(cells)
        if _is_record(cells):
            if width in _ORDERS:
                return _order(path, encoding, width)
            more = ", ".join(["ignored"] * (width - 2))
            hint = f"; {width} columns are not known, options.columns names them: [user, time, {more}] or more exactly"
        before += 1
        if before > _BEFORE_FIRST:
            break
    if before:
        raise UnreadableFile(
            f"{path.name}: no line is a user id, a tab and a time such as 2026-01-01 08:00:00, in a number of columns "
            f"that is known{hint or '; options.columns names other columns, --profile csv reads other tables'}"
        )
    return None


def _cells(path: Path, encoding: str) -> Iterator[tuple[int, Sequence[str]]]:
    for line, text in lines(path, encoding):
        clean: Callable[[str], str] = str.strip if text.isascii() else text_of
        cells = [clean(cell) for cell in text.split("\t")] if "\t" in text else _by_spaces(clean(text))
        if any(cells):
            yield line, cells


def _by_spaces(text: str) -> Sequence[str]:
    """The cells of a line that spaces separate, one of which stands within the time."""
    words = text.split()
    for end in (4, 3):  # with AM or PM, and without
        if len(words) >= end and _is_time(time := " ".join(words[1:end])):
            return [words[0], time, *words[end:]]
    return [text.strip()]


def _times(path: Path, encoding: str, columns: Sequence[_Column]) -> Iterator[tuple[int, str]]:
    place = columns.index("time")
    with suppress(UnreadableFile):  # where it breaks off, the rows before that are still handed over
        for line, cells in _cells(path, encoding):
            if len(cells) == len(columns):
                yield line, cells[place]


def _order(path: Path, encoding: str, width: int) -> Sequence[_Column]:
    """The order of a file's columns, of which the first record has `width`.

    Raises:
        UnreadableFile: neither the third nor the fourth can be the state in every record.
    """
    if width not in (5, 6):
        return _ORDERS[width]
    third, fourth = set[str](), set[str]()
    with suppress(UnreadableFile):
        for _, cells in _cells(path, encoding):
            if len(cells) == width and _is_record(cells) and len(third | fourth) < _MOST_VALUES:
                third.add(cells[2])
                fourth.add(cells[3])
    # A stick holds the log of one terminal, and terminals are numbered from 1.
    if len(third) == 1 and not third & {"0", "255"} and fourth <= _STATES:
        return _WITH_TERMINAL[:width]
    if third <= _STATES:
        return _WITHOUT[:width]
    raise UnreadableFile(f"{path.name}: neither its third nor its fourth column is a state; options.columns says which")


def _is_record(cells: Sequence[str]) -> bool:
    """Whether the cells begin as every record that is known does: with a user and a time."""
    return len(cells) > 1 and bool(cells[0]) and _is_time(cells[1])


def _is_time(text: str) -> bool:
    return bool(to_moment(text, "dmy") or to_moment(text, "mdy") or read_device_time(text, "UTC"))


def _readable(text: str, order: Order | None) -> str:
    """A time in a form that is read everywhere; as it is, where it has such a form or none."""
    return text if read_device_time(text, "UTC") else to_iso(text, order)
