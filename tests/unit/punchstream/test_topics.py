"""`punchstream topics`: what is made, what is shown, and the exit status."""

import orjson
import pytest
from typer.testing import CliRunner

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
    wide, narrow = (
        CliRunner().invoke(app, ["topics", "describe"], env={"COLUMNS": columns}).stdout.splitlines()
        for columns in ("200", "80")
    )
    assert wide[0].split()[:2] == ["topic", "partitions"]
    assert wide[1].split()[0] == "attendance.raw.v1"
    assert [line.split() for line in narrow[:2]] == [["topic", "attendance.raw.v1"], ["partitions", "12"]]


def test_a_missing_topic_is_shown_and_is_exit_status_1(broker: MemoryBroker) -> None:
    CliRunner().invoke(app, ["topics", "create"])
    del broker.topics["attendance.raw.v1"]
    assert CliRunner().invoke(app, ["topics", "describe", "--json"]).exit_code == 1
