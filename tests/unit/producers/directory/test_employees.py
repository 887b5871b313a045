"""Which employee has a device user id."""

from datetime import date, datetime

from attendance.records.user_map import Employee
from producers.directory.employees import Person, holders

START = datetime.fromisoformat("2026-03-01 08:00:00")


def test_the_last_of_the_former_employees_keeps_the_device_id() -> None:
    def former(name: str, relieved: str) -> Person:
        return Person(Employee(name, "Left", date.fromisoformat(relieved)), "1", START)

    people = [former("E1", "2024-01-31"), former("E2", "2025-01-31"), former("E3", "2023-01-31")]
    assert [person.employee.name for person in holders(people)["1"]] == ["E2", "E1", "E3"]


def test_an_active_employee_under_notice_keeps_the_device_id() -> None:
    leaving = Person(Employee("E2", "Active", date(2026, 12, 31)), "1", START)
    suspended = Person(Employee("E1", "Suspended"), "1", START)
    assert holders([suspended, leaving])["1"] == [leaving, suspended]
