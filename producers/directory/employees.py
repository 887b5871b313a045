"""ERPNext's employees: how they are read, and who of them has a device user id."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from attendance.erpnext import Document, ErpnextClient
from attendance.errors import TargetUnavailable
from attendance.records.user_map import Employee
from producers.directory.documents import PAGE, DocumentReader

EMPLOYEE: Final = "Employee"
FIELDS: Final = (
    *("name", "attendance_device_id", "status", "company", "branch"),
    *("date_of_joining", "relieving_date", "creation", "modified"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """One employee as ERPNext lists it. `modified` is naive, in the site's own zone."""

    employee: Employee
    device_user_id: str | None
    modified: datetime

    @property
    def name(self) -> str:
        """Its name in ERPNext."""
        return self.employee.name


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


class EmployeeReader(DocumentReader[Person]):
    """Reads employees. See `DocumentReader`."""

    def __init__(
        self, site: ErpnextClient, page: int = PAGE, site_zone: Callable[[], ZoneInfo | None] = lambda: None
    ) -> None:
        super().__init__(site, EMPLOYEE, FIELDS, read_person, page, site_zone)


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
