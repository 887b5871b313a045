"""The documents of the site in memory, its clock, and the numbers of its naming series.

Nothing is checked here: what is committed was checked by whoever built it.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attendance.times import zone
from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import (
    ATTENDANCE,
    CHECKIN,
    CUSTOM_FIELD,
    EMPLOYEE,
    FIELDS,
    HR_SETTINGS,
    SERIES,
    SHIFT_TYPE,
    SYSTEM_SETTINGS,
    USER,
)
from sandbox.erpnext.query import Row, Value, collate
from sandbox.erpnext.shifts import DAY_SHIFT
from sandbox.erpnext.tables import Change, Journal, Key, Table
from sandbox.erpnext.users import ADMINISTRATOR, GUEST

_NUMBER: Final = re.compile(r"(.*?)(\d+)")
# By doctype how names begin, the time in them being that of naming, and how many digits follow.
_SERIES: Final = {CHECKIN: ("EMP-CKIN-{:%m-%Y}-", 6), ATTENDANCE: ("HR-ATT-{:%Y}-", 5), EMPLOYEE: ("HR-EMP-", 5)}
_CUSTOM_AFTER: Final = {CHECKIN: "device_id", ATTENDANCE: "shift"}
# Guest is a user as well, whose own zone nobody sets.
_DEFAULT_TIME_ZONE: Final = "Asia/Kolkata"


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


def punch_key(row: Row) -> tuple[Any, str, str]:
    """What hrms compares to find a duplicate. The device plays no part."""
    return collate(row["employee"]), row["time"], row["log_type"]


def day_key(row: Row) -> tuple[Any, str]:
    """The employee and the day of an Attendance."""
    return collate(row["employee"]), row["attendance_date"]


def pending_key(checkin: Row) -> str | None:
    """The shift whose auto attendance has yet to look at a check-in."""
    return None if checkin["skip_auto_attendance"] or checkin["attendance"] else checkin["shift"]


class Store:
    """The rows of every doctype. Not safe for threads."""

    def __init__(
        self,
        *,
        time_zone: str,
        user_names: Iterable[str],
        clock: Callable[[], datetime],
        journal: Path | None,
        url: str,
    ) -> None:
        """A store with one shift type and nobody employed, or with what the journal holds.

        Args:
            time_zone: The IANA zone of the naive times, and, copied from there, of each user.
            user_names: Who there is.
            clock: Gives the time, with an offset from UTC.
            journal: A file of what is committed, read now and appended to. Without one all is gone with the process.
            url: The address in the site's messages.

        Raises:
            ConfigurationError: there is no such zone.
        """
        zone(time_zone)
        self._first_time_zone = time_zone
        self._user_names = tuple(user_names)
        self._clock = clock
        self.url = url
        self._journal = Journal(journal) if journal else None
        self._start_empty()
        for changes in self._journal.transactions() if self._journal else ():
            self._apply(changes)

    def close(self) -> None:
        """Close the journal."""
        if self._journal:
            self._journal.close()

    def reset(self) -> None:
        """Forget everything: documents, custom fields and settings."""
        if self._journal:
            self._journal.clear()
        self._start_empty()

    def _start_empty(self) -> None:
        self._custom_fields: dict[str, dict[str, Row]] = {}
        self.checkins = Table(
            FIELDS[CHECKIN],
            {
                "punch": punch_key,
                "employee": _field_key("employee"),
                "linked": lambda row: row["attendance"] or None,
                "pending": pending_key,
            },
        )
        self.employees = Table(
            FIELDS[EMPLOYEE],
            {"name": _field_key("name"), "attendance_device_id": _field_key("attendance_device_id")},
        )
        self.shift_types = Table(FIELDS[SHIFT_TYPE])
        self.shift_types.put(dict(DAY_SHIFT))
        self.attendances = Table(FIELDS[ATTENDANCE], {"day": day_key, "employee": _field_key("employee")})
        self._tables = {
            CHECKIN: self.checkins,
            EMPLOYEE: self.employees,
            SHIFT_TYPE: self.shift_types,
            ATTENDANCE: self.attendances,
            SERIES: Table(("name", "current")),
        }
        self._tables |= {doctype: Table(FIELDS[doctype]) for doctype in FIELDS if doctype not in self._tables}
        settings = self.stamps(SYSTEM_SETTINGS, ADMINISTRATOR, zone_name=self._first_time_zone)
        self._apply([(SYSTEM_SETTINGS, SYSTEM_SETTINGS, settings | {"time_zone": self._first_time_zone})])
        wanted = {"allow_employee_checkin_from_mobile_app": 1, "allow_geolocation_tracking": 0}
        self._apply([(HR_SETTINGS, HR_SETTINGS, self.stamps(HR_SETTINGS, ADMINISTRATOR) | wanted)])
        for name in (GUEST.name, *self._user_names):
            user = self.stamps(name, ADMINISTRATOR) | {"enabled": 1, "full_name": name, "time_zone": self.time_zone}
            self._apply([(USER, name, user)])

    # Time

    @property
    def time_zone(self) -> str:
        """The IANA zone of the site, in which all its naive times are."""
        return str(self._tables[SYSTEM_SETTINGS].rows[SYSTEM_SETTINGS]["time_zone"])

    def user_time_zone(self, name: str) -> str:
        """The user's own zone: that of the site when the user was made, until somebody changes it."""
        user = self._tables[USER].rows.get(name)
        return str(user["time_zone"]) if user and user["time_zone"] else self.time_zone

    def default_time_zone(self, name: str) -> str:
        """The zone among a user's defaults, which is never that of the site."""
        return _DEFAULT_TIME_ZONE if name == GUEST.name else self.user_time_zone(name)

    def now(self) -> datetime:
        """The site's wall clock: naive, as all its times are."""
        return self._now(self.time_zone)

    def stamp(self) -> str:
        """The wall clock as `creation` and `modified` have it."""
        return _stamp(self.now())

    def stamps(self, name: str, owner: str, *, zone_name: str | None = None) -> Row:
        """The fields that every new document has."""
        now = _stamp(self._now(zone_name or self.time_zone))
        stamps = {"name": name, "owner": owner, "creation": now, "modified": now, "modified_by": owner}
        return stamps | {"docstatus": 0, "idx": 0}

    def _now(self, zone_name: str) -> datetime:
        return self._clock().astimezone(zone(zone_name)).replace(tzinfo=None)

    # Reading

    def table(self, doctype: str) -> Table:
        """The rows of that doctype.

        Raises:
            FrappeError: there is no such doctype.
        """
        if doctype not in self._tables:
            raise errors.unknown_doctype(doctype)
        return self._tables[doctype]

    def rows(self, doctype: str) -> Iterator[Row]:
        """All rows of a doctype, in the order they were stored."""
        return iter(list(self.table(doctype).rows.values()))

    def employee(self, name: Value) -> Row | None:
        """The employee of that name, however it is spelled."""
        found = self.employees.find("name", collate(str(name))) if name else []
        return self.employees.rows[found[0]] if found else None

    def custom_fields(self, doctype: str) -> dict[str, Row]:
        """The custom fields of a doctype, by name."""
        return self._custom_fields.get(doctype, {})

    def unique_fields(self, doctype: str) -> list[str]:
        """The custom fields of a doctype whose values may not repeat."""
        return [field for field, custom in self.custom_fields(doctype).items() if custom["unique"]]

    def data_fields(self) -> list[tuple[str, str]]:
        """The Data fields of a check-in, with their labels."""
        custom = self.custom_fields(CHECKIN).items()
        return [
            ("device_id", "Location / Device ID"),
            *((field, row["label"]) for field, row in custom if row["fieldtype"] == "Data"),
        ]

    # Names

    def series(self, doctype: str) -> tuple[str, int]:
        """The prefix of the names that a doctype gets now, and the number that was given last; none is 0."""
        prefix = _SERIES[doctype][0].format(self.now()) if doctype in _SERIES else ""
        row = self._tables[SERIES].rows.get(prefix)
        return prefix, int(row["current"]) if row else 0

    def next_name(self, doctype: str, ahead: int = 0) -> str:
        """The name that the doctype's series gives next, or `ahead` later."""
        prefix, number = self.series(doctype)
        return f"{prefix}{number + 1 + ahead:0{_SERIES[doctype][1]}}" if prefix else ""

    def series_change(self, prefix: str, number: int) -> Change:
        """The change by which the series gave that number last."""
        return SERIES, prefix, {"name": prefix, "current": number}

    # Writing

    def commit(self, changes: list[Change]) -> None:
        """Make changes that were checked: all of them, and for good."""
        if self._journal and changes:
            self._journal.append(changes)
        self._apply(changes)

    def _apply(self, changes: Iterable[Change]) -> None:
        for doctype, name, row in changes:
            table = self._tables[doctype]
            if doctype == CUSTOM_FIELD:
                self._change_field(row or table.rows[name], there=row is not None)
            if row is None:
                table.remove(name)
                continue
            if name not in table.rows:
                self._count(doctype, name)
            table.put(row)

    def _count(self, doctype: str, name: str) -> None:
        """The series of a name has given that number."""
        match = _NUMBER.fullmatch(name)
        if match is None or doctype not in _SERIES or not name.startswith(_SERIES[doctype][0].partition("{")[0]):
            return
        prefix, number = match[1], int(match[2])
        row = self._tables[SERIES].rows.get(prefix)
        if row is None or number > row["current"]:
            self._tables[SERIES].put({"name": prefix, "current": number})

    def _change_field(self, custom: Row, *, there: bool) -> None:
        """A custom field is there from now on, or is not.

        Its values stay in the rows when it goes, as in the database, and are there again when it comes back.
        """
        doctype, field = custom["dt"], custom["fieldname"]
        fields = self._custom_fields.setdefault(doctype, {})
        fields.pop(field, None)
        if there:
            fields[field] = custom
        table, standard = self._tables[doctype], FIELDS[doctype]
        after = standard.index(_CUSTOM_AFTER[doctype]) + 1 if doctype in _CUSTOM_AFTER else len(standard)
        table.fields = [*standard[:after], *fields, *standard[after:]]
        table.drop_index(field)
        if there:
            for row in table.rows.values():
                row.setdefault(field, None)
            if custom["unique"]:
                table.add_index(field, _field_key(field))


def _field_key(field: str) -> Key:
    return lambda row: collate(row[field])


def _stamp(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="microseconds")
