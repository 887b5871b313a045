"""What the Attendance of a day should be, and what is done about the one that ERPNext has. Pure: no Kafka, no ERPNext.

Times are naive, as ERPNext has them. The day is the shift's: a night shift's day is the one on which it begins.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal

from attendance.fleet import Shift
from attendance.records.attendance_day import DayRefusal
from attendance.times import from_wall_clock

PRESENT: Final = "Present"
HALF_DAY: Final = "Half Day"
ABSENT: Final = "Absent"
MARKER: Final = "punchstream_day"
"""The field of Attendance that says which day of which shift it is, and that it is ours."""
MAX_MARKER: Final = 140
SUBMITTED: Final = 1
CANCELLED: Final = 2

Row = Mapping[str, Any]


@dataclass(frozen=True, order=True, slots=True)
class Day:
    """A working day of one employee."""

    attendance_date: date
    employee: str
    shift_type: str

    def marker(self, revision: int = 1) -> str:
        """What the field `punchstream_day` of its Attendance holds. Each correction is a revision with its own.

        A cancelled Attendance keeps its value, so the one that takes its place needs another.
        """
        base = f"{self.employee}|{self.shift_type}|{self.attendance_date}"
        if len(base) > MAX_MARKER - len("|9999"):
            base = sha256(base.encode()).hexdigest()
        return base if revision == 1 else f"{base}|{revision}"


def revision(row: Row) -> int | None:
    """The revision of an Attendance of ours; None if it is not ours.

    Nobody else fills in the marker. It keeps the names that the employee and the shift had when it was written: ERPNext
    renames and merges them in the fields that link to them, and not in this one.
    """
    marker = row.get(MARKER)
    if not marker:
        return None
    _, bar, number = str(marker).rpartition("|")
    return int(number) if bar and number.isdecimal() else 1


@dataclass(frozen=True, slots=True)
class Expected:
    """What an Attendance should say. `working_hours` are the hours that passed between the two times."""

    status: Literal["Present", "Half Day"]
    in_time: datetime
    out_time: datetime | None
    working_hours: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What ERPNext has of one day of one employee.

    Attributes:
        times: Of the check-ins that count for the day.
        ends: The latest end of the shift, with what is allowed after it, by those check-ins.
        attendances: Every Attendance of the employee and the date, whatever its shift, the cancelled ones too.
        employed: Whether the employee exists, is not Inactive, and was employed that day.
        company: The employee's.
        on_leave: Whether an approved leave covers the day.
        holiday: Whether the day is a holiday, and the shift does not count holidays.
        paid: Whether a submitted Salary Slip covers the day.
    """

    times: tuple[datetime, ...]
    ends: datetime | None
    attendances: Sequence[Row] = ()
    employed: bool = True
    company: str | None = None
    on_leave: bool = False
    holiday: bool = False
    paid: bool = False


@dataclass(frozen=True, slots=True)
class Keep:
    """Our Attendance stands as it should."""

    row: Row


@dataclass(frozen=True, slots=True)
class Write:
    """An Attendance is written.

    Attributes:
        expected: What it says.
        marker: Of this revision.
        cancel: Our Attendance that is cancelled first; None where none stands.
        amends: The name of the one that it takes the place of.
    """

    expected: Expected
    marker: str
    cancel: Row | None = None
    amends: str | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """The day is left as it is. `row` is the Attendance that stands in the way, or that is ours and stays."""

    reason: DayRefusal
    row: Row | None = None


Decision = Keep | Write | Refuse


def expected_attendance(times: Collection[datetime], shift: Shift, zone_name: str) -> Expected | None:
    """What the Attendance of a day should be.

    Args:
        times: Of the day's punches, in any order, naive.
        shift: The entry of the fleet.
        zone_name: The IANA zone of the times. A night on which clocks change has an hour more or less than they show.

    Returns:
        Present or Half Day; None where there is no punch, or a single one that the entry leaves to a person.
    """
    if not times:
        return None
    first, last = min(times), max(times)
    if first == last:
        if shift.one_punch == "none":
            return None
        return Expected(HALF_DAY if shift.one_punch == "half_day" else PRESENT, first, None, 0.0)
    passed = max(from_wall_clock(last, zone_name) - from_wall_clock(first, zone_name), timedelta(0))
    half = shift.half_day_below is not None and passed.total_seconds() < shift.half_day_below
    return Expected(HALF_DAY if half else PRESENT, first, last, round(passed.total_seconds() / 3600, 2))


def decide(day: Day, facts: Facts, shift: Shift, zone_name: str, us: str) -> Decision | None:
    """What to do about a day that is complete.

    Args:
        day: The day.
        facts: What ERPNext has of it.
        shift: The entry of the fleet.
        zone_name: The IANA zone of the times.
        us: The user as whom we write.

    Returns:
        The decision; None where there is nothing to do and nothing to say.
    """
    expected = expected_attendance(facts.times, shift, zone_name)
    standing = [
        row
        for row in facts.attendances
        if row["docstatus"] != CANCELLED and (not row.get("shift") or row["shift"] == day.shift_type)
    ]
    ours = [row for row in standing if revision(row) is not None]
    # Two of ours stand where two employees were merged into one.
    if others := [row for row in standing if row not in ours] or ours[1:]:
        by_leave = others[0].get("leave_application") or others[0].get("leave_type")
        return Refuse("leave" if by_leave else "marked", others[0]) if facts.times else None
    if ours:
        return _about_ours(day, ours[0], facts, expected, us)
    return _about_none(day, facts, expected, us) if facts.times else None


def _about_none(day: Day, facts: Facts, expected: Expected | None, us: str) -> Decision:
    before = _newest_of(day, facts)
    if before is not None and before.get("modified_by") != us:
        return Refuse("cancelled", before)
    if (refusal := _in_the_way(facts)) is not None:
        return Refuse(refusal)
    if expected is None:
        return Refuse("one_punch")
    # If we cancelled one to put another in its place, we did not come that far.
    return Write(expected, day.marker(_next(day, facts)), None, before["name"] if before else None)


def _about_ours(day: Day, row: Row, facts: Facts, expected: Expected | None, us: str) -> Decision:
    if is_changed(row, us):
        return Refuse("leave" if row.get("leave_application") else "changed", row)
    if expected is not None and is_as_expected(row, expected):
        return Keep(row)
    if not facts.times:
        return Refuse("no_punch", row)
    if (refusal := _in_the_way(facts)) is not None:
        return Refuse(refusal, row)
    if expected is None:
        return Refuse("one_punch", row)
    return Write(expected, day.marker(_next(day, facts)), row, row["name"])


def _in_the_way(facts: Facts) -> DayRefusal | None:
    found: dict[DayRefusal, bool] = {
        "employee": not facts.employed,
        "leave": facts.on_leave,
        "holiday": facts.holiday,
        "paid": facts.paid,
    }
    return next((reason for reason, holds in found.items() if holds), None)


def _next(day: Day, facts: Facts) -> int:
    newest = _newest_of(day, facts)
    return 1 if newest is None else 1 + (revision(newest) or 0)


def _newest_of(day: Day, facts: Facts) -> Row | None:
    return _newest([row for row in facts.attendances if row.get("shift") == day.shift_type])


def _newest(attendances: Sequence[Row]) -> Row | None:
    """Our last revision among those of one employee, date and shift."""
    return max((row for row in attendances if revision(row)), key=lambda row: revision(row) or 0, default=None)


def is_changed(row: Row, us: str) -> bool:
    """Whether somebody has changed an Attendance of ours since it was written.

    It is written and submitted at once, so that `modified` is `creation` until somebody touches it.
    """
    untouched = row["docstatus"] == SUBMITTED and row["owner"] == row["modified_by"] == us
    return not untouched or str(row["modified"]) != str(row["creation"])


def left_behind(attendances: Sequence[Row], times: Collection[datetime], us: str) -> Row | None:
    """The Attendance of ours that the check-ins of its day have left behind, though none of them may have changed.

    A check-in leaves its day without a trace there: by a correction, by another shift, by being deleted.

    Args:
        attendances: Those of one employee, date and shift, the cancelled ones too.
        times: Of the check-ins that count for the day.
        us: The user as whom we write.

    Returns:
        The one that stands and says other times, or the newest that we cancelled and put nothing in the place of. None
        where neither is so, or a person has changed it.
    """
    standing = [row for row in attendances if row["docstatus"] != CANCELLED]
    if not standing:
        cancelled = _newest(attendances)
        return cancelled if times and cancelled is not None and cancelled["modified_by"] == us else None
    row = standing[0]
    if len(standing) > 1 or revision(row) is None or is_changed(row, us):
        return None
    said = {time for time in (read_time(row.get("in_time")), read_time(row.get("out_time"))) if time is not None}
    return None if times and said == {min(times), max(times)} else row


def is_as_expected(row: Row, expected: Expected) -> bool:
    """Whether an Attendance says what it should. The hours follow from the times."""
    times = (read_time(row.get("in_time")), read_time(row.get("out_time")))
    return row["status"] == expected.status and times == (expected.in_time, expected.out_time)


def read_time(value: object) -> datetime | None:
    """A time that ERPNext holds, in whole seconds; None where there is none."""
    return datetime.fromisoformat(str(value)).replace(microsecond=0) if value else None
