"""The codec, with what nobody checked before."""

from datetime import UTC, datetime

import pytest

from attendance.errors import InvalidRecord
from attendance.records.cursor import SavedCursor
from attendance.wire import MAX_SOURCE, SOURCE, cloudevents_headers


def test_what_is_nested_too_deeply_is_refused() -> None:
    value = SavedCursor("D1", "sql", "1", None, {"last": 7}, datetime(2026, 1, 1, tzinfo=UTC)).encode()
    assert SavedCursor.decode(value).cursor == {"last": 7}
    with pytest.raises(InvalidRecord, match="not a cursor"):
        SavedCursor.decode(value.replace(b"7", b"[" * 100_000 + b"]" * 100_000))


def test_a_source_of_any_length_leaves_room_in_the_record() -> None:
    headers = cloudevents_headers("1", b"type", b"/sites/" + b"x" * 3_000_000, datetime(2026, 1, 1, tzinfo=UTC))
    assert len(dict(headers)[SOURCE]) == MAX_SOURCE
