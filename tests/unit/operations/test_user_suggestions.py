"""Whose number it may be."""

from attendance.records.user_map import EVERYWHERE, Employee, UserMapping, site_scope
from attendance.user_map import UserMap
from operations.user_suggestions import MOST, Suggestion, Suggestions


def suggestions(*entries: UserMapping | Employee) -> Suggestions:
    users = UserMap()
    for entry in entries:
        users.apply(entry.key, entry.encode())
    return Suggestions(users)


def test_whoever_has_the_number_but_for_zeros_or_elsewhere_is_suggested_before_a_record_that_ends_in_it() -> None:
    made = suggestions(
        Employee("HR-EMP-00042", "Active"),
        Employee("A", "Active"),
        Employee("B", "Active"),
        UserMapping(EVERYWHERE, "0042", "A", "erpnext"),
        UserMapping(site_scope("jeddah"), "42", "B", "csv"),
    )
    assert {each.employee for each in made.of("42")[:2]} == {"A", "B"}
    assert made.of("42")[2] == Suggestion("HR-EMP-00042", "Active", "employee_id")
    assert {each.because for each in made.of("042")} == {"device_number", "employee_id"}


def test_whoever_has_left_comes_last_and_a_few_are_enough() -> None:
    made = suggestions(Employee("Z-7", "Left"), *(Employee(f"A{n}-7", "Active") for n in range(MOST)))
    assert [each.status for each in made.of("7")] == ["Active"] * MOST
    assert suggestions(Employee("Z-7", "Left"), Employee("A-7", "Active")).of("7")[1].status == "Left"


def test_a_number_that_is_part_of_another_suggests_nobody() -> None:
    made = suggestions(Employee("HR-EMP-142", "Active"), UserMapping(EVERYWHERE, "1", "HR-GONE", "erpnext"))
    for number in ("42", "0", "", "card", "1"):
        assert made.of(number) == []
