"""`punchstream dead-letters`: what it prints, and which selection it takes."""

import base64
import csv
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from checkin_site import CheckinSite
from ledger_story import Story, event, kept_ledger
from memory_log import MemoryLog
from msgspec.structs import replace
from typer.testing import CliRunner

from attendance.errors import ConfigurationError, InvalidRecord, KafkaUnavailable, Reason
from attendance.fleet import hash_token
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, Done, LetterId
from attendance.records.raw_event import RawEvent, Source
from attendance.records.unread import UnreadRequest
from attendance.records.user_map import Employee, UserMapping
from attendance.sealing import Seal
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
    assert "x" * SHOWN_VALUE in text
    assert "x" * (SHOWN_VALUE + 1) not in text
    assert describe(subject)["value"] == {"bytes": SHOWN_VALUE + 7, "text": "x" * (SHOWN_VALUE + 7)}


def test_bytes_that_are_no_text_are_hex(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    subject = letter(replace(CONTENT, key=None, value=b"\xff\x00"))
    assert "ff00 (hex, 2 bytes)" in shown(subject, monkeypatch, capsys)
    described = describe(subject)
    assert (described["key"], described["value"]) == (None, {"bytes": 2, "hex": "ff00"})
    assert orjson.loads(orjson.dumps(described))["headers"] == [["ce_id", {"bytes": 3, "text": "abc"}]]


REQUEST = DeadLetter("push", Reason.UNREADABLE_BODY, "cut off", AT, b"D1", b"{", where="http:/v1/events")


@pytest.fixture
def log(log: MemoryLog, fleet_file: Path) -> MemoryLog:
    """Two dead letters of the stream, one of which is discarded, and a request that never became a record."""
    fleet_file.write_text(f"[{{device_id: D1, site: s, timezone: UTC, token_sha256: {hash_token('gate-token-7f3a')}}}]")
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
    assert "3 dead letters: 2 open, 1 discarded" in shown.splitlines()
    groups = orjson.loads(run("list", "--json")[1])
    assert [(group["stage"], group["count"]) for group in groups] == [("push", 1), ("stream", 2)]
    rows = orjson.loads(run("list", "--each", "--json", "--stage", "stream")[1])
    assert [(row["id"], row["state"], row["device"]) for row in rows] == [
        ("0:0", "open", "D1"),
        ("0:1", "discarded", "D1"),
    ]
    assert "cut off" in run("list", "--each")[1]
    exported = list(csv.DictReader(run("list", "--csv")[1].splitlines()))
    assert [(row["stage"], row["count"], row["discarded"]) for row in exported] == [
        ("push", "1", "0"),
        ("stream", "2", "1"),
    ]
    exported = list(csv.DictReader(run("list", "--each", "--csv")[1].splitlines()))
    assert [row["id"] for row in exported] == ["0:0", "0:1", "0:2"]


def test_they_are_listed_page_by_page(log: MemoryLog) -> None:
    def page(*command: str) -> tuple[list[str], str]:
        _, shown, said = run("list", "--each", "--json", "--limit", "2", *command)
        return [row["id"] for row in orjson.loads(shown)], said

    first, said = page()
    assert (first, "The list goes on with --after 0:1" in said) == (["0:0", "0:1"], True)
    rest, said = page("--after", "0:1")
    assert (rest, "--after" in said) == (["0:2"], False)
    assert page("--after", "7:0")[0] == []


@pytest.mark.parametrize("options", [["--limit", "1"], ["--after", "0:1"], ["--each", "--after", "the first"]])
def test_a_page_that_cannot_be_is_refused(log: MemoryLog, options: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="--after"):
        run("list", *options)


def test_the_ledger_has_the_list_where_there_is_one(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    story = Story()
    story.fail(story.raw(event("1", 0)))
    story.act(story.fail(story.raw(event("1", 1))), "replayed")
    kept_ledger(f"sqlite:///{tmp_path}/ledger.sqlite", story)
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/ledger.sqlite")
    status, shown, said = run("list")
    assert (status, shown.splitlines()[-1]) == (0, "2 dead letters: 1 open, 1 replayed")
    assert "From the ledger, as of 2026-03-02T00:00:00.000Z." in said
    assert "only --from-topics says" in said
    assert [row["state"] for row in orjson.loads(run("list", "--each", "--json")[1])] == ["open", "replayed"]
    assert "3 dead letters" in run("list", "--from-topics")[1]
    assert run("list", "--device", "D9")[0] == 1
    assert run("list", "--device", "D1", "--reason", "erased")[0] == 0


UNREAD = UnreadRequest(
    unread_id="",
    device_id="D1",
    site="s",
    adapter="json",
    adapter_version="1",
    transport="push",
    received_at=AT,
    reason=Reason.UNREADABLE_BODY,
    message="a dialect that nobody knew",
    body=b'{"device_id":"D1","events":[{"user_id":"7","time":"2026-03-02 04:59:00"}],"photo":"' + b"Ab9/" * 64 + b'"}',
    method="POST",
    path="/v1/events",
    route="/v1/events",
    query="a=b",
    headers={"content-type": "application/json"},
    removed=("an encoded picture",),
).with_id()


def keep(log: MemoryLog, unread: UnreadRequest = UNREAD) -> None:
    """An unread request, and the letter `0:3` that names it."""
    content = replace(REQUEST, value=b"", message=unread.message, unread=unread.unread_id)
    log.add("dead_letters", content.key, content.value, content.encode_headers())
    for record in unread.to_records(log.topics["unread"]):
        log.add("unread", record.key, record.value, record.headers)


def test_the_list_says_how_many_of_what_no_adapter_understood_can_be_read_today(log: MemoryLog) -> None:
    keep(log)
    _, shown, _ = run("list")
    assert "Today's adapters understand 1 of what no adapter understood; `replay` reads it again." in shown
    assert [group["readable"] for group in orjson.loads(run("list", "--json")[1])] == [1, None]
    rows = orjson.loads(run("list", "--each", "--json")[1])
    assert [(row["id"], row["readable"]) for row in rows] == [
        ("0:0", None),
        ("0:1", None),
        ("0:2", False),
        ("0:3", True),
    ]


def test_without_a_fleet_file_the_list_says_that_it_does_not_know_what_can_be_read(
    log: MemoryLog, fleet_file: Path
) -> None:
    fleet_file.unlink()
    status, shown, said = run("list")
    assert (status, "understand" in shown) == (0, False)
    assert "What could be read again is not known" in said


def test_what_can_be_read_is_read_again_and_its_letter_is_settled(log: MemoryLog) -> None:
    keep(log)
    assert run("replay", "0:3", "--dry-run")[:2] == (
        0,
        "0:3: would be read again: 1 event\n1 would be replayed, 0 refused\n",
    )
    assert run("replay", "0:3")[:2] == (0, "1 replayed, 0 refused\n")
    assert [record.topic for record in log.sent] == [log.topics["raw"], log.topics["dead_letter_actions"]]


def test_an_unread_request_is_shown_with_its_letter_and_without_pictures(log: MemoryLog) -> None:
    keep(log)
    _, shown, _ = run("show", "0:3")
    for part in ("POST /v1/events?a=b", "application/json", "an encoded picture", "push, adapter json 1", '"user_id"'):
        assert part in shown
    assert "Ab9/" not in shown
    described = orjson.loads(run("show", "0:3", "--json")[1])["unread"]
    assert (described["id"], described["query"]) == (UNREAD.unread_id, "a=b")
    assert "Ab9/" not in described["body"]["text"]


def test_what_is_sealed_is_shown_and_read_again_with_its_key_alone(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = Seal([b"k" * 32]).seal(UNREAD)
    keep(log, sealed)
    why = f"it is sealed with the key {sealed.sealed}, which SEAL_KEY does not have"
    assert why in run("show", "0:3")[1]
    described = orjson.loads(run("show", "0:3", "--json")[1])["unread"]
    assert (described["sealed"], described["body"], described["query"]) == (why, None, "")
    assert run("replay", "0:3") == (1, "0 replayed, 1 refused\n", f"0:3: {why}\n")
    assert "understand 0 of what" in run("list")[1]

    monkeypatch.setenv("SEAL_KEY", base64.b64encode(b"k" * 32).decode())
    assert '"user_id"' in run("show", "0:3")[1]
    assert run("replay", "0:3")[:2] == (0, "1 replayed, 0 refused\n")
    assert [record.topic for record in log.sent] == [log.topics["raw"], log.topics["dead_letter_actions"]]


def test_a_letter_whose_request_is_gone_says_so(log: MemoryLog) -> None:
    content = replace(REQUEST, value=b"", unread="0" * 64)
    log.add("dead_letters", content.key, content.value, content.encode_headers())
    assert "not kept any more" in run("show", "0:3")[1]
    assert orjson.loads(run("show", "0:3", "--json")[1])["unread"] is None
    assert "not kept any more" in run("replay", "0:3")[2]


def test_one_is_shown_for_people_and_programs_and_a_missing_one_is_said(log: MemoryLog) -> None:
    assert "implausible_time, found by the stage stream" in run("show", "0:0")[1]
    assert orjson.loads(run("show", "0:1", "--json")[1])["history"][0]["note"] == "why"
    assert run("show", "3:9") == (1, "", "3:9: no such dead letter\n")


def test_what_is_open_is_replayed_and_what_cannot_be_is_refused(log: MemoryLog) -> None:
    rehearsed = run("replay", "--all", "--dry-run")
    assert (rehearsed[:2], log.sent) == ((1, "0:0: would be replayed\n1 would be replayed, 1 refused\n"), [])

    status, shown, said = run("replay", "--all")

    assert (status, shown) == (1, "1 replayed, 1 refused\n")
    assert said.startswith("0:2: not JSON")
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


def test_what_erpnext_has_of_what_is_beyond_the_horizon_is_discarded_and_the_rest_is_replayed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log, site = MemoryLog(), CheckinSite()
    for entry in (Employee("E1", "Active"), UserMapping("*", "1", "E1", "csv")):
        log.add("user_map", entry.key, entry.encode())
    for day in (1, 2):
        event = RawEvent("D1", "s", "1", "IN", AT.replace(day=day), None, "UTC", AT, Source("file", "csv"))
        record = log.add("raw", event.key, event.encode())
        content = DeadLetter.of(record, "stream", InvalidRecord(Reason.BEYOND_HORIZON, "nobody knows"), AT)
        log.add("dead_letters", content.key, content.value, content.encode_headers())
    site.store("CKIN-1", event.event_id, device_id="D1")

    async def zone(*_: object) -> str:
        return "UTC"

    fleet = tmp_path / "devices.yaml"
    fleet.write_text("- {device_id: D1, site: s, timezone: UTC, mode: file}\n")
    for name, value in {"URL": "http://127.0.0.1:1", "API_KEY": "k", "API_SECRET": "s"}.items():
        monkeypatch.setenv(f"ERPNEXT_{name}", value)
    monkeypatch.setenv("PUNCHSTREAM_DEVICES", str(fleet))
    monkeypatch.setattr("punchstream.commands.dead_letters.kafka_log", lambda _: log)
    monkeypatch.setattr("attendance.erpnext.ErpnextClient", lambda _: site)
    monkeypatch.setattr("operations.site.zone.the_sites_zone", zone)
    command = ["replay", "--reason", "beyond_horizon", "--against-erpnext"]

    rehearsed = CliRunner().invoke(app, [*command, "--dry-run"])
    assert rehearsed.exit_code == 0, rehearsed.output
    assert "0:1: would be discarded: ERPNext has this punch" in rehearsed.stdout
    assert log.sent == []
    result = CliRunner().invoke(app, command)

    assert (result.exit_code, result.stdout) == (0, "1 replayed, 1 discarded, 0 refused\n")
    raw, replayed, discarded = log.sent
    assert (raw.topic, dict(raw.headers)["x-replay-reason"]) == (log.topics["raw"], b"beyond_horizon")
    actions = [Action.decode(each.key, each.value) for each in (replayed, discarded)]
    assert [(each.letter, each.action, each.note) for each in actions] == [
        (LetterId(0, 0), "replayed", None),
        (LetterId(0, 1), "discarded", "ERPNext has this punch"),
    ]
