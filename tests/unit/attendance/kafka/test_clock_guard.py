"""The guard of the clock, on a broker that dates records by a clock of its own."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from structlog.testing import capture_logs

from attendance.errors import KafkaUnavailable
from attendance.kafka import clock_guard
from attendance.kafka.clock_guard import ClockGuard
from attendance.kafka.producer import Producer
from attendance.server_clock import Clock
from attendance.settings import ClockSettings
from memory_broker import install
from virtual_time import run_in_virtual_time

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = 3600.0
NOT_SAID = "The topic of probes does not say the broker's time, or may not be written to."
DIFFERS = "Another clock differs from this machine's; one of the two is wrong."


class Scene:
    """A stage and a broker, each with a clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.broker, self.kafka = install(monkeypatch, **settings)
        self.probe = self.kafka.topics["probe"]
        self.ahead = 0.0
        self.broker.clock = lambda: NOW.timestamp() + self.ahead
        self.settings = ClockSettings(_env_file=None)
        self.others: list[Clock] = []
        self.is_shared = False
        monkeypatch.setattr(clock_guard, "is_here", self._is_here)

    async def _is_here(self, host: str) -> bool:
        return host == "memory" and self.is_shared

    def guard(self) -> ClockGuard:
        async def other() -> Clock | None:
            return self.others[0] if self.others else None

        return ClockGuard(
            self.kafka,
            self.settings,
            Producer(self.kafka, "c"),
            [other],
            clock=lambda: NOW,
            monotonic=asyncio.get_running_loop().time,
        )


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def play(story: Coroutine[Any, Any, None]) -> None:
    run_in_virtual_time(story)


@pytest.mark.parametrize(("ahead", "says"), [(HOUR, "1 h ahead"), (-HOUR, "1 h behind"), (121.0, "121 s ahead")])
def test_a_clock_that_differs_from_the_brokers_is_a_reason_until_it_is_set(
    scene: Scene, ahead: float, says: str
) -> None:
    async def story() -> None:
        guard = scene.guard()
        assert await guard.find_reason() is None
        scene.ahead = ahead
        assert f"that of the broker is {says}" in (await guard.find_reason() or "")
        scene.ahead = 0
        assert await guard.find_reason() is None

    play(story())


def test_a_small_difference_is_said_once_until_it_is_gone(scene: Scene) -> None:
    async def story() -> None:
        guard = scene.guard()
        with capture_logs() as logs:
            for scene.ahead in (60, 60, 0, 60):
                assert await guard.find_reason() is None
        assert [entry["event"] for entry in logs] == [DIFFERS] * 2
        assert logs[0]["clock"] == "that of the broker is 1 min ahead"

    play(story())


def test_an_acknowledgement_that_took_long_says_less_of_the_time(scene: Scene) -> None:
    async def story() -> None:
        guard = scene.guard()
        await guard.find_reason()
        scene.broker.hold_acknowledgements()
        scene.ahead = 123
        found = asyncio.create_task(guard.find_reason())
        await asyncio.sleep(8)
        scene.broker.acknowledge()
        assert await found is None, "it may have been dated 8 s after it was sent"

    play(story())


def test_while_kafka_does_not_answer_nothing_is_found_out(scene: Scene) -> None:
    async def story() -> None:
        guard = scene.guard()
        scene.broker.go_away()
        with pytest.raises(KafkaUnavailable):
            await guard.find_reason()

    play(story())


def test_where_the_topic_has_the_times_of_its_senders_that_is_said_and_the_others_decide(scene: Scene) -> None:
    scene.broker.configs[scene.probe]["message.timestamp.type"] = "CreateTime"
    scene.ahead = HOUR

    async def story() -> None:
        guard = scene.guard()
        with capture_logs() as logs:
            assert await guard.find_reason() is None
            scene.others = [Clock("that of ERPNext", HOUR, 1)]
            assert "that of ERPNext is 1 h ahead" in (await guard.find_reason() or "")
        assert [entry["event"] for entry in logs] == [NOT_SAID, DIFFERS]

    play(story())


def test_who_may_not_write_to_the_topic_goes_on_without_that_comparison(scene: Scene) -> None:
    scene.broker.fail("send", TopicAuthorizationFailedError(scene.probe))

    async def story() -> None:
        with capture_logs() as logs:
            assert await scene.guard().find_reason() is None
        assert [entry["event"] for entry in logs] == [NOT_SAID]

    play(story())


@pytest.mark.parametrize("by_setting", [True, False])
def test_a_broker_on_the_same_machine_proves_nothing(scene: Scene, *, by_setting: bool) -> None:
    scene.others = [Clock("that of ERPNext", HOUR, 1)]

    async def story() -> None:
        assert await scene.guard().find_reason() is None, "the broker agrees, and is elsewhere"
        if by_setting:
            scene.settings = ClockSettings(same_machine=True, _env_file=None)
        else:
            scene.is_shared = True
        assert await scene.guard().find_reason() is not None

    play(story())


def test_the_embedded_broker_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, enable_idempotence=False)
    scene.ahead = HOUR

    async def story() -> None:
        assert await scene.guard().find_reason() is None
        scene.others = [Clock("that of ERPNext", HOUR, 1)]
        assert await scene.guard().find_reason() is not None

    play(story())
    assert scene.broker.records(scene.probe) == []
