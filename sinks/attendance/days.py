"""Which days of a shift have to be looked at: those whose check-ins changed. Pure: no Kafka, no ERPNext, no clock.

A check-in that left its day shows that nowhere. So all days are gone over again as well, one date after the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from attendance.records.attendance_day import AttendanceProgress
from sinks.attendance.policy import Day, Row, read_time

FIRST_DAYS: Final = timedelta(days=31)
"""How far back a shift begins that has no `attendance_from`: a month that is not paid yet."""
OVERLAP: Final = timedelta(minutes=75)
"""How much is read again each time. A document is committed later than its `modified` says, by as long as a request may
take; and where clocks go back, an hour of `modified` comes twice."""
FIRST_PAUSE: Final = timedelta(minutes=5)
LONGEST_PAUSE: Final = timedelta(hours=6)


@dataclass(slots=True)
class _OpenDay:
    ends: datetime
    modified: datetime
    failures: int = 0
    next_try: datetime = datetime.min  # noqa: DTZ901 - naive, as all times of the site


class OpenDays:
    """The days of one shift whose check-ins changed, and which have not become an Attendance, or a refusal, since."""

    def __init__(self, shift_type: str, begins: date, modified: datetime | None = None) -> None:
        """Nothing is open yet.

        Args:
            shift_type: The Shift Type.
            begins: The first day that counts.
            modified: Up to where changes were looked at; None for all since the first day began.
        """
        self.shift_type = shift_type
        self.begins = begins
        # A night shift's people may punch in on the day before.
        self.since = modified or datetime.combine(begins - timedelta(days=1), datetime.min.time())
        self._newest = self.since
        self._seen: dict[str, datetime] = {}
        self._open: dict[Day, _OpenDay] = {}
        self._gone_over: date | None = None
        self._left_behind: dict[Day, str] = {}

    @classmethod
    def resumed(cls, shift_type: str, begins: date, saved: AttendanceProgress | None) -> "OpenDays":
        """Go on from what was saved, unless it began later than it should.

        Args:
            shift_type: The Shift Type.
            begins: The first day that should count.
            saved: What an earlier process had looked at.
        """
        if saved is None or begins < saved.begins:
            return cls(shift_type, begins)
        return cls(shift_type, begins, saved.modified)

    def add(self, rows: Iterable[Row]) -> None:
        """Take in check-ins that changed. Those that were taken in before change nothing."""
        for row in rows:
            modified = datetime.fromisoformat(str(row["modified"]))
            if self._seen.get(row["name"]) == modified:
                continue
            self._seen[row["name"]] = modified
            self._newest = max(self._newest, modified)
            start, end = read_time(row["shift_start"]), read_time(row["shift_actual_end"])
            if start is None or end is None or start.date() < self.begins:
                continue
            day = Day(start.date(), row["employee"], self.shift_type)
            known = self._open.get(day)
            if known is None:
                self._open[day] = _OpenDay(end, modified)
            else:
                known.ends = max(known.ends, end)
                known.next_try = datetime.min  # noqa: DTZ901 - what failed may be mended by that change

    def next_date(self, until: datetime) -> date:
        """The date that is gone over next: from the newest to the first, and from the newest again.

        Args:
            until: Up to when the shift is complete.
        """
        newest, before = until.date(), self._gone_over
        again = before is None or before <= self.begins
        self._gone_over = newest if before is None or again else min(newest, before - timedelta(days=1))
        return self._gone_over

    def went_over(self, on: date, left_behind: Mapping[Day, str]) -> None:
        """Open the days of a date whose Attendance has been left behind by their check-ins.

        Args:
            on: The date.
            left_behind: What makes each of them differ. What was opened for that before is not opened again.
        """
        known = {day: what for day, what in self._left_behind.items() if day.attendance_date == on}
        for day in known.keys() - left_behind.keys():
            del self._left_behind[day]
        for day, what in left_behind.items():
            if known.get(day) != what and day not in self._open:
                self._open[day] = _OpenDay(datetime.combine(on, datetime.min.time()), self._newest)
            self._left_behind[day] = what

    def complete(self, until: datetime, clock: datetime) -> list[Day]:
        """The open days that are over and may be tried now, in order.

        Args:
            until: Up to when the shift is complete.
            clock: The site's time.
        """
        return sorted(day for day, open_ in self._open.items() if open_.ends < until and open_.next_try <= clock)

    def reopen(self, day: Day, ends: datetime) -> None:
        """The day is longer than its changed check-ins said."""
        self._open[day].ends = ends

    def finished(self, day: Day) -> None:
        """The day has its record."""
        self._open.pop(day, None)

    def has_failed(self, day: Day) -> bool:
        """Whether ERPNext has failed on this day before."""
        return self._open[day].failures > 0

    def failed(self, day: Day, clock: datetime) -> None:
        """ERPNext failed on this day: it is tried again, at growing intervals.

        Args:
            day: An open day.
            clock: The site's time.
        """
        open_ = self._open[day]
        open_.next_try = clock + min(FIRST_PAUSE * 2 ** min(open_.failures, 16), LONGEST_PAUSE)
        open_.failures += 1

    def advance(self, clock: datetime) -> AttendanceProgress:
        """All changes up to now have been taken in: read on from there, but for an overlap.

        Args:
            clock: The site's time, when reading began. A document that is dated later does not move the place further.

        Returns:
            From where another process has to read on, with the days that are open.
        """
        self.since = max(self.since, min(self._newest, clock) - OVERLAP)
        self._seen = {name: modified for name, modified in self._seen.items() if modified >= self.since}
        first = min((open_.modified for open_ in self._open.values()), default=self.since)
        return AttendanceProgress(self.shift_type, self.begins, min(first, self.since).replace(microsecond=0))
