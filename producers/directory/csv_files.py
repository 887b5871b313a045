"""User maps from CSV files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attendance.errors import ConfigurationError
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.records.user_map import EVERYWHERE, UserMapping, device_scope, site_scope
from attendance.settings import KafkaSettings
from producers.directory.user_map import read_user_map, send_records


class InvalidUserMapFile(ConfigurationError):
    """Rows of a user map file are wrong, and nothing of it was used.

    Args:
        path: The file.
        problems: What is wrong, one line for each row; never empty.
    """

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        rows = "1 row is wrong" if len(problems) == 1 else f"{len(problems)} rows are wrong; the first"
        super().__init__(f"{path}: {rows}: {problems[0]}")
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did, in mappings. `unknown_employees` are not in the directory; punches of theirs wait."""

    written: int
    unchanged: int
    removed: int
    unknown_employees: tuple[str, ...]


def read_csv(path: Path) -> list[UserMapping]:
    """The mappings of a CSV file, each once.

    The header names the columns `device_user_id`, `employee` and, where a mapping is not for every device, `site` and
    `device_id`, of which a row may fill one. UTF-8; the delimiter is a comma or a semicolon. Leading zeros are kept.

    Raises:
        InvalidUserMapFile: rows are wrong, or contradict one another.
        ConfigurationError: the file or its header cannot be read.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8") from error
    delimiter = ";" if ";" in content.partition("\n")[0] else ","
    rows = csv.reader(io.StringIO(content), delimiter=delimiter, strict=True)
    problems: list[str] = []
    mappings: dict[bytes, UserMapping] = {}
    lines: dict[bytes, int] = {}
    try:
        columns = _columns(path, next(rows, []))
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            try:
                mapping = _read_row(columns, cells)
                first = mappings.setdefault(mapping.key, mapping)
                line = lines.setdefault(mapping.key, rows.line_num)
                if first != mapping:
                    raise ValueError(f"this user is {mapping.employee} here and {first.employee} on line {line}")
            except ValueError as error:
                problems.append(f"line {rows.line_num}: {error}")
    except csv.Error as error:
        problems.append(f"line {rows.line_num}: {error}")
    if problems:
        raise InvalidUserMapFile(path, problems)
    return list(mappings.values())


_NEEDED: Final = ("device_user_id", "employee")
_SCOPES: Final = ("site", "device_id")


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    columns = [name.strip() for name in header]
    for name in _NEEDED:
        if name not in columns:
            raise ConfigurationError(f"{path}: the header has no column {name}")
    for name in columns:
        # A misspelt `site` that was ignored would give its rows to every site.
        if name not in {*_NEEDED, *_SCOPES} or columns.count(name) > 1:
            raise ConfigurationError(f"{path}: the header has a column {name!r} that is unknown or there twice")
    return columns


def _read_row(columns: Sequence[str], cells: Sequence[str]) -> UserMapping:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} values for {len(columns)} columns")
    row = dict(zip(columns, cells, strict=True))
    for name in _NEEDED:
        if not row[name]:
            raise ValueError(f"no {name}")
    site, device_id = row.get("site"), row.get("device_id")
    if site and device_id:
        raise ValueError("site and device_id are both given")
    scope = site_scope(site) if site else device_scope(device_id) if device_id else EVERYWHERE
    return UserMapping(scope, row["device_user_id"], row["employee"], "csv")


async def import_csv(kafka: KafkaSettings, path: Path, *, replace: bool = False) -> ImportResult:
    """Write the mappings of a CSV file to the user map topic.

    Args:
        kafka: Where the topic is.
        path: The file.
        replace: Whether mappings of earlier files that this one lacks are removed.

    Raises:
        ConfigurationError: the file is wrong (see `read_csv`); nothing was written.
        KafkaUnavailable: Kafka does not answer; some of it may be written, and another import completes it.
    """
    target = {mapping.key: mapping for mapping in read_csv(path)}
    users = await read_user_map(kafka)
    known = {mapping.key: mapping for mapping in users.mappings() if mapping.source == "csv"}
    topic = kafka.topics["user_map"]
    written = [OutRecord(topic, key, mapping.encode()) for key, mapping in target.items() if known.get(key) != mapping]
    removed = [OutRecord(topic, key, None) for key in known if replace and key not in target]
    records = [*written, *removed]
    producer = Producer(kafka, kafka.client_id("users-import"))
    try:
        await send_records(producer.send, records)
    finally:
        await producer.stop()
    named = {mapping.employee for mapping in target.values()}
    return ImportResult(
        written=len(written),
        unchanged=len(target) - len(written),
        removed=len(removed),
        unknown_employees=tuple(sorted(name for name in named if users.employee(name) is None)),
    )
