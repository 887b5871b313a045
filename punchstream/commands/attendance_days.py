"""`punchstream audit --attendance`: the days that became Attendance directly, and what `--against-erpnext` adds."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from attendance.errors import ConfigurationError
from attendance.fleet import Shift
from attendance.settings import CommonSettings, ErpnextSettings
from operations.log import Log, Skipped
from punchstream.commands.arguments import known_fleet
from punchstream.output import counted, print_json, print_whole, say, say_skipped

if TYPE_CHECKING:
    from operations.attendance_days import ComparedDay

NAMED: Final = 20


def run(log: Log, erpnext: ErpnextSettings | None, *, since: datetime | None, as_json: bool) -> int:
    """Print the days.

    Args:
        log: The topics.
        erpnext: The site that is asked for what it has of each day; None asks none.
        since: Only what was recorded since then; None for all.
        as_json: Whether to print JSON.

    Returns:
        The exit status: 1 where ERPNext was asked, and a day is gone, differs, or could be written now.

    Raises:
        KafkaUnavailable, TargetUnavailable, AccessDenied, DocumentRejected: Kafka or ERPNext does not let us look.
    """
    days = list_days(log, erpnext, since=since)
    if as_json:
        print_json([day.to_json() for day in days])
    else:
        cells = (
            (
                day.record.employee,
                day.record.attendance_date,
                day.record.shift_type,
                day.record.outcome,
                day.reason,
                day.record.document,
                day.record.status,
                day.record.working_hours,
                day.state,
            )
            for day in days
        )
        names = ("Employee", "Day", "Shift", "Outcome", "Reason", "Document", "Status", "Hours", "In ERPNext")
        print_whole(names, cells)
        say(summary(days))
    return int(needs_a_look(days))


def in_the_audit(log: Log, erpnext: ErpnextSettings, *, since: datetime | None) -> "list[ComparedDay]":
    """The days that belong into the audit against ERPNext: none, unless the fleet file asks for Attendance directly.

    Raises as `run` does.
    """
    try:
        shifts = known_fleet().direct_shifts
    except ConfigurationError:
        if CommonSettings.load().punchstream_devices.exists():
            raise
        shifts = {}
    return list_days(log, erpnext, since=since, shifts=shifts) if shifts else []


def list_days(
    log: Log, erpnext: ErpnextSettings | None, *, since: datetime | None, shifts: Mapping[str, Shift] | None = None
) -> "list[ComparedDay]":
    """The days, by their newest records, compared with ERPNext where it is given. Raises as `run` does.

    Args:
        log: The topics.
        erpnext: As for `run`.
        since: As for `run`.
        shifts: The entries that ask for Attendance directly, if the fleet file was read already.
    """
    from attendance.erpnext import ErpnextClient
    from operations.attendance_days import ComparedDay, attendance_days, compared

    skipped = Skipped()
    records = asyncio.run(attendance_days(log, skipped, since=since))
    say_skipped(skipped)
    if erpnext is None or not records:
        return [ComparedDay(record, None, record.reason) for record in records]
    if shifts is None:
        shifts = known_fleet().direct_shifts
    with closing(ErpnextClient(erpnext)) as client:
        return list(compared(client, records, shifts))


def needs_a_look(days: "Sequence[ComparedDay]") -> bool:
    """Whether one of them is gone, differs, or could be written now."""
    from operations.attendance_days import NEEDS_A_LOOK

    return any(day.state in NEEDS_A_LOOK for day in days)


def to_json(days: "Sequence[ComparedDay]") -> dict[str, Any]:
    """The days by state, and those that are not as they should be, for the JSON of the audit."""
    from operations.attendance_days import NEEDS_A_LOOK

    return {
        "states": dict(sorted(Counter(day.state or "" for day in days).items())),
        "days": [day.to_json() for day in days if day.state in NEEDS_A_LOOK or day.reason in {"changed", "cancelled"}],
    }


def show_summary(days: "Sequence[ComparedDay]") -> None:
    """Print how many days there are, and which need a look. Nothing is printed without any."""
    from operations.attendance_days import NEEDS_A_LOOK

    if not days:
        return
    say(summary(days))
    named = [day for day in days if day.state in NEEDS_A_LOOK]
    for day in named[:NAMED]:
        record = day.record
        say(f"Attendance {day.state}: {record.employee}, {record.attendance_date}, {record.shift_type}")
    if len(named) > NAMED:
        say("`punchstream audit --attendance --against-erpnext` lists all of them.")


def summary(days: "Sequence[ComparedDay]") -> str:
    """How many days there are, by what ERPNext has of them, or by what became of them."""
    counts = Counter(f"{day.state or day.record.outcome}{f' ({day.reason})' if day.reason else ''}" for day in days)
    parts = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
    return f"{counted(len(days), 'day')} of Attendance directly{': ' if parts else ''}{parts}"
