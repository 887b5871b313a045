"""Whose failure it is, by what the target answers and what it does with others."""

import asyncio
from dataclasses import dataclass

import pytest

from attendance.errors import (
    AccessDenied,
    Conflict,
    DocumentRejected,
    PermissionDenied,
    Reason,
    RequestAbandoned,
    ServerError,
    TargetUnavailable,
)
from sinks.poison import LASTING_SECONDS, Doubt, PoisonDetector, Undecided, as_dead_letter, as_target_failure

FAULT = ServerError("500 ValueError")
LOCK = RequestAbandoned("500 QueryTimeoutError")
DENIAL = PermissionDenied("403 PermissionError")
ATTEMPTS = 3


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (ServerError("500"), TargetUnavailable),
        (LOCK, TargetUnavailable),
        (PermissionDenied("403"), AccessDenied),
        (DocumentRejected(417, "DataError", "Field not permitted"), AccessDenied),
        (TargetUnavailable("503"), TargetUnavailable),
        (Conflict("417 TimestampMismatchError"), Conflict),
        (AccessDenied("401"), AccessDenied),
    ],
)
def test_a_request_without_a_document_is_always_the_targets_failure(
    answer: TargetUnavailable | AccessDenied | DocumentRejected, failure: type[Exception]
) -> None:
    assert type(as_target_failure(answer)) is failure


def test_a_target_that_asks_for_time_is_still_heard() -> None:
    assert as_target_failure(TargetUnavailable("429", 57)).retry_after == 57  # type: ignore[union-attr]


def test_a_target_is_in_doubt_once_it_fails_on_two_employees_and_stores_nothing() -> None:
    doubt = Doubt[str]()
    doubt.add("A", "a1")
    doubt.add("A", "a1")
    assert not doubt.exists
    doubt.add("B", "b1")
    assert doubt.exists
    assert doubt.end() == {"A": "a1", "B": "b1"}
    assert not doubt.exists


@dataclass(frozen=True)
class Situation:
    """What the target does while one record is tried again and again.

    `beside` and `between`: whether it stores others in the very first call, and in each call after the first.
    `seconds`: between two calls.
    """

    beside: bool = False
    between: bool = False
    other_suspects: bool = False
    opens: bool = True
    healthy: bool = True
    seconds: float = 1.0


def cause(error: Undecided, situation: Situation, tries: int = 5 * ATTEMPTS) -> str:
    """The cause after so many tries: `record`, or not known yet."""

    async def opens() -> bool:
        return situation.opens

    async def play() -> str:
        passed = 0.0
        detector = PoisonDetector[str](ATTEMPTS, opens, lambda: passed)
        failing = ["it", "another"] if situation.other_suspects else ["it"]
        for each in range(tries):
            stored_before = detector.stored
            detector.stored += situation.beside if each == 0 else situation.between
            detector.suspect(failing, stored_before)
            verdicts = [await detector.is_poison(name, error, healthy=situation.healthy) for name in failing]
            if verdicts[0]:
                return "record"
            passed += situation.seconds
        return "not known"

    return asyncio.run(play())


@pytest.mark.parametrize(
    ("error", "situation", "found"),
    [
        (FAULT, Situation(between=True), "record"),
        (FAULT, Situation(between=True, opens=False, healthy=False), "record"),
        (FAULT, Situation(), "record"),
        (FAULT, Situation(opens=False), "not known"),
        (FAULT, Situation(healthy=False), "not known"),
        (FAULT, Situation(other_suspects=True), "not known"),
        (FAULT, Situation(other_suspects=True, beside=True), "record"),
        (FAULT, Situation(other_suspects=True, beside=True, opens=False), "not known"),
        (DENIAL, Situation(between=True), "record"),
        (DENIAL, Situation(between=True, opens=False, healthy=False), "record"),
        (DENIAL, Situation(beside=True), "not known"),
        (DENIAL, Situation(), "not known"),
        (DENIAL, Situation(other_suspects=True), "not known"),
        (LOCK, Situation(between=True), "not known"),
        (LOCK, Situation(between=True, seconds=LASTING_SECONDS / ATTEMPTS), "record"),
        (LOCK, Situation(seconds=LASTING_SECONDS), "not known"),
    ],
)
def test_what_the_target_does_with_others_decides_on_an_undecided_failure(
    error: Undecided, situation: Situation, found: str
) -> None:
    assert cause(error, situation) == found


@pytest.mark.parametrize("error", [FAULT, DENIAL])
def test_a_record_is_not_the_cause_before_its_tries_are_used_up(error: Undecided) -> None:
    assert cause(error, Situation(between=True, beside=True), ATTEMPTS - 1) == "not known"
    assert cause(error, Situation(between=True, beside=True), ATTEMPTS) == "record"


def test_a_suspect_whose_partition_was_revoked_meanwhile_is_left_to_the_next_owner() -> None:
    async def opens() -> bool:
        return True

    async def play() -> bool:
        detector = PoisonDetector[str](1, opens)
        detector.suspect(["it"], 0)
        detector.clear()
        return await detector.is_poison("it", FAULT, healthy=True)

    assert not asyncio.run(play())


def test_one_that_has_its_outcome_is_no_other_suspect() -> None:
    async def opens() -> bool:
        return True

    async def play() -> bool:
        detector = PoisonDetector[str](1, opens)
        detector.suspect(["done", "it"], 0)
        detector.discard("done")
        return await detector.is_poison("it", FAULT, healthy=True)

    assert asyncio.run(play())


@pytest.mark.parametrize(("error", "reason"), [(FAULT, Reason.TARGET_ERROR), (DENIAL, Reason.TARGET_FORBIDDEN)])
def test_the_dead_letter_of_a_poison_record_names_what_the_target_answered(error: Undecided, reason: Reason) -> None:
    problem = as_dead_letter(error)
    assert problem.reason is reason
    assert str(error) in problem.message
