"""Whose failure it is, by what the target answers and what it does with others."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from attendance.errors import (
    AccessDenied,
    Conflict,
    DocumentRejected,
    PermissionDenied,
    Reason,
    ServerError,
    TargetUnavailable,
)
from sinks.poison import FailureRun, PoisonDetector, Undecided, as_dead_letter, as_target_failure

FAULT = ServerError("500 ValueError")
DENIAL = PermissionDenied("403 PermissionError")
ATTEMPTS = 3


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (ServerError("500"), TargetUnavailable),
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


@pytest.mark.parametrize(
    ("answers", "run", "raised"),
    [
        ([FAULT], FailureRun(stores=False), None),
        ([FAULT, FAULT], FailureRun(stores=False), TargetUnavailable),
        ([FAULT, FAULT], FailureRun(stores=True), TargetUnavailable),
        ([FAULT, None, FAULT], FailureRun(stores=False), None),
        ([DENIAL], FailureRun(stores=False), None),
        ([DENIAL, DENIAL], FailureRun(stores=False), AccessDenied),
        ([DENIAL, DENIAL, DENIAL], FailureRun(stores=True), None),
        ([DENIAL, FAULT], FailureRun(stores=True), TargetUnavailable),
    ],
)
def test_within_one_call_two_documents_in_a_row_are_the_targets_failure(
    answers: Sequence[Undecided | None], run: FailureRun, raised: type[Exception] | None
) -> None:
    """None is a document that was served."""
    found: type[Exception] | None = None
    for answer in answers:
        if answer is None:
            run.clear()
            continue
        try:
            run.add(answer)
        except (TargetUnavailable, AccessDenied) as error:
            found = type(error)
    assert found is raised


@dataclass(frozen=True)
class Situation:
    """What the target does while one record is tried again and again.

    `beside` and `between`: whether it stores others in the very first call, and in each call after the first.
    """

    beside: bool = False
    between: bool = False
    other_suspects: bool = False
    opens: bool = True
    healthy: bool = True


def cause(error: Undecided, situation: Situation, tries: int = 5 * ATTEMPTS) -> str:
    """The cause after so many tries: `record`, `target`, or not known yet."""

    async def opens() -> bool:
        return situation.opens

    async def play() -> str:
        detector = PoisonDetector[str](ATTEMPTS, opens)
        failures: list[tuple[str, Undecided]] = [("it", error)]
        if situation.other_suspects:
            failures.append(("another", error))
        denial: PermissionDenied | None = None
        for each in range(tries):
            stored_before = detector.stored
            detector.stored += situation.beside if each == 0 else situation.between
            denial = detector.add_failures(failures, stored_before)
            verdicts = [await detector.is_poison(name, error, healthy=situation.healthy) for name, _ in failures]
            if verdicts[0]:
                return "record"
        return "target" if denial else "not known"

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
        (DENIAL, Situation(), "target"),
        (DENIAL, Situation(other_suspects=True), "target"),
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
        detector.add_failures([("it", FAULT)], 0)
        detector.clear()
        return await detector.is_poison("it", FAULT, healthy=True)

    assert not asyncio.run(play())


def test_one_that_has_its_outcome_is_no_other_suspect() -> None:
    async def opens() -> bool:
        return True

    async def play() -> bool:
        detector = PoisonDetector[str](1, opens)
        detector.add_failures([("done", FAULT), ("it", FAULT)], 0)
        detector.discard("done")
        return await detector.is_poison("it", FAULT, healthy=True)

    assert asyncio.run(play())


@pytest.mark.parametrize(("error", "reason"), [(FAULT, Reason.TARGET_ERROR), (DENIAL, Reason.TARGET_FORBIDDEN)])
def test_the_dead_letter_of_a_poison_record_names_what_the_target_answered(error: Undecided, reason: Reason) -> None:
    problem = as_dead_letter(error)
    assert problem.reason is reason
    assert str(error) in problem.message
