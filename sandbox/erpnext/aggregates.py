"""Aggregates: `count(name) as n`, `sum(crc32(modified)) as s` and the like, as MariaDB computes them.

They are of all rows, or of each group of rows that begin alike: `left(name,10) as b`, grouped by `b`.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

_SPELLED: Final = re.compile(r"(count|sum|max|bit_xor)\((?:(crc32)\((\w+)\)|(\w+))\) as (\w+)", re.IGNORECASE)
_BEGINNING: Final = re.compile(r"left\((\w+), *(\d+)\) as (\w+)", re.IGNORECASE)
_STAMPS: Final = frozenset({"creation", "modified"})

Row = dict[str, Any]


def _bit_xor(values: Sequence[int]) -> int:
    found = 0
    for value in values:
        found ^= value
    return found


_FUNCTIONS: Final[dict[str, Callable[[Sequence[Any]], Any]]] = {
    "count": len,
    # A sum comes as a double, and of nothing there is none.
    "sum": lambda values: float(sum(values)) if values else None,
    "max": lambda values: max(values, default=None),
    "bit_xor": _bit_xor,
}


def field_of(spelled: str) -> str | None:
    """The field of which an aggregate or a beginning is; None where this is neither."""
    if beginning := _BEGINNING.fullmatch(spelled.strip()):
        return beginning[1]
    found = _SPELLED.fullmatch(spelled.strip())
    return None if found is None else found[3] or found[4]


def compute_groups(spelled: Sequence[str], rows: Sequence[Row], group_by: str) -> list[Row]:
    """One row for each group.

    Args:
        spelled: The fields as they were asked for. What is neither an aggregate nor the group is left out.
        rows: All that match.
        group_by: By what name the beginning was asked for that the rows of a group share.

    Raises:
        StopIteration: Nothing was asked for by that name.
    """
    beginnings = (_BEGINNING.fullmatch(each.strip()) for each in spelled)
    field, length, name = next(found for found in beginnings if found and found[3] == group_by).groups()
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row[field])[: int(length)], []).append(row)
    return [{name: beginning} | compute(spelled, groups[beginning]) for beginning in sorted(groups)]


def compute(spelled: Sequence[str], rows: Sequence[Row]) -> Row:
    """The one row of a list that asks for aggregates.

    Args:
        spelled: The fields as they were asked for. One that is no aggregate is left out.
        rows: All that match.
    """
    answer: Row = {}
    for each in spelled:
        found = _SPELLED.fullmatch(each.strip())
        if found is None:
            continue
        function, checksum, of_checksum, plain, name = found.groups()
        values = [row[of_checksum or plain] for row in rows if row[of_checksum or plain] is not None]
        if checksum:
            values = [zlib.crc32(_text(of_checksum, value).encode()) for value in values]
        answer[name] = _FUNCTIONS[function.lower()](values)
    return answer


def _text(field: str, value: str) -> str:
    """The value as the database spells it: stamps always have six digits behind the second."""
    return value.ljust(len("2026-01-01 00:00:00."), ".").ljust(26, "0") if field in _STAMPS else str(value)
