"""Tables of punches with a header, whichever file they stand in.

A table is read twice: once to find its header and to decide over all its rows whether day or month comes first, and
once for its punches. Names of columns are compared without case, spaces and punctuation.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any, Final

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason, UnreadableFile
from attendance.fleet import Device
from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.wire import encode_json
from producers.devices.common.attendance_states import direction_of_state
from producers.devices.common.options import read_options
from producers.devices.common.punch import cut, invalid, punch, scalars
from producers.devices.common.tables.cells import (
    EPOCH,
    UNCOMPUTED,
    Cells,
    Rows,
    cell,
    fits,
    in_json,
    is_nobody,
    moment_of,
    normalized,
    of_json,
    text_of,
    user_id_of,
)
from producers.devices.common.tables.clock import Clock
from producers.devices.common.tables.dates import Order
from producers.devices.common.tables.form import decide, is_header_again, is_sum, lay_out
from producers.devices.common.tables.header import Header, find_header
from producers.devices.common.tables.listed import listed_cells, listed_names, unplaced_cells
from producers.devices.common.tables.options import TableOptions
from producers.devices.contract import Ignored, Reading, Rejected, Row, terminal_of

_DIRECTION_WORDS: Final[Mapping[str, EventType]] = {
    **dict.fromkeys(("in", "i", "cin", "checkin", "clockin", "punchin", "entry", "enter"), "IN"),
    **dict.fromkeys(("breakin", "overtimein", "otin", "oin", "outback", "returnin"), "IN"),
    **dict.fromkeys(("dutyon", "overtimeon", "onduty"), "IN"),
    **dict.fromkeys(("out", "o", "cout", "checkout", "clockout", "punchout", "exit", "leave"), "OUT"),
    **dict.fromkeys(("dutyoff", "overtimeoff", "offduty"), "OUT"),
    **dict.fromkeys(("breakout", "overtimeout", "otout", "oout"), "OUT"),
}
_ENROLLED: Final = "enno"
"""What the logs of USB sticks call the user's number."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose header and order of dates are known."""

    file: str
    read: Rows
    header: Header
    options: TableOptions
    clock: Clock

    def reading(self) -> Reading:
        """Which of its columns is taken for what."""
        header = self.header
        columns = {
            what: f"{header.names[place]} (column {place + 1})" if header.names else f"column {place + 1}"
            for what, place in header.places.items()
        }
        order = self.options.date_format or self.clock.order
        return Reading(self.file, header.profile, columns, "" if order is None else order)

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
        is_first = True
        names: Cells = ()
        for line, cells in self.read():
            if line == self.header.line:
                names = cells
            if line <= self.header.line or is_header_again(cells, self.header):
                continue
            if is_sum(cells, self.clock):
                yield Row(line, Ignored("a sum"))
            elif is_first and self._is_header_without_profile(cells):
                yield Row(line, Ignored("a header"))
            elif self.header.user_column == _ENROLLED and is_nobody(text_of(self._cell(cells, "user"))):
                yield Row(line, Ignored("a record of nobody"))
            else:
                for number, time in enumerate(self.clock.written(cells) or (None,)):
                    row = self._row(line, cells, time, device, terminals, replace(source, line=line), received_at)
                    if isinstance(row.outcome, Rejected):
                        row = replace(row, outcome=replace(row.outcome, raw=self._raw(line, names, cells)))
                    yield replace(row, is_further=number > 0)
            is_first = False

    def _row(
        self,
        line: int,
        cells: Cells,
        time: str | None,
        device: Device,
        terminals: Mapping[str, Device],
        source: Source,
        received_at: datetime,
    ) -> Row:
        try:
            event = self._event(cells, time, device, terminals, source, received_at)
        except InvalidRecord as error:
            return Row(line, Rejected(line - 1, error.reason, error.message, self._kept(cells)))
        return Row(line, event)

    def _event(
        self,
        cells: Cells,
        time: str | None,
        device: Device,
        terminals: Mapping[str, Device],
        source: Source,
        received_at: datetime,
    ) -> RawEvent:
        header = self.header
        if not fits(cells, header.width, header.most):
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
            time=None if time is None else self._iso(time),
            event_type=self._direction(text_of(self._cell(cells, "direction"))),
            received_at=received_at,
            source=source,
            payload=scalars({name: value for name, value in payload.items() if value}, payload),
        )

    def _iso(self, written: str) -> str:
        moment = self.clock.moment(written)
        return written if moment is None else str(moment)

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
        if not fits(cells, self.header.width, self.header.most):
            return encode_json({"columns": len(cells)})
        return encode_json({column: cut(text_of(cell(cells, place))) for column, place in self.header.places.items()})

    def _raw(self, line: int, names: Cells, cells: Cells) -> bytes | None:
        """What `read_row` needs to read a row again; None where it needs what nobody computed."""
        header = self.header
        places = {*header.places.values(), *header.payload.values()}
        if fits(cells, header.width, header.most):
            listed = listed_cells(cells, places)
        else:
            listed = unplaced_cells(cells, header.width or 0)
        if any(each is UNCOMPUTED for each in listed):
            return None
        kept = {
            "line": line,
            "names": listed_names(names, [normalized(header.names[place]) for place in places if header.names]),
            "cells": [in_json(each) for each in listed],
            "order": self.clock.order,
            "epoch": self.clock.epoch.isoformat(),
            "any_width": self.header.width is None,
        }
        return encode_json(kept)

    def _is_header_without_profile(self, cells: Cells) -> bool:
        """Whether the first row of a table that is read by places is names of columns."""
        texts = [text_of(self._cell(cells, column)) for column in self.header.places]
        return self.header.line == 0 and all(texts) and not any(map(str.isdecimal, "".join(texts)))


def open_table(file: str, read: Rows, header: Header, options: TableOptions, epoch: datetime = EPOCH) -> Table:
    """Look at all rows of a table: how its dates are written, and whether any part of it would be read wrongly.

    Args:
        file: What messages call it.
        read: Reads it from its beginning.
        header: Its header.
        options: Those of the entry.
        epoch: The day from which its file counts days.

    Raises:
        UnreadableFile: see `decide`; or a spreadsheet has days where times should be.
    """
    if "time" in header.places and _has_days_only(read, header, epoch):
        raise UnreadableFile(f"{file}: its dates have no time of day")
    header = lay_out(read, header)
    clock = Clock(header, options, epoch)
    clock = dataclasses.replace(clock, order=clock.given_order)
    order = decide(file, read, clock)
    return Table(file, read, header, options, dataclasses.replace(clock, order=order))


def read_row(
    raw: bytes,
    device: Device,
    terminals: Mapping[str, Device],
    source: Source,
    received_at: datetime,
    payload_fields: Collection[str],
) -> Iterator[Row]:
    """What a row that was once rejected comes to today. See `FileAdapter.read_again`.

    Args:
        raw: As `Rejected.raw` had it.
        device: The entry that the file belongs to.
        terminals: The entries that the serial numbers in the table stand for.
        source: What the adapter says of itself.
        received_at: When the file was read, UTC.
        payload_fields: Further columns that an event keeps.

    Raises:
        InvalidRecord: the bytes are no such row, or its header is none that is known (`undecodable_record`).
        UnreadableFile: see `open_table`.
    """
    kept = _decode_row(raw)
    options = read_options(device, TableOptions)
    if options.date_format is None and kept.order is not None:
        # All rows of the file together told it.
        options = options.model_copy(update={"date_format": kept.order})
    rows: list[tuple[int, Cells]] = [(1, kept.names)] if kept.names else []
    rows.append((len(rows) + 1, [of_json(each) for each in kept.cells]))
    header = find_header(rows, options, payload_fields)
    if header is None:
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, "its header is none that is known")
    if kept.any_width:
        header = dataclasses.replace(header, width=None)
    table = open_table("the row", lambda: iter(rows), header, options, kept.epoch)
    for row in table.rows(device, terminals, source, received_at):
        outcome = row.outcome
        if isinstance(outcome, RawEvent):
            outcome = replace(outcome, source=replace(outcome.source, line=kept.line))
        yield replace(row, line=kept.line, outcome=outcome)


class _KeptRow(Struct):
    """A row of a table as `Rejected.raw` has it. Without `names` the columns were known by their places."""

    line: int
    names: list[str]
    cells: list[Any]
    order: Order | None
    epoch: datetime
    any_width: bool


_decode_kept: Final = Decoder(_KeptRow).decode


def _decode_row(raw: bytes) -> _KeptRow:
    try:
        return _decode_kept(raw)
    except MsgspecError as error:
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a row: {error}") from error


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
