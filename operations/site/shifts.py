"""Does auto attendance count what is delivered, and does nothing else move its last sync?"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from attendance.erpnext import SHIFT_TYPE, Document, ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected
from attendance.fleet import Device
from operations.site.results import Check, attempt, failed, some, unseen, warning
from producers.directory.employees import EMPLOYEE

COMPLETENESS: Final = "completeness"
UNASSIGNED: Final = "without a shift"
SHIFT_ASSIGNMENT: Final = "Shift Assignment"
STRICT: Final = "Strictly based on Log Type in Employee Checkin"
_FIRST_OF_ALL: Final = timedelta(hours=14)  # no zone of the earth is further ahead of UTC


def look_at_shifts(
    client: ErpnextClient, shifts: Mapping[str, Sequence[Device]] | None, direct: Collection[str] = ()
) -> Iterator[Check]:
    """Look at the Shift Types.

    Args:
        client: The site.
        shifts: The Shift Types of the fleet, with their devices; None where there is no fleet.
        direct: Those of them for which auto attendance is to be off (`operations.site.attendance`).

    Yields:
        What was found of each shift, and of those that the fleet does not list.
    """
    for name, devices in sorted((shifts or {}).items()):
        read = "let the API user read Shift Type, such as by the role HR User"
        yield attempt(f"shift {name}", read, partial(_shift, client, name, devices, direct), COMPLETENESS)
    yield attempt("other shifts", "run it again", lambda: _others(client, shifts or {}), COMPLETENESS)
    yield attempt(UNASSIGNED, "run it again", lambda: _unassigned(client))


def _shift(client: ErpnextClient, name: str, devices: Sequence[Device], direct: Collection[str]) -> str | Check:
    try:
        shift = client.get(SHIFT_TYPE, name)
    except DocumentRejected as error:
        if not error.is_missing:
            raise
        remedy = "in the fleet, write its name as ERPNext has it"
        return failed(f"shift {name}", "there is no such Shift Type", remedy, COMPLETENESS)
    if trouble := list(_trouble(shift, devices)):
        details, remedies = zip(*trouble, strict=True)
        return failed(f"shift {name}", "; ".join(details), "; ".join(remedies), COMPLETENESS)
    if name in direct:
        return "nothing but Punchstream moves its last sync"
    if not shift.get("enable_auto_attendance"):
        remedy = "switch on Enable Auto Attendance, unless something else makes attendance of its check-ins"
        return warning(f"shift {name}", "auto attendance is off: ERPNext counts nothing", remedy, COMPLETENESS)
    return "auto attendance is on, and nothing but Punchstream moves its last sync"


def _trouble(shift: Document, devices: Sequence[Device]) -> Iterator[tuple[str, str]]:
    """What is wrong, and what to do about it."""
    if shift.get("auto_update_last_sync"):
        yield (
            "ERPNext moves its last sync by the clock, whether its devices are complete or not",
            "switch off Automatically update Last Sync of Checkin",
        )
    last = shift.get("last_sync_of_checkin")
    if last and datetime.fromisoformat(str(last)) > datetime.now(UTC).replace(tzinfo=None) + _FIRST_OF_ALL:
        yield (
            f"its last sync {last} lies in the future, so days are closed before they end",
            "set Last Sync of Checkin back to a time up to which all is there",
        )
    if shift.get("enable_auto_attendance") and not shift.get("process_attendance_after"):
        yield (
            "Process Attendance After is empty, so auto attendance does nothing",
            "set it to the first day that counts",
        )
    mute = [each.device_id for each in devices if each.direction == "none"]
    if mute and shift.get("determine_check_in_and_check_out") == STRICT:
        yield (
            f"it goes strictly by the log type, which these devices do not send: {some(mute)}",
            "give them a direction in the fleet, or choose Alternating entries",
        )


def _others(client: ErpnextClient, shifts: Mapping[str, Sequence[Device]]) -> str | Check:
    rows = client.get_list(SHIFT_TYPE, ["name"], [("enable_auto_attendance", "=", 1)], order_by="name asc")
    others = [row["name"] for row in rows if row["name"] not in shifts]
    if not others:
        return "every Shift Type with auto attendance is in the fleet"
    detail = f"with auto attendance, and not in the fleet: {some(others)}; Punchstream does not move their last sync"
    remedy = "list them under shifts in the fleet; until then somebody else has to move Last Sync of Checkin"
    return warning("other shifts", detail, remedy, COMPLETENESS)


def _unassigned(client: ErpnextClient) -> str | Check:
    """Employees who punch, and on no shift: ERPNext stores their check-ins as off-shift, and never counts them."""
    if not client.get_list(SHIFT_TYPE, ["name"], [("enable_auto_attendance", "=", 1)], limit=1):
        return "no Shift Type has auto attendance"
    on_none = [("status", "=", "Active"), ("attendance_device_id", "is", "set"), ("default_shift", "is", "not set")]
    employees = [row["name"] for row in client.get_list(EMPLOYEE, ["name"], on_none, order_by="name asc")]
    try:
        rows = client.get_list(SHIFT_ASSIGNMENT, ["employee", "end_date"], [("docstatus", "=", 1)]) if employees else []
    except (AccessDenied, DocumentRejected) as error:
        remedy = "a HR Manager sees them in Shift Assignment List"
        return unseen(UNASSIGNED, f"the API user may not read Shift Assignment: {error}", remedy)
    today = datetime.now(UTC).date().isoformat()
    assigned = {row["employee"] for row in rows if not row["end_date"] or str(row["end_date"]) >= today}
    names = [name for name in employees if name not in assigned]
    if not names:
        return "every Active employee with an attendance_device_id has a Default Shift or a Shift Assignment"
    return warning(
        UNASSIGNED,
        f"Active, and without a Default Shift or a Shift Assignment: {some(names)}; auto attendance never counts them",
        "in ERPNext, assign them a shift; `punchstream audit --refetch-shift` then counts what is there",
    )
