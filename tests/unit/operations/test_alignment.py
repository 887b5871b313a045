"""Which records are which: any partition, of which any part was copied to any offsets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.alignment import NotKnownAgainError, NotUniqueError, Restored, Run, align


def records(names: str, first: int = 0) -> list[Restored]:
    return [Restored(first + number, frozenset({name.encode()})) for number, name in enumerate(names)]


def known(names: str) -> dict[int, frozenset[bytes]]:
    return {each.offset: each.traits for each in records(names) if each.traits != {b"."}}


@pytest.mark.parametrize(
    ("before", "now", "runs"),
    [
        pytest.param("abcde", "abcde", [Run(0, 5, 7)], id="all of it"),
        pytest.param("abcde", "cde", [Run(2, 5, 7)], id="without its begin"),
        pytest.param("ab.de", "abxdey", [Run(0, 6, 7)], id="with some of which nothing is known"),
        pytest.param("abcdef", "abef", [Run(0, 2, 7), Run(4, 6, 9)], id="without its middle"),
        pytest.param("abab", "ab", [Run(2, 4, 7)], id="of what is there twice, that without a loss"),
        pytest.param("aba", "aba", [Run(0, 3, 7)], id="the same again"),
        pytest.param("", "", [], id="nothing"),
    ],
)
def test_runs_are_found(before: str, now: str, runs: list[Run]) -> None:
    assert align(known(before), records(now, 7), whole=(len(before), len(before))) == runs


@pytest.mark.parametrize(
    ("before", "now", "error"),
    [
        pytest.param("abab", "ab", NotUniqueError, id="fits twice"),
        pytest.param("abcd", "abbcd", NotKnownAgainError, id="one is there twice"),
        pytest.param("abcd", "bacd", NotKnownAgainError, id="in another order"),
        pytest.param("abcd", "xyz", NotKnownAgainError, id="others"),
    ],
)
def test_what_is_not_certain_is_refused(before: str, now: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        align(known(before), records(now))


def test_where_none_is_known_again_the_first_one_is_where_the_caller_says() -> None:
    assert align(known("abc"), records("xy", 4), begin=3) == [Run(3, 5, 4)]
    with pytest.raises(NotKnownAgainError):
        align(known("abcd"), records("xy", 4), begin=3)


@given(st.integers(0, 30), st.integers(0, 30), st.sets(st.integers(0, 29)), st.integers(0, 99))
def test_whatever_is_missing_each_record_has_its_own_offset(count: int, front: int, gone: set[int], first: int) -> None:
    before = {number: frozenset({b"d%d" % number}) for number in range(count)}
    left = [number for number in range(front, count) if number not in gone]
    restored = [Restored(first + at, before[number]) for at, number in enumerate(left)]
    found = {
        run.first + number: run.now + number
        for run in align(before, restored)
        for number in range(run.through - run.first)
    }
    assert found == {number: first + at for at, number in enumerate(left)}


@pytest.mark.parametrize(
    ("now", "runs"),
    [
        pytest.param([b"digest of 0"], [Run(0, 1, 7)], id="the one that is known"),
        pytest.param([b"digest of 2"], [Run(2, 3, 7)], id="the end, of which nothing is known"),
    ],
)
def test_a_record_is_not_taken_for_another_one_of_the_same_event(now: list[bytes], runs: list[Run]) -> None:
    known = {0: frozenset({b"event", b"digest of 0"}), 1: frozenset({b"other", b"digest of 1"})}
    restored = [Restored(7, frozenset({b"event", *now}))]
    assert align(known, restored, 2, (2, 3)) == runs


def test_what_may_be_the_end_is_it_before_a_loss_is() -> None:
    known = {0: frozenset({b"event"}), 1: frozenset({b"other", b"digest of 1"})}
    restored = [Restored(7, frozenset({b"event", b"digest of 2"}))]
    assert align(known, restored, 2, (2, 3)) == [Run(2, 3, 7)]


def test_what_surely_was_elsewhere_is_not_the_end() -> None:
    known = {9: frozenset({b"event", b"digest of 9"})}
    restored = [Restored(0, frozenset({b"event", b"digest of 9"}))]
    assert align(known, restored, 10, (10, 11)) == [Run(9, 10, 0)]
