"""Where a stage begins, and what is missing: every state in which Kafka may have left its offset."""

from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from attendance.accounts import Accounts, Found, Missing, Partition, begin, fingerprint
from attendance.records.account import AcceptedLoss, Account

RAW = Partition("stream", "attendance.raw.v1", 3)
AT = datetime(2026, 1, 1, 5, tzinfo=UTC)


class OfPartition(NamedTuple):
    """A record as Kafka has it."""

    key: bytes | None
    value: bytes | None
    offset: int = 78
    timestamp: int = 1_767_243_602_345


def account(through: int, end: int | None = None) -> Account:
    return Account(*RAW, first=0, through=through, at=AT, end=end)


def accepted(first: int, through: int, *, anew: bool = False) -> AcceptedLoss:
    return AcceptedLoss(RAW.topic, RAW.number, first, through, 1, AT, "fatima", "known", anew=anew)


@pytest.mark.parametrize(
    ("committed", "known", "found", "place"),
    [
        pytest.param(None, None, Found(0, 80), 0, id="a new stage begins at the first record"),
        pytest.param(None, None, Found(40, 80), 40, id="a new stage lacks nothing that was gone before it"),
        pytest.param(50, None, Found(40, 80), 50, id="what is committed and there"),
        pytest.param(80, None, Found(80, 80), 80, id="everything was read, and then removed by retention"),
        pytest.param(50, account(50), Found(40, 80, True), 50, id="committed and accounted for"),
        pytest.param(10, account(50), Found(0, 80, True), 10, id="offsets that an operator set back"),
        pytest.param(10, account(50), Found(40, 80, True), 40, id="set back to before the first record"),
        pytest.param(None, account(50), Found(0, 80, True), 50, id="an expired group goes on by the account"),
        pytest.param(None, account(50), Found(50, 80), 50, id="the same, where all that was read is gone"),
        pytest.param(None, account(50), Found(0, 80), 0, id="an account that is not certain is read again"),
        pytest.param(None, account(0), Found(0, 0), 0, id="nothing was there yet"),
    ],
)
def test_a_stage_begins_where_it_skips_nothing(
    committed: int | None, known: Account | None, found: Found, place: int
) -> None:
    assert begin(RAW, committed, known, None, found) == place


@pytest.mark.parametrize(
    ("committed", "known", "found", "missing"),
    [
        pytest.param(40, None, Found(80, 90), Missing(RAW, 40, 80, 40, anew=False), id="retention passed the stage"),
        pytest.param(
            40, account(30), Found(80, 90), Missing(RAW, 40, 80, 40, anew=False), id="what was committed since counts"
        ),
        pytest.param(
            None, account(40), Found(80, 90), Missing(RAW, 40, 80, 40, anew=False), id="an expired group, and passed"
        ),
        pytest.param(90, None, Found(0, 20), Missing(RAW, 90, 0, 0, anew=True), id="committed beyond the end"),
        pytest.param(
            None, account(90, end=97), Found(0, 20), Missing(RAW, 90, 0, 7, anew=True), id="made anew, and shorter"
        ),
        pytest.param(
            90, account(90, end=90), Found(0, 200, False), Missing(RAW, 90, 0, 0, anew=True), id="anew and grown again"
        ),
    ],
)
def test_a_stage_does_not_begin_where_records_are_missing(
    committed: int | None, known: Account | None, found: Found, missing: Missing
) -> None:
    assert begin(RAW, committed, known, None, found) == missing


@pytest.mark.parametrize(
    ("known", "loss", "found", "place"),
    [
        pytest.param(account(40), accepted(40, 80), Found(80, 90), 80, id="a gap"),
        pytest.param(account(40), accepted(40, 5, anew=True), Found(0, 20, False), 5, id="made anew"),
        pytest.param(account(40), accepted(40, 80), Found(40, 90, True), 40, id="nothing is missing after all"),
    ],
)
def test_a_stage_goes_on_where_a_person_said_so(known: Account, loss: AcceptedLoss, found: Found, place: int) -> None:
    assert begin(RAW, 40, known, loss, found) == place


@pytest.mark.parametrize(
    ("loss", "found", "missing"),
    [
        pytest.param(
            accepted(40, 80), Found(85, 90), Missing(RAW, 80, 85, 5, anew=False), id="more are gone since it was said"
        ),
        pytest.param(
            accepted(40, 80), Found(0, 20, False), Missing(RAW, 40, 0, 0, anew=True), id="a gap is not a new topic"
        ),
        pytest.param(
            accepted(40, 0, anew=True), Found(80, 90), Missing(RAW, 40, 80, 40, anew=False), id="nor the reverse"
        ),
    ],
)
def test_what_a_person_accepted_covers_nothing_else(loss: AcceptedLoss, found: Found, missing: Missing) -> None:
    assert begin(RAW, 40, account(40), loss, found) == missing


def test_a_loss_is_accepted_for_the_stages_that_have_written_no_account_since() -> None:
    accounts = Accounts()
    for offset, each in enumerate((account(40), accepted(40, 80), replace(account(99), stage="completeness"))):
        accounts.learn(OfPartition(each.key, each.encode(), offset))
    assert accounts.accepted(*RAW) == accepted(40, 80)
    assert accounts.accepted("completeness", *RAW[1:]) is None
    assert accounts.accepted("a stage that never wrote", *RAW[1:]) == accepted(40, 80)
    later = account(95)
    accounts.learn(OfPartition(later.key, later.encode(), 3))
    assert (accounts.account(*RAW), accounts.accepted(*RAW)) == (later, None)


def test_what_was_removed_or_cannot_be_read_is_not_known() -> None:
    accounts = Accounts()
    accounts.learn(OfPartition(account(40).key, account(40).encode(), 0))
    accounts.learn(OfPartition(b"what", b"{}", 1))
    accounts.learn(OfPartition(account(40).key, None, 2))
    assert accounts.account(*RAW) is None


def test_a_partition_is_known_again_by_offset_time_key_and_value_of_one_record() -> None:
    known = OfPartition(b"k", b"v")
    others = [
        OfPartition(b"k", b"v", 79),
        OfPartition(b"k", b"v", timestamp=0),
        OfPartition(b"kv", b""),
        OfPartition(None, b"kv"),
    ]
    assert fingerprint(known) == fingerprint(OfPartition(b"k", b"v"))
    assert len({fingerprint(each) for each in (known, *others)}) == 5


def test_what_is_missing_is_a_sentence_that_says_how_many_and_what_to_do() -> None:
    gap = str(Missing(RAW, 40, 80, 40, anew=False))
    assert "40 records of attendance.raw.v1:3 are gone that stream has not read, offsets 40 to 79" in gap
    assert "`punchstream topics accept-loss attendance.raw.v1:3 --through 80 --note TEXT`" in gap
    anew = str(Missing(RAW, 40, 0, 7, anew=True))
    assert "made anew or cut short" in anew
    assert "At least 7 records" in anew
    assert "--through 0" in anew
