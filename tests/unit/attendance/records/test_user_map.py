from dataclasses import dataclass
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance.errors import InvalidRecord, Reason
from attendance.records.user_map import (
    EVERYWHERE,
    Employee,
    EmployeeKey,
    UserMapping,
    decode,
    decode_key,
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


@given(entries)
def test_an_entry_is_decoded_as_it_was_encoded(entry: UserMapping | Employee) -> None:
    assert decode(decode_key(entry.key), entry.encode()) == entry


@given(entries, entries)
def test_entries_share_a_key_only_if_one_replaces_the_other(
    one: UserMapping | Employee, other: UserMapping | Employee
) -> None:
    def identity(entry: UserMapping | Employee) -> tuple[str, ...]:
        if isinstance(entry, UserMapping):
            return "user", entry.scope, entry.device_user_id, entry.source
        return "employee", entry.name

    assert (one.key == other.key) == (identity(one) == identity(other))


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


@given(key=st.none() | st.binary(max_size=40), value=st.binary(max_size=40))
def test_a_record_of_any_bytes_never_breaks_the_map(key: bytes | None, value: bytes) -> None:
    known = Employee("E1", "Active")
    users = user_map(known)
    users.learn(Record(key, value))
    assert users.employee("E1") == known


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b'{"employee":"E1"}'),
        (b"user", b'{"employee":"E1"}'),
        (b'["user","*","7"]', b'{"employee":"E1"}'),
        (b'["user","*","7","ldap"]', b'{"employee":"E1"}'),
        (b'["user","*",7,"csv"]', b'{"employee":"E1"}'),
        (b'["user","*","7","csv"]', b'{"employee":7}'),
        (b'["user","*","7","csv"]', b"{}"),
        (b'["user","*","7","csv"]', b"[]"),
        (b'["user","*","7","csv"]', b"\xff"),
        (b'["employee","E1"]', b'{"status":null}'),
        (b'["employee","E1"]', b'{"status":"Left","relieving_date":"soon"}'),
        (b'["employee","E1"]', b'{"status":"Left","relieving_date":20260101}'),
        (b'["visitor","V1"]', b'{"status":"Active"}'),
    ],
)
def test_a_record_of_another_kind_is_refused(key: bytes | None, value: bytes) -> None:
    with pytest.raises(InvalidRecord) as caught:
        decode(decode_key(key), value)
    assert caught.value.reason is Reason.UNDECODABLE_RECORD


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


def test_the_record_format_stays_as_consumers_know_it() -> None:
    mapping = UserMapping("site:riyadh", "007", "HR-EMP-00001", "csv")
    employee = Employee("HR-EMP-00001", "Left", date(2026, 1, 31), "Acme", None)
    assert (mapping.key, mapping.encode()) == (b'["user","site:riyadh","007","csv"]', b'{"employee":"HR-EMP-00001"}')
    assert employee.key == b'["employee","HR-EMP-00001"]'
    assert employee.encode() == b'{"status":"Left","relieving_date":"2026-01-31","company":"Acme","branch":null}'


def test_a_field_of_a_later_version_is_ignored() -> None:
    value = b'{"status":"Active","relieving_date":null,"company":null,"branch":null,"grade":"B"}'
    assert decode(EmployeeKey("E1"), value) == Employee("E1", "Active")


def test_a_record_that_says_something_new_is_told_from_one_that_does_not() -> None:
    users, mapping = UserMap(), UserMapping(EVERYWHERE, "7", "E1", "csv")
    other = UserMapping(EVERYWHERE, "7", "E2", "csv")
    assert users.apply(mapping.key, mapping.encode()) == mapping
    assert users.apply(mapping.key, mapping.encode()) is None
    assert users.apply(other.key, other.encode()) == other
    assert users.apply(other.key, None) == other
    assert users.apply(other.key, None) is None
    assert users.learn(Record(b"x", b"{}")) is None
