"""What the user map suggests is made anew once the map has changed, and no more often than once a minute."""

from attendance.kafka.records import OutRecord
from attendance.records.user_map import Employee
from console.known_people import KEPT_SECONDS, KnownPeople


def learn(people: KnownPeople, name: str) -> None:
    entry = Employee(name, "Active")
    people.learn(OutRecord("user-map", entry.key, entry.encode()))


def test_suggestions_are_made_anew_once_the_map_has_changed_and_a_minute_is_over() -> None:
    at = [0.0]
    people = KnownPeople(lambda: at[0])
    learn(people, "HR-7")
    first = people.suggestions()
    assert [each.employee for each in first.of("7")] == ["HR-7"]
    learn(people, "HR-8")
    at[0] = KEPT_SECONDS - 1
    assert people.suggestions() is first
    at[0] = KEPT_SECONDS
    second = people.suggestions()
    assert [each.employee for each in second.of("8")] == ["HR-8"]
    at[0] = 10 * KEPT_SECONDS
    assert people.suggestions() is second
