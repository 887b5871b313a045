"""The records of the user map."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance.errors import InvalidRecord, Reason
from attendance.records.user_map import (
    EVERYWHERE,
    Employee,
    UserMapping,
    decode,
    decode_key,
    device_scope,
    site_scope,
)

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
scopes = st.one_of(st.just(EVERYWHERE), words.map(site_scope), words.map(device_scope))
mappings = st.builds(UserMapping, scopes, words, words, st.sampled_from(["csv", "erpnext"]))
employees = st.builds(
    Employee,
    words,
    words,
    st.none() | st.dates(),
    company=st.none() | words,
    branch=st.none() | words,
    date_of_joining=st.none() | st.dates(),
    created=st.none() | words,
)
entries = mappings | employees


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


JOINED, RELIEVED = date(2026, 3, 2), date(2026, 3, 31)


@pytest.mark.parametrize(
    ("status", "joined", "relieved", "first", "last"),
    [
        ("Active", JOINED, None, JOINED, date.max),
        ("Active", None, None, date.min, date.max),
        ("Active", JOINED, RELIEVED, JOINED, date.max),
        ("Left", JOINED, RELIEVED, JOINED, RELIEVED),
        ("Left", None, RELIEVED, date.min, RELIEVED),
        ("Suspended", JOINED, RELIEVED, JOINED, RELIEVED),
    ],
)
def test_an_employee_may_check_in_from_the_first_to_the_last_day_both_included(
    status: str, joined: date | None, relieved: date | None, first: date, last: date
) -> None:
    employee = Employee("E1", status, relieved, date_of_joining=joined)

    assert employee.may_check_in(first)
    assert employee.may_check_in(last)
    if first > date.min:
        assert employee.refusal(first - date.resolution) is Reason.BEFORE_JOINING
    if last < date.max:
        assert employee.refusal(last + date.resolution) is Reason.EMPLOYEE_INACTIVE


@pytest.mark.parametrize(("status", "relieved"), [("Left", None), ("Suspended", None), ("Inactive", RELIEVED)])
def test_without_a_relieving_date_or_while_inactive_no_day_is_theirs(status: str, relieved: date | None) -> None:
    assert not Employee("E1", status, relieved, date_of_joining=JOINED).may_check_in(JOINED)
