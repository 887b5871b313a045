"""What was turned away: kept in bounded room, written once a minute, logged once a minute for each cause."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from attendance.errors import InvalidRecord, KafkaUnavailable
from attendance.kafka.records import OutRecord
from attendance.records.terminals import Knock
from producers import knocks
from producers.knocks import KEPT, MOST, SAY_AGAIN, SENDERS, SILENT, WRITE_AGAIN, Knocks
from producers.terminals import Terminals

TOPIC = "t.terminals.v1"
TERMINAL = Knock("10.0.0.9", "not_found", "zkteco", "", "", method="GET", path="/iclock/other", status=404)


@dataclass
class Push:
    """Two push processes on one topic, and their clock."""

    away: bool = False
    now: datetime = datetime(2026, 3, 2, 5, tzinfo=UTC)
    records: list[OutRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.one, self.other = (Terminals(TOPIC, self.send) for _ in range(2))
        for each in (self.one, self.other):
            each.knocks = Knocks(lambda: self.now)

    async def send(self, *records: OutRecord) -> None:
        if self.away:
            raise KafkaUnavailable("no brokers")
        for record in records:
            self.records.append(record)
            for each in (self.one, self.other):
                each.apply(record)

    def writes(self) -> int:
        before = len(self.records)
        asyncio.run(self.one.write_knocks())
        return len(self.records) - before

    def topic(self) -> dict[bytes | None, bytes]:
        newest = {record.key: record.value for record in self.records}
        return {key: value for key, value in newest.items() if value is not None}


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    entries: list[Mapping[str, Any]] = []
    capture = structlog.testing.LogCapture()
    capture.entries = entries  # type: ignore[assignment]
    monkeypatch.setattr(knocks, "log", structlog.wrap_logger(None, [capture]))
    return entries


def test_a_knock_is_written_once_a_minute_with_all_its_requests_and_every_process_has_it() -> None:
    push = Push()
    for _ in range(5):
        push.one.knocks.note(TERMINAL)
    assert (push.writes(), push.writes()) == (1, 0)
    push.one.knocks.note(replace(TERMINAL, path="/iclock/newer"))
    assert push.writes() == 0
    push.now += WRITE_AGAIN
    assert push.writes() == 1
    [knock] = push.other.knocks.all()
    assert (knock.requests, knock.path, knock.first_seen, knock.last_seen) == (
        6,
        "/iclock/newer",
        "2026-03-02T05:00:00Z",
        "2026-03-02T05:00:00Z",
    )
    assert push.one.knocks.all() == [knock]


def test_the_requests_of_two_processes_add_up() -> None:
    push = Push()
    for process in (push.one, push.other, push.other):
        process.knocks.note(TERMINAL)
    push.writes()
    asyncio.run(push.other.write_knocks())
    assert [each.knocks.all()[0].requests for each in (push.one, push.other)] == [3, 3]


def test_a_knock_that_kafka_did_not_take_is_written_when_it_does() -> None:
    push = Push(away=True)
    push.one.knocks.note(TERMINAL)
    with pytest.raises(KafkaUnavailable):
        push.writes()
    push.away = False
    assert push.writes() == 1
    assert push.other.knocks.all() == push.one.knocks.all()


def test_made_up_addresses_fill_neither_memory_nor_kafka_and_push_out_no_terminal() -> None:
    push = Push()
    push.one.knocks.note(TERMINAL)
    for hour in range(3):
        for number in range(MOST + 50):
            push.one.knocks.note(Knock(f"10.{hour}.0.{number}", "not_found", "scanner", "", ""))
        push.writes()
        push.now += SILENT
    assert len(push.one.knocks.all()) == len(push.other.knocks.all()) == len(push.topic()) == MOST + 1
    assert push.one.knocks.all()[0].sender == "zkteco"
    assert {each.client.split(".")[1] for each in push.one.knocks.all()[1:]} == {"2"}


def test_while_kafka_is_away_made_up_addresses_fill_no_memory_either() -> None:
    push = Push(away=True)
    for hour in range(3):
        for number in range(MOST):
            push.one.knocks.note(Knock(f"10.{hour}.0.{number}", "not_found", "scanner", "", ""))
        with pytest.raises(KafkaUnavailable):
            push.writes()
        push.now += SILENT
    push.away = False
    assert push.writes() <= 3 * MOST
    assert len(push.topic()) == MOST


def test_what_has_not_knocked_for_a_week_is_gone() -> None:
    push = Push()
    push.one.knocks.note(TERMINAL)
    push.writes()
    push.now += KEPT
    assert push.one.knocks.all() == []
    assert push.writes() == 1
    assert push.topic() == {}


def test_a_cause_is_logged_once_a_minute_and_a_terminal_is_not_hidden_by_others(
    logged: list[Mapping[str, Any]],
) -> None:
    push = Push()
    scanner = Knock("192.0.2.1", "not_found", "scanner", "", "", path="/.env")
    for knock in (scanner, scanner, TERMINAL, scanner):
        push.one.knocks.note(knock, "nothing is served there")
    push.one.knocks.note(replace(TERMINAL, cause="tls"))
    push.one.knocks.say()
    assert [(line["cause"], line["client"]) for line in logged] == [("not_found", "192.0.2.1"), ("tls", "10.0.0.9")]
    push.now += SAY_AGAIN
    push.one.knocks.say()
    push.one.knocks.say()
    [line] = logged[2:]
    assert (line["client"], line["path"], line["requests"], line["log_level"]) == (
        "10.0.0.9",
        "/iclock/other",
        3,
        "warning",
    )
    assert line["sender"] == SENDERS["zkteco"]


def test_a_record_that_is_no_knock_changes_nothing() -> None:
    push = Push()
    push.one.knocks.note(TERMINAL)
    push.writes()
    with pytest.raises(InvalidRecord):
        push.one.apply(OutRecord(TOPIC, TERMINAL.key, b"{}"))
    push.one.apply(OutRecord(TOPIC, TERMINAL.key, replace(TERMINAL, last_seen="soon").encode()))
    assert push.one.knocks.all()


def test_the_time_of_another_process_counts_as_far_as_it_can_be_read() -> None:
    push = Push()
    old = (push.now - KEPT - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    push.one.apply(OutRecord(TOPIC, TERMINAL.key, replace(TERMINAL, last_seen=old).encode()))
    assert push.one.knocks.all() == []
