"""Tables of punches as Excel workbooks (.xlsx). Every sheet that is not empty must be one."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile, ZipFile

from openpyxl.reader.excel import ExcelReader
from openpyxl.workbook import Workbook

from attendance.errors import UnreadableFile
from attendance.fleet import Device
from attendance.records.raw_event import Source
from attendance.times import now
from producers.devices.common.files import batch_id, chunks
from producers.devices.common.options import read_options
from producers.devices.common.tables.cells import UNCOMPUTED, Cells
from producers.devices.common.tables.grid import Grid, check_together, open_grid, read_person
from producers.devices.common.tables.grid_header import find_grid, is_grid_of
from producers.devices.common.tables.header import HEADER_ROWS, find_header
from producers.devices.common.tables.options import TableOptions
from producers.devices.common.tables.profiles import GRID
from producers.devices.common.tables.table import Table, open_table, read_row
from producers.devices.contract import Reading, Row
from producers.devices.generic.xlsx_parts import TooLarge, has_formulas

LARGEST: Final = 256 * 2**20  # bytes, of all parts unpacked
_LARGEST_STRINGS: Final = 48 * 2**20  # bytes, of the one part that is held in memory
_RATIO: Final = 200  # unpacked to packed; the XML of a table of punches has about 10
_MOST_PARTS: Final = 2_000
_OLD: Final = b"\xd0\xcf\x11\xe0"
_MACROS: Final = ("vbaproject.bin", "xl/macrosheets/")
_LINKS: Final = "xl/externallinks/"
_MOST_ROWS: Final = 1_048_576  # of a sheet; one that names a row beyond has empty ones up to there


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
        has_formulas = _check(path)
        # Read beside the values, the formulas tell a cell that nobody computed from one that is empty.
        with _opened(path) as workbook, _opened(path, data_only=False) if has_formulas else nullcontext() as written:
            names = [sheet.title for sheet in workbook.worksheets]
            if given.sheet is not None and given.sheet not in names:
                raise UnreadableFile(f"{path.name}: no sheet is called {given.sheet!r}")
            tables = [
                table
                for name in ([given.sheet] if given.sheet is not None else names)
                if (table := self._table(path, workbook, written, name, given)) is not None
            ]
            if not tables:
                raise UnreadableFile(f"{path.name}: no sheet holds anything")
            check_together([table for table in tables if isinstance(table, Grid)])
            yield tables

    def _table(
        self, path: Path, workbook: Workbook, written: Workbook | None, name: str, given: TableOptions
    ) -> Table | Grid | None:
        """The table on a sheet; None where that is empty."""
        place = f"{path.name}, sheet {name!r}"

        def read() -> Iterator[tuple[int, Cells]]:
            return _rows(place, workbook, written, name)

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
            hint = "options.columns says which columns count, options.sheet which sheet"
            if is_grid_of(read()):
                hint = "it looks as a grid with a column for each day, which --profile grid reads"
            raise UnreadableFile(f"{place}: none of the first {HEADER_ROWS} rows is a header that is known; {hint}")
        return open_table(place, read, replace(header, width=None), given, workbook.epoch)


@contextmanager
def _opened(path: Path, *, data_only: bool = True) -> Iterator[Workbook]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and validations, which do not matter here
            reader = ExcelReader(path, read_only=True, data_only=data_only, keep_links=False)
            reader.read()
    except Exception as error:
        raise UnreadableFile(f"{path.name}: not a workbook that can be read: {error}") from error
    workbook = reader.wb
    try:
        # The library leaves out a sheet whose part is not there.
        if len(workbook.sheetnames) != len(reader.parser.sheets):
            raise UnreadableFile(f"{path.name}: broken, for it lacks one of its sheets")
        yield workbook
    finally:
        workbook.close()


def _rows(place: str, workbook: Workbook, written: Workbook | None, name: str) -> Iterator[tuple[int, Cells]]:
    """The rows that are not empty. `written` has formulas where `workbook` has their values."""
    number = 0
    try:
        values = _cells(workbook, name)
        rows = values if written is None else map(_computed, values, _cells(written, name))
        for number, cells in enumerate(rows, start=1):
            if number > _MOST_ROWS:
                raise ValueError("more rows than a sheet can have")
            if any(cell is not None and cell != "" for cell in cells):
                yield number, cells
    except Exception as error:
        raise UnreadableFile(f"{place}, after row {number}: cannot be read: {error}") from error


def _cells(workbook: Workbook, name: str) -> Iterator[Cells]:
    sheet: Any = workbook[name]  # read-only, which its types do not know
    sheet.reset_dimensions()  # other software writes them wrongly
    rows: Iterator[Cells] = sheet.iter_rows(values_only=True)
    return rows


def _computed(values: Cells, formulas: Cells) -> Cells:
    return [
        UNCOMPUTED if value is None and formula is not None else value
        for value, formula in zip(values, formulas, strict=True)
    ]


def _check(path: Path) -> bool:
    """Look at what a workbook says of itself before it is unpacked. Returns whether it has formulas.

    Raises:
        UnreadableFile: it is no .xlsx, has macros, or would take far more room than a log of punches does.
    """
    head = next(chunks(path), b"")
    if head.startswith(_OLD):
        raise UnreadableFile(f"{path.name}: a workbook of the old format .xls, or encrypted; save it as .xlsx or CSV")
    if head.lstrip()[:1] == b"<":
        raise UnreadableFile(f"{path.name}: a web page under the name of a workbook; save it as .xlsx or CSV")
    try:
        with ZipFile(path) as file:
            parts = file.infolist()
    except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UnreadableFile(f"{path.name}: not an .xlsx: {error}") from error
    names = [part.filename.lower() for part in parts]
    if any(macros in name for name in names for macros in _MACROS):
        raise UnreadableFile(f"{path.name}: a workbook with macros; save it as .xlsx or CSV")
    if any(name.startswith(_LINKS) for name in names):
        raise UnreadableFile(f"{path.name}: a workbook with links to others; save its values as .xlsx or CSV")
    size = sum(part.file_size for part in parts)
    packed = sum(part.compress_size for part in parts)
    strings = max((part.file_size for part in parts if part.filename.endswith("sharedStrings.xml")), default=0)
    # What the directory says is all that is ever unpacked of a part.
    if len(parts) > _MOST_PARTS or size > LARGEST or size > _RATIO * max(packed, 1) or strings > _LARGEST_STRINGS:
        raise UnreadableFile(f"{path.name}: {size:,} bytes when unpacked, from {packed:,}: too large for punches")
    try:
        with ZipFile(path) as file:
            return has_formulas(file)
    except TooLarge as error:
        raise UnreadableFile(f"{path.name}: {error}: too large for punches") from error
    except Exception as error:
        raise UnreadableFile(f"{path.name}: not a workbook that can be read: {error}") from error
