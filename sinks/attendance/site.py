"""What ERPNext has of a shift's days, and the writing of an Attendance."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from attendance.erpnext import CHECKIN, SHIFT_TYPE, Document, ErpnextClient
from attendance.errors import ConfigurationError, DocumentRejected
from attendance.records.user_map import Employee
from sinks.attendance.policy import (
    ABSENT,
    CANCELLED,
    HALF_DAY,
    MARKER,
    SUBMITTED,
    Day,
    Facts,
    Row,
    Write,
    left_behind,
    read_time,
)

ATTENDANCE: Final = "Attendance"
LEAVE: Final = "Leave Application"
SLIP: Final = "Salary Slip"
PAGE: Final = 500
_HOLIDAYS: Final = "/api/method/hrms.hr.doctype.leave_application.leave_application.get_holidays"
_CHECKIN_FIELDS: Final = (
    *("name", "employee", "time", "modified", "shift_start", "shift_actual_end"),
    *("skip_auto_attendance", "offshift"),
)
_ATTENDANCE_FIELDS: Final = (
    *("name", "employee", "shift", "status", "docstatus", "in_time", "out_time", "working_hours"),
    *("owner", "creation", "modified", "modified_by", "leave_type", "leave_application"),
)


@dataclass(frozen=True, slots=True)
class ShiftType:
    """What matters of a Shift Type of ERPNext.

    Attributes:
        name: Its name.
        auto_attendance: Whether ERPNext itself makes the Attendance of its days.
        holiday_list: The list that goes before that of the employee or the company.
        counts_holidays: Whether punches on a holiday count.
    """

    name: str
    auto_attendance: bool
    holiday_list: str | None
    counts_holidays: bool


class AttendanceSite:
    """The part of an ERPNext site that makes Attendance. Every method raises what `ErpnextClient.call` raises."""

    def __init__(self, client: ErpnextClient) -> None:
        """Nothing is asked yet.

        Args:
            client: The site. This is its only user.
        """
        self._client = client
        self._us: str | None = None
        self._has_marker: bool | None = None
        self._says_holidays = False
        self._holidays: dict[tuple[str, date], bool] = {}

    @property
    def us(self) -> str:
        """The user as whom we write."""
        if self._us is None:
            self._us = self._client.logged_user()
        return self._us

    def begin(self) -> None:
        """Forget what may have changed since the last look: the custom field, and holidays.

        Raises:
            ConfigurationError: ERPNext does not say which days are holidays.
        """
        self._has_marker = None
        self._holidays.clear()
        if not self._says_holidays:
            # It refuses an employee without a list as it refuses a method that it does not have. This one has neither.
            try:
                self._count_holidays({"employee": "", "holiday_list": "no such list"}, date.min.replace(year=2000))
            except DocumentRejected as error:
                raise ConfigurationError(f"ERPNext does not say which days are holidays: {error}") from error
            self._says_holidays = True

    def has_marker(self) -> bool:
        """Whether Attendance has the field `punchstream_day`, which `punchstream erpnext setup` makes."""
        if self._has_marker is None:
            self._has_marker = self._client.has_field(ATTENDANCE, MARKER)
        return self._has_marker

    def shift_type(self, name: str) -> ShiftType:
        """A Shift Type as it is now."""
        row = self._client.get(SHIFT_TYPE, name)
        return ShiftType(
            name,
            bool(row.get("enable_auto_attendance")),
            row.get("holiday_list") or None,
            bool(row.get("mark_auto_attendance_on_holidays")),
        )

    def changed_checkins(self, shift_type: str, since: datetime) -> Iterator[list[Document]]:
        """The check-ins of a shift that changed since then, in pages, by name.

        Args:
            shift_type: The Shift Type that ERPNext has found for them.
            since: By the site's clock.
        """
        last = ""
        while True:
            filters = [("shift", "=", shift_type), ("modified", ">=", str(since)), ("name", ">", last)]
            rows = self._client.get_list(CHECKIN, _CHECKIN_FIELDS, filters, order_by="name asc", limit=PAGE)
            if rows:
                yield rows
            if len(rows) < PAGE:
                return
            last = rows[-1]["name"]

    def facts(self, shift_type: ShiftType, attendance_date: date, employees: Collection[str]) -> dict[Day, Facts]:
        """What ERPNext has of one day of these employees.

        Args:
            shift_type: The shift.
            attendance_date: The day on which it begins.
            employees: Whose days; a few hundred at most.
        """
        names, on = sorted(employees), str(attendance_date)
        among = ("employee", "in", names)
        checkins = self._by_employee(
            CHECKIN,
            _CHECKIN_FIELDS,
            [among, ("shift", "=", shift_type.name), _begins(on)],
        )
        fields = [*_ATTENDANCE_FIELDS, MARKER] if self.has_marker() else _ATTENDANCE_FIELDS
        attendances = self._by_employee(ATTENDANCE, fields, [among, ("attendance_date", "=", on)])
        covering = [among, ("docstatus", "=", SUBMITTED)]
        approved = ("status", "=", "Approved")
        leaves = self._by_employee(
            LEAVE, ["employee"], [*covering, approved, ("from_date", "<=", on), ("to_date", ">=", on)]
        )
        slips = self._by_employee(SLIP, ["employee"], [*covering, ("start_date", "<=", on), ("end_date", ">=", on)])
        fields = ["name", "status", "company", "holiday_list", "date_of_joining", "relieving_date"]
        people = {row["name"]: row for row in self._client.get_list("Employee", fields, [("name", "in", names)])}
        found = {}
        for name in names:
            counted = [row for row in checkins[name] if counts(row)]
            person = people.get(name)
            found[Day(attendance_date, name, shift_type.name)] = Facts(
                times=_times(counted),
                ends=max((end for row in counted if (end := read_time(row["shift_actual_end"]))), default=None),
                attendances=attendances[name],
                employed=person is not None and _was_employed(person, attendance_date),
                company=person["company"] if person else None,
                on_leave=bool(leaves[name]),
                holiday=person is not None and self._is_holiday(shift_type, person, attendance_date),
                paid=bool(slips[name]),
            )
        return found

    def owners(self, documents: Collection[str]) -> dict[str, str]:
        """Of each Attendance that exists the employee whose it is now.

        Args:
            documents: Names of Attendance; a few hundred at most.
        """
        if not documents:
            return {}
        rows = self._client.get_list(ATTENDANCE, ["name", "employee"], [("name", "in", sorted(documents))])
        return {row["name"]: row["employee"] for row in rows}

    def left_behind(self, shift_type: str, attendance_date: date) -> dict[Day, str]:
        """The days of one date whose Attendance, which is ours, says something else than their check-ins do.

        Args:
            shift_type: The shift.
            attendance_date: The day on which it begins.

        Returns:
            Of each day what makes it differ, so that the same is known when it is seen again.
        """
        if not self.has_marker():
            return {}
        shift, on = ("shift", "=", shift_type), str(attendance_date)
        attendances = self._by_employee(
            ATTENDANCE, [*_ATTENDANCE_FIELDS, MARKER], [shift, ("attendance_date", "=", on)]
        )
        if not attendances:
            return {}
        checkins = self._by_employee(CHECKIN, _CHECKIN_FIELDS, [shift, _begins(on)])
        found = {}
        for employee, rows in attendances.items():
            times = _times(filter(counts, checkins.get(employee, ())))
            if (row := left_behind(rows, times, self.us)) is not None:
                found[Day(attendance_date, employee, shift_type)] = f"{row['name']} {row['modified']} {sorted(times)}"
        return found

    def cancel(self, row: Row) -> None:
        """Cancel an Attendance of ours, unless somebody has changed it since it was read (`Conflict`)."""
        self._client.update(ATTENDANCE, row["name"], {"docstatus": CANCELLED, "modified": row["modified"]})

    def write(self, day: Day, write: Write, company: str | None) -> Document:
        """Write and submit an Attendance in one request, and return it as ERPNext has it.

        Args:
            day: The day.
            write: What it says. What it takes the place of has been cancelled.
            company: The employee's.
        """
        expected = write.expected
        document = {
            "doctype": ATTENDANCE,
            "docstatus": SUBMITTED,
            "employee": day.employee,
            "company": company,
            "attendance_date": str(day.attendance_date),
            "shift": day.shift_type,
            "status": expected.status,
            "in_time": str(expected.in_time),
            "out_time": str(expected.out_time) if expected.out_time else None,
            "working_hours": expected.working_hours,
            # What ERPNext's own auto attendance says of the half that was not worked.
            "half_day_status": ABSENT if expected.status == HALF_DAY else None,
            "amended_from": write.amends,
            MARKER: write.marker,
        }
        return self._client.create({field: value for field, value in document.items() if value is not None})

    def _by_employee(
        self, doctype: str, fields: Sequence[str], filters: list[tuple[str, str, object]]
    ) -> Mapping[str, list[Document]]:
        rows: dict[str, list[Document]] = defaultdict(list)
        for row in self._client.get_list(doctype, fields, filters):
            rows[row["employee"]].append(row)
        return rows

    def _is_holiday(self, shift_type: ShiftType, person: Row, attendance_date: date) -> bool:
        """By the list of the shift, else of the employee, else of the company: as ERPNext does."""
        if shift_type.counts_holidays:
            return False
        list_ = shift_type.holiday_list or person["holiday_list"]
        whose = f"list {list_}" if list_ else f"company {person['company']}"
        key = (whose, attendance_date)
        if key not in self._holidays:
            arguments = {"employee": person["name"], "holiday_list": list_}
            try:
                self._holidays[key] = bool(self._count_holidays(arguments, attendance_date))
            except DocumentRejected:
                self._holidays[key] = False  # neither the employee nor the company has a list
        return self._holidays[key]

    def _count_holidays(self, arguments: Mapping[str, Any], on: date) -> int:
        # A HR User may not read the Holiday List itself.
        body = {**arguments, "from_date": str(on), "to_date": str(on)}
        return int(self._client.call("POST", _HOLIDAYS, body).get("message") or 0)


def counts(row: Row) -> bool:
    """Whether a check-in counts for the day of its shift, as ERPNext's auto attendance has it."""
    placed = row["shift_start"] and row["shift_actual_end"]
    return bool(placed) and not row["skip_auto_attendance"] and not row["offshift"]


def _begins(on: str) -> tuple[str, str, object]:
    return ("shift_start", "between", [f"{on} 00:00:00", f"{on} 23:59:59"])


def _times(counted: Iterable[Row]) -> tuple[datetime, ...]:
    return tuple(time for row in counted if (time := read_time(row["time"])) is not None)


def _was_employed(person: Row, on: date) -> bool:
    joined, left = (
        date.fromisoformat(day) if day else None for day in (person["date_of_joining"], person["relieving_date"])
    )
    return Employee(person["name"], person["status"], left, date_of_joining=joined).may_check_in(on)
