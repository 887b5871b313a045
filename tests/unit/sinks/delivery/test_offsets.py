from hypothesis import given
from hypothesis import strategies as st

from sinks.delivery.offsets import OffsetTracker


def tracker(*offsets: int, partition: int = 0) -> OffsetTracker:
    tracked = OffsetTracker()
    for offset in offsets:
        tracked.add(partition, offset)
    return tracked


def test_nothing_is_committable_while_the_first_record_is_not_done() -> None:
    offsets = tracker(5, 6, 7)
    offsets.done(0, 6)
    offsets.done(0, 7)
    assert offsets.committable() == {}


def test_the_whole_prefix_is_committable_once_its_gap_is_closed() -> None:
    offsets = tracker(5, 6, 7, 8)
    offsets.done(0, 6)
    offsets.done(0, 5)
    assert offsets.committable() == {0: 7}


def test_offsets_that_the_log_skips_do_not_hold_up_the_prefix() -> None:
    offsets = tracker(5, 9, 12)
    offsets.done(0, 5)
    offsets.done(0, 9)
    assert offsets.committable() == {0: 10}


def test_partitions_are_committed_each_for_itself() -> None:
    offsets = tracker(1, 2)
    offsets.add(3, 70)
    offsets.done(3, 70)
    assert offsets.committable() == {3: 71}


def test_what_is_committed_is_not_committed_again() -> None:
    offsets = tracker(1, 2)
    offsets.done(0, 1)
    offsets.committed({0: 2})
    assert offsets.committable() == {}
    offsets.done(0, 2)
    assert offsets.committable() == {0: 3}


def test_a_position_reached_during_a_commit_is_committed_next_time() -> None:
    offsets = tracker(1, 2)
    offsets.done(0, 1)
    in_flight = offsets.committable()
    offsets.done(0, 2)
    offsets.committed(in_flight)
    assert offsets.committable() == {0: 3}


def test_a_record_of_a_partition_that_was_revoked_is_ignored() -> None:
    offsets = tracker(1, 2)
    offsets.clear()
    offsets.done(0, 1)
    offsets.committed({0: 2})
    assert offsets.committable() == {}


def test_a_record_that_was_committed_and_comes_late_again_is_ignored() -> None:
    offsets = OffsetTracker()
    offsets.add(0, 10)
    offsets.done(0, 3)
    assert offsets.committable() == {}
    offsets.done(0, 10)
    offsets.done(0, 10)
    assert offsets.committable() == {0: 11}


@given(
    st.lists(st.integers(0, 50), unique=True, min_size=1)
    .map(sorted)
    .flatmap(lambda offsets: st.tuples(st.just(offsets), st.permutations(offsets), st.integers(0, len(offsets))))
)
def test_every_record_before_a_committable_position_is_done_and_the_next_one_is_not(
    case: tuple[list[int], list[int], int],
) -> None:
    fetched, order, count = case
    offsets = tracker(*fetched)
    done = set(order[:count])
    for offset in order[:count]:
        offsets.done(0, offset)
    position = offsets.committable().get(0, fetched[0])
    assert all(offset in done for offset in fetched if offset < position)
    assert next((offset for offset in fetched if offset >= position), None) not in done
