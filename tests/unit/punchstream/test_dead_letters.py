"""How dead letters are shown."""

from datetime import UTC, datetime

import orjson
import pytest
from msgspec.structs import replace

from attendance.errors import Reason
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, Done, LetterId
from operations.dead_letters import Letter, describe
from punchstream.commands.dead_letters import SHOWN_VALUE, _print_letter

AT = datetime(2026, 3, 2, 5, tzinfo=UTC)
CONTENT = DeadLetter(
    stage="stream",
    reason=Reason.IMPLAUSIBLE_TIME,
    message="before the device was installed",
    at=AT,
    key=b"D1",
    value=b'{"device_id": "D1"}',
    headers=[("ce_id", b"abc")],
    topic="attendance.raw.v1",
    partition=3,
    offset=77,
    event_id="abc",
)


def letter(content: DeadLetter = CONTENT, *done: Done, offset: int = 0) -> Letter:
    return Letter(
        LetterId(0, offset), content, tuple(Action(LetterId(0, offset), each, AT, "root", "why") for each in done)
    )


def shown(subject: Letter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    _print_letter(subject)
    return capsys.readouterr().out


def test_a_letter_is_shown_with_all_that_is_known_and_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(letter(CONTENT, "replayed", "discarded", offset=17), monkeypatch, capsys)
    for part in ("0:17, discarded", "attendance.raw.v1 3:77", "header ce_id", '{"device_id": "D1"}', "by root: why"):
        assert part in text


def test_what_a_terminal_would_obey_is_shown_and_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = replace(
        CONTENT, value=b"\x1b[2Jclear \x9b\xc2\x9b", message="[red]\x1b]0;title\x07", headers=[("\x1b", b"\x1b")]
    )
    text = shown(letter(hostile), monkeypatch, capsys)
    assert "\x1b" not in text
    assert "[red]\\x1b]0;title\\x07" in text


def test_a_long_value_is_cut_with_a_note_and_whole_in_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = letter(replace(CONTENT, value=b"x" * (SHOWN_VALUE + 7)))
    text = shown(subject, monkeypatch, capsys)
    assert "(7 more characters)" in text
    assert text.count("x" * 50) < SHOWN_VALUE / 50
    assert describe(subject)["value"] == {"bytes": SHOWN_VALUE + 7, "text": "x" * (SHOWN_VALUE + 7)}


def test_bytes_that_are_no_text_are_hex(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    subject = letter(replace(CONTENT, key=None, value=b"\xff\x00"))
    assert "ff00 (hex, 2 bytes)" in shown(subject, monkeypatch, capsys)
    described = describe(subject)
    assert (described["key"], described["value"]) == (None, {"bytes": 2, "hex": "ff00"})
    assert orjson.loads(orjson.dumps(described))["headers"] == [["ce_id", {"bytes": 3, "text": "abc"}]]
