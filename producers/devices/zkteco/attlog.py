"""`attlog.dat`: what a ZKTeco terminal writes to a USB stick. One line a punch, separated by tabs, without a header.

ZKTeco documents neither the columns nor their order. Seen are the user id padded with spaces, the time, and after them
the columns of `_ORDERS`; where a terminal has another order, the entry's `options.columns` says it. With 5 or 6 columns
the third is the terminal's number or the state, and no line alone tells which: the whole file does.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import field_validator

from attendance.errors import InvalidRecord, UnreadableFile
from attendance.records.raw_event import Source
from attendance.registry import Device
from attendance.times import now, read_device_time
from producers.devices.common.attendance_states import direction_of_state
from producers.devices.common.files import batch_id, encoding_of, lines, rejected
from producers.devices.common.options import read_options
from producers.devices.common.punch import invalid, punch, scalars
from producers.devices.contract import Options, Row

_Column = Literal["user", "time", "terminal", "state", "verify", "work_code", "ignored"]

_WITH_TERMINAL: Final[Sequence[_Column]] = ("user", "time", "terminal", "state", "verify", "work_code")
_WITHOUT: Final[Sequence[_Column]] = ("user", "time", "state", "verify", "work_code", "ignored", "ignored")
_ORDERS: Final[Mapping[int, Sequence[_Column]]] = {
    2: ("user", "time"),
    3: ("user", "time", "state"),
    4: ("user", "time", "state", "verify"),
    5: _WITHOUT[:5],
    6: _WITHOUT[:6],
    7: _WITHOUT,
}
_STATES: Final = frozenset({"0", "1", "2", "3", "4", "5", "255"})
_MOST_VALUES: Final = 300  # of a column of small numbers; a file that means ill has more
_PAYLOAD: Final = ("verify", "work_code")
_BEFORE_FIRST: Final = 100  # lines that are no record, after which the file is of another format


class AttlogOptions(Options):
    """The options of an entry whose files are attendance logs: the columns, where they are in another order."""

    columns: tuple[_Column, ...] | None = None

    @field_validator("columns")
    @classmethod
    def _has_a_punch(cls, columns: tuple[_Column, ...] | None) -> tuple[_Column, ...] | None:
        if columns is not None and not {"user", "time"} <= set(columns):
            raise ValueError("user and time must be among them")
        return columns


class Attlog:
    """The file adapter. See `FileAdapter`.

    How many columns the first record has, and what the file has in them, decides on their order; a line with another
    number of them is rejected.
    """

    name: Final = "attlog"
    version: Final = "1"
    verified_on: Final = "simulator"
    options: Final = AttlogOptions

    def __init__(self, payload_fields: Collection[str]) -> None:
        self._payload = tuple(dict.fromkeys((*_PAYLOAD, *payload_fields)))

    def rows(self, path: Path, device: Device, terminals: Mapping[str, Device]) -> Iterator[Row]:  # noqa: ARG002 - the file has no serial number
        """Every line that is not empty. See `FileAdapter.rows`."""
        order: Sequence[_Column] | None = read_options(device, AttlogOptions).columns
        encoding = encoding_of(path)
        batch, received_at = batch_id(path), now()
        found = False
        before_first: list[Row] = []
        for line, text in lines(path, encoding):
            cells = [cell.strip() for cell in text.split("\t")]
            if not any(cells):
                continue
            if not found and _is_record(cells, order, device):
                found, order = True, order or _order(path, encoding, len(cells), device)
                yield from before_first
            row = self._row(
                line, cells, order, device, Source("file", self.name, self.version, batch, line), received_at
            )
            if found:
                yield row
            elif len(before_first) == _BEFORE_FIRST:
                break
            else:
                before_first.append(row)
        if before_first and not found:
            raise UnreadableFile(f"{path.name}: no line is a user id, a tab and a time such as 2026-01-01 08:00:00")

    def _row(
        self,
        line: int,
        cells: Sequence[str],
        order: Sequence[_Column] | None,
        device: Device,
        source: Source,
        at: datetime,
    ) -> Row:
        try:
            if order is None or len(cells) != len(order):
                raise invalid(f"{len(cells)} columns, unlike the first record")
            record: Mapping[str, str] = dict(zip(order, cells, strict=True))
            event = punch(
                device,
                user=record["user"],
                time=record["time"] or None,
                event_type=direction_of_state(record.get("state")),
                received_at=at,
                source=source,
                payload=scalars(record, self._payload),
            )
        except InvalidRecord as error:
            return Row(line, rejected(line, error, cells))
        return Row(line, event)


def _order(path: Path, encoding: str, width: int, device: Device) -> Sequence[_Column]:
    """The order of a file's columns, of which the first record has `width`.

    Raises:
        UnreadableFile: neither the third nor the fourth can be the state in every record.
    """
    if width not in (5, 6):
        return _ORDERS[width]
    third, fourth = set[str](), set[str]()
    with suppress(UnreadableFile):  # where it breaks off, the rows before that are still handed over
        for _, text in lines(path, encoding):
            cells = [cell.strip() for cell in text.split("\t")]
            if len(cells) == width and _is_record(cells, None, device) and len(third | fourth) < _MOST_VALUES:
                third.add(cells[2])
                fourth.add(cells[3])
    # A stick holds the log of one terminal, and terminals are numbered from 1.
    if len(third) == 1 and not third & {"0", "255"} and fourth <= _STATES:
        return _WITH_TERMINAL[:width]
    if third <= _STATES:
        return _WITHOUT[:width]
    raise UnreadableFile(f"{path.name}: neither its third nor its fourth column is a state; options.columns says which")


def _is_record(cells: Sequence[str], order: Sequence[_Column] | None, device: Device) -> bool:
    """Whether the cells can be a record of that order, or of one of those that are known."""
    order = order or _ORDERS.get(len(cells))
    if order is None or len(order) != len(cells):
        return False
    record = dict(zip(order, cells, strict=True))
    return bool(record["user"]) and read_device_time(record["time"], device.timezone) is not None
