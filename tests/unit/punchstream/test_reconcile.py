"""`punchstream reconcile`: what it prints, its exit status, and what it does not take."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from ledger_story import START_MS, TOPICS, Story, event, prepared
from memory_log import MemoryLog
from typer.testing import CliRunner

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import ConfigurationError, KafkaUnavailable
from ledger.database import Database
from ledger.store import Store
from operations.fact_reading import FactReader
from punchstream.cli import app
from punchstream.commands import reconcile as command

ID = event("1", 8).event_id
WAITS = event("9", 9).event_id
FLEET = """
- {device_id: D1, site: s, timezone: UTC, adapter: zkteco_adms, serial: S1}
- {device_id: D2, site: s, timezone: UTC, mode: file, adapter: csv}
- {device_id: D3, site: t, timezone: UTC, mode: file, adapter: csv}
"""


@pytest.fixture(autouse=True)
def no_erpnext(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ERPNEXT_URL", raising=False)


@pytest.fixture
def story(log: MemoryLog, fleet_file: Path) -> Story:
    fleet_file.write_text(FLEET)
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 8)), "EMP-1"), "CHK-1")
    story.wait(story.raw(event("9", 9)))
    return story


def put(story: Story, log: MemoryLog) -> None:
    for (name, _), records in story.log.items():
        log.put(name, *records)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["reconcile", "--day", "2026-03-02", *arguments], env={"COLUMNS": "20"})


def test_a_row_for_each_device_and_a_line_with_what_to_do_for_each_gap(story: Story, log: MemoryLog) -> None:
    put(story, log)
    said = run("--site", "s")
    assert said.exit_code == 1
    lines = said.output.splitlines()
    assert lines[0].split() == ["device", "device", "counts", "raw", "punches", "delivered", "in", "ERPNext", "waiting"]
    assert lines[1].split()[:7] == ["D1", "not", "said", "2", "2", "1", "not"]
    assert f"D1: 1 waiting: {WAITS}" in lines
    assert "  map its users, or discard: punchstream users unmapped" in lines
    assert lines[-1] == "1 device with a gap: 2 devices on 2026-03-02, from the topics"


def test_a_day_without_a_gap_has_exit_status_0(log: MemoryLog, fleet_file: Path) -> None:
    fleet_file.write_text(FLEET)
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 8)), "EMP-1"), "CHK-1")
    put(story, log)
    said = run("--device", "D1")
    assert said.exit_code == 0
    assert said.output.splitlines()[-1] == "No gap: 1 device on 2026-03-02, from the topics"


def test_json_and_csv_have_every_field(story: Story, log: MemoryLog) -> None:
    put(story, log)
    found = json.loads(run("--site", "s", "--json").stdout)
    assert (found["day"], found["source"], found["is_whole"]) == ("2026-03-02", "the topics", False)
    first, second = found["devices"]
    assert (first["raw"], first["counted"], first["in_erpnext"], first["missing"]) == (2, None, None, 1)
    assert first["gaps"][0]["names"] == [WAITS]
    assert second["gaps"] == []
    [row, _] = csv.DictReader(io.StringIO(run("--site", "s", "--csv").stdout))
    assert row.keys() == first.keys()
    assert (row["waiting"], row["counted"], row["gaps"]) == ("1", "", f"1 waiting {WAITS}")


def ledger_of(story: Story, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{directory}/ledger.sqlite")
    database = Database(prepared(directory / "ledger.sqlite"))
    Store(database).apply(FactReader(TOPICS, NOTHING_MOVED), dict(story.log), {}, START_MS)
    database.close()


def test_the_ledger_says_the_same_once_it_has_what_the_topics_have(
    story: Story, log: MemoryLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(story, log)
    ledger_of(story, monkeypatch, tmp_path)
    ledger, topics = (json.loads(run("--site", "s", "--json", *each).stdout) for each in ((), ("--from-topics",)))
    assert ledger["devices"] == topics["devices"]
    assert ledger["source"].startswith("the ledger")
    assert (ledger["behind"], ledger["next_offsets"]["raw.v1"]) == (0, {"0": 2})
    assert topics["source"] == "the topics"
    assert "next_offsets" not in topics


def test_a_ledger_that_is_behind_never_says_that_there_is_no_gap(
    log: MemoryLog, fleet_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fleet_file.write_text(FLEET)
    monkeypatch.setattr(command, "REACH_SECONDS", 0.0)
    story = Story()
    story.deliver(story.checkin(story.raw(event("1", 8)), "EMP-1"), "CHK-1")
    ledger_of(story, monkeypatch, tmp_path)
    put(story, log)
    assert run("--device", "D1").exit_code == 0
    log.add("raw", b"D1", event("1", 9).encode())
    said = run("--device", "D1")
    assert said.exit_code == 1
    assert "The ledger lacks 1 record that the topics have" in said.output


def test_a_day_that_is_gone_from_the_ledger_is_no_day_without_punches(
    story: Story, log: MemoryLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(story, log)
    ledger_of(story, monkeypatch, tmp_path)
    monkeypatch.setenv("LEDGER_DAYS", "2")
    arguments = ["reconcile", "--device", "D1", "--day", "2026-02-28"]
    assert "LEDGER_DAYS" in str(CliRunner().invoke(app, arguments).exception)
    assert CliRunner().invoke(app, [*arguments, "--from-topics"]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "give one of --site and --device"),
        ("--site s --device D1", "give one of --site and --device"),
        ("--site nowhere", "no device is of nowhere"),
        ("--device D9", "D9 is not in the fleet"),
        ("--site s --day yesterday", "no date such as"),
        ("--site s --day 2999-01-01", "is in the future"),
    ],
)
def test_what_is_not_to_be_answered_is_said_with_exit_status_2(
    log: MemoryLog, fleet_file: Path, arguments: str, said: str
) -> None:
    fleet_file.write_text(FLEET)
    result = run(*arguments.split())
    assert isinstance(result.exception, ConfigurationError), "which ends the command with status 2"
    assert said in str(result.exception)


def test_an_erpnext_that_does_not_answer_is_a_problem_and_not_an_answer(
    story: Story, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(story, log)
    monkeypatch.setenv("ERPNEXT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ERPNEXT_API_KEY", "k")
    monkeypatch.setenv("ERPNEXT_API_SECRET", "s")
    said = run("--device", "D1")
    assert said.exit_code == 1
    assert "ERPNext was not asked" in said.output
    assert "not asked" in said.output.splitlines()[1]
    without = run("--device", "D1", "--without-erpnext")
    assert "ERPNext was not asked" not in without.output


def test_a_kafka_that_does_not_answer_is_an_error(
    log: MemoryLog, fleet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet_file.write_text(FLEET)

    async def fails(*_: object, **__: object) -> Any:
        raise KafkaUnavailable("no broker")
        yield

    monkeypatch.setattr(log, "read", fails)
    assert isinstance(run("--device", "D1").exception, KafkaUnavailable)
