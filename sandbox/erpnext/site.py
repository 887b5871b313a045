"""The site in memory: employees, check-ins, shift types, attendance, custom fields, and who may do what with them.

Nothing here waits or speaks HTTP. What is refused is raised as the `FrappeError` that answers it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attendance.times import zone
from sandbox.erpnext import auto_attendance, checkins, errors, shifts
from sandbox.erpnext.auto_attendance import ATTENDANCE
from sandbox.erpnext.checkins import CHECKIN, Transaction, punch_key
from sandbox.erpnext.errors import FrappeError
from sandbox.erpnext.query import Query, Row, Value, collate
from sandbox.erpnext.shifts import DAY_SHIFT, LAST_SYNC, SHIFT_TYPE
from sandbox.erpnext.tables import Change, Journal, Key, Table
from sandbox.erpnext.users import ADMIN, ADMINISTRATOR, HR, SYSTEM_MANAGER, USERS, User

EMPLOYEE: Final = "Employee"
CUSTOM_FIELD: Final = "Custom Field"
SYSTEM_SETTINGS: Final = "System Settings"

MAX_INSERT_MANY: Final = 200

_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    EMPLOYEE: frozenset({HR}),
    CHECKIN: frozenset({HR, SYSTEM_MANAGER}),
    SHIFT_TYPE: frozenset({HR}),
    ATTENDANCE: frozenset({HR, SYSTEM_MANAGER}),
    CUSTOM_FIELD: frozenset({SYSTEM_MANAGER}),
    SYSTEM_SETTINGS: frozenset({HR, SYSTEM_MANAGER}),
}
_STAMPS: Final = ("name", "owner", "creation", "modified", "modified_by", "docstatus", "idx")
_EMPLOYEE_FIELDS: Final = (
    *_STAMPS,
    *("employee", "first_name", "employee_name", "date_of_joining", "status", "company", "branch", "department"),
    *("designation", "default_shift", "holiday_list", "attendance_device_id", "user_id", "relieving_date"),
)
_CUSTOM_FIELD_FIELDS: Final = (
    *_STAMPS,
    *("dt", "label", "fieldname", "insert_after", "fieldtype", "unique", "read_only", "no_copy"),
)
_STATUSES: Final = ("Active", "Inactive", "Suspended", "Left")
# What a client does not choose.
_FIXED: Final = frozenset({*_STAMPS, "employee"})
_EMPLOYEE_DEFAULTS: Final = {"status": "Active", "company": "Acme Works"}


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


class Site:
    """One ERPNext site with its documents. Not safe for threads."""

    def __init__(
        self,
        *,
        time_zone: str = "Asia/Riyadh",
        users: Iterable[User] = USERS,
        clock: Callable[[], datetime] = utc_now,
        journal: Path | None = None,
        url: str = "http://erp.example.com",
    ) -> None:
        """A site with one shift type and nobody employed, or what the journal holds.

        Args:
            time_zone: The IANA zone of its naive times.
            users: Who may log in.
            clock: Gives the time, with an offset from UTC.
            journal: A file of what is committed, read now and appended to. Without one all is gone with the process.
            url: The address in its messages.

        Raises:
            ConfigurationError: there is no such zone.
        """
        self.time_zone = time_zone
        self._zone = zone(time_zone)
        self.url = url
        self._clock = clock
        self._users = {(user.api_key, user.api_secret): user for user in users}
        self._journal = Journal(journal) if journal else None
        self._start_empty()
        for changes in self._journal.transactions() if self._journal else ():
            self._apply(changes)

    def close(self) -> None:
        """Close the journal."""
        if self._journal:
            self._journal.close()

    def reset(self) -> None:
        """Forget everything: documents and custom fields."""
        if self._journal:
            self._journal.clear()
        self._start_empty()

    def _start_empty(self) -> None:
        self.custom_fields: dict[str, Row] = {}
        self.checkins = Table(
            checkins.FIELDS,
            {
                "punch": punch_key,
                "employee": _field_key("employee"),
                "linked": lambda row: row["attendance"] or None,
                "pending": auto_attendance.pending_key,
            },
        )
        self.employees = Table(
            _EMPLOYEE_FIELDS,
            {"name": _field_key("name"), "attendance_device_id": _field_key("attendance_device_id")},
        )
        self.shift_types = Table(list(DAY_SHIFT))
        self.shift_types.put(dict(DAY_SHIFT))
        self.attendances = Table(
            auto_attendance.FIELDS, {"day": auto_attendance.day_key, "employee": _field_key("employee")}
        )
        self._custom = Table(_CUSTOM_FIELD_FIELDS)
        self._tables = {
            CHECKIN: self.checkins,
            EMPLOYEE: self.employees,
            SHIFT_TYPE: self.shift_types,
            ATTENDANCE: self.attendances,
            CUSTOM_FIELD: self._custom,
        }
        self._last_checkin = 0
        self._last_attendance = 0

    # Time

    def now(self) -> datetime:
        """The site's wall clock: naive, as all its times are."""
        return self._clock().astimezone(self._zone).replace(tzinfo=None)

    def stamp(self) -> str:
        """The wall clock as `creation` and `modified` have it."""
        return self.now().isoformat(sep=" ", timespec="microseconds")

    # Who

    def user(self, api_key: str, api_secret: str) -> User:
        """Whose key pair that is.

        Raises:
            FrappeError: nobody's.
        """
        user = self._users.get((api_key, api_secret))
        if user is None:
            raise errors.authentication()
        return user

    def check_permission(self, user: User, doctype: str, *, reading_list: bool = False) -> None:
        """Return if the user's roles allow all on that doctype.

        Raises:
            FrappeError: they do not, or there is no such doctype.
        """
        if doctype not in _ALLOWED:
            raise errors.unknown_doctype(doctype)
        if not user.roles & _ALLOWED[doctype]:
            raise errors.not_permitted(user.name, doctype, reading_list=reading_list)

    # Reading

    def list_rows(self, user: User, doctype: str, arguments: Mapping[str, Any]) -> list[Row]:
        """The rows that `frappe.get_list` gives for these arguments."""
        self.check_permission(user, doctype, reading_list=True)
        table = self._table(doctype)
        query = Query.read(arguments, doctype, table.fields)
        return query.run(table.candidates(query.filters))

    def count(self, user: User, doctype: str, filters: Value) -> int:
        """How many rows pass the filters."""
        return len(self.list_rows(user, doctype, {"filters": filters, "limit_page_length": 0}))

    def value(self, user: User, doctype: str, fields: Value, filters: Value) -> Row:
        """These fields of the first row that passes the filters, or of the settings; empty when there is none."""
        if doctype == SYSTEM_SETTINGS:
            self.check_permission(user, doctype)
            return {"time_zone": self.time_zone}
        arguments = {"fields": fields, "filters": filters, "limit_page_length": 1}
        return next(iter(self.list_rows(user, doctype, arguments)), {})

    def document(self, user: User, doctype: str, name: str) -> Row:
        """One document, without its empty fields.

        Raises:
            FrappeError: there is no such document, or the user may not see it.
        """
        table = self._table(doctype)
        self.check_permission(user, doctype)
        if name not in table.rows:
            raise errors.not_found(doctype, name)
        return self.shown(doctype, table.rows[name])

    def shown(self, doctype: str, row: Row) -> Row:
        """A row as an answer shows it."""
        return {field: value for field, value in row.items() if value is not None} | {"doctype": doctype}

    def rows(self, doctype: str) -> Iterator[Row]:
        """All rows of a doctype, in the order they were stored."""
        return iter(list(self._table(doctype).rows.values()))

    def employee(self, name: Value) -> Row | None:
        """The employee of that name, however it is spelled."""
        found = self.employees.find("name", collate(str(name))) if name else []
        return self.employees.rows[found[0]] if found else None

    # Check-ins

    def begin(self, user: User) -> Transaction:
        """A transaction of that user, for check-ins."""
        return Transaction(self, user)

    def checkin_name(self, ahead: int = 0) -> str:
        """The name that the series gives next, or `ahead` later."""
        return f"EMP-CKIN-{self.now():%m-%Y}-{self._last_checkin + 1 + ahead:06}"

    def attendance_name(self, ahead: int = 0) -> str:
        """The name that the series gives next, or `ahead` later."""
        return f"HR-ATT-{self.now():%Y}-{self._last_attendance + 1 + ahead:05}"

    def unique_fields(self) -> list[str]:
        """The custom fields of a check-in whose values may not repeat."""
        return [field for field, custom in self.custom_fields.items() if custom["unique"]]

    def data_fields(self) -> list[tuple[str, str]]:
        """The Data fields of a check-in, with their labels."""
        custom = [(field, row["label"]) for field, row in self.custom_fields.items() if row["fieldtype"] == "Data"]
        return [("device_id", "Location / Device ID"), *custom]

    # Writing

    def insert(self, user: User, doctype: str, document: Mapping[str, Any]) -> Row:
        """Store one employee or custom field.

        Raises:
            FrappeError: refused.
        """
        self.check_permission(user, doctype)
        if doctype == EMPLOYEE:
            row = self._new_employee(document, user.name)
        elif doctype == CUSTOM_FIELD:
            row = self._new_custom_field(document, user.name)
        else:
            raise errors.not_permitted(user.name, doctype)
        self.commit([(doctype, row["name"], row)])
        return row

    def update(self, user: User, doctype: str, name: str, values: Mapping[str, Any]) -> Row:
        """Change fields of one document; unknown ones are ignored.

        ERPNext's scheduler processes shifts within the hour; here that hour has come when a Shift Type is changed.

        Raises:
            FrappeError: no such document, changed since the caller read it, or refused.
        """
        self.document(user, doctype, name)
        old = self._table(doctype).rows[name]
        seen, now = values.get("modified"), self.stamp()
        if seen and seen != old["modified"]:
            raise errors.thrown(
                "TimestampMismatchError",
                f"Error: Document has been modified after you have opened it ({old['modified']}, {now}). "
                "Please refresh to get the latest document.",
            )
        row = old | {field: value for field, value in values.items() if field in old and field not in _STAMPS}
        if doctype == CHECKIN:
            row |= checkins.build(self, row, name)
            checkins.check_unique(self, row, name)
        elif doctype == EMPLOYEE:
            self._check_employee(row)
        elif doctype == SHIFT_TYPE and row[LAST_SYNC]:
            row[LAST_SYNC] = str(shifts.read_time(row[LAST_SYNC]))
        elif doctype == ATTENDANCE:
            raise errors.thrown("UpdateAfterSubmitError", "Not allowed to change fields after submission")
        row |= {"modified": now, "modified_by": user.name}
        self.commit([(doctype, name, row)])
        if doctype == SHIFT_TYPE:
            # The scheduler's job fails by itself; the change stands.
            with suppress(FrappeError):
                auto_attendance.process(self, row, ADMINISTRATOR)
        return row

    def delete(self, user: User, doctype: str, name: str) -> None:
        """Remove one document.

        Raises:
            FrappeError: no such document, or not permitted.
        """
        self.check_permission(user, doctype)
        row = self._table(doctype).rows.get(name)
        if row is None:
            raise errors.not_found()
        if row["docstatus"] == auto_attendance.SUBMITTED:
            text = f"{doctype} {name}: Submitted Record cannot be deleted. You must Cancel it first."
            raise errors.thrown("ValidationError", text)
        self.commit([(doctype, name, None)])

    def cancel(self, user: User, doctype: str, name: str) -> Row:
        """Cancel an Attendance.

        Raises:
            FrappeError: no such document, cancelled already, not permitted, or of a doctype that is not submitted.
        """
        self.document(user, doctype, name)
        if doctype != ATTENDANCE:
            raise errors.not_submittable(doctype)
        return auto_attendance.cancel(self, self.attendances.rows[name], user.name)

    def process_auto_attendance(self, user: User, shift_type: str) -> None:
        """Process a shift now, rather than when the scheduler does.

        Raises:
            FrappeError: no such Shift Type, not permitted, or `last_sync_of_checkin` lies beyond today.
        """
        self.document(user, SHIFT_TYPE, shift_type)
        auto_attendance.process(self, self.shift_types.rows[shift_type], user.name)

    def put_employees(self, employees: Iterable[Mapping[str, Any]]) -> list[str]:
        """Create or replace employees, without any check, and return their names."""
        changes: list[Change] = []
        for number, values in enumerate(employees, start=len(self.employees.rows) + 1):
            row = self._employee_row({"name": f"HR-EMP-{number:05}", **values}, ADMIN.name)
            changes.append((EMPLOYEE, row["name"], row))
        self.commit(changes)
        return [name for _, name, _ in changes]

    def put_shift_types(self, shift_types: Iterable[Mapping[str, Any]]) -> list[str]:
        """Create or replace shift types, without any check, and return their names; all else is as on the day shift."""
        changes: list[Change] = []
        for values in shift_types:
            row = DAY_SHIFT | self._stamps(str(values["name"]), ADMIN.name)
            row |= {field: value for field, value in values.items() if field in DAY_SHIFT}
            changes.append((SHIFT_TYPE, row["name"], row))
        self.commit(changes)
        return [name for _, name, _ in changes]

    def commit(self, changes: list[Change]) -> None:
        """Make changes that were checked: all of them, and for good."""
        if self._journal and changes:
            self._journal.append(changes)
        self._apply(changes)

    def _apply(self, changes: Iterable[Change]) -> None:
        for doctype, name, row in changes:
            if row is None:
                self._tables[doctype].remove(name)
                continue
            self._tables[doctype].put(row)
            if doctype == CHECKIN:
                self._last_checkin = max(self._last_checkin, _series_number(name, "EMP-CKIN-"))
            elif doctype == ATTENDANCE:
                self._last_attendance = max(self._last_attendance, _series_number(name, "HR-ATT-"))
            elif doctype == CUSTOM_FIELD and row["dt"] == CHECKIN:
                self._add_field(row)

    def _add_field(self, custom: Row) -> None:
        field = custom["fieldname"]
        self.custom_fields[field] = custom
        self.checkins.fields = checkins.fields_with(self.custom_fields)
        for row in self.checkins.rows.values():
            row.setdefault(field, None)
        if custom["unique"]:
            self.checkins.add_index(field, _field_key(field))

    def _table(self, doctype: str) -> Table:
        if doctype not in self._tables:
            raise errors.unknown_doctype(doctype)
        return self._tables[doctype]

    def _new_custom_field(self, document: Mapping[str, Any], owner: str) -> Row:
        doctype, field = document.get("dt"), document.get("fieldname")
        if not doctype or not field:
            raise errors.mandatory(CUSTOM_FIELD, "new", "fieldname" if doctype else "dt")
        name = f"{doctype}-{field}"
        if name in self._custom.rows:
            text = f"A field with the name <strong>{field}</strong> already exists in {doctype}"
            raise errors.thrown("ValidationError", text)
        values = {each: document.get(each) for each in _CUSTOM_FIELD_FIELDS if each not in _STAMPS}
        flags = {each: int(bool(document.get(each))) for each in ("unique", "read_only", "no_copy")}
        return self._stamps(name, owner) | values | flags | {"label": document.get("label") or field}

    def _new_employee(self, document: Mapping[str, Any], owner: str) -> Row:
        row = self._employee_row({"name": f"HR-EMP-{len(self.employees.rows) + 1:05}", **document}, owner)
        if row["name"] in self.employees.rows:
            raise errors.name_taken(EMPLOYEE, row["name"])
        self._check_employee(row)
        return row

    def _employee_row(self, values: Mapping[str, Any], owner: str) -> Row:
        name = str(values["name"])
        given = {field: values.get(field) for field in _EMPLOYEE_FIELDS if field not in _FIXED}
        row = self._stamps(name, owner) | {"employee": name} | given
        row |= {field: value for field, value in _EMPLOYEE_DEFAULTS.items() if row[field] is None}
        row["employee_name"] = row["employee_name"] or row["first_name"] or f"Worker{row['attendance_device_id']} Test"
        return row

    def _check_employee(self, row: Row) -> None:
        if row["status"] not in _STATUSES:
            options = ", ".join(f'"{status}"' for status in _STATUSES)
            text = f'Status cannot be "{row["status"]}". It should be one of {options}'
            raise errors.thrown("ValidationError", text)
        field, value = "attendance_device_id", row["attendance_device_id"] or None
        row[field] = value
        if value and any(name != row["name"] for name in self.employees.find(field, collate(value))):
            raise errors.not_unique(EMPLOYEE, row["name"], field, "Attendance Device ID (Biometric/RF tag ID)", value)

    def _stamps(self, name: str, owner: str) -> Row:
        now = self.stamp()
        stamps = {"name": name, "owner": owner, "creation": now, "modified": now, "modified_by": owner}
        return stamps | {"docstatus": 0, "idx": 0}


def _field_key(field: str) -> Key:
    return lambda row: collate(row[field])


def _series_number(name: str, series: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if name.startswith(series) and digits.isdecimal() else 0
