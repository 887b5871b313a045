"""The user map in memory."""

import tracemalloc
from dataclasses import dataclass
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance import user_map as user_map_module
from attendance.records.user_map import (
    EVERYWHERE,
    Employee,
    IgnoredUser,
    UserMapping,
    device_scope,
    site_scope,
)
from attendance.user_map import UserMap

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
scopes = st.one_of(st.just(EVERYWHERE), words.map(site_scope), words.map(device_scope))
mappings = st.builds(UserMapping, scopes, words, words, st.sampled_from(["csv", "erpnext"]))
employees = st.builds(
    Employee, words, words, st.none() | st.dates(), company=st.none() | words, branch=st.none() | words
)
entries = mappings | employees


@dataclass(frozen=True)
class Record:
    key: bytes | None
    value: bytes | None


def user_map(*known: UserMapping | Employee) -> UserMap:
    users = UserMap()
    for entry in known:
        users.apply(entry.key, entry.encode())
    return users


@given(st.lists(st.tuples(entries, st.booleans()), max_size=30))
def test_the_map_holds_the_newest_value_of_each_key(history: list[tuple[UserMapping | Employee, bool]]) -> None:
    users = UserMap()
    newest: dict[bytes, UserMapping | Employee] = {}
    for entry, removed in history:
        users.apply(entry.key, None if removed else entry.encode())
        newest.pop(entry.key, None)
        if not removed:
            newest[entry.key] = entry
    assert {entry.key: entry for entry in (*users.mappings(), *users.employees())} == newest
    assert len(users) == len(newest)


@given(st.lists(mappings, max_size=30), words, words, words)
def test_the_narrowest_scope_answers_and_in_it_the_csv_file(
    known: list[UserMapping], site: str, device_id: str, user: str
) -> None:
    ranked = [
        UserMapping(scope, user, f"E{rank}", source)
        for rank, (scope, source) in enumerate(
            (scope, source)
            for scope in (device_scope(device_id), site_scope(site), EVERYWHERE)
            for source in ("csv", "erpnext")
        )
    ]
    users = user_map(*known, *ranked)
    for best in ranked:
        assert users.mapping(site, device_id, user) == best
        users.apply(best.key, None)
    assert users.mapping(site, device_id, user) is None


def test_the_console_names_whom_neither_a_file_nor_erpnext_names_whatever_the_scope() -> None:
    listed = [UserMapping(EVERYWHERE, "7", "E1", "erpnext"), UserMapping(EVERYWHERE, "7", "E2", "csv")]
    given_ = [UserMapping("device:D1", "7", "E3", "console"), UserMapping("site:s", "7", "E4", "console")]
    users = user_map(*listed, *given_)
    for best in (listed[1], listed[0], *given_):
        assert users.mapping("s", "D1", "7") == best
        assert users.apply(best.key, None) == best
    assert users.mapping("s", "D1", "7") is None
    assert list(users.mappings()) == []


def test_a_device_user_is_ignored_on_a_device_or_at_a_site_until_that_is_removed() -> None:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    here, there = (IgnoredUser(scope, "7", scope, at, "fatima", "a visitor") for scope in ("device:D1", "site:s"))
    users = user_map(here, there)
    assert [users.ignored("s", device, "7") for device in ("D1", "D2")] == [here, there]
    assert users.ignored("other", "D2", "7") is None
    assert users.apply(here.key, here.encode()) is None
    assert users.apply(here.key, None) == here
    assert list(users.ignored_users()) == [there]


@given(key=st.none() | st.binary(max_size=40), value=st.binary(max_size=40))
def test_a_record_of_any_bytes_never_breaks_the_map(key: bytes | None, value: bytes) -> None:
    known = Employee("E1", "Active")
    users = user_map(known)
    users.learn(Record(key, value))
    assert users.employee("E1") == known


def test_a_change_of_status_reaches_every_mapping_of_the_employee() -> None:
    users = user_map(
        UserMapping(EVERYWHERE, "7", "E1", "erpnext"),
        UserMapping(site_scope("riyadh"), "9", "E1", "csv"),
        Employee("E1", "Active"),
    )
    left = Employee("E1", "Left", date(2026, 1, 31))
    users.apply(left.key, left.encode())
    found = [users.mapping("riyadh", "d1", user) for user in ("7", "9")]
    assert [mapping and users.employee(mapping.employee) for mapping in found] == [left, left]


def test_leading_zeros_tell_users_apart() -> None:
    users = user_map(UserMapping(EVERYWHERE, "007", "E1", "erpnext"), UserMapping(EVERYWHERE, "7", "E2", "erpnext"))
    found = [users.mapping("s", "d", user) for user in ("007", "7", "07")]
    assert [mapping and mapping.employee for mapping in found] == ["E1", "E2", None]


def test_a_record_that_says_something_new_is_told_from_one_that_does_not() -> None:
    users, mapping = UserMap(), UserMapping(EVERYWHERE, "7", "E1", "csv")
    other = UserMapping(EVERYWHERE, "7", "E2", "csv")
    assert users.apply(mapping.key, mapping.encode()) == mapping
    assert users.apply(mapping.key, mapping.encode()) is None
    assert users.apply(other.key, other.encode()) == other
    assert users.apply(other.key, None) == other
    assert users.apply(other.key, None) is None
    assert users.learn(Record(b"x", b"{}")) is None


def test_however_many_unknown_users_are_asked_for_the_map_remembers_none() -> None:
    known = user_map(UserMapping(EVERYWHERE, "1", "E1", "csv"))
    known.mapping("s", "D1", "first")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(3000):
            assert known.mapping("s", "D1", f"made-up-{number}") is None
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 30_000


def test_however_many_devices_ask_for_a_known_user_the_answer_is_right_and_few_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(user_map_module, "ANSWERS", 3)
    known = user_map(UserMapping(EVERYWHERE, "1", "E1", "csv"), UserMapping(device_scope("D7"), "1", "E7", "csv"))
    for _ in range(2):
        answers = [known.mapping("s", f"D{number}", "1") for number in range(10)]
        assert [each.employee for each in answers if each] == ["E1"] * 7 + ["E7"] + ["E1"] * 2
    assert len(known._answers) <= 3
