"""Who a device's user is."""

from datetime import date

from attendance.records.user_map import EVERYWHERE, Employee, UserMapping, site_scope
from attendance.user_map import UserMap
from operations.users import user_rows


def user_map(*entries: UserMapping | Employee) -> UserMap:
    known = UserMap()
    for entry in entries:
        known.apply(entry.key, entry.encode())
    return known


KNOWN = user_map(
    UserMapping(EVERYWHERE, "007", "E1", "erpnext"),
    UserMapping(EVERYWHERE, "007", "E2", "csv"),
    UserMapping(site_scope("riyadh"), "007", "E1", "csv"),
    Employee("E1", "Left", date(2026, 1, 31)),
)


def test_a_listed_user_shows_what_is_known_of_the_employee_and_what_counts() -> None:
    rows = [(row.scope, row.employee, row.source, row.status, row.overridden) for row in user_rows(KNOWN)]
    assert rows == [
        ("*", "E2", "csv", None, False),
        ("*", "E1", "erpnext", "Left", True),
        ("site:riyadh", "E1", "csv", "Left", False),
    ]
