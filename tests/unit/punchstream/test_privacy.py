"""`punchstream privacy`: who is meant, what is written where, and the exit status."""

import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from typer.testing import CliRunner

from attendance.errors import KafkaUnavailable, Reason
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import RawEvent, Source
from attendance.records.user_map import Employee, ErasedEmployee, UserMapping
from memory_broker import MemoryBroker, install
from punchstream.cli import app
from streams.dedup import Kept, Punch
from streams.state import encode

AT = datetime(2026, 1, 1, 5, tzinfo=UTC)
EVENT = RawEvent("D1", "riyadh", "17", "IN", AT, "2026-01-01 05:00:00", "UTC", AT, Source("push", "json_v1"))
SUBJECT = ("--employee", "HR-EMP-1")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryBroker:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "memory:9092")
    monkeypatch.setenv("KAFKA_PARTITIONS", "1")
    monkeypatch.setenv("DEDUP_DIRECTORY", str(tmp_path / "stores"))
    (tmp_path / "devices.yaml").write_text("devices: []\n")
    broker, _ = install(monkeypatch, partitions=1)
    for entry in (Employee("HR-EMP-1", "Left"), UserMapping("*", "17", "HR-EMP-1", "erpnext")):
        broker.put("attendance.user-map.v1", entry.encode(), entry.key)
    key, value, headers = Waiting(EVENT, Reason.EMPLOYEE_INACTIVE, "HR-EMP-1").record()
    broker.put("attendance.raw.v1", EVENT.encode(), EVENT.key)
    broker.put("attendance.unmapped.v1", value, key, headers=headers)
    kept = Kept(b'["D1","17"]', Punch.of(AT, "IN", 0).pack())
    broker.put("attendance.dedup-state.v1", encode([kept, Kept(b'["D1","170"]', kept.entry)]), b"random")
    broker.groups["attendance.stream"].offsets[TopicPartition("attendance.raw.v1", 0)] = 1
    return broker


def test_an_export_is_one_document_in_a_new_file_that_only_its_owner_reads(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["privacy", "export", *SUBJECT, "--to", "person.json"])
    assert result.exit_code == 0, result.stderr
    path = tmp_path / "person.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = orjson.loads(path.read_bytes())
    assert document["format"] == "punchstream-person-1"
    assert document["person"] == {
        "employee": "HR-EMP-1",
        "device_users": [{"device_id": "D1", "device_user_id": "17"}],
    }
    of_topic = {record["topic"].removeprefix("attendance."): record for record in document["records"]}
    assert of_topic.keys() == {"user-map.v1", "raw.v1", "unmapped.v1", "dedup-state.v1"}
    assert of_topic["raw.v1"]["value"]["event_id"] == EVENT.event_id
    assert of_topic["raw.v1"]["until"] > "2026"
    assert of_topic["unmapped.v1"]["until"] is None
    assert [each["device_user_id"] for each in of_topic["dedup-state.v1"]["punches"]] == ["17"]
    again = CliRunner().invoke(app, ["privacy", "export", *SUBJECT, "--to", "person.json"])
    assert str(again.exception) == "--to: person.json: File exists"
    (tmp_path / "link.json").symlink_to(tmp_path / "elsewhere.json")
    CliRunner().invoke(app, ["privacy", "export", *SUBJECT, "--to", "link.json"])
    assert not (tmp_path / "elsewhere.json").exists()
    printed = CliRunner().invoke(app, ["privacy", "export", *SUBJECT, "--to", "-"])
    assert len(orjson.loads(printed.stdout)["records"]) == len(document["records"])


@pytest.mark.parametrize("command", ["export --to person.json", "export --to -", "erase --dry-run"])
@pytest.mark.parametrize("where", ["device", "site"])
def test_a_device_or_a_site_that_is_not_there_is_refused_and_nothing_is_written(
    command: str, where: str, broker: MemoryBroker, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["privacy", *command.split(), "--user", "17", f"--{where}", "nosuch"])
    assert result.exit_code == 1
    assert f"There is no {where} nosuch" in result.stderr
    assert not (tmp_path / "person.json").exists()


@pytest.mark.parametrize("where", [["--device", "D2"], ["--site", "jeddah"], []])
def test_of_somebody_of_whom_nothing_is_kept_the_document_says_so_too(
    where: list[str], broker: MemoryBroker, tmp_path: Path
) -> None:
    (tmp_path / "devices.yaml").write_text("[{device_id: D2, site: jeddah, timezone: UTC, serial: S2}]\n")
    result = CliRunner().invoke(app, ["privacy", "export", "--to", "person.json", "--user", "99", *where])
    assert result.exit_code == 1
    assert result.stderr == "Nothing is kept of this person.\n"
    assert orjson.loads((tmp_path / "person.json").read_bytes())["records"] == []


def test_a_device_that_left_the_fleet_is_there_as_long_as_its_records_are(broker: MemoryBroker) -> None:
    result = CliRunner().invoke(app, ["privacy", "export", "--to", "-", "--user", "17", "--device", "D1"])
    # The user map has this number by all devices, so that it is the employee's there.
    assert (result.exit_code, result.stderr) == (0, "")
    assert orjson.loads(result.stdout)["records"]


def test_an_export_that_fails_half_way_leaves_no_file(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut_off(*arguments: Any) -> AsyncIterator[bytes]:
        yield b'{"format":'
        raise KafkaUnavailable("no brokers")

    monkeypatch.setattr("operations.person_export.export", cut_off)
    before = set(tmp_path.iterdir())
    result = CliRunner().invoke(app, ["privacy", "export", *SUBJECT, "--to", "person.json"])
    assert isinstance(result.exception, KafkaUnavailable)
    assert set(tmp_path.iterdir()) == before
    full = CliRunner().invoke(app, ["privacy", "export", *SUBJECT, "--to", "missing/person.json"])
    assert str(full.exception) == "--to: missing/person.json: No such file or directory"


def test_a_dry_run_says_what_would_go_and_changes_nothing(broker: MemoryBroker) -> None:
    before = {topic: broker.values(topic) for topic in broker.topics}
    result = CliRunner().invoke(app, ["privacy", "erase", *SUBJECT, "--dry-run", "--json"])
    assert result.exit_code == 0, result.stderr
    said = orjson.loads(result.stdout)
    assert said["removed"] == {"user_map": 2, "unmapped": 1, "dedup_state": 1, "open_dead_letters": 0}
    assert said["until"] == max(each["until"] for each in said["kept"])
    # What it will write itself: that a punch that waited was erased.
    [dropped] = [each for each in said["kept"] if each["topic"] == "dropped"]
    [raw] = [each for each in said["kept"] if each["topic"] == "raw"]
    assert (dropped["records"], dropped["until"] >= raw["until"]) == (1, True)
    assert {topic: broker.values(topic) for topic in broker.topics} == before


def test_erasing_removes_the_stores_of_this_machine_and_once_more_finds_what_expires(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    store = tmp_path / "stores" / "attendance.dedup-state.v1" / "0"
    store.mkdir(parents=True)
    (store / "CURRENT").write_text("")
    result = CliRunner().invoke(app, ["privacy", "erase", *SUBJECT])
    assert result.exit_code == 0, result.stderr
    assert "The last record that has the person is gone by" in result.stdout
    assert "Not in the topics, and for you to look at: logs that name them; files" in result.stdout
    again = CliRunner().invoke(app, ["privacy", "erase", *SUBJECT, "--dry-run", "--json"])
    last = result.stdout.partition("is gone by ")[2][:10]
    assert orjson.loads(again.stdout)["until"][:10] <= last
    assert not store.exists()
    assert all(b'"17"' not in (value or b"") for value in broker.values("attendance.dedup-state.v1"))
    erased = ErasedEmployee.key_of("HR-EMP-1")
    assert any(record.key == erased for record in broker.records("attendance.user-map.v1"))
    back = CliRunner().invoke(app, ["privacy", "readmit", *SUBJECT])
    assert back.exit_code == 0
    assert CliRunner().invoke(app, ["privacy", "readmit", *SUBJECT]).exit_code == 1


def test_of_nobody_nothing_is_erased(broker: MemoryBroker) -> None:
    result = CliRunner().invoke(app, ["privacy", "erase", "--employee", "HR-EMP-12"])
    assert (result.exit_code, "Nothing is kept of this person." in result.stderr) == (1, True)


def test_what_the_sink_or_the_stream_has_before_it_is_said_and_is_exit_status_1(broker: MemoryBroker) -> None:
    broker.groups["attendance.stream"].offsets.clear()
    result = CliRunner().invoke(app, ["privacy", "erase", *SUBJECT])
    assert result.exit_code == 1
    assert "Not erased: the stream has not decided 1 of their punches" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name the person by --employee, or by --user"),
        (("--employee", "E", "--user", "1"), "name the person by --employee, or by --user"),
        (("--employee", "E", "--device", "D1"), "--device and --site are for --user"),
        (("--user", "1", "--device", "D1", "--site", "s"), "--device and --site: one of them"),
    ],
)
def test_who_is_meant_has_to_be_clear(broker: MemoryBroker, arguments: tuple[str, ...], says: str) -> None:
    result = CliRunner().invoke(app, ["privacy", "erase", *arguments])
    assert says in str(result.exception)
