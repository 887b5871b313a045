"""Can Punchstream write the Attendance of the shifts that ask for it?"""

from collections.abc import Collection, Iterator
from functools import partial
from typing import Final

from attendance.erpnext import ErpnextClient
from operations.site.results import Check, attempt, failed, ok
from sinks.attendance.policy import MARKER
from sinks.attendance.site import ATTENDANCE, LEAVE, SLIP, AttendanceSite

ONLY_FOR: Final = "attendance: direct"


def look_at_attendance(client: ErpnextClient, shifts: Collection[str]) -> Iterator[Check]:
    """Look at what Attendance directly needs.

    Args:
        client: The site.
        shifts: The Shift Types of the fleet that ask for it. Without any, nothing is looked at.

    Yields:
        What was found of each shift, and of the site.
    """
    if not shifts:
        return
    site = AttendanceSite(client)
    for name in sorted(shifts):
        read = "let the API user read Shift Type, such as by the role HR User"
        yield attempt(f"attendance of {name}", read, partial(_shift, site, name), ONLY_FOR)
    readable = "let the API user read Attendance, Leave Application and Salary Slip, such as by the role HR User"
    yield attempt("leave and payroll", readable, lambda: _readable(client), ONLY_FOR)
    yield attempt("holidays", "update Frappe HR to a release with get_holidays", lambda: _holidays(site), ONLY_FOR)
    yield attempt(f"{MARKER} field", readable, lambda: _marker(site), ONLY_FOR)


def _shift(site: AttendanceSite, name: str) -> Check:
    if site.shift_type(name).auto_attendance:
        detail = "auto attendance is on, so Punchstream writes nothing for this shift"
        remedy = "switch Enable Auto Attendance off, or have ERPNext make the Attendance, where the shift is kept"
        return failed(f"attendance of {name}", detail, remedy, ONLY_FOR)
    return ok(f"attendance of {name}", "auto attendance is off, and Punchstream writes it", ONLY_FOR)


def _readable(client: ErpnextClient) -> str:
    for doctype in (ATTENDANCE, LEAVE, SLIP):
        client.get_list(doctype, ["name"], limit=1)
    return "may be read"


def _holidays(site: AttendanceSite) -> str:
    site.begin()
    return "ERPNext says which days are holidays"


def _marker(site: AttendanceSite) -> Check:
    name = f"{MARKER} field"
    if site.has_marker():
        return ok(name, "there", ONLY_FOR)
    remedy = "run `punchstream erpnext setup` with the keys of a System Manager"
    return failed(name, "missing: no day can be corrected", remedy, ONLY_FOR)
