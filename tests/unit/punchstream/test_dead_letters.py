"""`punchstream dead-letters`: what it prints, and which selection it takes."""

from datetime import UTC, datetime

import orjson
import pytest
from memory_log import MemoryLog
from msgspec.structs import replace
from typer.testing import CliRunner

from attendance.errors import KafkaUnavailable, Reason
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, Done, LetterId
from operations.dead_letters import Letter, describe
from punchstream.commands.dead_letters import SHOWN_VALUE, _print_letter, app

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


REQUEST = DeadLetter("push", Reason.UNREADABLE_BODY, "cut off", AT, b"D1", b"{", where="http:/v1/events")


@pytest.fixture
def log(log: MemoryLog) -> MemoryLog:
    """Two dead letters of the stream, one of which is discarded, and a request that never became a record."""
    topic = log.topics["raw"]
    for each in (replace(CONTENT, topic=topic), replace(CONTENT, topic=topic), REQUEST):
        log.add("dead_letters", each.key, each.value, each.encode_headers())
    action = Action(LetterId(0, 1), "discarded", AT, "root", "why")
    log.add("dead_letter_actions", action.key, action.encode())
    return log


def run(*command: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_they_are_listed_by_stage_and_reason_or_each(log: MemoryLog) -> None:
    _, shown, _ = run("list")
    assert shown.splitlines()[-1] == "3 dead letters: 2 open, 1 discarded"
    groups = orjson.loads(run("list", "--json")[1])
    assert [(group["stage"], group["count"]) for group in groups] == [("push", 1), ("stream", 2)]
    rows = orjson.loads(run("list", "--each", "--json", "--stage", "stream")[1])
    assert [(row["id"], row["state"], row["device"]) for row in rows] == [
        ("0:0", "open", "D1"),
        ("0:1", "discarded", "D1"),
    ]
    assert "cut off" in run("list", "--each")[1]


def test_one_is_shown_for_people_and_programs_and_a_missing_one_is_said(log: MemoryLog) -> None:
    assert "implausible_time, found by the stage stream" in run("show", "0:0")[1]
    assert orjson.loads(run("show", "0:1", "--json")[1])["history"][0]["note"] == "why"
    assert run("show", "3:9") == (1, "", "3:9: no such dead letter\n")


def test_what_is_open_is_replayed_and_what_cannot_be_is_refused(log: MemoryLog) -> None:
    rehearsed = run("replay", "--all", "--dry-run")
    assert (rehearsed[:2], log.sent) == ((1, "0:0: would be replayed\n1 would be replayed, 1 refused\n"), [])

    status, shown, said = run("replay", "--all")

    assert (status, shown) == (1, "1 replayed, 1 refused\n")
    assert said.startswith("0:2: never became a record")
    assert [record.topic for record in log.sent] == [log.topics["raw"], log.topics["dead_letter_actions"]]


def test_what_was_replayed_before_kafka_went_away_is_said(log: MemoryLog) -> None:
    log.refuses, log.accepts = KafkaUnavailable("gone"), 1
    result = CliRunner().invoke(app, ["replay", "0:0"])
    assert isinstance(result.exception, KafkaUnavailable)
    assert "0 of 1 replayed; one more may have been sent" in result.stderr


def test_a_discard_needs_a_note_and_is_recorded(log: MemoryLog) -> None:
    assert run("discard", "0:2", "--note", " ")[0] == 2
    assert run("discard", "0:2", "--note", "a test") == (0, "1 discarded, 0 refused\n", "")
    assert [Action.decode(record.key, record.value).note for record in log.sent] == ["a test"]


@pytest.mark.parametrize(
    "options", [[], ["0:1", "--all"], ["--reason", "unreadable_body", "--all"], ["0:1", "--stage", "push"], ["17"]]
)
def test_a_selection_that_is_empty_or_contradicts_itself_is_refused(log: MemoryLog, options: list[str]) -> None:
    assert run("replay", *options)[0] == 2
    assert log.sent == []
