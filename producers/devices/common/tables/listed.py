"""Which cells of a row are kept where the row is kept to be read again. In the place of any other is `LEFT_OUT`."""

import re
from collections.abc import Collection
from typing import Final

from producers.devices.common.listed import LEFT_OUT, is_name_of_field, is_time, shortened
from producers.devices.common.punch import MAX_TEXT
from producers.devices.common.tables.cells import UNCOMPUTED, Cells, normalized, text_of
from producers.devices.common.tables.names import SUMMARY, TIMES, USERS

_NUMBER: Final = re.compile(r"\d{1,12}")
# Several times may stand in a cell, whose number tells nothing about its length.
_TIMES: Final = re.compile(r"[\d\s:./,;|+TZAPMapm-]*")


def listed_cells(cells: Cells, places: Collection[int]) -> list[object]:
    """A row with the cells of the columns that are read.

    Args:
        cells: The row.
        places: Where those columns are, from 0.
    """
    return [listed_cell(each) if place in places else _left_out(each) for place, each in enumerate(cells)]


def unplaced_cells(cells: Cells, width: int) -> list[object]:
    """A row whose cells stand elsewhere than those of others: with its numbers and times, as many as others have cells.

    Args:
        cells: The row.
        width: How many cells other rows have.
    """
    kept: list[object] = []
    left = width
    for each in cells:
        text = text_of(each)
        is_kept = left > 0 and bool(_NUMBER.fullmatch(text) or is_time(text))
        left -= is_kept
        kept.append(each if is_kept else _left_out(each))
    return kept


def listed_names(names: Cells, read: Collection[str]) -> list[str]:
    """A header. What is no plain name of a column is numbered, unless it is known.

    Args:
        names: The header.
        read: The names of the columns that are read, as `normalized` has them.
    """
    known = USERS | TIMES | SUMMARY | set(read)
    texts = [text_of(each) for each in names]
    return [
        name if not name or normalized(name) in known or is_name_of_field(name) else f"column_{number}"
        for number, name in enumerate(texts, start=1)
    ]


def listed_cell(value: object) -> object:
    """A cell of a column that is read. A text too long for any user or time stays too long, unless it is of times.

    Args:
        value: The cell.
    """
    if isinstance(value, str) and len(text := value.strip()) > MAX_TEXT and not _TIMES.fullmatch(text):
        return shortened(text)
    return value


def _left_out(value: object) -> object:
    if value is UNCOMPUTED:
        return LEFT_OUT
    return LEFT_OUT if text_of(value) else value if isinstance(value, str) else None
