"""Attendance directly: its days, compared with what ERPNext has of them.

The comparison decides each day anew, as `sinks.attendance` does, and writes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from typing import Any, Final, Literal

from attendance.erpnext import ErpnextClient
from attendance.fleet import Shift
from attendance.records.attendance_day import AttendanceDay
from operations.log import Log, Skipped, decoded
from sinks.attendance.policy import Day, Decision, Keep, Refuse, Write, decide
from sinks.attendance.site import AttendanceSite

CHUNK: Final = 100

State = Literal["as it should be", "refused", "gone", "differs", "not written", "not compared"]
"""What ERPNext has of a day now:

as it should be  the Attendance that the day should have
refused          a person, leave or payroll decides, for the reason that is named
gone             nothing, where an Attendance was written: it was deleted
differs          ours, and the check-ins say something else now
not written      nothing, and nothing is in the way any more
not compared     the shift does not ask for Attendance directly any more, or the record is of no zone
"""

NEEDS_A_LOOK: Final[frozenset[State]] = frozenset({"gone", "differs", "not written"})
"""States that `punchstream completeness` mends once a check-in of the day changes."""


@dataclass(frozen=True, slots=True)
class ComparedDay:
    """One day, by its newest record, and what ERPNext has of it now; `state` is None where ERPNext was not asked.

    `reason` is why it is refused now, or was when it was recorded.
    """

    record: AttendanceDay
    state: State | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "employee": self.record.employee,
            "shift_type": self.record.shift_type,
            "attendance_date": str(self.record.attendance_date),
            "outcome": self.record.outcome,
            "reason": self.reason,
            "detail": self.record.detail,
            "document": self.record.document,
            "status": self.record.status,
            "in_time": self.record.in_time,
            "out_time": self.record.out_time,
            "working_hours": self.record.working_hours,
            "decided_at": self.record.decided_at,
            "in_erpnext": self.state,
        }


async def attendance_days(log: Log, skipped: Skipped, *, since: datetime | None = None) -> list[AttendanceDay]:
    """The newest record of each day, by shift, date and employee.

    Args:
        log: The topics.
        skipped: Where the records are counted that are of no day.
        since: Only what was recorded since then; None for all.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    newest: dict[str, AttendanceDay] = {}
    async for batch in log.read("attendance_days", since=since):
        for _, record in decoded(batch, lambda record: AttendanceDay.decode(record.value), skipped):
            known = newest.get(record.day)
            if known is None or record.decided_at >= known.decided_at:
                newest[record.day] = record
    return sorted(newest.values(), key=lambda day: (day.shift_type, day.attendance_date, day.employee))


def compared(
    client: ErpnextClient, records: Sequence[AttendanceDay], shifts: Mapping[str, Shift]
) -> Iterator[ComparedDay]:
    """Each day with what ERPNext has of it now.

    Args:
        client: The site. Nothing is written.
        records: As `attendance_days` returned them.
        shifts: The entries of the fleet that ask for Attendance directly.

    Yields:
        The days, in their order.

    Raises:
        PunchstreamError: what `ErpnextClient.call` raises.
        ConfigurationError: ERPNext does not say which days are holidays.
    """
    site = AttendanceSite(client)
    site.begin()
    for (shift_type, on), members in groupby(records, key=lambda day: (day.shift_type, day.attendance_date)):
        entry = shifts.get(shift_type)
        if entry is None:
            yield from (ComparedDay(record, "not compared", record.reason) for record in members)
            continue
        in_erpnext = site.shift_type(shift_type)
        while chunk := list(islice(members, CHUNK)):
            # Whose the Attendance is now: the employee may have been renamed or merged since.
            owners = site.owners([record.document for record in chunk if record.document])
            days = [Day(on, owners.get(record.document or "", record.employee), shift_type) for record in chunk]
            facts = site.facts(in_erpnext, on, {day.employee for day in days})
            for record, day in zip(chunk, days, strict=True):
                if record.zone is None:
                    yield ComparedDay(record, "not compared", record.reason)
                else:
                    yield _state(record, decide(day, facts[day], entry, record.zone, site.us))


def _state(record: AttendanceDay, decision: Decision | None) -> ComparedDay:
    was_refused = record.outcome == "refused"
    match decision:
        case Keep():
            return ComparedDay(record, "as it should be")
        case Refuse("no_punch" | "one_punch" as reason, row) if row is not None:
            return ComparedDay(record, "differs", reason)  # somebody is paid for what no check-in says
        case Refuse(reason):
            return ComparedDay(record, "refused", reason)
        case Write(cancel=row) if row is not None:
            return ComparedDay(record, "differs")
        case Write() if was_refused:
            return ComparedDay(record, "not written", record.reason)
        case _:
            # Without a check-in left there is nothing to decide.
            return ComparedDay(record, "refused" if was_refused else "gone", record.reason)
