"""Late deliveries: whom they concern, what ERPNext has of the day, and how such a day is put right.

A day is put right in steps that may be interrupted anywhere and taken again: its check-ins are let in, its Absent is
cancelled, auto attendance runs once more, and what came of it is looked at.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final, Literal

from attendance.erpnext import CHECKIN, SHIFT_TYPE, Document, ErpnextClient
from attendance.errors import DocumentRejected, ServerError
from attendance.records.outcomes import Delivery
from operations.log import Log, Skipped, decoded
from sinks.completeness.lateness import synced_shifts

ATTENDANCE: Final = "Attendance"
ABSENT: Final = "Absent"
SCHEDULER: Final = "Administrator"
"""As whom ERPNext's own jobs work."""
Why = Literal[
    "no_checkin",
    "not_closed",
    "no_attendance",
    "several",
    "other_status",
    "draft",
    "by_a_person",
    "changed",
    "all_counted",
]
"""Why a day is left alone."""
WHY: Final[Mapping[Why, str]] = {
    "no_checkin": "ERPNext has no check-in of that day",
    "not_closed": "auto attendance does not go beyond that day",
    "no_attendance": "there is no attendance of that day, and none that a repair has cancelled",
    "several": "there are several attendances of that day",
    "other_status": "the day is %(about)s",
    "draft": "the Absent is a draft",
    "by_a_person": "the Absent was not made by auto attendance of this shift",
    "changed": "%(about)s has changed the Absent",
    "all_counted": "the day is Absent with all its check-ins counted",
}
SUBMITTED: Final = 1
CANCELLED: Final = 2
CHUNK: Final = 500
_FIELDS: Final = (
    "name",
    "employee",
    "attendance_date",
    "status",
    "docstatus",
    "shift",
    "owner",
    "modified_by",
    "leave_type",
    "leave_application",
    "attendance_request",
)


@dataclass(frozen=True, slots=True)
class LateDelivery:
    """One delivery that came after its day was closed. Shift and day are None where they are not known.

    `attendance` is what ERPNext has of that day now: a status, or `none`. It is None where ERPNext was not asked.
    """

    employee: str
    attendance_date: date | None
    shift_type: str | None
    event_id: str
    device_id: str
    document: str
    delivered_at: datetime
    attendance: str | None = None


@dataclass(frozen=True, order=True, slots=True)
class Day:
    """A working day of one employee."""

    shift_type: str
    attendance_date: date
    employee: str


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Why a day is not touched. `about` is what the reason names, if anything."""

    why: Why
    about: str = ""

    def __str__(self) -> str:
        """In words."""
        return WHY[self.why] % {"about": self.about}


@dataclass(frozen=True, slots=True)
class PlannedRepair:
    """What a repair would do to a day.

    Attributes:
        day: Which.
        checkins: How many check-ins ERPNext has of it. All of them will count.
        left_alone: Why nothing is done; None where the day is put right.
    """

    day: Day
    checkins: int
    left_alone: LeftAlone | None


@dataclass(frozen=True, slots=True)
class Repair:
    """What came of a day. `why` says it in words."""

    day: Day
    result: Literal["repaired", "left alone", "not repaired"]
    why: str


async def late_deliveries(
    log: Log, skipped: Skipped, *, since: datetime | None = None, device: str | None = None
) -> list[LateDelivery]:
    """The deliveries that the sink recorded as late, by employee and day; each event once.

    Args:
        log: The topics.
        skipped: Where the records are counted that are no deliveries.
        since: Only what was delivered since then; None for all.
        device: Only this device's punches; None for all.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    found: dict[str, LateDelivery] = {}
    async for batch in log.read("deliveries", since=since):
        for _, delivery in decoded(batch, lambda record: Delivery.decode(record.value), skipped):
            late = delivery.late
            if late is not None and device in (None, late.device_id):
                found.setdefault(
                    delivery.event_id,
                    LateDelivery(
                        employee=delivery.employee,
                        attendance_date=late.attendance_date,
                        shift_type=late.shift_type,
                        event_id=delivery.event_id,
                        device_id=late.device_id,
                        document=delivery.document,
                        delivered_at=delivery.delivered_at,
                    ),
                )
    return sorted(found.values(), key=lambda each: (each.employee, str(each.attendance_date), each.delivered_at))


def looked_up(client: ErpnextClient, deliveries: Sequence[LateDelivery]) -> list[LateDelivery]:
    """The deliveries with the shift and day that ERPNext has now, and its attendance of that day.

    What is no document any more, or on no shift, is left out: no day waits for it.

    Args:
        client: The site.
        deliveries: As `late_deliveries` returned them.

    Raises:
        PunchstreamError: what `ErpnextClient.call` raises.
    """
    documents = _in_chunks(client, CHECKIN, ["name", "shift", "shift_start"], "name", [d.document for d in deliveries])
    placed = {row["name"]: row for row in documents if row["shift"] and row["shift_start"]}
    rows = _in_chunks(
        client,
        ATTENDANCE,
        ["employee", "attendance_date", "shift", "status"],
        "employee",
        sorted({each.employee for each in deliveries if each.document in placed}),
        ("docstatus", "=", SUBMITTED),
        ("attendance_date", "in", sorted({row["shift_start"][:10] for row in placed.values()})),
    )
    # One that a person made may have no shift, and is then of every shift.
    statuses = {(row["employee"], row["attendance_date"], row["shift"] or None): row["status"] for row in rows}
    found = []
    for each in deliveries:
        if (row := placed.get(each.document)) is not None:
            day = row["shift_start"][:10]
            status = statuses.get((each.employee, day, row["shift"])) or statuses.get(
                (each.employee, day, None), "none"
            )
            found.append(
                replace(each, shift_type=row["shift"], attendance_date=date.fromisoformat(day), attendance=status)
            )
    return found


def day_of(delivery: LateDelivery) -> Day | None:
    """The day that a delivery is of; None where that is not known."""
    if delivery.shift_type is None or delivery.attendance_date is None:
        return None
    return Day(delivery.shift_type, delivery.attendance_date, delivery.employee)


def days_of(deliveries: Iterable[LateDelivery]) -> list[Day]:
    """The days that deliveries are of, each once, by shift."""
    return sorted({day for each in deliveries if (day := day_of(each)) is not None})


def plan_repair(client: ErpnextClient, days: Iterable[Day]) -> list[PlannedRepair]:
    """What `repair` would do to each of these days. Nothing is changed.

    Args:
        client: The site.
        days: As `days_of` returned them.

    Raises:
        PunchstreamError: what `ErpnextClient.call` raises.
    """
    us, synced = client.logged_user(), synced_shifts(client)
    plan = []
    for day in days:
        checkins = _checkins(client, day)
        absent = _absent(client, day, us, synced, checkins)
        plan.append(PlannedRepair(day, len(checkins), absent if isinstance(absent, LeftAlone) else None))
    return plan


def repair(client: ErpnextClient, deliveries: Iterable[LateDelivery]) -> Iterator[Repair]:
    """Put right each day of these deliveries that ERPNext by itself counts as Absent.

    Days of one shift are opened together, because auto attendance runs for a whole shift.

    Args:
        client: The site.
        deliveries: As `looked_up` returned them.

    Yields:
        What came of each day, as soon as it is known.

    Raises:
        PunchstreamError: what `ErpnextClient.call` raises of the site as a whole; another call goes on from there.
    """
    by_shift: dict[str, list[Day]] = defaultdict(list)
    for day in days_of(deliveries):
        by_shift[day.shift_type].append(day)
    us = client.logged_user()
    synced = synced_shifts(client)
    for shift_type, members in by_shift.items():
        opened = []
        for day in members:
            refused = _open(client, day, us, synced)
            if refused is None:
                opened.append(day)
            else:
                yield refused
        if opened:
            client.run_method(SHIFT_TYPE, shift_type, "process_auto_attendance")
            for day in opened:
                yield _outcome(client, day)


def _open(client: ErpnextClient, day: Day, us: str, synced: Mapping[str, datetime]) -> Repair | None:
    """Make the day one that auto attendance has not looked at. What is in the way of that is returned."""
    try:
        checkins = _checkins(client, day)
        absent = _absent(client, day, us, synced, checkins)
        if isinstance(absent, LeftAlone):
            return Repair(day, "left alone", str(absent))
        # While the Absent stands, ERPNext's own job sets all of them aside again and does no harm. Without it, the job
        # would count those that are let in so far, and leave out the others.
        for row in _skipped(checkins):
            client.update(CHECKIN, row["name"], {"skip_auto_attendance": 0})
        if _skipped(_checkins(client, day)):
            return Repair(day, "not repaired", "ERPNext has set check-ins aside meanwhile; run this again")
        if absent is not None:
            client.cancel(ATTENDANCE, absent["name"])
    except (DocumentRejected, ServerError) as error:
        return Repair(day, "not repaired", f"ERPNext refuses: {error}")
    return None


def _absent(
    client: ErpnextClient, day: Day, us: str, synced: Mapping[str, datetime], checkins: Sequence[Document]
) -> Document | LeftAlone | None:
    """Of a day with these check-ins what `to_cancel` says."""
    if not checkins:
        return LeftAlone("no_checkin")
    end = max(datetime.fromisoformat(row["shift_actual_end"]) for row in checkins)
    if day.shift_type not in synced or synced[day.shift_type] <= end:
        return LeftAlone("not_closed")
    rows = client.get_list(
        ATTENDANCE,
        _FIELDS,
        [("employee", "=", day.employee), ("attendance_date", "=", str(day.attendance_date))],
    )
    return to_cancel(rows, day.shift_type, us, {row["attendance"] or None for row in checkins})


def _checkins(client: ErpnextClient, day: Day) -> list[Document]:
    return client.get_list(
        CHECKIN,
        ["name", "skip_auto_attendance", "shift_actual_end", "attendance"],
        [
            ("employee", "=", day.employee),
            ("shift", "=", day.shift_type),
            ("shift_start", "between", [f"{day.attendance_date} 00:00:00", f"{day.attendance_date} 23:59:59"]),
        ],
    )


def _skipped(checkins: Iterable[Document]) -> list[Document]:
    return [row for row in checkins if row["skip_auto_attendance"]]


def to_cancel(
    rows: Sequence[Document], shift_type: str, us: str, counted: set[str | None]
) -> Document | LeftAlone | None:
    """The Absent that stands in the way of a day; None where an earlier repair has cancelled it; or why not to touch.

    Args:
        rows: Every attendance of the employee and the day.
        shift_type: The shift that is to be processed again.
        us: The user as whom we cancel. Auto attendance runs as this one, when we ask for it, or as ERPNext's jobs do.
        counted: The attendances that count the day's check-ins; None is among them where one is not counted.
    """
    machines = {SCHEDULER, us}

    def automatic(row: Document) -> bool:
        by_a_person = row["leave_type"] or row["leave_application"] or row["attendance_request"]
        return row["status"] == ABSENT and row["shift"] == shift_type and row["owner"] in machines and not by_a_person

    standing = [row for row in rows if row["docstatus"] != CANCELLED]
    if not standing:
        if any(automatic(row) and row["modified_by"] == us for row in rows):
            return None
        return LeftAlone("no_attendance")
    row = standing[0]
    reasons = {
        LeftAlone("several"): len(standing) > 1,
        LeftAlone("other_status", row["status"]): row["status"] != ABSENT,
        LeftAlone("draft"): row["docstatus"] != SUBMITTED,
        LeftAlone("by_a_person"): not automatic(row),
        LeftAlone("changed", row["modified_by"]): row["modified_by"] not in machines,
        LeftAlone("all_counted"): counted == {row["name"]},
    }
    return next((why for why, holds in reasons.items() if holds), row)


def _outcome(client: ErpnextClient, day: Day) -> Repair:
    rows = client.get_list(
        ATTENDANCE,
        ["status"],
        [
            ("employee", "=", day.employee),
            ("attendance_date", "=", str(day.attendance_date)),
            ("docstatus", "=", SUBMITTED),
        ],
    )
    statuses = [row["status"] for row in rows]
    if not statuses:
        return Repair(day, "not repaired", "ERPNext has not processed the day yet; run this again")
    if ABSENT in statuses:
        return Repair(day, "not repaired", "ERPNext counts the day as Absent again")
    if _skipped(_checkins(client, day)):
        return Repair(day, "not repaired", f"the day is {', '.join(statuses)}, but without some of its check-ins")
    return Repair(day, "repaired", f"the day is {', '.join(statuses)}")


def _in_chunks(
    client: ErpnextClient,
    doctype: str,
    fields: Sequence[str],
    by: str,
    values: Sequence[str],
    *filters: tuple[str, str, object],
) -> list[Document]:
    return [
        row
        for first in range(0, len(values), CHUNK)
        for row in client.get_list(doctype, fields, [(by, "in", list(values[first : first + CHUNK])), *filters])
    ]
