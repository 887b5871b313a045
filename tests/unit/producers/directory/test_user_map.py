"""The records that make the user map what ERPNext's employees call for."""

from collections.abc import Sequence
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from attendance.records.user_map import EVERYWHERE, Employee, UserMapping, site_scope
from attendance.user_map import UserMap
from producers.directory.employees import Person
from producers.directory.user_map import differences, part_removed, wanted

TOPIC = "attendance.user-map.v1"
START = datetime.fromisoformat("2026-03-01 08:00:00")
names = st.sampled_from([f"E{number}" for number in range(8)])
ids = st.none() | st.sampled_from([str(number) for number in range(6)])
employees = st.builds(Employee, names, st.sampled_from(["Active", "Left", "Inactive"]), st.none() | st.dates())
people = st.lists(st.builds(Person, employees, ids, st.just(START)), unique_by=lambda person: person.employee.name)
csv_mappings = st.lists(
    st.builds(
        UserMapping,
        st.sampled_from([EVERYWHERE, site_scope("riyadh")]),
        st.sampled_from(["0", "1", "2", "99"]),
        names,
        st.just("csv"),
    )
)


def user_map(entries: Sequence[UserMapping | Employee]) -> UserMap:
    users = UserMap()
    for entry in entries:
        users.apply(entry.key, entry.encode())
    return users


@given(before=people, after=people, files=csv_mappings)
def test_the_differences_make_the_map_what_erpnext_has(
    before: list[Person], after: list[Person], files: list[UserMapping]
) -> None:
    users = user_map([*wanted(before).values(), *files])
    from_files = {entry.key: entry for entry in files}
    target = wanted(after)
    for record in differences(users, target, TOPIC):
        users.apply(record.key, record.value)
    assert {entry.key: entry for entry in (*users.employees(), *users.mappings())} == target | from_files
    assert differences(users, target, TOPIC) == []


@given(before=people, after=people)
def test_no_mapping_ever_stands_without_its_employee(before: list[Person], after: list[Person]) -> None:
    users = user_map(list(wanted(before).values()))
    for record in differences(users, wanted(after), TOPIC):
        users.apply(record.key, record.value)
        assert all(users.employee(mapping.employee) for mapping in users.mappings())


@given(people=people, data=st.data())
def test_the_order_in_which_employees_are_read_does_not_matter(people: list[Person], data: st.DataObject) -> None:
    assert wanted(people) == wanted(data.draw(st.permutations(people)))


def test_the_part_removed_is_that_of_the_kind_which_loses_most() -> None:
    everyone = [Person(Employee(f"E{number}", "Active"), str(number), START) for number in range(10)]
    without_ids = [Person(person.employee, None, START) for person in everyone]
    users = user_map(list(wanted(everyone).values()))
    assert part_removed(users, wanted(everyone)) == 0
    assert part_removed(users, wanted(everyone[:4])) == 0.6
    assert part_removed(users, wanted(without_ids)) == 1
