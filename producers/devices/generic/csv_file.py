"""Tables of punches as CSV, whatever separates their cells and however they are encoded.

A line is a row: a cell that goes on in the next line makes two rows, both rejected, where reading on could swallow
all that follows a stray quotation mark.
"""

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from attendance.errors import UnreadableFile
from attendance.records.raw_event import Source
from attendance.registry import Device
from attendance.times import now
from producers.devices.common.files import batch_id, encoding_of, lines
from producers.devices.common.options import read_options
from producers.devices.common.tables.cells import Cells
from producers.devices.common.tables.header import HEADER_ROWS, Header, find_header
from producers.devices.common.tables.options import TableOptions
from producers.devices.common.tables.table import Table, open_table
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

    def readings(self, path: Path, device: Device) -> Sequence[Reading]:
        """See `FileAdapter.readings`."""
        return [self._table(path, device).reading()]

    def _table(self, path: Path, device: Device) -> Table:
        given = read_options(device, TableOptions)
        encoding = given.encoding or encoding_of(path)
        delimiter, header = self._header(path, given, encoding)

        def read() -> Iterator[tuple[int, Cells]]:
            return _rows(path, encoding, delimiter)

        return open_table(path.name, read, header, given)

    def _header(self, path: Path, given: TableOptions, encoding: str) -> tuple[str, Header]:
        """The delimiter by which the first rows have a header that is known, and that header."""
        try:
            for delimiter in given.delimiter or _DELIMITERS:
                header = find_header(_rows(path, encoding, delimiter), given, self._payload_fields)
                if header is not None:
                    return delimiter, header
        except UnreadableFile as error:
            raise UnreadableFile(f"{path.name}: {error}") from None
        raise UnreadableFile(
            f"{path.name}: none of the first {HEADER_ROWS} lines is a header that is known; options.columns says which "
            "columns count"
        )


def _rows(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, Cells]]:
    for number, line in lines(path, encoding):
        cells = next(csv.reader([line], delimiter=delimiter), [])
        if any(cell.strip() for cell in cells):
            yield number, cells
