"""ERPNext's employees: how they are read, and who of them has a device user id."""

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from attendance.erpnext import Document, ErpnextClient, Filter
from attendance.errors import DocumentRejected, PermissionDenied, ServerError, TargetUnavailable
from attendance.records.user_map import Employee
from producers.directory.window import window

EMPLOYEE: Final = "Employee"
FIELDS: Final = (
    *("name", "attendance_device_id", "status", "company", "branch"),
    *("date_of_joining", "relieving_date", "creation", "modified"),
)
PAGE: Final = 500
_NOT_COMPUTED: Final = (DocumentRejected, PermissionDenied, ServerError)
# Computed by the database from the index on `modified`, in less time than a count of the rows takes.
SUMMARY: Final = ("count(name) as n", "sum(crc32(name)) as names", "sum(crc32(modified)) as modified")


@dataclass(frozen=True, slots=True)
class Person:
    """One employee as ERPNext lists it. `modified` is naive, in the site's own zone."""

    employee: Employee
    device_user_id: str | None
    modified: datetime


People = dict[str, Person]


def read_person(document: Document) -> Person:
    """The employee of a listed document.

    Raises:
        TargetUnavailable: the document cannot be read, so the answer it came with is not to be trusted.
    """
    try:
        # A trailing space, pasted from a sheet, would match no punch.
        device_user_id = (document["attendance_device_id"] or "").strip()
        return Person(
            Employee(
                name=document["name"],
                status=document["status"],
                relieving_date=_date(document["relieving_date"]),
                company=document["company"],
                branch=document["branch"],
                date_of_joining=_date(document["date_of_joining"]),
                created=document["creation"],
            ),
            device_user_id or None,
            datetime.fromisoformat(document["modified"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable(f"an employee that cannot be read: {error!r}") from error


def _date(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None


@dataclass(frozen=True, slots=True)
class Summary:
    """Employees in three numbers: how many there are, and sums of checksums of their names and of `modified`.

    With all three, it is another after any change: of a document, a removal, a rename, a merge, a number used again.
    """

    count: int
    names: int | None = None
    modified: int | None = None

    @property
    def whole(self) -> bool:
        """Whether ERPNext computed more than the count."""
        return self.names is not None

    def fits(self, people: People) -> bool:
        """Whether these are the employees that it is of, as far as it tells."""
        if not self.whole:
            return self.count == len(people)
        times = (person.modified.isoformat(sep=" ", timespec="microseconds") for person in people.values())
        return self == Summary(len(people), sum(map(_checksum, people)), sum(map(_checksum, times)))


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode())


class EmployeeReader:
    """Reads employees page by page. Its methods raise what `ErpnextClient.call` raises.

    Args:
        site: Their ERPNext.
        page: How many are asked for at a time.
        site_zone: Gives the zone of ERPNext's naive times, or None while that is in doubt.
    """

    def __init__(
        self, site: ErpnextClient, page: int = PAGE, site_zone: Callable[[], ZoneInfo | None] = lambda: None
    ) -> None:
        self._site = site
        self._page = page
        self._site_zone = site_zone
        self._sums = True

    async def everyone(self) -> People:
        """Every employee, by name. Whoever is there from beginning to end is found, whatever else changes meanwhile."""
        self._sums = True  # the site may be another version by now
        people: People = {}
        after: list[Filter] = []
        while True:
            page = await self._list(filters=after, order_by="name asc", limit=self._page)
            people |= {person.employee.name: person for person in page}
            if len(page) < self._page:
                return people
            after = [("name", ">", page[-1].employee.name)]

    async def changed(self, known: People, last: datetime, now: datetime) -> People:
        """The employees who changed between two instants, and some more.

        Those at a page's edge are read twice, none is missed. A `modified` in the future stands in nobody's way.

        Args:
            known: The employees as they were read before.
            last: When that began.
            now: When this begins.
        """
        since, until = window(last, now, self._site_zone())
        # Not all clocks are right: whatever is younger than the youngest that is known counts, too.
        past = [person.modified for person in known.values() if person.modified <= until]
        since = min(since, max(past, default=since) + timedelta.resolution)
        people: People = {}
        start = 0
        while True:
            page = await self._list(
                filters=[("modified", ">=", str(since)), ("modified", "<=", str(until))],
                order_by="modified asc, name asc",
                start=start,
                limit=self._page,
            )
            people |= {person.employee.name: person for person in page}
            if len(page) < self._page:
                return people
            # A change moves its row to the end and every later row up, so rows are counted off only among equal times.
            newest = page[-1].modified
            since, start = (since, start + self._page) if newest == since else (newest, 0)

    async def summary(self) -> Summary | None:
        """All employees in one small answer: as much of it as this ERPNext computes, None where that is nothing."""
        if self._sums:
            try:
                rows = await asyncio.to_thread(self._site.get_list, EMPLOYEE, SUMMARY)
                return Summary(*(int(rows[0][name] or 0) for name in ("n", "names", "modified")))
            except _NOT_COMPUTED:
                self._sums = False  # as version 16 of Frappe, and other databases
            except (IndexError, KeyError, TypeError, ValueError) as error:
                raise TargetUnavailable(f"a summary of employees that cannot be read: {error!r}") from error
        try:
            return Summary(await asyncio.to_thread(self._site.count, EMPLOYEE))
        except _NOT_COMPUTED:
            return None

    async def _list(self, **options: Any) -> list[Person]:
        return [read_person(row) for row in await asyncio.to_thread(self._site.get_list, EMPLOYEE, FIELDS, **options)]


def holders(people: Iterable[Person]) -> dict[str, list[Person]]:
    """Who has each device user id, the one to be taken first.

    Active comes before any other status, who was not relieved or was relieved later before the others, and then the
    name decides. `modified` does not: an unrelated edit would move the mapping.
    """
    by_id: dict[str, list[Person]] = defaultdict(list)
    for person in people:
        if person.device_user_id is not None:
            by_id[person.device_user_id].append(person)
    for candidates in by_id.values():
        candidates.sort(key=_precedence)
    return by_id


def _precedence(person: Person) -> tuple[bool, int, str]:
    employee = person.employee
    return employee.status != "Active", -(employee.relieving_date or date.max).toordinal(), employee.name


def shared_ids(people: People) -> dict[str, list[str]]:
    """The device user ids that several employees share, with their names; the name that is used comes first."""
    return {
        device_user_id: [person.employee.name for person in candidates]
        for device_user_id, candidates in holders(people.values()).items()
        if len(candidates) > 1
    }
