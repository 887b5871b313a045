"""Attendance: a day of an employee, made by hand or over REST as a draft, submitted, cancelled and amended."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

from sandbox.erpnext import errors, uniqueness
from sandbox.erpnext.doctypes import ATTENDANCE, CHECKIN, LEAVE_APPLICATION, SHIFT_TYPE, STAMPS, SUBMITTED
from sandbox.erpnext.errors import FrappeError, Message
from sandbox.erpnext.query import Row, collate
from sandbox.erpnext.shifts import ShiftDay
from sandbox.erpnext.store import Store, day_key
from sandbox.erpnext.tables import Change
from sandbox.erpnext.users import ADMINISTRATOR

DRAFT: Final = 0
CANCELLED: Final = 2
STATUSES: Final = ("Present", "Absent", "On Leave", "Half Day", "Work From Home")

_MODULE: Final = "hrms.hr.doctype.attendance.attendance"
_DEFAULTS: Final[Row] = {
    "naming_series": "HR-ATT-.YYYY.-",
    "working_hours": 0.0,
    "status": "Present",
    "company": "Acme Works",
    "late_entry": 0,
    "early_exit": 0,
    "modify_half_day_status": 0,
}


def new(store: Store, document: Mapping[str, Any], owner: str) -> Row:
    """The row of a new Attendance, submitted at once where its `docstatus` says so.

    Raises:
        FrappeError: refused.
    """
    docstatus = int(document.get("docstatus") or DRAFT)
    if docstatus == CANCELLED:
        raise errors.docstatus_transition(DRAFT, CANCELLED)
    amended = document.get("amended_from")
    _check_links(store, document)
    name = _amended_name(store, str(amended)) if amended else store.next_name(ATTENDANCE)
    given = {field: document.get(field) for field in store.table(ATTENDANCE).fields if field not in STAMPS}
    row = store.stamps(name, owner) | given | {"docstatus": docstatus}
    row |= {field: value for field, value in _DEFAULTS.items() if row[field] is None}
    check(store, row)
    if name in store.attendances.rows:
        raise errors.name_taken(ATTENDANCE, name)
    return row


def update(store: Store, old: Row, row: Row, docstatus: int) -> Row:
    """What an Attendance becomes by a change of fields (`row`) and of its docstatus.

    Raises:
        FrappeError: refused. A submitted one changes no more.
    """
    before = old["docstatus"]
    if before == CANCELLED:
        raise _cancelled()
    if (before, docstatus) in {(DRAFT, CANCELLED), (SUBMITTED, DRAFT)}:
        raise errors.docstatus_transition(before, docstatus)
    changed = [field for field in row if field not in STAMPS and row[field] != old[field]]
    if before == SUBMITTED and changed:
        text = (
            f" Not allowed to change <strong>{errors.label(changed[0])}</strong> after submission from "
            f"<strong>{old[changed[0]]}</strong> to <strong>{row[changed[0]]}</strong>"
        )
        raise errors.thrown("UpdateAfterSubmitError", text, title="Cannot Update After Submit")
    row = row | {"docstatus": docstatus}
    if before == DRAFT:
        check(store, row)
    return row


def cancel(store: Store, row: Row, user: str) -> Row:
    """Cancel an Attendance. Its check-ins wait for auto attendance again. It keeps what it has in unique fields.

    Raises:
        FrappeError: it is cancelled already.
    """
    if row["docstatus"] == CANCELLED:
        raise _cancelled()
    cancelled = row | {"docstatus": CANCELLED, "modified": store.stamp(), "modified_by": user}
    linked = [store.checkins.rows[name] for name in store.checkins.find("linked", row["name"])]
    unlinked: list[Change] = [(CHECKIN, each["name"], each | {"attendance": ""}) for each in linked]
    store.commit([(ATTENDANCE, row["name"], cancelled), *unlinked])
    return cancelled


def check(store: Store, row: Row) -> None:
    """Check an Attendance in the order in which ERPNext does, and complete it: on a day of leave it says so.

    Raises:
        FrappeError: refused.
    """
    if row["status"] not in STATUSES:
        *others, last = (f"'{status}'" for status in STATUSES)
        raise errors.thrown(
            "ValidationError", f"Status must be one of {', '.join(others)} or {last}", source="hrms (app)"
        )
    employee = store.employee(row["employee"])
    if employee is not None:
        row |= {field: employee[field] for field in ("employee_name", "department")} | {"employee": employee["name"]}
        row["company"] = employee["company"]
        if employee["status"] == "Inactive":
            raise errors.inactive_employee(store.url, employee["name"])
    if row["employee"] and row["attendance_date"]:
        row["attendance_date"] = str(read_date(row["attendance_date"]))
        _check_joined(employee, row)
        _check_day(store, row)
        _respect_leave(store, row)
    for field in ("employee", "attendance_date"):
        if not row[field]:
            raise errors.mandatory(ATTENDANCE, row["name"], field)
    _check_times(row)
    uniqueness.check(store, ATTENDANCE, row, row["name"])


def read_date(value: object) -> date:
    """The date of a Date field's value."""
    return datetime.fromisoformat(str(value)).date()


def standing(store: Store, employee: str, day: date) -> list[Row]:
    """The Attendance of that day that is not cancelled."""
    names = store.attendances.find("day", day_key({"employee": employee, "attendance_date": str(day)}))
    rows = (store.attendances.rows[name] for name in names)
    return [row for row in rows if row["docstatus"] != CANCELLED]


def overlapping(store: Store, row: Row, shift: str, day: date) -> bool:
    """Whether an Attendance has a shift with hours in common with that one."""
    shifts = store.shift_types.rows
    if row["shift"] == shift or row["shift"] not in shifts or shift not in shifts:
        return False
    return ShiftDay.of(shifts[row["shift"]], day).overlaps(ShiftDay.of(shifts[shift], day))


def _check_links(store: Store, document: Mapping[str, Any]) -> None:
    """As with check-ins, nobody minds an employee who is not there."""
    links = (("shift", SHIFT_TYPE, "Shift"), ("amended_from", ATTENDANCE, "Amended From"))
    for field, doctype, label in links:
        if document.get(field) and document[field] not in store.table(doctype).rows:
            raise errors.thrown("LinkValidationError", f"Could not find {label}: {document[field]}")


def _check_times(row: Row) -> None:
    for field in ("in_time", "out_time"):
        try:
            row[field] = str(datetime.fromisoformat(str(row[field]))) if row[field] else None
        except ValueError:
            text = f"(1292, \"Incorrect datetime value: '{row[field]}' for column `tabAttendance`.`{field}` at row 1\")"
            raise errors.failed("pymysql.err.OperationalError", text) from None


def _check_joined(employee: Row | None, row: Row) -> None:
    joined = employee["date_of_joining"] if employee else None
    if joined and read_date(row["attendance_date"]) < read_date(joined):
        text = (
            f"Attendance date <strong>{_shown(row['attendance_date'])}</strong> can not be less than employee "
            f"<strong>{row['employee']}</strong>'s joining date: <strong>{_shown(joined)}</strong>"
        )
        raise errors.thrown("ValidationError", text, source="hrms (app)")


def _check_day(store: Store, row: Row) -> None:
    day = read_date(row["attendance_date"])
    others = [each for each in standing(store, row["employee"], day) if each["name"] != row["name"]]
    for other in others:
        if other["half_day_status"] and other["modify_half_day_status"]:
            continue
        if not row["shift"] or not other["shift"] or other["shift"] == row["shift"]:
            text = f"is already marked for the date <strong>{_shown(row['attendance_date'])}</strong>"
            raise _taken(store, row, text, other, "Duplicate Attendance", "DuplicateAttendanceError")
    for other in others:
        if row["shift"] and overlapping(store, other, row["shift"], day):
            text = f"is already marked for an overlapping shift <strong>{other['shift']}</strong>"
            title = "Overlapping Shift Attendance"
            raise _taken(store, row, text, other, title, "OverlappingShiftAttendanceError")


def _taken(store: Store, row: Row, text: str, other: Row, title: str, exc_type: str) -> FrappeError:
    link = f'<a href="{store.url}/app/attendance/{other["name"]}">{other["name"]}</a>'
    text = f"Attendance for employee <strong>{row['employee']}</strong> {text}: {link}"
    return errors.thrown(exc_type, text, title=title, module=_MODULE, source="hrms (app)")


def _respect_leave(store: Store, row: Row) -> None:
    """On a day of leave the status is that of the leave, whatever was sent."""
    day = row["attendance_date"]
    leaves = [
        leave
        for leave in store.rows(LEAVE_APPLICATION)
        if collate(leave["employee"]) == collate(row["employee"])
        and leave["from_date"] <= day <= leave["to_date"]
        and (leave["status"], leave["docstatus"]) == ("Approved", SUBMITTED)
    ]
    for leave in leaves:
        status = "Half Day" if leave["half_day_date"] == day else "On Leave"
        row |= {"leave_type": leave["leave_type"], "leave_application": leave["name"], "status": status}
    if not leaves and row["status"] not in {"On Leave", "Half Day"}:
        row |= {"leave_type": None, "leave_application": None}


def remark(row: Row) -> Message | None:
    """What a person is told of an Attendance that is stored all the same: of leave, or that there is none."""
    who, day = row["employee"], _shown(row["attendance_date"])
    if row["leave_application"]:
        on_leave = f"on Half day on {day}" if row["status"] == "Half Day" else f"is on Leave on {day}"
        return Message(f"Employee {who} {on_leave}")
    if row["status"] in {"On Leave", "Half Day"}:
        return Message(f"No leave record found for employee {who} on {day}", alert=True)
    return None


def of_leave(store: Store, leave: Row) -> list[Row]:
    """The Attendance that ERPNext makes, or changes in place, when a leave is approved and submitted."""
    rows: list[Row] = []
    made = 0
    day, last = read_date(leave["from_date"]), read_date(leave["to_date"])
    while day <= last:
        half = leave["half_day_date"] == str(day)
        given = {"leave_type": leave["leave_type"], "leave_application": leave["name"]}
        given |= {"status": "Half Day" if half else "On Leave", "half_day_status": "Present" if half else None}
        there = standing(store, leave["employee"], day)
        if there:
            absent_before = int(half and there[0]["status"] == "Absent")
            changed = {"modified": store.stamp(), "modified_by": ADMINISTRATOR, "modify_half_day_status": absent_before}
            rows.append(there[0] | given | changed)
        else:
            name = store.next_name(ATTENDANCE, made)
            made += 1
            employee = store.employee(leave["employee"])
            new_row = dict.fromkeys(store.table(ATTENDANCE).fields) | store.stamps(name, ADMINISTRATOR) | _DEFAULTS
            new_row |= {"employee": leave["employee"], "employee_name": employee["employee_name"] if employee else None}
            new_row |= {"attendance_date": str(day), "docstatus": SUBMITTED, "modify_half_day_status": int(half)}
            rows.append(new_row | given)
        day += timedelta(days=1)
    return rows


def _amended_name(store: Store, amended: str) -> str:
    old = store.attendances.rows.get(amended)
    if old is None or old["docstatus"] != CANCELLED:
        link = f'<a href="{store.url}/app/attendance/{amended}">{amended}</a>'
        raise errors.thrown(
            "ValidationError",
            f"{link} cannot be amended because it is not cancelled. Please cancel the document before creating an "
            "amendment.",
            title="Amendment Not Allowed",
        )
    if old["amended_from"]:
        prefix, _, number = amended.rpartition("-")
        return f"{prefix}-{int(number) + 1}"
    return f"{amended}-1"


def _cancelled() -> FrappeError:
    return FrappeError(417, "ValidationError", "frappe.exceptions.ValidationError: Cannot edit cancelled document")


def _shown(day: str) -> str:
    return f"{read_date(day):%d-%m-%Y}"
