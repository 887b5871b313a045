"""Tables of punches as Excel workbooks (.xlsx). Every sheet that is not empty must be one."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from attendance.errors import UnreadableFile
from attendance.fleet import Device
from attendance.records.raw_event import Source
from attendance.times import now
from producers.devices.common.files import batch_id
from producers.devices.common.options import read_options
from producers.devices.common.tables.cells import Cells
from producers.devices.common.tables.grid import Grid, check_together, open_grid, read_person
from producers.devices.common.tables.grid_header import find_grid, is_grid_of
from producers.devices.common.tables.header import HEADER_ROWS, find_header, missing_header
from producers.devices.common.tables.options import TableOptions
from producers.devices.common.tables.profiles import GRID
from producers.devices.common.tables.table import Table, open_table, read_row
from producers.devices.contract import Reading, Row
from producers.devices.generic.xlsx_book import Book, open_book


class Xlsx:
    """The file adapter. See `FileAdapter`."""

    name: Final = "xlsx"
    version: Final = "1"
    verified_on: Final = "simulator"
    options: Final = TableOptions

    def __init__(self, payload_fields: Collection[str]) -> None:
        self._payload_fields = payload_fields

    def rows(self, path: Path, device: Device, terminals: Mapping[str, Device]) -> Iterator[Row]:
        """Every row that holds data, below each sheet's header. See `FileAdapter.rows`."""
        source = Source("file", self.name, self.version, batch_id(path))
        received_at = now()
        with self._tables(path, device) as tables:
            for table in tables:
                yield from table.rows(device, terminals, source, received_at)

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
        with self._tables(path, device) as tables:
            return [table.reading() for table in tables]

    @contextmanager
    def _tables(self, path: Path, device: Device) -> Iterator[Sequence[Table | Grid]]:
        """The tables of every sheet, understood before the first row is handed over, so that none is left out."""
        given = read_options(device, TableOptions)
        with open_book(path) as book:
            if given.sheet is not None and given.sheet not in book.sheets:
                raise UnreadableFile(f"{path.name}: no sheet is called {given.sheet!r}")
            tables = [
                table
                for name in ([given.sheet] if given.sheet is not None else book.sheets)
                if (table := self._table(path, book, name, given)) is not None
            ]
            if not tables:
                raise UnreadableFile(f"{path.name}: no sheet holds anything")
            check_together([table for table in tables if isinstance(table, Grid)])
            yield tables

    def _table(self, path: Path, book: Book, name: str, given: TableOptions) -> Table | Grid | None:
        """The table on a sheet; None where that is empty."""
        place = book.place(name)

        def read() -> Iterator[tuple[int, Cells]]:
            return book.rows(name)

        if next(read(), None) is None:
            return None
        if given.profile == GRID:
            days = find_grid(read(), given, place)
            if days is None:
                raise UnreadableFile(f"{place}: none of the first {HEADER_ROWS} rows has a column for each day")
            return open_grid(place, read, days, given, [path.stem, name], is_text=False)
        try:
            header = find_header(read(), given, self._payload_fields)
        except UnreadableFile as error:
            raise UnreadableFile(f"{place}: {error}") from None
        if header is None:
            said = missing_header(place, "rows", given, is_grid=is_grid_of(read()))
            raise UnreadableFile(f"{said}; options.sheet names another sheet")
        return open_table(place, read, replace(header, width=None), given, book.epoch)
