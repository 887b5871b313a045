"""The dead-letter envelope: what failed comes back as it was."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import MAX_VALUE_BYTES
from attendance.records.dead_letter import MAX_MESSAGE, DeadLetter, Headers

AT = datetime(2026, 1, 1, 5, 0, 2, 345_000, tzinfo=UTC)


@dataclass
class ConsumedRecord:
    """A record as a consumer gives it."""

    topic: str = "attendance.raw.v1"
    partition: int = 3
    offset: int = 77
    timestamp: int = 1_767_243_602_345
    key: bytes | None = b"riyadh-01"
    value: bytes | None = b"\x00not json"
    headers: Headers = (("ce_id", b"abc"), ("ce_id", b"twice"))


def a_letter(record: ConsumedRecord | None = None) -> DeadLetter:
    error = InvalidRecord(Reason.UNDECODABLE_RECORD, "not JSON: ✗")
    return DeadLetter.of(record or ConsumedRecord(), "stream", error, AT, attempts=2, event_id="abc")


REASON = b"undecodable_record"


def again(letter: DeadLetter) -> DeadLetter:
    return DeadLetter.decode(letter.key, letter.value, letter.encode_headers())


words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
headers = st.lists(st.tuples(words.map("x-".__add__), st.binary(max_size=20)), max_size=3)
letters = st.builds(
    DeadLetter,
    stage=words,
    reason=st.sampled_from(Reason),
    message=words,
    at=st.just(AT),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=100),
    headers=headers,
    timestamp=st.none() | st.integers(0, 2**62),
    topic=st.none() | words,
    partition=st.none() | st.integers(0, 10_000),
    offset=st.none() | st.integers(0, 2**62),
    where=st.none() | words,
    attempts=st.integers(1, 100),
    event_id=st.none() | words,
)


@given(letters)
@settings(deadline=None)
def test_a_dead_letter_comes_back_as_it_was(letter: DeadLetter) -> None:
    assert again(letter) == letter


def test_the_record_keeps_its_key_its_bytes_and_its_headers() -> None:
    record = ConsumedRecord()
    letter = again(a_letter(record))
    assert (letter.key, letter.value, tuple(letter.headers)) == (record.key, record.value, record.headers)
    assert (letter.topic, letter.partition, letter.offset, letter.timestamp) == (
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
    )


def test_a_record_without_key_value_and_headers_stays_without() -> None:
    letter = again(a_letter(ConsumedRecord(key=None, value=None, headers=())))
    assert (letter.key, letter.value, letter.headers) == (None, None, [])


@pytest.mark.parametrize(
    ("large", "kept"),
    [
        ({"value": b"x" * MAX_VALUE_BYTES}, {"value": None}),
        ({"key": b"x" * MAX_VALUE_BYTES}, {"value": None, "key": None, "headers": ()}),
        ({"headers": (("x", b"x" * MAX_VALUE_BYTES),)}, {"value": None, "key": None, "headers": ()}),
    ],
    ids=["value", "key", "headers"],
)
def test_what_is_too_large_for_a_dead_letter_stays_where_it_was(large: dict[str, Any], kept: dict[str, Any]) -> None:
    letter = a_letter(ConsumedRecord(**large))
    assert letter.to_record("t").size < MAX_VALUE_BYTES + 10_000
    assert {name: getattr(letter, name) for name in kept} == kept
    assert (letter.topic, letter.offset) == ("attendance.raw.v1", 77)


def test_the_headers_say_why_where_and_when_in_words_that_usual_tools_show() -> None:
    headers = dict(a_letter().encode_headers())
    assert headers["x-original-topic"] == b"attendance.raw.v1"
    assert headers["x-original-partition"] == b"3"
    assert headers["x-original-offset"] == b"77"
    assert headers["x-dead-letter-stage"] == b"stream"
    assert headers["x-dead-letter-reason"] == b"undecodable_record"
    assert headers["x-dead-letter-message"].decode() == "not JSON: ✗"
    assert headers["x-dead-letter-attempts"] == b"2"
    assert headers["x-dead-letter-at"] == b"2026-01-01T05:00:02.345Z"
    assert headers["x-dead-letter-event-id"] == b"abc"


def test_a_request_that_never_became_a_record_says_what_it_was() -> None:
    letter = DeadLetter("push", Reason.UNREADABLE_BODY, "cut off", AT, None, b"{", where="http:/v1/events")
    assert again(letter) == replace(letter, headers=[])
    assert "x-original-topic" not in dict(letter.encode_headers())


def test_a_dead_letter_that_fails_again_carries_only_the_new_reason() -> None:
    first = a_letter()
    replayed = ConsumedRecord(value=first.value, headers=first.encode_headers(), offset=78)
    second = DeadLetter.of(replayed, "stream", InvalidRecord(Reason.IMPLAUSIBLE_TIME, "later"), AT)
    names = [name for name, _ in second.encode_headers()]
    assert names.count("x-dead-letter-reason") == 1
    assert again(second).reason is Reason.IMPLAUSIBLE_TIME
    assert tuple(again(second).headers) == ConsumedRecord().headers


def test_a_long_message_is_cut_so_that_the_record_stays_small() -> None:
    letter = replace(a_letter(), message="✗" * 5000)
    assert again(letter).message == "✗" * MAX_MESSAGE


def test_a_replay_is_the_original_record_and_counts_itself() -> None:
    record = ConsumedRecord()

    first = again(a_letter(record)).to_replay()

    assert (first.topic, first.key, first.value, first.partition) == (record.topic, record.key, record.value, None)
    assert list(first.headers) == [*record.headers, ("x-replay-count", b"1"), ("x-replay-reason", REASON)]


def test_a_replay_that_fails_again_makes_a_letter_that_knows_how_often_it_was_replayed() -> None:
    letter = a_letter()
    for replays in (1, 2, 3):
        replayed = ConsumedRecord(headers=letter.to_replay().headers, offset=77 + replays)
        letter = again(a_letter(replayed))
        assert letter.replay_count == replays
        assert [name for name, _ in letter.headers] == ["ce_id", "ce_id", "x-replay-count", "x-replay-reason"]


@pytest.mark.parametrize("count", [b"", b"many", b"-1", b"1.5", b"\xff", b"9" * 5000])
def test_a_replay_count_that_is_none_counts_as_none(count: bytes) -> None:
    letter = a_letter(ConsumedRecord(headers=[("x-replay-count", count)]))
    assert letter.replay_count == 0
    assert list(letter.to_replay().headers) == [("x-replay-count", b"1"), ("x-replay-reason", REASON)]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("ce_id", b"abc")],
        [("x-dead-letter-reason", b"repeat")],
        [*replace(a_letter(), offset=None).encode_headers(), ("x-original-offset", b"many")],
        [*a_letter().encode_headers(), ("x-dead-letter-reason", b"no such reason")],
        [*a_letter().encode_headers(), ("x-dead-letter-at", b"yesterday")],
        [*a_letter().encode_headers(), ("x-dead-letter-at", b"\xff")],
    ],
)
def test_a_record_that_is_no_dead_letter_is_refused(headers: Headers) -> None:
    with pytest.raises(InvalidRecord) as caught:
        DeadLetter.decode(b"key", b"value", headers)
    assert caught.value.reason is Reason.UNDECODABLE_RECORD


def test_the_record_to_send_has_the_original_bytes_under_the_original_key() -> None:
    letter = a_letter()

    record = letter.to_record("attendance.dead-letters.v1")

    assert (record.topic, record.key, record.value) == ("attendance.dead-letters.v1", b"riyadh-01", b"\x00not json")
    assert list(record.headers) == letter.encode_headers()
