"""Shift Type: from when to when a shift lasts on each day, and which of its days a time belongs to."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import SHIFT_TYPE
from sandbox.erpnext.query import Row, Value

LAST_SYNC: Final = "last_sync_of_checkin"

DAY_SHIFT: Final[Row] = {
    "name": "Day Shift",
    "owner": "Administrator",
    "creation": "2025-01-01 00:00:00.000000",
    "modified": "2025-01-01 00:00:00.000000",
    "modified_by": "Administrator",
    "docstatus": 0,
    "idx": 0,
    "start_time": "8:00:00",
    "end_time": "17:00:00",
    "holiday_list": "HL",
    "color": "Blue",
    "enable_auto_attendance": 1,
    "determine_check_in_and_check_out": "Alternating entries as IN and OUT during the same shift",
    "working_hours_calculation_based_on": "First Check-in and Last Check-out",
    "begin_check_in_before_shift_start_time": 60,
    "allow_check_out_after_shift_end_time": 60,
    "mark_auto_attendance_on_holidays": 0,
    "working_hours_threshold_for_half_day": 0.0,
    "working_hours_threshold_for_absent": 0.0,
    "process_attendance_after": "2025-01-01",
    LAST_SYNC: "2025-01-01 00:00:00",
    "auto_update_last_sync": 0,
    "enable_late_entry_marking": 0,
    "late_entry_grace_period": 0,
    "enable_early_exit_marking": 0,
    "early_exit_grace_period": 0,
}

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class ShiftDay:
    """A shift on the day on which it starts. Check-ins from `opens` to `closes` are its own."""

    day: date
    start: datetime
    end: datetime
    opens: datetime
    closes: datetime

    @classmethod
    def of(cls, shift: Row, day: date) -> "ShiftDay":
        """The shift on that day; one that ends before it starts ends on the next."""
        midnight = datetime.combine(day, time())
        start, end = (midnight + _duration(shift[field]) for field in ("start_time", "end_time"))
        if end < start:
            end += _DAY
        return cls(
            day=day,
            start=start,
            end=end,
            opens=start - timedelta(minutes=shift["begin_check_in_before_shift_start_time"]),
            closes=end + timedelta(minutes=shift["allow_check_out_after_shift_end_time"]),
        )

    def overlaps(self, other: "ShiftDay") -> bool:
        """Whether both shifts last at some time, margins aside."""
        return self.start < other.end and other.start < self.end


def last_end(shift: Row, now: datetime) -> datetime:
    """When the window of the shift closed last, as hrms takes it: of today's, or of yesterday's that reaches over."""
    today = ShiftDay.of(shift, now.date())
    reaches_over = today.opens.date() < today.closes.date()
    return today.closes - _DAY if reaches_over or now < today.opens else today.closes


def last_day_for_absence(shift: Row) -> date:
    """The last day on which hrms marks people Absent: the one before that in which `last_sync_of_checkin` falls.

    A shift of one day is over with its date then. One whose window reaches into the next day lasts until the next
    window opens, and one whose window opens the evening before begins when the previous has closed.
    """
    moment = read_time(shift[LAST_SYNC])
    today = ShiftDay.of(shift, moment.date())
    if today.closes.date() > today.day:
        return today.day - _DAY * (1 if moment >= today.opens else 2)
    if today.opens.date() < today.day and moment > today.closes:
        return today.day
    return today.day - _DAY


def read_time(value: Value) -> datetime:
    """A Datetime field's value.

    Raises:
        FrappeError: the database takes it for no time, as one with an offset.
    """
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        text = f"(1292, \"Incorrect datetime value: '{value}' for column `tab{SHIFT_TYPE}`.`{LAST_SYNC}` at row 1\")"
        raise errors.failed("pymysql.err.OperationalError", text)
    return moment


def _duration(clock: str) -> timedelta:
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)
