"""The site: who may do what with its documents.

Nothing here waits or speaks HTTP. What is refused is raised as the `FrappeError` that answers it.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sandbox.erpnext import (
    attendance,
    auto_attendance,
    checkins,
    custom_fields,
    employees,
    errors,
    links,
    settings,
    shifts,
    uniqueness,
    user_permissions,
)
from sandbox.erpnext.checkins import Transaction
from sandbox.erpnext.doctypes import (
    ATTENDANCE,
    CHECKIN,
    CUSTOM_FIELD,
    EMPLOYEE,
    LEAVE_APPLICATION,
    SHIFT_TYPE,
    SINGLES,
    STAMPS,
    SUBMITTED,
    check_permission,
    is_permitted,
)
from sandbox.erpnext.errors import FrappeError
from sandbox.erpnext.query import Query, Row, Value
from sandbox.erpnext.shifts import DAY_SHIFT, LAST_SYNC
from sandbox.erpnext.store import Store, utc_now
from sandbox.erpnext.tables import Change
from sandbox.erpnext.users import ADMIN, ADMINISTRATOR, USERS, User

MAX_INSERT_MANY: Final = 200


class Site(Store):
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
            time_zone: The IANA zone of its naive times to begin with, and that of its users.
            users: Who may log in.
            clock: Gives the time, with an offset from UTC.
            journal: A file of what is committed, read now and appended to. Without one all is gone with the process.
            url: The address in its messages.

        Raises:
            ConfigurationError: there is no such zone.
        """
        users = tuple(users)
        super().__init__(
            time_zone=time_zone, user_names=[user.name for user in users], clock=clock, journal=journal, url=url
        )
        self._users = {(user.api_key, user.api_secret): user for user in users}

    def user(self, api_key: str, api_secret: str) -> User:
        """Whose key pair that is.

        Raises:
            FrappeError: nobody's.
        """
        user = self._users.get((api_key, api_secret))
        if user is None:
            raise errors.authentication()
        return user

    # Reading

    def list_rows(self, user: User, doctype: str, arguments: Mapping[str, Any]) -> list[Row]:
        """The rows that `frappe.get_list` gives for these arguments."""
        check_permission(user, doctype, reading_list=True)
        table = self.table(doctype)
        query = Query.read(arguments, doctype, table.fields)
        return query.run(user_permissions.visible(self, user, doctype, list(table.candidates(query.filters))))

    def count(self, doctype: str, filters: Value) -> int:
        """How many rows pass the filters. Frappe tells anybody who is logged in."""
        table = self.table(doctype)
        query = Query.read({"filters": filters}, doctype, table.fields)
        return len(query.matching(table.candidates(query.filters)))

    def value(self, user: User, doctype: str, fields: Value, filters: Value) -> Row:
        """These fields of the first row that passes the filters, or of the settings; empty when there is none."""
        if not is_permitted(user, doctype):
            raise errors.no_permission(doctype)
        if doctype in SINGLES:
            row = self.table(doctype).rows[doctype]
            # The table of such settings holds text.
            return {field: None if row.get(field) is None else str(row[field]) for field in fields}
        arguments = {"fields": fields, "filters": filters, "limit_page_length": 1}
        return next(iter(self.list_rows(user, doctype, arguments)), {})

    def single_value(self, user: User, doctype: str, field: str) -> Value:
        """One field of settings.

        Raises:
            FrappeError: the user may not read them.
        """
        if not is_permitted(user, doctype):
            raise errors.no_permission(doctype)
        return self.table(doctype).rows[doctype].get(field)

    def document(self, user: User, doctype: str, name: str) -> Row:
        """One document, without its empty fields.

        Raises:
            FrappeError: there is no such document, or the user may not see it.
        """
        table = self.table(doctype)
        check_permission(user, doctype)
        if name not in table.rows:
            raise errors.not_found(doctype, name)
        return self.shown(doctype, table.rows[name])

    def shown(self, doctype: str, row: Row) -> Row:
        """A row as an answer shows it."""
        fields = self.table(doctype).fields
        return {field: row[field] for field in fields if row.get(field) is not None} | {"doctype": doctype}

    # Writing

    def begin(self, user: User) -> Transaction:
        """A transaction of that user, for check-ins."""
        return Transaction(self, user)

    def insert(self, user: User, doctype: str, document: Mapping[str, Any]) -> Row:
        """Store one employee, custom field or Attendance.

        Raises:
            FrappeError: refused.
        """
        check_permission(user, doctype, "write")
        if doctype == EMPLOYEE:
            row = employees.new(self, document, user.name)
        elif doctype == CUSTOM_FIELD:
            row = custom_fields.new(self, document, user.name)
        elif doctype == ATTENDANCE:
            if document.get("docstatus"):
                check_permission(user, doctype, "submit")
            row = attendance.new(self, document, user.name)
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
        check_permission(user, doctype, "write")
        old = self.table(doctype).rows[name]
        seen, now = values.get("modified"), self.stamp()
        if seen and seen != old["modified"]:
            raise errors.thrown(
                "TimestampMismatchError",
                f"Error: Document has been modified after you have opened it ({old['modified']}, {now}). "
                "Please refresh to get the latest document.",
            )
        row = old | {field: value for field, value in values.items() if field in old and field not in STAMPS}
        if doctype == CHECKIN:
            checkins.check_time_change(old, row)
            row |= checkins.build(self, row, name)
            uniqueness.check(self, CHECKIN, row, name)
        elif doctype == EMPLOYEE:
            employees.check(self, row)
        elif doctype == SHIFT_TYPE and row[LAST_SYNC]:
            row[LAST_SYNC] = str(shifts.read_time(row[LAST_SYNC]))
        elif doctype == ATTENDANCE:
            docstatus = int(values.get("docstatus", old["docstatus"]))
            row = attendance.update(self, old, row, docstatus)
            if docstatus == attendance.CANCELLED:
                return self.cancel(user, doctype, name)
        elif doctype == CUSTOM_FIELD:
            custom_fields.check(self, row)
        else:
            settings.check(doctype, row)
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
            FrappeError: no such document, not permitted, or others lead to it.
        """
        check_permission(user, doctype, "delete")
        row = self.table(doctype).rows.get(name)
        if row is None:
            raise errors.not_found()
        if row["docstatus"] == SUBMITTED:
            text = f"{doctype} {name}: Submitted Record cannot be deleted. You must Cancel it first."
            raise errors.thrown("ValidationError", text)
        links.check_unlinked(self, doctype, name)
        self.commit(links.delete(self, doctype, name, user.name))

    def rename(self, user: User, doctype: str, old: str, new: str, *, merge: bool = False) -> None:
        """Give an employee another name, or merge it into the one that has it. What leads to it leads there then.

        Raises:
            FrappeError: not permitted, or not possible.
        """
        check_permission(user, doctype, "write")
        if doctype != EMPLOYEE:
            raise errors.thrown("ValidationError", f"{doctype} not allowed to be renamed")
        links.rename(self, user, old, new, merge=merge)

    def cancel(self, user: User, doctype: str, name: str) -> Row:
        """Cancel an Attendance.

        Raises:
            FrappeError: no such document, cancelled already, not permitted, or of a doctype that is not submitted.
        """
        self.document(user, doctype, name)
        if doctype != ATTENDANCE:
            raise errors.not_submittable(doctype)
        check_permission(user, doctype, "submit")
        return attendance.cancel(self, self.attendances.rows[name], user.name)

    def submit(self, user: User, document: Mapping[str, Any]) -> Row:
        """Submit an Attendance as the document has it: a new one, or the draft of its name.

        Raises:
            FrappeError: not permitted, or refused.
        """
        doctype, name = str(document.get("doctype") or ""), str(document.get("name") or "")
        if doctype != ATTENDANCE:
            raise errors.not_submittable(doctype)
        if name in self.attendances.rows:
            return self.update(user, doctype, name, {**document, "docstatus": SUBMITTED})
        return self.insert(user, doctype, {**document, "docstatus": SUBMITTED})

    def process_auto_attendance(self, user: User, shift_type: str) -> None:
        """Process a shift now, rather than when the scheduler does.

        Raises:
            FrappeError: no such Shift Type, not permitted, or `last_sync_of_checkin` lies beyond today.
        """
        self.document(user, SHIFT_TYPE, shift_type)
        auto_attendance.process(self, self.shift_types.rows[shift_type], user.name)

    def fetch_shift(self, user: User, name: str) -> Row:
        """A check-in with the shift that its employee has by now. Nothing is stored.

        Raises:
            FrappeError: no such check-in, or not permitted.
        """
        self.document(user, CHECKIN, name)
        return self.shown(CHECKIN, checkins.fetch_shift(self, self.checkins.rows[name]))

    def bulk_fetch_shift(self, user: User, names: Iterable[str]) -> None:
        """Give check-ins the shifts that their employees have by now: all of them, or none.

        Raises:
            FrappeError: no such check-in, or not permitted.
        """
        changes: list[Change] = []
        for name in names:
            check_permission(user, CHECKIN, "write")
            self.document(user, CHECKIN, name)
            row = checkins.fetch_shift(self, self.checkins.rows[name])
            changes.append((CHECKIN, name, row | {"modified": self.stamp(), "modified_by": user.name}))
        self.commit(changes)

    # What a test does besides

    def run_hourly(self) -> None:
        """What the scheduler does each hour: hrms moves `last_sync_of_checkin` where `auto_update_last_sync` is set.

        To a minute after the shift's window closed, without a look at any terminal. Then every shift is processed.
        """
        now = self.now()
        for shift in list(self.rows(SHIFT_TYPE)):
            end = shifts.last_end(shift, now)
            before = shift[LAST_SYNC] and shifts.read_time(shift[LAST_SYNC]) >= end
            if shift["enable_auto_attendance"] and shift["auto_update_last_sync"] and not before and end < now:
                moved = {LAST_SYNC: str(end + timedelta(minutes=1)), "modified": self.stamp()}
                self.commit([(SHIFT_TYPE, shift["name"], shift | moved | {"modified_by": ADMINISTRATOR})])
        for shift in list(self.rows(SHIFT_TYPE)):
            with suppress(FrappeError):
                auto_attendance.process(self, shift, ADMINISTRATOR)

    def put_employees(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Create or replace employees, without any check, and return their names."""
        return employees.put(self, rows)

    def put(self, doctype: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Create or replace documents of any doctype, without any check, and return their names.

        What is left out is empty, or as it was. An approved leave that is submitted makes its Attendance.

        Raises:
            FrappeError: there is no such doctype.
        """
        table = self.table(doctype)
        names: list[str] = []
        for values in rows:
            name = str(values.get("name") or f"{doctype} {len(table.rows) + 1}")
            old = table.rows.get(name) or dict.fromkeys(table.fields) | self.stamps(name, ADMINISTRATOR)
            row = old | {field: value for field, value in values.items() if field in table.fields}
            self.commit([(doctype, name, row | {"name": name})])
            if (doctype, row.get("status"), row.get("docstatus")) == (LEAVE_APPLICATION, "Approved", SUBMITTED):
                self.commit([(ATTENDANCE, each["name"], each) for each in attendance.of_leave(self, row)])
            names.append(name)
        return names

    def put_shift_types(self, shift_types: Iterable[Mapping[str, Any]]) -> list[str]:
        """Create or replace shift types, without any check, and return their names; all else is as on the day shift."""
        changes: list[Change] = []
        for values in shift_types:
            row = DAY_SHIFT | self.stamps(str(values["name"]), ADMIN.name)
            row |= {field: value for field, value in values.items() if field in DAY_SHIFT}
            changes.append((SHIFT_TYPE, row["name"], row))
        self.commit(changes)
        return [name for _, name, _ in changes]

    def remove(self, doctype: str, name: str) -> None:
        """Delete a document whatever leads to it, as from the database.

        Raises:
            FrappeError: no such document.
        """
        if name not in self.table(doctype).rows:
            raise errors.not_found(doctype, name)
        self.commit(links.delete(self, doctype, name))

    def set_series(self, doctype: str, number: int) -> None:
        """Let the doctype's series have given that number last, as after a restore. Documents stay as they are."""
        self.commit([self.series_change(self.series(doctype)[0], number)])

    def set_time_zone(self, time_zone: str, user: str | None = None) -> None:
        """Change the zone of the site, or of that user alone. What is stored stays as it is written.

        Raises:
            FrappeError: there is no such zone, or no such user.
        """
        settings.set_time_zone(self, time_zone, user)
