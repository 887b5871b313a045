import structlog

from attendance.errors import InvalidRecord, Reason
from sinks.delivery.limit import WINDOW, DeadLetterLimit

PROBLEM = InvalidRecord(Reason.TARGET_REJECTED, "417 MandatoryError: shift")


def test_a_run_of_dead_letters_reaches_it_and_a_delivery_ends_the_run() -> None:
    limit = DeadLetterLimit(3, 1)
    assert [limit.admit(PROBLEM) for _ in range(5)] == [True, True, True, False, False]
    assert limit.reached
    limit.delivered()
    assert not limit.reached
    assert [limit.admit(PROBLEM) for _ in range(4)] == [True, True, True, False]


def test_dead_letters_among_deliveries_make_no_run() -> None:
    limit = DeadLetterLimit(3, 1)
    for _ in range(1000):
        assert limit.admit(PROBLEM)
        assert limit.admit(PROBLEM)
        limit.delivered()


def test_too_many_among_the_last_outcomes_reach_it() -> None:
    limit = DeadLetterLimit(10, 0.5)
    admitted = 0
    for _ in range(WINDOW):
        admitted += limit.admit(PROBLEM) + limit.admit(PROBLEM)
        limit.delivered()
        if limit.reached:
            break
    assert limit.reached
    assert admitted <= WINDOW
    assert not limit.admit(PROBLEM)


def test_few_outcomes_have_no_ratio() -> None:
    limit = DeadLetterLimit(WINDOW, 0.1)
    limit.delivered()
    assert all(limit.admit(PROBLEM) for _ in range(WINDOW - 2))


def test_deliveries_bring_the_ratio_down_again() -> None:
    limit = DeadLetterLimit(WINDOW + 1, 0.5)
    while limit.admit(PROBLEM):
        pass
    assert limit.reached
    deliveries = 0
    while limit.reached:
        limit.delivered()
        deliveries += 1
    assert deliveries == WINDOW // 2


def test_a_ratio_of_one_allows_any() -> None:
    limit = DeadLetterLimit(10 * WINDOW, 1)
    assert all(limit.admit(PROBLEM) for _ in range(5 * WINDOW))


def test_the_log_says_once_that_it_is_reached_and_why_and_once_that_it_is_no_longer() -> None:
    limit = DeadLetterLimit(2, 1)
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            limit.admit(PROBLEM)
        limit.delivered()
        limit.delivered()
    assert [(entry["log_level"], entry.get("last_error")) for entry in logs] == [
        ("error", "417 MandatoryError: shift"),
        ("info", None),
    ]
