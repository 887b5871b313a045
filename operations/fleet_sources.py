"""Reads the entries that `punchstream fleet apply` is given: fleet files, tables, and folders of them."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Any, Final

import yaml
from openpyxl import load_workbook

from attendance.errors import ConfigurationError
from attendance.fleet import PLACE, Device
from attendance.fleet_entries import GivenEntry
from attendance.fleet_file import parse, read_bytes

YAML: Final = frozenset((".yaml", ".yml"))
TABLES: Final = frozenset((".csv", ".xlsx"))

_NESTED: Final = frozenset(("options", "credentials"))
_SEPARATORS: Final = ",;\t"


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files that paths stand for: a file for itself, a folder for every file in it that can be read, by name.

    Raises:
        ConfigurationError: a path is not there, or a folder has no such file.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in YAML | TABLES and each.is_file())
            if not inside:
                raise ConfigurationError(f"PATH: {path} has no .yaml, .csv or .xlsx file")
            found += inside
        elif path.suffix.lower() in YAML | TABLES:
            found.append(path)
        else:
            raise ConfigurationError(f"PATH: {path} is no .yaml, .csv or .xlsx file, and no folder")
    return found


def stamps_of(paths: Iterable[Path]) -> list[tuple[Path, int, int]]:
    """By what a change of the files that paths stand for is noticed. Files that are gone are left out."""
    stamps = []
    with suppress(ConfigurationError):
        for path in files_of(paths):
            with suppress(OSError):
                status = path.stat()
                stamps.append((path, status.st_mtime_ns, status.st_size))
    return stamps


def read_entries(paths: Iterable[Path]) -> list[GivenEntry]:
    """The entries of files and folders, right or wrong.

    A table has a device in each row and a field in each column. Columns such as `options.tls` are parts of a field. A
    table without a column `site` is of the site that its file is named after.

    Raises:
        ConfigurationError: files cannot be read as what they are; a line for each.
    """
    entries: list[GivenEntry] = []
    problems: list[str] = []
    for path in files_of(paths):
        try:
            content = read_bytes(path)
            suffix = path.suffix.lower()
            if suffix in YAML:
                entries += parse(path, content)
            else:
                entries += _table(path, _csv_rows(content) if suffix == ".csv" else _xlsx_rows(path))
        except ConfigurationError as error:
            problems.append(str(error))
        except (UnicodeDecodeError, csv.Error) as error:
            problems.append(f"{path}: not CSV in UTF-8: {error}")
        except Exception as error:  # noqa: BLE001 - openpyxl raises whatever its parsers do
            problems.append(f"{path}: cannot be read: {error}".replace("\n", " "))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return entries


def _csv_rows(content: bytes) -> Iterator[tuple[int, Sequence[object]]]:
    text = content.decode("utf-8-sig")
    header = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=header.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    for row in reader:
        yield reader.line_num, row


def _xlsx_rows(path: Path) -> Iterator[tuple[int, Sequence[object]]]:
    workbook = load_workbook(path, read_only=True, data_only=True)
    try:
        yield from enumerate(workbook.worksheets[0].iter_rows(values_only=True), start=1)
    finally:
        workbook.close()


def _table(path: Path, rows: Iterator[tuple[int, Sequence[object]]]) -> Iterator[GivenEntry]:
    line, header = next(((line, row) for line, row in rows if any(map(_text, row))), (0, ()))
    names = [_text(cell) for cell in header]
    unknown = [name for name in names if name and name.partition(".")[0] not in Device.model_fields]
    nested = [name for name in names if "." in name and name.partition(".")[0] not in _NESTED]
    if "device_id" not in names or unknown or nested:
        wrong = ", ".join(repr(name) for name in dict.fromkeys([*unknown, *nested]))
        raise ConfigurationError(
            f"{path}:{line}: " + (f"no such column: {wrong}" if wrong else "the header has no column device_id")
        )
    for number, (line, row) in enumerate(rows, start=1):
        cells = {name: value for name, value in zip(names, row, strict=False) if name and _text(value)}
        if not cells:
            continue
        fields = fields_of_cells(cells)
        if "site" not in names:
            fields["site"] = path.stem
        yield GivenEntry("device", fields, f"{path}:{line}", f"device {number}")


def fields_of_cells(cells: Mapping[str, object]) -> dict[str, Any]:
    """The fields of a device that the cells of a table say.

    Args:
        cells: By the names of their columns. None is empty.
    """
    fields: dict[str, Any] = {}
    for name, value in cells.items():
        field, _, part = name.partition(".")
        text = _text(value)
        if field in _NESTED and part:
            scalar = text
            if field == "options":
                with suppress(yaml.YAMLError):
                    scalar = yaml.safe_load(text)
            fields.setdefault(field, {})[part] = scalar
        elif field == "addresses":
            fields[field] = re.split(r"[\s,;]+", text)
        elif field in PLACE:
            fields[field] = _number(text)
        else:
            fields[field] = text
    return fields


def _text(cell: object) -> str:
    if cell is None:
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
