"""What became of a working day that Punchstream turns into an Attendance, and how far the days of a shift were read.

Two topics: `attendance-days.v1` has a record for each day that was written, changed or refused, as the deliveries have
one for each check-in. `attendance-progress.v1` has the place from which the days of a shift are read on.
"""

from datetime import date, datetime
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from attendance.wire import JsonRecord, Milliseconds, Text, cloudevents_headers

WallClock = Annotated[datetime, Meta(tz=False)]
"""A naive time of the ERPNext site."""

DayOutcome = Literal["written", "corrected", "already_there", "refused"]

DayRefusal = Literal[
    "one_punch", "no_punch", "leave", "holiday", "marked", "changed", "cancelled", "paid", "employee", "rejected"
]
"""Why a day was left as it is:

one_punch   the day has one punch, and the shift's entry says that such a day is for a person to decide
no_punch    our Attendance stands, and the day has no check-in any more
leave       an approved leave covers the day, or its attendance is that of a leave
holiday     the day is on the Holiday List, and the shift does not count holidays
marked      the day has an Attendance that is not ours
changed     a person has changed our Attendance
cancelled   a person has cancelled our Attendance
paid        a submitted Salary Slip covers the day
employee    the employee does not exist, is Inactive, or was not employed that day
rejected    ERPNext refuses; `detail` has its words; it is tried again
"""


class AttendanceDay(JsonRecord, frozen=True):
    """What became of one day of one employee. `document` is ERPNext's Attendance, where there is one.

    `written` is a new Attendance, `corrected` one that replaces `supersedes`, which was cancelled. `already_there`
    means that the Attendance stood as it should: from an earlier try. `modified` is ERPNext's stamp of the document as
    it was left. Times are wall-clock times in `zone`.
    """

    what: ClassVar[str] = "an attendance day"

    employee: Text
    shift_type: Text
    attendance_date: date
    outcome: DayOutcome
    decided_at: Milliseconds
    document: str | None = None
    status: str | None = None
    in_time: WallClock | None = None
    out_time: WallClock | None = None
    working_hours: float | None = None
    reason: DayRefusal | None = None
    detail: str | None = None
    supersedes: str | None = None
    modified: str | None = None
    zone: str | None = None

    @property
    def day(self) -> str:
        """Employee, shift and date: what the record is about."""
        return f"{self.employee}|{self.shift_type}|{self.attendance_date}"

    @property
    def key(self) -> bytes:
        """The record key."""
        return self.day.encode()

    def headers(self) -> list[tuple[str, bytes]]:
        """CloudEvents 1.0 attributes in Kafka's binary mode."""
        source = f"/shifts/{self.shift_type}".encode()
        return cloudevents_headers(self.day, b"punchstream.attendance.day.v1", source, self.decided_at)


class AttendanceProgress(JsonRecord, frozen=True):
    """From where the check-ins of a shift are read on.

    Attributes:
        shift_type: The Shift Type.
        begins: The first day that is turned into an Attendance.
        modified: Every check-in that changed before, by the site's clock, has been looked at.
    """

    what: ClassVar[str] = "an attendance progress"

    shift_type: Text
    begins: date
    modified: WallClock

    @property
    def key(self) -> bytes:
        """The record key."""
        return self.shift_type.encode()
