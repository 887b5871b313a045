"""What was done about a dead letter comes back as it was written."""

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance.errors import InvalidRecord, Reason
from attendance.records.dead_letter_action import Action, LetterId
from attendance.topics import TABLE, topic_configs

AT = datetime(2026, 1, 1, 5, 0, 2, 345_000, tzinfo=UTC)
REPLAYED = Action(LetterId(3, 17), "replayed", AT, "root", replay_count=2)
DISCARDED = Action(LetterId(0, 0), "discarded", AT, "root", note="test terminal, ✗")


@pytest.mark.parametrize("action", [REPLAYED, DISCARDED])
def test_an_action_comes_back_as_it_was(action: Action) -> None:
    assert Action.decode(action.key, action.encode()) == action


def test_an_action_stands_under_the_id_of_its_letter_in_plain_json() -> None:
    assert REPLAYED.key == b"3:17"
    assert orjson.loads(REPLAYED.encode()) == {
        "action": "replayed",
        "at": "2026-01-01T05:00:02.345Z",
        "by": "root",
        "note": None,
        "replay_count": 2,
    }


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**18 - 1))
def test_an_id_is_read_as_it_is_written(partition: int, offset: int) -> None:
    assert LetterId.parse(str(LetterId(partition, offset))) == LetterId(partition, offset)


@pytest.mark.parametrize("text", ["", "3", "3:", ":17", "3:17:1", "-3:17", "3:1.7", " 3:17", "3:17\n", "٣:17"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="partition:offset"):
        LetterId.parse(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, REPLAYED.encode()),
        (b"\xff", REPLAYED.encode()),
        (b"3:17", None),
        (b"3:17", b"[]"),
        (b"3:17", b"{}"),
        (b"3:17", REPLAYED.encode().replace(b"replayed", b"deleted")),
        (b"3:17", REPLAYED.encode().replace(b"2026", b"year")),
        (b"3:17", REPLAYED.encode().replace(b'"root"', b"null")),
    ],
)
def test_a_record_that_is_no_action_is_refused(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(InvalidRecord) as caught:
        Action.decode(key, value)
    assert caught.value.reason is Reason.UNDECODABLE_RECORD


@pytest.mark.parametrize("days", [None, 30, 900])
def test_actions_are_kept_as_long_as_their_letters_all_of_them_and_in_order(days: int | None) -> None:
    topic = TABLE["dead_letter_actions"]
    configs, of_letters = (
        topic_configs(TABLE[name], 400, dead_letter_days=days) for name in ("dead_letter_actions", "dead_letters")
    )
    assert (configs["cleanup.policy"], configs["retention.ms"]) == ("delete", of_letters["retention.ms"])
    assert topic.partitions == 1
