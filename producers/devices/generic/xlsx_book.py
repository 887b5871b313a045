"""A workbook (.xlsx) as rows of cells. What it says of itself is looked at before it is unpacked."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile, ZipFile

from openpyxl.reader.excel import ExcelReader
from openpyxl.workbook import Workbook

from attendance.errors import UnreadableFile
from producers.devices.common.files import chunks
from producers.devices.common.tables.cells import UNCOMPUTED, Cells
from producers.devices.generic.xlsx_parts import Seen, TooLarge, look_at

LARGEST: Final = 256 * 2**20  # bytes, of all parts unpacked
_LARGEST_STRINGS: Final = 48 * 2**20  # bytes, of the one part that is held in memory
_RATIO: Final = 200  # unpacked to packed; the XML of a table of punches has about 10
_MOST_PARTS: Final = 2_000
_OLD: Final = b"\xd0\xcf\x11\xe0"
_MACROS: Final = ("vbaproject.bin", "xl/macrosheets/")
_LINKS: Final = "xl/externallinks/"
_MOST_ROWS: Final = 1_048_576  # of a sheet; one that names a row beyond has empty ones up to there


class Book:
    """An open workbook.

    Attributes:
        sheets: The names of its sheets, in their order.
        epoch: The day from which it counts days.
        has_merged_cells: Whether it has some on any sheet. All but the first of them are empty.
    """

    def __init__(self, path: Path, values: Workbook, formulas: Workbook | None, *, has_merged_cells: bool) -> None:
        self._path = path
        self._values = values
        self._formulas = formulas
        self.sheets: Sequence[str] = [sheet.title for sheet in values.worksheets]
        self.epoch: datetime = values.epoch
        self.has_merged_cells = has_merged_cells

    def place(self, sheet: str) -> str:
        """The file and one of its sheets, for an error."""
        return f"{self._path.name}, sheet {sheet!r}"

    def rows(self, sheet: str) -> Iterator[tuple[int, Cells]]:
        """The rows of a sheet that are not empty, with their numbers from 1. `UNCOMPUTED` is a formula without a value.

        Args:
            sheet: Its name.

        Raises:
            UnreadableFile: it cannot be read.
        """
        number = 0
        try:
            values = _cells(self._values, sheet)
            rows = values if self._formulas is None else map(_computed, values, _cells(self._formulas, sheet))
            for number, cells in enumerate(rows, start=1):
                if number > _MOST_ROWS:
                    raise ValueError("more rows than a sheet can have")
                if any(cell is not None and cell != "" for cell in cells):
                    yield number, cells
        except Exception as error:
            raise UnreadableFile(f"{self.place(sheet)}, after row {number}: cannot be read: {error}") from error


@contextmanager
def open_book(path: Path) -> Iterator[Book]:
    """A workbook that does no harm to whoever reads it.

    Args:
        path: The file.

    Raises:
        UnreadableFile: it is no .xlsx, has macros or links to others, or would take far more room than a table does.
    """
    seen = _check(path)
    # Read beside the values, the formulas tell a cell that nobody computed from one that is empty.
    formulas = _opened(path, data_only=False) if seen.has_formulas else nullcontext()
    with _opened(path) as values, formulas as written:
        yield Book(path, values, written, has_merged_cells=seen.has_merged_cells)


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


def _check(path: Path) -> Seen:
    """Look at what a workbook says of itself before it is unpacked.

    Raises:
        UnreadableFile: it is no .xlsx, has macros, or would take far more room than a table does.
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
        raise UnreadableFile(f"{path.name}: {size:,} bytes when unpacked, from {packed:,}: too large for a table")
    try:
        with ZipFile(path) as file:
            return look_at(file)
    except TooLarge as error:
        raise UnreadableFile(f"{path.name}: {error}: too large for a table") from error
    except Exception as error:
        raise UnreadableFile(f"{path.name}: not a workbook that can be read: {error}") from error
