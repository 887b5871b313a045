"""`punchstream topics`: what is made, what is shown, and the exit status."""

from datetime import UTC, datetime

import orjson
import pytest
from typer.testing import CliRunner

from attendance.errors import Reason
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, LetterId
from attendance.topics import TABLE
from memory_broker import MemoryBroker, install
from punchstream.cli import app


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "memory:9092")
    return install(monkeypatch, make_topics=False)[0]


def test_topics_are_created_once(broker: MemoryBroker) -> None:
    first, second = (CliRunner().invoke(app, ["topics", "create"]) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "attendance.raw.v1: created" in first.stdout.splitlines()
    assert "attendance.raw.v1: was there" in second.stdout.splitlines()
    assert len(broker.topics) == len(first.stdout.splitlines()) == len(TABLE)


def test_topics_are_described_with_what_they_hold(broker: MemoryBroker) -> None:
    CliRunner().invoke(app, ["topics", "create"])
    broker.put("attendance.raw.v1", b"x")
    result = CliRunner().invoke(app, ["topics", "describe", "--json"])
    assert result.exit_code == 0
    rows = {row["topic"]: row for row in orjson.loads(result.stdout)}
    assert rows["attendance.raw.v1"]["records"] == 1
    pipe = CliRunner().invoke(app, ["topics", "describe"], env={"COLUMNS": "80"}).stdout.splitlines()
    assert pipe[0].split()[:2] == ["topic", "partitions"]
    assert pipe[1].split()[0] == "attendance.raw.v1"
    narrow = CliRunner().invoke(app, ["topics", "describe"], env={"COLUMNS": "60", "FORCE_COLOR": "1"})
    assert [line.split() for line in narrow.stdout.splitlines()[:2]] == [
        ["topic", "attendance.raw.v1"],
        ["partitions", "12"],
    ]
    exported = CliRunner().invoke(app, ["topics", "describe", "--csv"]).stdout.splitlines()
    assert exported[1].startswith("attendance.raw.v1,12,")


def test_a_missing_topic_is_shown_and_is_exit_status_1(broker: MemoryBroker) -> None:
    CliRunner().invoke(app, ["topics", "create"])
    del broker.topics["attendance.raw.v1"]
    assert CliRunner().invoke(app, ["topics", "describe", "--json"]).exit_code == 1


def test_what_a_repair_would_set_is_what_it_sets_and_what_it_leaves_is_exit_status_1(broker: MemoryBroker) -> None:
    CliRunner().invoke(app, ["topics", "create"])
    right = dict(broker.configs["attendance.raw.v1"])
    broker.configs["attendance.raw.v1"] = right | {"cleanup.policy": "compact", "message.timestamp.type": "CreateTime"}
    repair = ["topics", "repair"]
    planned = CliRunner().invoke(app, [*repair, "--dry-run"])
    assert planned.exit_code == 0
    assert planned.stdout.splitlines() == [
        "attendance.raw.v1: cleanup.policy was compact, would be delete",
        "attendance.raw.v1: message.timestamp.type was CreateTime, would be LogAppendTime",
    ]
    assert broker.configs["attendance.raw.v1"]["cleanup.policy"] == "compact"
    done = CliRunner().invoke(app, repair)
    assert done.stdout == planned.stdout.replace("would be", "is")
    assert broker.configs["attendance.raw.v1"] == right
    assert CliRunner().invoke(app, repair).stdout == "Every topic is what it has to be.\n"

    del broker.topics["attendance.dropped.v1"]
    left = CliRunner().invoke(app, repair)
    assert (left.exit_code, left.stdout) == (1, "")
    assert "attendance.dropped.v1" in left.stderr


def test_what_a_repair_leaves_and_is_only_unwise_is_exit_status_0(broker: MemoryBroker) -> None:
    CliRunner().invoke(app, ["topics", "create"])
    broker.add_partitions("attendance.raw.v1", 13)
    result = CliRunner().invoke(app, ["topics", "repair"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("warns: topic attendance.raw.v1: partitions")


def test_a_repair_does_not_delete_a_dead_letter_with_which_nobody_has_dealt(broker: MemoryBroker) -> None:
    CliRunner().invoke(app, ["topics", "create"])
    letters, retention = "attendance.dead-letters.v1", "retention.ms"
    wanted = broker.configs[letters][retention]
    broker.configs[letters][retention] = "-1"
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    letter = DeadLetter("stream", Reason.INVALID_EVENT, "", long_ago, b"d", b"v").to_record(letters)
    broker.put(letters, letter.value, letter.key, headers=letter.headers)
    spared = CliRunner().invoke(app, ["topics", "repair"])
    assert "1 dead letter with which nobody has dealt would be deleted at once" in spared.stderr
    assert broker.configs[letters][retention] == "-1"
    done = Action(LetterId(0, 0), "discarded", long_ago, "fatima", note="old")
    broker.put("attendance.dead-letter-actions.v1", done.encode(), done.key)
    assert CliRunner().invoke(app, ["topics", "repair"]).exit_code == 0
    assert broker.configs[letters][retention] == wanted
