"""Where a device was read up to, as the topic has it."""

from typing import Any, cast

import orjson
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.records.cursor import SavedCursor
from attendance.times import format_seconds
from producers.pull.cursors import Cursors
from pulling import (
    BEGIN,
    TOPICS,
    FakeAdapter,
    Wire,
    device,
    nothing_new,
)


def test_a_cursor_survives_the_topic() -> None:
    saved = SavedCursor("D1", "fake", "1", "S1", {"id": 7}, BEGIN, BEGIN, BEGIN)
    assert SavedCursor.decode(saved.encode()) == saved
    assert orjson.loads(saved.encode())["complete_until"] == format_seconds(BEGIN)


@pytest.mark.parametrize(
    "changed", [{"adapter": "other"}, {"version": "2"}, {"serial": "another"}], ids=["adapter", "version", "serial"]
)
def test_a_cursor_of_another_adapter_version_or_terminal_is_not_used(changed: dict[str, str]) -> None:
    cursors = Cursors(cast("Producer", Wire()), TOPICS["cursors"])
    saved = SavedCursor("D1", "fake", "1", None, {"id": 7}, BEGIN)
    adapter = FakeAdapter(nothing_new)
    cursors.take(cast("Any", OutRecord("", saved.key, saved.encode())))
    assert cursors.of(device(), adapter) == saved
    with capture_logs() as logs:
        cursors.take(cast("Any", OutRecord("", saved.key, replace(saved, **changed).encode())))  # type: ignore[arg-type]
        assert cursors.of(device(), adapter) is None
    assert [each["log_level"] for each in logs] == ["warning"]


@pytest.mark.parametrize("value", [None, b"", b"{}", b"[]", b'{"device_id": "D1", "cursor": 7}'])
def test_a_cursor_that_is_gone_or_cannot_be_read_leaves_none(value: bytes | None) -> None:
    cursors = Cursors(cast("Producer", Wire()), TOPICS["cursors"])
    saved = SavedCursor("D1", "fake", "1", None, {"id": 7}, BEGIN)
    cursors.take(cast("Any", OutRecord("", saved.key, saved.encode())))
    with capture_logs():
        cursors.take(cast("Any", OutRecord("", saved.key, value)))
    assert cursors.of(device(), FakeAdapter(nothing_new)) is None
