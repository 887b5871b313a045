"""Sessions and attempts, by a clock of the test's."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.attempts import FREE, LONGEST, Attempts
from console.sessions import Sessions

AT = datetime(2026, 3, 2, tzinfo=UTC)


def test_the_session_that_was_idle_longest_goes_for_a_new_one() -> None:
    sessions = Sessions(timedelta(hours=1), timedelta(hours=2), most=2)
    first, second = sessions.begin("a", 0, AT), sessions.begin("b", 0, AT)
    assert sessions.find(first, AT) is not None
    third = sessions.begin("c", 0, AT)
    assert len(sessions) == 2
    assert sessions.find(second, AT) is None
    assert sessions.find(third, AT) is not None


def test_a_session_that_is_used_lives_until_its_longest() -> None:
    sessions = Sessions(timedelta(minutes=30), timedelta(hours=2))
    cookie = sessions.begin("a", 0, AT)
    assert all(sessions.find(cookie, AT + timedelta(minutes=minutes)) for minutes in range(0, 121, 20))
    assert sessions.find(cookie, AT + timedelta(minutes=121)) is None
    assert not len(sessions)


@pytest.mark.parametrize("cookie", ["", "x" * 10_000, "\0", "\udcff"])
def test_a_cookie_that_nobody_was_given_is_no_session(cookie: str) -> None:
    assert Sessions(timedelta(hours=1), timedelta(hours=2)).find(cookie, AT) is None


def test_a_stranger_keeps_somebody_out_for_minutes_at_most() -> None:
    attempts, at = Attempts(), AT
    for _ in range(1000):
        attempts.failed("fatima", "10.0.0.1", at)
    assert timedelta() < attempts.wait("Fatima", "10.0.0.2", at) <= LONGEST
    assert attempts.wait("fatima", "10.0.0.2", at + LONGEST) == timedelta()


def test_an_address_that_guesses_at_many_names_waits_too() -> None:
    attempts = Attempts()
    for number in range(FREE):
        attempts.failed(f"name-{number}", "10.0.0.1", AT)
    assert attempts.wait("another", "10.0.0.1", AT) > timedelta()
    assert attempts.wait("another", "10.0.0.2", AT) == timedelta()


def test_what_failed_is_forgotten_once_it_succeeds_or_is_old() -> None:
    attempts = Attempts()
    for _ in range(FREE):
        attempts.failed("fatima", "10.0.0.1", AT)
    attempts.succeeded("fatima")
    assert attempts.wait("fatima", "10.0.0.2", AT) == timedelta()
    attempts.failed("x", "10.0.0.1", AT + timedelta(hours=1))
    assert attempts.wait("x", "10.0.0.1", AT + timedelta(hours=1)) == timedelta()


@given(names=st.lists(st.text(max_size=300), max_size=60))
def test_memory_is_bounded_whoever_tries(names: list[str]) -> None:
    attempts = Attempts(most=10)
    for name in names:
        attempts.failed(name, name, AT)
    assert len(attempts) <= 10
