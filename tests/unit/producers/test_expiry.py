"""A warning before unread requests are deleted with which nobody has done anything."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Literal

import pytest
from example_records import ARRIVED, UNREAD
from msgspec.structs import replace
from structlog.testing import capture_logs

from attendance.errors import Reason
from attendance.metrics import Metrics
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, LetterId
from attendance.settings import KafkaSettings
from attendance.topics import TABLE
from memory_broker import MemoryBroker, install
from producers.expiry import Expiry
from virtual_time import run_in_virtual_time

DAYS = 400


class Scene:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broker: MemoryBroker
        self.kafka: KafkaSettings
        self.broker, self.kafka = install(monkeypatch)
        self.metrics = Metrics()

    def keep(self, body: bytes, at: datetime = ARRIVED) -> LetterId:
        request = replace(UNREAD, body=body, received_at=at).with_id()
        letter = DeadLetter(
            "push", Reason.UNREADABLE_BODY, "", at, request.key, b"", where="http:/", unread=request.unread_id
        )
        self._put(request.to_records(self.kafka.topics["unread"])[0], at)
        return LetterId(0, self._put(letter.to_record(self.kafka.topics["dead_letters"]), at))

    def do(self, letter: LetterId, action: Literal["replayed", "discarded"] = "replayed") -> None:
        done = Action(letter, action, ARRIVED, "fatima")
        self.broker.put(self.kafka.topics["dead_letter_actions"], done.encode(), done.key)

    def look(self, at: datetime, days: int = DAYS) -> list[Any]:
        expiry = Expiry(self.kafka, days, 10 * DAYS, self.metrics, "test", lambda: at)
        with capture_logs() as logs:
            run_in_virtual_time(asyncio.wait_for(expiry.look(), 3600))
        return [(each["first"], each["requests"]) for each in logs]

    def letters(self, at: datetime) -> list[Any]:
        """What is said of dead letters that are kept for 100 days."""
        expiry = Expiry(self.kafka, 10 * DAYS, 100, self.metrics, "test", lambda: at)
        with capture_logs() as logs:
            run_in_virtual_time(asyncio.wait_for(expiry.look(), 3600))
        return [(each["first"], each["letters"]) for each in logs]

    def shown(self, of: str = "unread_expires") -> float:
        [line] = [
            each
            for each in self.metrics.exposition().decode().splitlines()
            if each.startswith(f"punchstream_{of}_timestamp_seconds ")
        ]
        return float(line.split()[1])

    def _put(self, record: Any, at: datetime) -> int:
        return self.broker.put(
            record.topic, record.value, record.key, headers=record.headers, timestamp_ms=int(at.timestamp() * 1000)
        )


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def days_after(days: float) -> datetime:
    return ARRIVED + timedelta(days=days)


def test_thirty_days_before_the_first_is_deleted_the_log_and_the_metric_say_so(scene: Scene) -> None:
    scene.keep(b"1")
    scene.keep(b"2", days_after(1))
    assert scene.look(days_after(DAYS - 31)) == []
    assert scene.shown() == 0
    assert scene.look(days_after(DAYS - 29.5)) == [("2027-02-05T05:00:02Z", 1)]
    assert scene.shown() == pytest.approx(days_after(DAYS).timestamp())
    assert scene.look(days_after(DAYS - 20)) == [("2027-02-05T05:00:02Z", 2)]


@pytest.mark.parametrize("action", ["replayed", "discarded"])
def test_what_somebody_has_dealt_with_is_not_named(scene: Scene, action: Literal["replayed", "discarded"]) -> None:
    first = scene.keep(b"1")
    scene.keep(b"2", days_after(1))
    scene.do(first, action)
    assert scene.look(days_after(DAYS - 20)) == [("2027-02-06T05:00:02Z", 1)]


def test_what_failed_again_after_a_replay_is_named_again(scene: Scene) -> None:
    scene.do(scene.keep(b"1"))
    letter = DeadLetter(
        "push", Reason.UNREADABLE_BODY, "", ARRIVED, b"", b"", unread=replace(UNREAD, body=b"1").with_id().unread_id
    )
    record = letter.to_record(scene.kafka.topics["dead_letters"])
    at = int(days_after(300).timestamp() * 1000)
    scene.broker.put(record.topic, b"", b"", headers=record.headers, timestamp_ms=at)
    assert scene.look(days_after(DAYS - 20)) == [("2027-02-05T05:00:02Z", 1)]


def test_a_request_that_came_several_times_is_named_for_the_first(scene: Scene) -> None:
    scene.keep(b"1")
    scene.keep(b"1", days_after(100))
    assert scene.look(days_after(DAYS - 20)) == [("2027-02-05T05:00:02Z", 1)]


def test_of_a_short_time_the_second_half_is_warned_of(scene: Scene) -> None:
    scene.keep(b"1")
    assert scene.look(days_after(4), days=10) == []
    assert len(scene.look(days_after(6), days=10)) == 1


def test_a_missing_topic_is_said_at_the_start(scene: Scene) -> None:
    del scene.broker.topics[scene.kafka.topics["unread"]]
    expiry = Expiry(scene.kafka, DAYS, DAYS, scene.metrics, "test")

    async def story() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(expiry.watch(), 60)

    with capture_logs() as logs:
        run_in_virtual_time(story())
    [said] = [
        each for each in logs if each["event"] == "Could not look for unread requests and dead letters that expire."
    ]
    assert said["log_level"] == "warning"
    assert "topics create" in said["error"]


def test_dead_letters_that_nobody_has_dealt_with_are_named_before_they_go(scene: Scene) -> None:
    first, _ = scene.keep(b"1"), scene.keep(b"2", days_after(1))
    assert scene.letters(days_after(69)) == []
    assert scene.shown("dead_letters_expire") == 0
    assert scene.letters(days_after(72)) == [("2026-04-11T05:00:02Z", 2)]
    assert scene.shown("dead_letters_expire") == pytest.approx(days_after(100).timestamp())
    scene.do(first, "discarded")
    assert scene.letters(days_after(72)) == [("2026-04-12T05:00:02Z", 1)]


def test_foreign_records_are_passed_over(scene: Scene) -> None:
    for name in ("unread", "dead_letters", "dead_letter_actions"):
        scene.broker.put(scene.kafka.topics[name], b"foreign", b"x", timestamp_ms=0)  # type: ignore[index]
    scene.keep(b"1")
    assert len(scene.look(days_after(DAYS - 20))) == 1
    assert TABLE["unread"].retention_setting == "UNREAD_DAYS"
