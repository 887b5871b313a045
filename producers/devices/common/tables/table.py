"""Tables of punches with a header, whichever file they stand in.

A table is read twice: once to find its header and to decide over all its rows whether day or month comes first, and
once for its punches. Names of columns are compared without case, spaces and punctuation.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final, cast

from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason, UnreadableFile
from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.registry import Device
from attendance.wire import encode_json
from producers.devices.common.attendance_states import direction_of_state
from producers.devices.common.punch import cut, invalid, punch, scalars
from producers.devices.common.tables.cells import (
    EPOCH,
    UNCOMPUTED,
    Cells,
    Rows,
    cell,
    fits,
    moment_of,
    normalized,
    text_of,
    user_id_of,
    when,
)
from producers.devices.common.tables.dates import Order, decide_order, to_iso
from producers.devices.common.tables.header import Header
from producers.devices.common.tables.options import TableOptions
from producers.devices.contract import Rejected, Row, terminal_of

_DIRECTION_WORDS: Final[Mapping[str, EventType]] = {
    **dict.fromkeys(("in", "i", "cin", "checkin", "clockin", "punchin", "entry", "enter"), "IN"),
    **dict.fromkeys(("breakin", "overtimein", "otin", "oin", "outback", "returnin"), "IN"),
    **dict.fromkeys(("out", "o", "cout", "checkout", "clockout", "punchout", "exit", "leave"), "OUT"),
    **dict.fromkeys(("breakout", "overtimeout", "otout", "oout"), "OUT"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose header and order of dates are known."""

    file: str
    read: Rows
    header: Header
    options: TableOptions
    order: Order | None
    epoch: datetime

    def rows(
        self, device: Device, terminals: Mapping[str, Device], source: Source, received_at: datetime
    ) -> Iterator[Row]:
        """Every row below the header.

        Args:
            device: The entry that the file belongs to.
            terminals: The entries that the serial numbers in the table stand for.
            source: What all rows have in common.
            received_at: The server's clock, UTC.
        """
        for line, cells in self.read():
            if line <= self.header.line or self._is_header_again(cells):
                continue
            try:
                event = self._event(cells, device, terminals, replace(source, line=line), received_at)
            except InvalidRecord as error:
                yield Row(line, Rejected(line - 1, error.reason, error.message, self._kept(cells)))
            else:
                yield Row(line, event)

    def _event(
        self, cells: Cells, device: Device, terminals: Mapping[str, Device], source: Source, received_at: datetime
    ) -> RawEvent:
        header = self.header
        if not fits(cells, header.width):
            raise invalid(f"{len(cells)} columns, but the header has {header.width}")
        serial = text_of(self._cell(cells, "serial"))
        payload = {name: text_of(cell(cells, place)) for name, place in header.payload.items()}
        if serial:
            payload["serial"] = serial
        if serial and device.serial is not None and serial not in terminals:
            # The entry is a terminal itself, and its punches by push have its id: another's would be paid twice.
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, "the terminal of this row is another one than the entry's")
        if any(cell(cells, place) is UNCOMPUTED for place in header.places.values()):
            raise invalid("a formula of this row was never computed")
        return punch(
            terminal_of(serial, terminals, device),
            user=user_id_of(self._cell(cells, "user"), self.options.user_width),
            time=self._time(cells),
            event_type=self._direction(text_of(self._cell(cells, "direction"))),
            received_at=received_at,
            source=source,
            payload=scalars({name: value for name, value in payload.items() if value}, payload),
        )

    def _time(self, cells: Cells) -> str | None:
        written = when(cells, self.header.places, self.epoch)
        if not written:
            return None
        given = self.options.date_format
        if given is not None and "%" in given:
            try:
                return str(datetime.strptime(written, given).replace(microsecond=0))  # noqa: DTZ007 - a wall clock
            except ValueError:
                return written
        return to_iso(written, self.order)

    def _direction(self, word: str) -> EventType:
        given = self.options.directions.get(word)
        if given is not None:
            return given
        if self.header.states and word.isdecimal():
            return direction_of_state(word)
        return _DIRECTION_WORDS.get(normalized(word), "UNKNOWN")

    def _cell(self, cells: Cells, column: str) -> object:
        place = self.header.places.get(column)
        return None if place is None else cell(cells, place)

    def _kept(self, cells: Cells) -> bytes:
        """What a dead letter keeps: no cell of a column that is not known, which may hold a name."""
        if not fits(cells, self.header.width):
            return encode_json({"columns": len(cells)})
        return encode_json({column: cut(text_of(cell(cells, place))) for column, place in self.header.places.items()})

    def _is_header_again(self, cells: Cells) -> bool:
        """Whether a row is the header once more, as where several exports stand in one file."""
        return self.header.line > 0 and normalized(text_of(self._cell(cells, "user"))) == self.header.user_column


def open_table(file: str, read: Rows, header: Header, options: TableOptions, epoch: datetime = EPOCH) -> Table:
    """Decide over all its rows how a table's dates are written.

    Args:
        file: What messages call it.
        read: Reads it from its beginning.
        header: Its header.
        options: Those of the entry.
        epoch: The day from which its file counts days.

    Raises:
        UnreadableFile: day and month could be exchanged in each of its dates, rows contradict each other, or a
            spreadsheet has days where times should be.
    """
    if "time" in header.places and _has_days_only(read, header, epoch):
        raise UnreadableFile(f"{file}: its dates have no time of day")
    if options.date_format is not None:
        order = cast("Order", options.date_format) if options.date_format in ("ymd", "dmy", "mdy") else None
        return Table(file, read, header, options, order, epoch)
    dates = (
        (line, when(cells, header.places, epoch))
        for line, cells in read()
        if line > header.line and fits(cells, header.width)
    )
    return Table(file, read, header, options, decide_order(file, dates), epoch)


def _has_days_only(read: Rows, header: Header, epoch: datetime) -> bool:
    """Whether the times of a spreadsheet are all the beginning of a day, of which one alone may be a punch."""
    days = 0
    for line, cells in read():
        if line > header.line and (value := cell(cells, header.places["time"])) is not None:
            moment = moment_of(value, epoch)
            if not isinstance(moment, datetime) or moment.time() != time():
                return False
            days += 1
    return days > 1
