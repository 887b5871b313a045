"""The times in a row of a table, in one form."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from attendance.times import read_device_time
from producers.devices.common.tables.cells import EPOCH, Cells, cell, text_of, when
from producers.devices.common.tables.dates import Order, split_times, to_moment
from producers.devices.common.tables.header import Header
from producers.devices.common.tables.options import TableOptions

_EPOCH_1904: Final = datetime(1904, 1, 1)  # noqa: DTZ001 - a spreadsheet's first day, in no zone
_NUMBER: Final = re.compile(r"\d{1,5}(?:[.,]\d+)?|[.,]\d+")
_ORDERS: Final[Sequence[Order]] = ("dmy", "mdy")


@dataclass(frozen=True, slots=True)
class Clock:
    """Reads the times of a table.

    `order` is that of day, month and year; None where it is not known yet, or each date says it by itself.
    """

    header: Header
    options: TableOptions
    epoch: datetime = EPOCH
    order: Order | None = None

    @property
    def given_order(self) -> Order | None:
        """The order that the options name."""
        given = self.options.date_format
        return cast("Order", given) if given in ("ymd", "dmy", "mdy") else None

    def written(self, cells: Cells) -> Sequence[str]:
        """The times of a row as they are written there; none where the cells are empty.

        Args:
            cells: The row.
        """
        given, epoch = self.options.date_format, self.epoch
        if given in ("excel", "excel1904"):
            cells = self._with_numbers(cells)
            epoch = _EPOCH_1904 if given == "excel1904" else epoch
        written = when(cells, self.header.places, epoch)
        if not written:
            return ()
        if self.options.several_times and self.moment(written) is None:
            return split_times(written)
        return (written,)

    def moment(self, written: str) -> datetime | None:
        """A time without a zone, in whatever order; None for what is none of the known forms.

        Args:
            written: One of `written`.
        """
        given = self.options.date_format
        if given is not None and "%" in given:
            try:
                return datetime.strptime(written, given).replace(microsecond=0)  # noqa: DTZ007 - a wall clock
            except ValueError:
                return None
        orders = _ORDERS if self.order is None else (self.order,)
        return next((found for each in orders if (found := to_moment(written, each)) is not None), None)

    def any_moment(self, written: str) -> datetime | None:
        """A time, in a zone if it has one; None for what is no time.

        Args:
            written: One of `written`.
        """
        moment = self.moment(written)
        return read_device_time(written, "UTC") if moment is None else moment.replace(tzinfo=UTC)

    def _with_numbers(self, cells: Cells) -> Cells:
        """The row, with the numbers of days and parts of days that stand in it as text."""
        numbers = list(cells)
        for column in ("time", "date", "clock"):
            place = self.header.places.get(column)
            text = "" if place is None else text_of(cell(cells, place))
            if place is not None and _NUMBER.fullmatch(text):
                numbers[place] = float(text.replace(",", "."))
        return numbers
