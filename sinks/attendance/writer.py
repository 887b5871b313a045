"""One day: decide, cancel and write, and say what came of it."""

from datetime import datetime

from attendance.errors import DocumentRejected, PermissionDenied, ServerError
from attendance.fleet import Shift
from attendance.records.attendance_day import AttendanceDay, DayOutcome, DayRefusal
from sinks.attendance.policy import Day, Facts, Keep, Refuse, Row, Write, decide, read_time
from sinks.attendance.site import AttendanceSite, ShiftType


class NotAmended(Exception):
    """ERPNext would not take an Attendance after the one that it replaces was cancelled: the day has none now."""

    def __init__(self, cancelled: str, cause: Exception) -> None:
        """What happened.

        Args:
            cancelled: The name of the Attendance that stood, or of the newest that did.
            cause: Why there is no other.
        """
        super().__init__(str(cause))
        self.cancelled = cancelled


def bring_about(
    site: AttendanceSite, shift_type: ShiftType, shift: Shift, day: Day, facts: Facts, zone_name: str, at: datetime
) -> AttendanceDay | None:
    """Have ERPNext hold the Attendance that a day should have. It may be cut off anywhere, and be called again.

    Args:
        site: Where.
        shift_type: The shift, as ERPNext has it.
        shift: The entry of the fleet.
        day: The day, which is complete.
        facts: What ERPNext had of it a moment ago.
        zone_name: The IANA zone of the times.
        at: The server's clock, UTC.

    Returns:
        What came of it; None where there was nothing to do and nothing to say.

    Raises:
        DocumentRejected: ERPNext will not take the Attendance, for a reason that it has not shown before.
        NotAmended: The same, or ERPNext fails on it, and the Attendance that stood before is cancelled.
        PunchstreamError: what `ErpnextClient.call` raises. Something may have been written.
    """
    decision = decide(day, facts, shift, zone_name, site.us)
    if not isinstance(decision, Write):
        return _without_writing(day, decision, at, zone_name)
    if decision.cancel is not None:
        site.cancel(decision.cancel)
    try:
        row = site.write(day, decision, facts.company)
    except (ServerError, PermissionDenied) as error:
        if decision.amends:
            raise NotAmended(decision.amends, error) from error
        raise
    except DocumentRejected as error:
        # Another process was faster, or our own request of before came late, or a person.
        facts = site.facts(shift_type, day.attendance_date, [day.employee])[day]
        decision = decide(day, facts, shift, zone_name, site.us)
        if decision is None or isinstance(decision, Write):
            if decision is not None and decision.amends:
                raise NotAmended(decision.amends, error) from error
            raise
        return _without_writing(day, decision, at, zone_name)
    outcome: DayOutcome = "corrected" if decision.amends else "written"
    return _record(day, outcome, at, zone_name, row, supersedes=decision.amends)


def rejected(day: Day, error: Exception, at: datetime, zone_name: str) -> AttendanceDay:
    """The record of a day on which ERPNext fails. It names the Attendance that the day had, where that is cancelled."""
    cancelled = error.cancelled if isinstance(error, NotAmended) else None
    return _record(day, "refused", at, zone_name, {}, reason="rejected", detail=str(error), supersedes=cancelled)


def _without_writing(day: Day, decision: Keep | Refuse | None, at: datetime, zone_name: str) -> AttendanceDay | None:
    match decision:
        case Keep(row):
            return _record(day, "already_there", at, zone_name, row)
        case Refuse(reason, row):
            return _record(day, "refused", at, zone_name, row or {}, reason=reason)
        case _:
            return None


def _record(
    day: Day,
    outcome: DayOutcome,
    at: datetime,
    zone_name: str,
    row: Row,
    *,
    reason: DayRefusal | None = None,
    detail: str | None = None,
    supersedes: str | None = None,
) -> AttendanceDay:
    return AttendanceDay(
        day.employee,
        day.shift_type,
        day.attendance_date,
        outcome,
        at,
        document=row.get("name"),
        status=row.get("status"),
        in_time=read_time(row.get("in_time")),
        out_time=read_time(row.get("out_time")),
        working_hours=row.get("working_hours"),
        reason=reason,
        detail=detail,
        supersedes=supersedes,
        modified=str(row["modified"]) if row.get("modified") else None,
        zone=zone_name,
    )
