"""What the parts of a workbook come to, looked at before a library makes objects of them.

Each part is read as a stream, in little memory. A part that is no XML costs nothing later either.
"""

from typing import IO, Final, NamedTuple
from xml.parsers.expat import ExpatError, ParserCreate, XMLParserType
from zipfile import ZipFile

MOST_COLUMNS: Final = 16_384  # of a sheet
MOST_CELLS: Final = 20_000_000  # of a workbook, those included that stand empty before others
_DEEPEST: Final = 64
_MOST_RECORDS: Final = 4_000_000  # rows and shared strings, of all sheets
_MOST_IN_A_RECORD: Final = 100_000  # elements of one of them
_MOST_OTHERS: Final = 500_000  # elements that stand in none
_LONGEST_COLUMN: Final = 3  # letters
_LONGEST_TEXT: Final = 1 << 20  # characters; Excel has room for 32,767
_LONGEST_TAG: Final = 1 << 20  # bytes
_PIECE: Final = 1 << 16


class TooLarge(Exception):
    """A part would take more room or time than a table does."""


class Seen(NamedTuple):
    """What the cells of a workbook are: whether one has a formula, and whether some were merged."""

    has_formulas: bool
    has_merged_cells: bool


def look_at(file: ZipFile) -> Seen:
    """Look at every part of a workbook.

    Args:
        file: Open for reading. What its directory says of sizes is bounded.

    Raises:
        TooLarge: it is wider, deeper or longer than a table of punches.
        BadZipFile, OSError, NotImplementedError, RuntimeError, zlib.error: a part cannot be unpacked.
    """
    look = _Look()
    for part in file.infolist():
        with file.open(part) as stream:
            look.read(stream)
    return Seen(look.has_formulas, look.has_merged_cells)


class _Look:
    """What was seen of all parts, and where we are in one. A record is a row, or a shared string."""

    def __init__(self) -> None:
        self.has_formulas = False
        self.has_merged_cells = False
        self._records = 0
        self._others = 0
        self._cells = 0
        self._begin()

    def _begin(self) -> None:
        self._depth = 0
        self._text = 0
        self._record = 0
        """The depth of the record that we are in, 0 where we are in none."""
        self._in_record = 0
        """How many elements of it were seen."""
        self._column = 0
        """The last column of it that has a cell."""

    def read(self, stream: IO[bytes]) -> None:
        self._begin()
        parser = ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._add_text
        parser.StartDoctypeDeclHandler = _refuse_doctype
        try:
            self._feed(parser, stream)
        except ExpatError:
            return  # a picture, or broken: then a library stops here too

    def _feed(self, parser: XMLParserType, stream: IO[bytes]) -> None:
        fed = 0
        while piece := stream.read(_PIECE):
            parser.Parse(piece, False)
            fed += len(piece)
            if fed - max(parser.CurrentByteIndex, 0) > _LONGEST_TAG:
                raise TooLarge("a tag without end")
        parser.Parse(b"", True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._text = 0
        if self._depth > _DEEPEST:
            raise TooLarge(f"elements that are nested more than {_DEEPEST} deep")
        name = name.rpartition(" ")[2]
        if self._record:
            self._in_record += 1
            if self._in_record > _MOST_IN_A_RECORD:
                raise TooLarge(f"a row of more than {_MOST_IN_A_RECORD:,} elements")
            if name == "c" and self._depth == self._record + 1:
                self._add_cell(attributes.get("r", ""))
            self.has_formulas |= name == "f"
        elif name in ("row", "si"):
            self._records += 1
            if self._records > _MOST_RECORDS:
                raise TooLarge(f"more than {_MOST_RECORDS:,} rows and texts")
            self._record, self._in_record, self._column = self._depth, 0, 0
        else:
            self._others += 1
            self.has_merged_cells |= name == "mergeCell"
            if self._others > _MOST_OTHERS:
                raise TooLarge(f"more than {_MOST_OTHERS:,} elements that are no cells")

    def _add_cell(self, place: str) -> None:
        column = self._column + 1
        letters = place.rstrip("0123456789")
        if 0 < len(letters) <= _LONGEST_COLUMN and letters.isascii() and letters.isalpha():
            column = max(column, _number(letters))
        if column > MOST_COLUMNS:
            raise TooLarge(f"a row of more than {MOST_COLUMNS:,} cells")
        self._cells += column - self._column
        if self._cells > MOST_CELLS:
            raise TooLarge(f"more than {MOST_CELLS:,} cells")
        self._column = column

    def _end(self, _: str) -> None:
        if self._depth == self._record:
            self._record = 0
        self._depth -= 1
        self._text = 0

    def _add_text(self, text: str) -> None:
        self._text += len(text)
        if self._text > _LONGEST_TEXT:
            raise TooLarge(f"a text of more than {_LONGEST_TEXT:,} characters")


def _number(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def _refuse_doctype(*_: object) -> None:
    raise TooLarge("a document type, which no workbook has and which may grow without end")
