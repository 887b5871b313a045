"""Tables of punches as CSV, whatever separates their cells and however they are encoded.

A line is a row: a cell that goes on in the next line makes two rows, both rejected, where reading on could swallow
all that follows a stray quotation mark. Only where a cell may hold several times it goes on, and there a row that does
not fit refuses the file.
"""

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from attendance.errors import UnreadableFile
from attendance.fleet import Device
from attendance.records.raw_event import Source
from attendance.times import now
from producers.devices.common.files import batch_id, encoding_of, lines
from producers.devices.common.options import read_options
from producers.devices.common.tables.cells import Cells
from producers.devices.common.tables.grid import Grid, open_grid, read_person
from producers.devices.common.tables.grid_header import find_grid, is_grid_of
from producers.devices.common.tables.header import HEADER_ROWS, find_header, missing_header
from producers.devices.common.tables.options import TableOptions
from producers.devices.common.tables.profiles import GRID
from producers.devices.common.tables.table import Table, open_table, read_row
from producers.devices.contract import Reading, Row

_DELIMITERS: Final = (",", ";", "\t", "|")


class Csv:
    """The file adapter. See `FileAdapter`."""

    name: Final = "csv"
    version: Final = "1"
    verified_on: Final = "simulator"
    options: Final = TableOptions

    def __init__(self, payload_fields: Collection[str]) -> None:
        self._payload_fields = payload_fields

    def rows(self, path: Path, device: Device, terminals: Mapping[str, Device]) -> Iterator[Row]:
        """Every line that holds data, below the header. See `FileAdapter.rows`."""
        source = Source("file", self.name, self.version, batch_id(path))
        yield from self._table(path, device).rows(device, terminals, source, now())

    def read_again(
        self, raw: bytes, device: Device, terminals: Mapping[str, Device], received_at: datetime
    ) -> Iterator[Row]:
        """What a row that was once rejected comes to today. See `FileAdapter.read_again`."""
        source = Source("file", self.name, self.version)
        if read_options(device, TableOptions).profile == GRID:
            return read_person(raw, device, terminals, source, received_at)
        return read_row(raw, device, terminals, source, received_at, self._payload_fields)

    def readings(self, path: Path, device: Device) -> Sequence[Reading]:
        """See `FileAdapter.readings`."""
        return [self._table(path, device).reading()]

    def _table(self, path: Path, device: Device) -> Table | Grid:
        given = read_options(device, TableOptions)
        encoding = given.encoding or encoding_of(path)
        is_grid = given.profile == GRID
        rows = _rows_of_lines if is_grid or given.several_times else _rows
        for delimiter in given.delimiter or _DELIMITERS:

            def read(delimiter: str = delimiter) -> Iterator[tuple[int, Cells]]:
                return rows(path, encoding, delimiter)

            if is_grid:
                days = find_grid(read(), given, path.name)
                if days is not None:
                    return open_grid(path.name, read, days, given, [path.stem], is_text=True)
                continue
            try:
                header = find_header(read(), given, self._payload_fields)
            except UnreadableFile as error:
                raise UnreadableFile(f"{path.name}: {error}") from None
            if header is not None:
                return open_table(path.name, read, header, given)
        if is_grid:
            raise UnreadableFile(f"{path.name}: none of the first {HEADER_ROWS} lines has a column for each day")
        looks_so = any(is_grid_of(_rows(path, encoding, each)) for each in _DELIMITERS)
        raise UnreadableFile(missing_header(path.name, "lines", given, is_grid=looks_so))


def _rows(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, Cells]]:
    for number, line in lines(path, encoding):
        cells = next(csv.reader([line], delimiter=delimiter), [])
        if any(cell.strip() for cell in cells):
            yield number, cells


def _rows_of_lines(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, Cells]]:
    """The rows, of which a cell in quotation marks may go on in the next line.

    Raises:
        UnreadableFile: see `lines`; or a quotation mark is where none can be, so that lines could be lost in a cell.
    """
    reader = csv.reader((f"{line}\n" for _, line in lines(path, encoding)), delimiter=delimiter, strict=True)
    number = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise UnreadableFile(f"{path.name}, after line {number - 1}: {error}") from error
