"""Where a record is now: by none, one and two adoptions, and by where its place was read."""

from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from attendance.adoptions import NOTHING_MOVED, Moves, account_now
from attendance.records.account import Account, Adoption, Ended, Fingerprint, Moved

AT = datetime(2026, 1, 1, 5, tzinfo=UTC)
RAW, DROPPED, CHECKINS = "a.raw.v1", "a.dropped.v1", "a.checkins.v1"
FIRST = Adoption(
    AT,
    "fatima",
    "one",
    (Moved(RAW, 0, 10, 20, 0), Moved(RAW, 0, 25, 30, 10), Moved(CHECKINS, 0, 0, 9, 50)),
    (Ended(RAW, 0, 15), Ended(DROPPED, 0, 5), Ended(CHECKINS, 0, 59)),
)
SECOND = Adoption(
    AT,
    "fatima",
    "two",
    (Moved(RAW, 0, 0, 40, 100),),
    (Ended(RAW, 0, 140), Ended(DROPPED, 0, 30), Ended(CHECKINS, 0, 9)),
    earlier=((Ended(RAW, 0, 115), Ended(DROPPED, 0, 25), Ended(CHECKINS, 0, 4)),),
)


class At(NamedTuple):
    topic: str
    partition: int
    offset: int


@pytest.mark.parametrize(
    ("adoptions", "read_in", "offset", "now"),
    [
        pytest.param((), At(DROPPED, 0, 0), 12, 12, id="without an adoption"),
        pytest.param((FIRST,), At(DROPPED, 0, 4), 12, 2, id="written before it"),
        pytest.param((FIRST,), At(DROPPED, 0, 4), 26, 11, id="in another run"),
        pytest.param((FIRST,), At(DROPPED, 0, 4), 22, None, id="that is gone"),
        pytest.param((FIRST,), At(DROPPED, 0, 5), 12, 12, id="written after it"),
        pytest.param((FIRST,), At(DROPPED, 1, 0), 12, 12, id="in a partition that was not there"),
        pytest.param((FIRST, SECOND), At(DROPPED, 0, 24), 12, 102, id="before both"),
        pytest.param((FIRST, SECOND), At(DROPPED, 0, 25), 12, 112, id="between them"),
        pytest.param((FIRST, SECOND), At(DROPPED, 0, 30), 12, 12, id="after both"),
    ],
)
def test_a_place_is_read_as_it_was_written(
    adoptions: tuple[Adoption, ...], read_in: At, offset: int, now: int | None
) -> None:
    found = Moves(adoptions).now(RAW, (0, offset), read_in)
    assert found == (None if now is None else (0, now))


@pytest.mark.parametrize(
    ("offset", "now"), [(10, 0), (15, 5), (20, 10), (22, 10), (25, 10), (30, 15), (99, 15), (0, 0)]
)
def test_a_stage_that_had_come_to_an_offset_goes_on_at_the_next_record_that_is_there(offset: int, now: int) -> None:
    assert Moves([FIRST]).next_now(RAW, (0, offset), At(DROPPED, 0, 0)) == now


def test_headers_name_records_where_they_are_and_a_copy_stays_a_copy() -> None:
    headers = [("x-raw-record", b"0:12"), ("x-replay-of", b"0:3"), ("ce_id", b"7"), ("x-replay-of", b"0:99")]
    read_in = At(CHECKINS, 0, 51)
    assert Moves([FIRST]).headers(headers, CHECKINS, RAW, read_in) == [
        ("x-raw-record", b"0:2"),
        ("x-replay-of", b"0:53"),
        ("ce_id", b"7"),
        ("x-replay-of", b""),
    ]
    assert NOTHING_MOVED.headers(headers, CHECKINS, RAW, read_in) == headers


def test_the_first_record_of_a_topic_is_it_still_wherever_it_is() -> None:
    adoption = Adoption(AT, "fatima", "one", (Moved(RAW, 0, 0, 9, 40),))
    assert [Moves([adoption]).first_was(RAW, (0, offset)) for offset in (40, 41, 60)] == [0, 1, 60]


def test_an_account_has_the_offsets_of_today_and_is_known_again_whatever_time_a_copy_gave_it() -> None:
    account = Account("stream", RAW, 0, 0, 18, AT, Fingerprint(17, 1_000, "5e" * 16), 33)
    found = account_now(account, [FIRST])
    assert found is not None
    assert (found.first, found.through, found.end, found.identity) == (0, 8, 10, Fingerprint(7, -1, "5e" * 16))
    gone = Account("stream", RAW, 0, 0, 22, AT)
    assert account_now(gone, [FIRST]) is None
