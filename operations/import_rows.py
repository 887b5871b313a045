"""The rows of an imported file, so that somebody can look at what came of each."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple

from attendance.fleet import Device
from attendance.plausibility import TimeFault
from attendance.records.raw_event import RawEvent
from attendance.times import from_milliseconds
from producers.devices.contract import Ignored, Rejected, Row
from producers.files.importer import Tally

Problem = Literal["rejected", "unreadable_time", "ahead", "before_installed"]

_FAULTS: Final[Mapping[TimeFault, Problem]] = {
    TimeFault.UNREADABLE: "unreadable_time",
    TimeFault.AHEAD: "ahead",
    TimeFault.BEFORE_INSTALLED: "before_installed",
}
_SCHEMA: Final = """
pragma journal_mode = off; pragma synchronous = off;
create table row (number integer primary key, line, device_id, user, written, at, zone, direction, event_id, problem,
    message);
create index with_problem on row (number) where problem is not null;
"""


class ImportRow(NamedTuple):
    """One punch of a row, or why it has none.

    Attributes:
        line: Of the row in the file, counted from 1.
        device_id, user: Whose punch it is; None where the row was rejected.
        written: The time as the file has it.
        at: The time, UTC; None where it cannot be read.
        zone: In which zone it was read.
        direction: `IN`, `OUT` or `UNKNOWN`.
        event_id: Of the punch.
        problem: What is wrong with it; None where nothing is.
        message: Why it was rejected, in words.
    """

    line: int
    device_id: str | None = None
    user: str | None = None
    written: str | None = None
    at: datetime | None = None
    zone: str | None = None
    direction: str | None = None
    event_id: str | None = None
    problem: Problem | None = None
    message: str | None = None


class ImportRows:
    """Rows in a temporary file, which is gone when it is closed: memory does not grow with them."""

    def __init__(self) -> None:
        """There is none yet."""
        self._db = sqlite3.connect("", check_same_thread=False)
        self._db.executescript(_SCHEMA)

    def add(self, row: ImportRow) -> None:
        """Take in the next one."""
        at = None if row.at is None else round(row.at.timestamp() * 1000)
        values = (row.line, row.device_id, row.user, row.written, at, *row[5:])
        self._db.execute("insert into row values (null, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def count(self, *, problems: bool = False) -> int:
        """How many there are, or how many have a problem."""
        which = " where problem is not null" if problems else ""
        (found,) = self._db.execute(f"select count(*) from row{which}").fetchone()  # noqa: S608 - only our words
        return int(found)

    def some(self, first: int, most: int, *, problems: bool = False) -> list[ImportRow]:
        """Some of them, in their order.

        Args:
            first: How many to leave out.
            most: How many at most.
            problems: Only those that have a problem.
        """
        which = "where problem is not null" if problems else ""
        query = f"select * from row {which} order by number limit ? offset ?"  # noqa: S608 - only our words
        found = []
        for _, line, device_id, user, written, at, *rest in self._db.execute(query, (most, first)):
            found.append(
                ImportRow(line, device_id, user, written, None if at is None else from_milliseconds(at), *rest)
            )
        return found

    def close(self) -> None:
        """Remove them."""
        self._db.close()


@dataclass(slots=True)
class RowTally(Tally):
    """A tally that keeps each row. What is certainly no punch is counted only."""

    each: ImportRows = field(default_factory=ImportRows)

    def add(self, row: Row, devices: Mapping[str, Device]) -> TimeFault | None:
        """See `Tally.add`."""
        fault = Tally.add(self, row, devices)
        outcome = row.outcome
        if isinstance(outcome, Rejected):
            self.each.add(ImportRow(row.line, problem="rejected", message=outcome.message))
        elif not isinstance(outcome, Ignored):
            self.each.add(_punch(row.line, outcome, fault))
        return fault


def _punch(line: int, event: RawEvent, fault: TimeFault | None) -> ImportRow:
    return ImportRow(
        line,
        event.device_id,
        event.device_user_id,
        event.device_time,
        event.event_time,
        event.device_timezone,
        event.event_type,
        event.event_id,
        None if fault is None else _FAULTS[fault],
    )
