"""Reads the entries that `punchstream fleet apply` is given: fleet files, tables, and folders of them."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from attendance.errors import ConfigurationError, UnreadableFile
from attendance.fleet import PLACE, Device, Site
from attendance.fleet_entries import NAMED_BY, GivenEntry
from attendance.fleet_file import parse
from attendance.records.fleet import Kind
from producers.devices.common.tables.cells import UNCOMPUTED

YAML: Final = frozenset((".yaml", ".yml"))
TABLES: Final = frozenset((".csv", ".xlsx"))
NOT_READ: Final = frozenset((".xls", ".xlsm", ".xlsb", ".ods", ".tsv", ".json"))
"""Of files that somebody may take for read."""
NESTED: Final = frozenset(("options", "credentials"))
"""Fields that have parts."""
LARGEST: Final = 16 * 2**20  # bytes; a fleet file of 20,000 devices has less

_NAMES: Final = frozenset(("device_id", "serial"))
_LISTS: Final = frozenset(("addresses", "sites", "devices"))
_SEPARATORS: Final = ",;\t"
_EXACT_DIGITS: Final = 15
"""Of a number that a table program keeps as it is. Of a longer one it changes the last digits."""
_MADE_A_NUMBER: Final = re.compile(r"\d+\.0+|\d\.\d+[Ee]\+?\d+")
_ERROR_VALUE: Final = re.compile(r"#[A-Z][A-Z/0-9]*[!?]?")


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files that paths stand for: a file for itself, a folder for every file in it that can be read, by name.

    Hidden files are left out, and what table programs put beside an open file. A folder in a folder is not looked into.

    Raises:
        ConfigurationError: a path is not there or none that is read, or a folder has no such file or a broken link; a
            line for each.
    """
    found: list[Path] = []
    problems: list[str] = []
    for path in paths:
        try:
            inside = sorted(path.iterdir()) if path.is_dir() else [path]
        except OSError as error:
            problems.append(f"PATH: {path}: {error.strerror}")
            continue
        chosen = [each for each in inside if not each.name.startswith((".", "~$"))] if path.is_dir() else inside
        read = [each for each in chosen if each.suffix.lower() in YAML | TABLES]
        known = read if path.is_dir() else chosen
        problems += [f"PATH: {each} cannot be read; save it as .csv or .xlsx" for each in chosen if _is_not_read(each)]
        if not known:
            problems.append(f"PATH: {path} has no .yaml, .csv or .xlsx file")
        for each in known:
            if each not in read:
                problems += [] if _is_not_read(each) else [f"PATH: {each} is no .yaml, .csv or .xlsx file"]
            elif not each.is_file():
                problems.append(f"PATH: {each}: there is no such file, or a link to none")
            else:
                found.append(each)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return list(dict.fromkeys(found))


def _is_not_read(path: Path) -> bool:
    return path.suffix.lower() in NOT_READ


class ReadFile(NamedTuple):
    """What one file holds.

    Attributes:
        content: Its bytes.
        entries: Right or wrong.
        problems: A sentence for each fault of it as a file. The faults of entries are not among them.
    """

    content: bytes
    entries: Sequence[GivenEntry]
    problems: Sequence[str]


def read_file(path: Path) -> ReadFile:
    """What a file holds.

    A table has a device in each row and a field in each column. Columns such as `options.tls` are parts of a field. A
    table without a column `site` is of the site that its file is named after. One whose columns are fields of a site,
    `site` among them, has a site in each row.

    Args:
        path: One that `files_of` has.
    """
    content = b""
    problems: list[str] = []
    entries: list[GivenEntry] = []
    try:
        content = _content(path)
        suffix = path.suffix.lower()
        if suffix in YAML:
            entries += parse(path, content)
        else:
            entries += _table(path, _csv_rows(content) if suffix == ".csv" else _xlsx_rows(path), problems)
    except ConfigurationError as error:
        problems.append(str(error))
    except (UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{path}: not CSV in UTF-8: {error}")
    except UnreadableFile as error:
        problems.append(f"{path}: cannot be read: {error}".replace("\n", " "))
    return ReadFile(content, entries, problems)


@dataclass(frozen=True, slots=True)
class Found:
    """What files hold.

    Attributes:
        entries: Right or wrong.
        problems: A sentence for each fault of a file that cannot be read as what it is.
    """

    entries: Sequence[GivenEntry]
    problems: Sequence[str]


def read_all(files: Iterable[Path]) -> Found:
    """What files hold.

    Args:
        files: As `files_of` has them.
    """
    return together(map(read_file, files))


def together(files: Iterable[ReadFile]) -> Found:
    """What files hold that were read."""
    entries: list[GivenEntry] = []
    problems: list[str] = []
    for each in files:
        entries += each.entries
        problems += each.problems
    return Found(entries, problems)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    if len(content) > LARGEST:
        raise ConfigurationError(f"{path}: larger than {LARGEST >> 20} MiB")
    return content


def _csv_rows(content: bytes) -> Iterator[tuple[int, Sequence[object]]]:
    text = content.decode("utf-8-sig")
    header = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    separator = max(_SEPARATORS, key=header.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    for row in reader:
        yield reader.line_num, row


def _xlsx_rows(path: Path) -> Iterator[tuple[int, Sequence[object]]]:
    # The library for workbooks is slow to load, and most fleets have none.
    from producers.devices.generic.xlsx_book import open_book

    with open_book(path) as book:
        if book.has_merged_cells:
            raise ConfigurationError(f"{path}: it has merged cells, of which only the first has a value; unmerge them")
        if not book.sheets:
            raise ConfigurationError(f"{path}: it has no sheet with cells")
        yield from book.rows(book.sheets[0])


def _table(path: Path, rows: Iterator[tuple[int, Sequence[object]]], problems: list[str]) -> Iterator[GivenEntry]:
    line, header = next(((line, row) for line, row in rows if any(map(_text, row))), (0, ()))
    names = [_text(cell) for cell in header]
    named = list(filter(None, names))
    kind: Kind = "site" if "site" in named and Site.model_fields.keys() >= set(named) else "device"
    wrong = [f"no such column: {name!r}" for name in named if kind == "device" and not _is_column(name)]
    wrong += [f"the column {name!r} is there twice" for name in dict.fromkeys(named) if named.count(name) > 1]
    if NAMED_BY[kind] not in names:
        wrong.append(f"the header has no column {NAMED_BY[kind]}; of sites, it has only {', '.join(Site.model_fields)}")
    if wrong:
        raise ConfigurationError("\n".join(f"{path}:{line}: {each}" for each in wrong))
    number = 0
    for line, row in rows:
        if not any(map(_text, row)) and not any(cell is UNCOMPUTED for cell in row):
            continue
        number += 1
        cells = {name: cell for name, cell in zip(names, row, strict=False) if name}
        named_so = {NAMED_BY[kind]: _text(cells[NAMED_BY[kind]])}
        where = GivenEntry(kind, named_so, f"{path}:{line}", f"{kind} {number}")
        found = [f"{name}: {why}" for name, cell in cells.items() if (why := _fault(name, cell))]
        nameless = [*(cell for name, cell in zip(names, row, strict=False) if not name), *row[len(names) :]]
        if any(map(_text, nameless)):
            found.append("a value stands under no column")
        problems += map(where.problem, found)
        fields = fields_of_cells({name: cell for name, cell in cells.items() if _text(cell)})
        if "site" not in names:
            fields["site"] = path.stem
        yield GivenEntry(kind, fields, where.where, where.position)


def _is_column(name: str) -> bool:
    field, dot, part = name.partition(".")
    return field in Device.model_fields and (bool(part) if dot and field in NESTED else not dot)


def _fault(name: str, cell: object) -> str | None:
    """What a table program has made of a value that nobody gave."""
    text = _text(cell)
    if cell is UNCOMPUTED:
        return "a formula without a value; write the value, or open and save the file in a table program"
    if _ERROR_VALUE.fullmatch(text):
        return f"a formula that failed: {text}"
    is_number = isinstance(cell, int | float) and not isinstance(cell, bool)
    if isinstance(cell, float) and not cell.is_integer() and name in _NAMES:
        return f"{text}: not a whole number; write it as text"
    if is_number and len(text.lstrip("-").partition(".")[0]) > _EXACT_DIGITS:
        return f"a number of more than {_EXACT_DIGITS} digits, which is not exact; write it as text"
    if name in _NAMES and _MADE_A_NUMBER.fullmatch(text):
        return f"{text}: a table program has made a number of it; write it as text"
    return None


def fields_of_cells(cells: Mapping[str, object]) -> dict[str, Any]:
    """The fields of an entry that the cells of a table say.

    Args:
        cells: By the names of their columns. None of them is empty.
    """
    fields: dict[str, Any] = {}
    for name, value in cells.items():
        field, _, part = name.partition(".")
        text = _text(value)
        if field in NESTED and part:
            scalar = text
            if field == "options":
                with suppress(yaml.YAMLError, ValueError, RecursionError):
                    scalar = yaml.safe_load(text)
            fields.setdefault(field, {})[part] = scalar
        elif field in _LISTS:
            fields[field] = list(filter(None, re.split(r"[\s,;]+", text)))
        elif field in PLACE:
            fields[field] = _number(text)
        else:
            fields[field] = text
    return fields


def _text(cell: object) -> str:
    if cell is None or cell is UNCOMPUTED:
        return ""
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == datetime.min.time() else cell.isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text
