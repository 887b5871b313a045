"""How fast records are sent again."""

from itertools import pairwise

import pytest

from operations.pace import Pace


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_replays_are_spread_evenly_and_lost_time_is_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace(4, clock)
    sent = []
    for _ in range(5):
        clock.seconds += pace.delay()
        sent.append(clock.seconds)
    assert [after - before for before, after in pairwise(sent)] == [0.25] * 4

    clock.seconds += 60
    assert [pace.delay(), pace.delay(), pace.delay()] == [0, 0.25, 0.5]


def test_work_that_takes_time_of_its_own_is_not_slowed_further() -> None:
    clock = Clock()
    pace = Pace(4, clock)
    assert pace.delay() == 0
    clock.seconds += 0.2
    assert pace.delay() == pytest.approx(0.05)
