"""What ERPNext has of what was delivered: what is missing, there twice, of nobody, different, or on no shift.

Memory is bounded: ERPNext is asked page by page, and what is found stands in the tables of the audit.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected, InvalidRecord
from attendance.records.checkin import Checkin
from operations.deleted_rows import LOOK_UP, find_deleted, punches_of
from sinks.targets.erpnext.documents import StoredPunch, to_document

EMPLOYEE: Final = "Employee"

Kind = Literal["surplus", "of_nobody", "different", "off_shift"]

SCHEMA: Final = """
create table version (event_id, employee, value, primary key (event_id, employee, value)) without rowid;
create table in_target (event_id primary key) without rowid;
create table employee (name primary key, is_there, creation) without rowid;
create table finding (
    kind, event_id, document, employee, time, log_type, why, instead, stays, primary key (kind, event_id, document)
) without rowid;
"""

MISSING: Final = "select distinct event_id from missing"

_FIELDS: Final = (
    *("name", "employee", "time", "log_type", "attendance", "offshift"),
    *("creation", "modified", "modified_by"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A document in ERPNext with which something is wrong.

    `why` says what. `instead` is the document that remains in the place of a surplus one. `stays` says why a repair
    leaves it as it is; None if a repair would not.
    """

    event_id: str
    document: str
    employee: str
    time: str
    log_type: str
    why: str
    instead: str | None = None
    stays: str | None = None

    def to_json(self) -> dict[str, object]:
        """The finding for programs."""
        return asdict(self)


class ErpnextRows:
    """The documents of ERPNext beside what was delivered.

    Args:
        db: The tables of the audit, with `SCHEMA` and the view `standing`.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.asked = False
        """Whether ERPNext was asked."""
        self.times_compared = True
        """Whether the site's zone was known, so that times could be compared."""
        self.deletions_known = True
        """Whether ERPNext let us see what was deleted."""

    def add_versions(self, checkins: Iterable[Checkin]) -> None:
        """Take in check-ins of events: what their documents may say."""
        rows = ((each.event_id, each.employee, each.encode()) for each in checkins)
        self._db.executemany("insert or ignore into version values (?, ?, ?)", rows)

    def versions(self, event_id: str) -> list[Checkin]:
        """Every check-in that was read of an event."""
        rows = self._db.execute("select value from version where event_id = ?", (event_id,))
        return [Checkin.decode(value) for (value,) in rows]

    def look_up(self, client: ErpnextClient, site_zone: str | None) -> None:
        """Ask ERPNext for the documents of everything that was delivered.

        Args:
            client: The site.
            site_zone: In which it keeps its times; None where that is in doubt, so that no times are compared.

        Raises:
            PunchstreamError: What `ErpnextClient.call` raises.
        """
        self.asked = True
        self.times_compared = site_zone is not None or self._db.execute("select 1 from standing").fetchone() is None
        with_event_id = client.has_event_id_field()
        for page in self._pages():
            _Page(self._db, client, site_zone, page, with_event_id=with_event_id).look_up()
        self.deletions_known = find_deleted(self._db, client, site_zone, self.versions)

    def _pages(self) -> Iterator[dict[str, dict[str, str]]]:
        """By event the documents that were delivered, each with its employee; so many events at a time."""
        # By employee, so that a page asks for few of them.
        cursor = self._db.execute("select event_id from standing group by event_id order by min(employee), event_id")
        while ids := [row[0] for row in cursor.fetchmany(LOOK_UP)]:
            page: dict[str, dict[str, str]] = {event_id: {} for event_id in ids}
            query = (
                "select event_id, document, employee from standing where event_id in (select value from json_each(?))"
            )
            for event_id, document, employee in self._db.execute(query, (json.dumps(ids),)):
                page[event_id][document] = employee
            yield page

    def findings(self, kind: Kind, limit: int = -1) -> list[Finding]:
        """What was found, by employee and time.

        Args:
            kind: Of which kind.
            limit: How many at most; -1 for all.
        """
        return list(self.each(kind, limit))

    def each(self, kind: Kind, limit: int = -1) -> Iterator[Finding]:
        """As `findings`, one by one."""
        query = (
            "select event_id, document, employee, time, log_type, why, instead, stays from finding where kind = ?"
            " order by employee, time, document limit ?"
        )
        for row in self._db.execute(query, (kind, limit)):
            yield Finding(*row)

    def count(self, kind: Kind) -> int:
        """How many there are of a kind."""
        number: int = self._db.execute("select count(*) from finding where kind = ?", (kind,)).fetchone()[0]
        return number


class _Page:
    """The documents of some events.

    Args:
        db: The tables.
        client: The site.
        site_zone: As for `ErpnextRows.look_up`.
        delivered: By event the documents that were delivered, each with its employee.
        with_event_id: Whether the site's documents have the field.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        client: ErpnextClient,
        site_zone: str | None,
        delivered: Mapping[str, Mapping[str, str]],
        *,
        with_event_id: bool,
    ) -> None:
        self._db = db
        self._client = client
        self._site_zone = site_zone
        self._delivered = delivered
        self._fields = [*_FIELDS, *([EVENT_ID_FIELD] if with_event_id else [])]
        self._with_event_id = with_event_id

    def look_up(self) -> None:
        """Ask ERPNext, and keep what is wrong."""
        rows = self._rows()
        self._db.executemany("insert or ignore into in_target values (?)", ((event_id,) for event_id in rows))
        self._add_unnamed_copies(rows)
        named = [row["employee"] or "" for each in rows.values() for row in each]
        expected = [employee for event_id in rows for employee in self._delivered[event_id].values()]
        self._ask_for_employees(sorted({*named, *expected} - {""}))
        owners = _owners(rows)
        for event_id, documents in rows.items():
            self._classify(event_id, documents, owners)

    def _rows(self) -> dict[str, list[Document]]:
        """The documents by event: all that have its event_id, and what was delivered under another or none."""
        found: dict[str, dict[str, Document]] = defaultdict(dict)
        if self._with_event_id:
            for row in self._list([(EVENT_ID_FIELD, "in", list(self._delivered))]):
                found[row[EVENT_ID_FIELD]][row["name"]] = row
        # A check-in that was there before us has no event_id, or that of another punch of the same second. So it may be
        # that of any number of events: of terminals that one person passed in one second.
        others: dict[str, list[str]] = defaultdict(list)
        for event_id, documents in self._delivered.items():
            for document in documents:
                if document not in found.get(event_id, {}):
                    others[document].append(event_id)
        alone = self._delivered.keys() - found.keys()
        for row in self._list([("name", "in", list(others))]) if others else []:
            for event_id in others[row["name"]]:
                unnamed = not row.get(EVENT_ID_FIELD)
                # ERPNext gives the name of a deleted document again: it may be another punch's by now.
                if (event_id in alone and unnamed) or ((event_id in alone or unnamed) and self._says(event_id, row)):
                    found[event_id][row["name"]] = row
        self._add_shared(found)
        return {event_id: list(rows.values()) for event_id, rows in found.items()}

    def _add_shared(self, found: dict[str, dict[str, Document]]) -> None:
        """Another document that says the same as one that is gone: ERPNext would take that for the punch."""
        events: dict[StoredPunch, list[str]] = defaultdict(list)
        for event_id in self._delivered.keys() - found.keys():
            for punch in punches_of(self._versions(event_id, {*self._delivered[event_id].values()}), self._site_zone):
                events[punch].append(event_id)
        if events:
            for row in self._list(
                [
                    ("employee", "in", sorted({punch.employee for punch in events})),
                    ("time", "in", sorted({punch.time for punch in events})),
                ]
            ):
                for event_id in events.get(StoredPunch.of(row), ()):
                    found[event_id][row["name"]] = row

    def _add_unnamed_copies(self, rows: dict[str, list[Document]]) -> None:
        """Copies that were stored while the site had no field `event_id`."""
        events = {StoredPunch.of(row): event_id for event_id, documents in rows.items() for row in documents}
        if not events:
            return
        filters: list[tuple[str, str, object]] = [
            ("employee", "in", sorted({punch.employee for punch in events})),
            ("time", "in", sorted({punch.time for punch in events})),
        ]
        if self._with_event_id:
            filters.append((EVENT_ID_FIELD, "is", "not set"))
        known = {row["name"] for documents in rows.values() for row in documents}
        for row in self._list(filters):
            event_id = events.get(StoredPunch.of(row))
            if event_id is not None and row["name"] not in known:
                rows[event_id].append(row)

    def _list(self, filters: Sequence[tuple[str, str, object]]) -> list[Document]:
        return self._client.get_list(CHECKIN, self._fields, filters)

    def _ask_for_employees(self, names: Sequence[str]) -> None:
        known = {name for name in names if self._employee(name) is not None}
        wanted = [name for name in names if name not in known]
        if not wanted:
            return
        rows = self._client.get_list(EMPLOYEE, ["name", "creation"], [("name", "in", wanted)])
        # ERPNext takes letter case and trailing spaces for nothing.
        there = {_collated(row["name"]): row["creation"] for row in rows}
        for name in wanted:
            creation = there.get(_collated(name))
            is_there = creation is not None or self._is_hidden(name)
            self._db.execute("insert or replace into employee values (?, ?, ?)", (name, is_there, creation))

    def _is_hidden(self, name: str) -> bool:
        """Whether an employee that a list lacks exists, and a User Permission hides them."""
        try:
            self._client.get(EMPLOYEE, name)
        except DocumentRejected as error:
            if error.is_missing:
                return False
            raise
        except AccessDenied:
            return True
        return True

    def _employee(self, name: str) -> tuple[bool, str | None] | None:
        query = "select is_there, creation from employee where name = ?"
        row: tuple[bool, str | None] | None = self._db.execute(query, (name,)).fetchone()
        return row

    def _classify(self, event_id: str, rows: Sequence[Document], owners: Mapping[str, str]) -> None:
        delivered = self._delivered[event_id]
        kept = min(rows, key=lambda row: self._precedence(row, delivered))
        ours = self._versions(event_id, {*delivered.values()})
        for row in rows:
            employee = delivered.get(row["name"]) or next(iter(delivered.values()))
            punch = StoredPunch.of(row)
            linked = row["attendance"] and f"linked to {row['attendance']}: cancel that first"
            if row is not kept:
                edited = f"{row['modified_by']} changed it" if punch != StoredPunch.of(kept) else None
                why = f"a copy of {kept['name']}"
                self._add("surplus", event_id, row, why, instead=kept["name"], stays=linked or edited)
            elif owners[row["name"]] != event_id:
                continue  # a document that several events share is looked at once
            elif nobody := self._is_nobodys(row, employee, ours):
                self._add("of_nobody", event_id, row, nobody, stays=linked or self._doubt(event_id, row))
            elif difference := self._difference(row, employee, ours):
                self._add("different", event_id, row, f"{difference}; last changed by {row['modified_by']}")
            if row["offshift"]:
                self._add("off_shift", event_id, row, "on no shift, so it is not counted", stays=linked)

    @staticmethod
    def _precedence(row: Document, delivered: Mapping[str, str]) -> tuple[bool, bool, bool, str, str]:
        """Which of several copies is to remain, the first one first."""
        event_id = row.get(EVENT_ID_FIELD)
        return not row["attendance"], not event_id, row["name"] not in delivered, str(row["creation"]), row["name"]

    def _versions(self, event_id: str, employees: set[str]) -> list[Checkin]:
        query = "select employee, value from version where event_id = ?"
        return [
            Checkin.decode(value) for employee, value in self._db.execute(query, (event_id,)) if employee in employees
        ]

    def _document(self, checkin: Checkin) -> Document:
        try:
            return to_document(checkin, self._site_zone or "UTC", event_id=False)
        except InvalidRecord:  # it never was a document
            return {"employee": "", "time": ""}

    def _says(self, event_id: str, row: Document) -> bool:
        """Whether the document may be one of that event, by its time and direction."""
        ours = self._versions(event_id, {*self._delivered[event_id].values()})
        said = {(self._document(each)["time"], each.log_type) for each in ours if self._is_time_known(each)}
        return not said or (StoredPunch.of(row).time, StoredPunch.of(row).log_type) in said

    def _doubt(self, event_id: str, row: Document) -> str | None:
        """Why it is not certain that the document still says what was delivered."""
        ours = self._versions(event_id, {*self._delivered[event_id].values()})
        if not ours:
            return "its check-in is not among what was read"
        if not all(map(self._is_time_known, ours)):
            return "the zone of ERPNext is in doubt"
        return None if self._says(event_id, row) else f"{row['modified_by']} changed it"

    def _exists(self, employee: str) -> bool:
        found = self._employee(employee)
        return found is not None and bool(found[0])

    def _is_nobodys(self, row: Document, employee: str, ours: Sequence[Checkin]) -> str | None:
        """Why the document is not that of the person who punched; None where it is."""
        name = row["employee"] or ""
        if not self._exists(name):
            return f"there is no employee {name}" if name else "it has no employee"
        since = self._somebody_else_since(name, row, ours)
        if since is None or _collated(name) != _collated(employee):
            return None
        return f"{name} is another person since {since[:16]}"

    def _somebody_else_since(self, name: str, row: Document, ours: Sequence[Checkin]) -> str | None:
        """When the employee of that name was created, if that is not the one for whom the punch was delivered."""
        found = self._employee(name)
        creation = str(found[1]) if found and found[1] is not None else None
        was = {each.employee_created for each in ours if each.employee_created is not None}
        if creation is None or creation in was or (not was and creation <= str(row["creation"])):
            return None
        return creation

    def _difference(self, row: Document, employee: str, ours: Sequence[Checkin]) -> str | None:
        """What the document says else than what was delivered."""
        punch = StoredPunch.of(row)
        # A rename or a merge in ERPNext takes the documents along, and somebody else may have got the number since.
        is_there = self._exists(employee) and self._somebody_else_since(employee, row, ours) is None
        if _collated(punch.employee) != _collated(employee) and is_there:
            return f"delivered for {employee}"
        delivered = [each for each in ours if _collated(each.employee) == _collated(employee)]
        if delivered and punch.log_type not in {each.log_type for each in delivered}:
            return f"delivered as {delivered[-1].log_type or 'neither IN nor OUT'}"
        times = {self._document(each)["time"] for each in delivered if self._is_time_known(each)}
        if times and punch.time not in times:
            return f"delivered for {max(times)}"
        return None

    def _is_time_known(self, checkin: Checkin) -> bool:
        return self._site_zone is not None or checkin.checkin_time == "device_local"

    def _add(
        self,
        kind: Kind,
        event_id: str,
        row: Document,
        why: str,
        *,
        instead: str | None = None,
        stays: str | None = None,
    ) -> None:
        punch = StoredPunch.of(row)
        values: tuple[Any, ...] = (kind, event_id, row["name"], punch.employee, punch.time, punch.log_type, why)
        self._db.execute(
            "insert or replace into finding values (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, instead, stays or None)
        )


def _collated(name: str) -> str:
    return name.rstrip(" ").casefold()


def _owners(rows: Mapping[str, Sequence[Document]]) -> dict[str, str]:
    """By document the event whose it is, of all that share it: the one that it names, or else the first."""
    owners: dict[str, str] = {}
    for event_id in sorted(rows):
        for row in rows[event_id]:
            if row.get(EVENT_ID_FIELD) == event_id:
                owners[row["name"]] = event_id
            else:
                owners.setdefault(row["name"], event_id)
    return owners
