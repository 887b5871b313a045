"""What is concluded from other clocks, and which of them are this machine's own."""

import asyncio

import pytest

from attendance.server_clock import Clock, conclude, is_here

HOUR = 3600.0
RIGHT, AHEAD, BEHIND = 0.0, HOUR, -HOUR


def clock(ahead: float, whose: str = "that of ERPNext", uncertainty: float = 1) -> Clock:
    return Clock(whose, ahead, uncertainty)


def reason(broker: float | None, *others: float, apart: bool = True) -> str | None:
    theirs = None if broker is None else clock(broker, "that of the broker")
    return conclude(theirs, [clock(each) for each in others], apart=apart, warn=30, limit=120).reason


@pytest.mark.parametrize("broker", [AHEAD, BEHIND])
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("others", [(), (RIGHT,), (RIGHT, RIGHT)])
def test_a_broker_that_differs_stops_the_stage_whoever_else_agrees(
    broker: float, others: tuple[float, ...], *, apart: bool
) -> None:
    found = reason(broker, *others, apart=apart)
    assert found is not None
    assert f"that of the broker is 1 h {'ahead' if broker > 0 else 'behind'}" in found


def test_a_broker_on_another_machine_that_agrees_is_the_second_of_three() -> None:
    assert reason(RIGHT, AHEAD) is None
    assert reason(RIGHT, AHEAD, AHEAD) is None


@pytest.mark.parametrize("broker", [RIGHT, None])
def test_one_on_this_machine_proves_nothing_and_the_others_decide(broker: float | None) -> None:
    assert reason(broker, apart=False) is None
    assert reason(broker, RIGHT, apart=False) is None
    assert "that of ERPNext is 1 h ahead" in (reason(broker, AHEAD, apart=False) or "")
    assert reason(broker, AHEAD, RIGHT, apart=False) is None, "two of three"
    assert reason(broker, AHEAD, BEHIND, apart=False) is not None, "nobody knows the time"


def test_only_what_certainly_differs_counts() -> None:
    found = conclude(clock(125, uncertainty=10), [], apart=True, warn=30, limit=120)
    assert (found.reason, len(found.warnings)) == (None, 1)
    assert conclude(clock(35, uncertainty=10), [], apart=True, warn=30, limit=120).warnings == ()


def test_this_machine_is_known_by_its_addresses() -> None:
    hosts = ("127.0.0.1", "localhost", "192.0.2.1", "no-such-host.invalid")
    assert [asyncio.run(is_here(host)) for host in hosts] == [True, True, False, False]
