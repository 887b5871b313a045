"""A history has what the changelog has, however old, and says when it has to read on."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import history as module
from streams.dedup import Kept, Punch, union, unpack
from streams.history import History
from streams.store import HistoryNeeded, StoreFailed

KEY, OTHER = b'["D1","7"]', b'["D1","8"]'
DAY = 86400
T = 1_600_000_000


def kept(seconds: int, key: bytes = KEY, code: int = 1) -> Kept:
    return Kept(key, Punch(seconds, code, seconds % 1000).pack())


@pytest.fixture
def history() -> Iterator[History]:
    history = History()
    yield history
    history.close()


def read(history: History, *punches: Kept, end: int = 10) -> None:
    """What whoever reads the changelog to its end does."""
    history.add(punches)
    history.next_offset, history.is_current = end, True


@given(
    st.lists(
        st.builds(kept, st.integers(T, T + 400 * DAY), st.sampled_from([KEY, OTHER]), st.sampled_from([0, 1, 0x81]))
    ),
    st.integers(T, T + 400 * DAY),
    st.integers(0, 60 * DAY),
)
def test_it_has_what_was_added_from_one_time_to_another(punches: list[Kept], first: int, length: int) -> None:
    history = History()
    read(history, *punches[::2])
    read(history, *punches)
    everything = union(b"", *(entry for key, entry in punches if key == KEY))

    part = unpack(history.near(KEY, first, first + length))

    assert part == [each for each in unpack(everything) if first <= each.seconds <= first + length]
    assert history.everything(KEY) == everything
    history.close()


def test_before_the_changelog_was_read_it_answers_nothing(history: History) -> None:
    for ask in (lambda: history.near(KEY, T, T), lambda: history.everything(KEY)):
        with pytest.raises(HistoryNeeded):
            ask()


def test_what_this_process_writes_need_not_be_read(history: History) -> None:
    read(history, kept(T))
    history.note([kept(T + 1)], 10)
    history.note([kept(T + 2)], 11)

    assert [each.seconds for each in unpack(history.everything(KEY))] == [T, T + 1, T + 2]
    assert history.next_offset == 12


def test_if_somebody_else_wrote_in_between_it_reads_on_where_it_was(history: History) -> None:
    read(history, kept(T))
    history.note([kept(T + 1)], 10)
    history.note([kept(T + 3)], 12)

    with pytest.raises(HistoryNeeded):
        history.everything(KEY)
    assert history.next_offset == 10


def test_it_does_not_remember_for_ever_what_nobody_asks_for(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING", 2)
    read(history)
    for offset in range(10, 15):
        history.note([kept(T + offset)], offset)

    assert len(history._pending) <= 2 + 1
    with pytest.raises(HistoryNeeded):
        history.everything(KEY)
    assert history.next_offset == 10


def test_a_disk_that_fails_says_nothing_about_a_record() -> None:
    history = History()
    read(history, kept(T))
    history.close()

    with pytest.raises(StoreFailed):
        history.near(KEY, T, T)
