"""Lag: what a stage has not done, and since when."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from attendance.kafka.lag import LOOK_SECONDS, Lag
from attendance.kafka.readers import PlaceReader
from attendance.metrics import Metrics
from memory_broker import install
from virtual_time import run_in_virtual_time

RAW = "attendance.raw.v1"


class Stage:
    """A stage that tells how far it is, and whoever looks at its metrics."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broker, self.kafka = install(monkeypatch, partitions=2)
        self.metrics = Metrics()

    def put(self, partition: int, age: float) -> None:
        """Have a record that was sent so many seconds ago."""
        self.broker.put(RAW, b"punch", b"D1", partition=partition, timestamp_ms=round((time.time() - age) * 1000))

    def play(self, story: Callable[[Lag], Awaitable[None]]) -> None:
        async def process() -> None:
            places = PlaceReader(self.kafka, RAW, "c")
            try:
                await story(Lag(places, RAW, self.metrics))
            finally:
                await places.close()

        run_in_virtual_time(asyncio.wait_for(process(), 3600))

    def shown(self) -> tuple[float, float]:
        """Records, and seconds to the next ten."""
        lines = self.metrics.exposition().decode().splitlines()
        found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("punchstream_lag_"))
        of = f'{{topic="{RAW}"}}'
        return float(found[f"punchstream_lag_records{of}"]), round(float(found[f"punchstream_lag_seconds{of}"]), -1)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_nothing_lags_where_everything_is_done_or_nothing_is_assigned(stage: Stage) -> None:
    async def story(lag: Lag) -> None:
        assert stage.shown() == (0, 0)
        stage.put(0, 300)
        await lag.look({0: 1, 1: None})
        assert stage.shown() == (0, 0)
        await lag.look({})
        assert stage.shown() == (0, 0)

    stage.play(story)


def test_what_is_there_at_the_start_is_as_old_as_its_oldest_record(stage: Stage) -> None:
    for partition, age in ((0, 900), (0, 300), (0, 200), (1, 500)):
        stage.put(partition, age)

    async def story(lag: Lag) -> None:
        await lag.look({0: 1, 1: None})
        assert stage.shown() == (3, 500)
        await lag.look({0: 1, 1: 1})
        assert stage.shown() == (2, 300)

    stage.play(story)


def test_what_came_since_the_last_look_is_behind_and_not_old(stage: Stage) -> None:
    async def story(lag: Lag) -> None:
        await lag.look({0: None})
        stage.put(0, 60)
        await lag.look({0: None})
        assert stage.shown() == (1, 0)
        await lag.look({0: None})
        assert stage.shown() == (1, 60)

    stage.play(story)


def test_a_stage_that_stands_lags_more_and_more(stage: Stage) -> None:
    stage.put(0, 100)

    async def story(lag: Lag) -> None:
        looking = asyncio.create_task(lag.keep(lambda: {0: None}))
        await asyncio.sleep(1)
        assert stage.shown() == (1, 100)
        stage.put(0, 50)
        await asyncio.sleep(LOOK_SECONDS)
        assert stage.shown() == (2, 100)
        looking.cancel()

    stage.play(story)


def test_the_age_grows_while_nobody_can_look(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.put(0, 100)

    async def story(lag: Lag) -> None:
        await lag.look({0: None})

    stage.play(story)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 500)
    assert stage.shown() == (1, 600)


def test_a_record_is_read_once_however_long_it_lags(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    read = PlaceReader.__call__

    async def count(self: PlaceReader, places: list[tuple[int, int]]) -> object:
        asked.append(len(places))
        return await read(self, places)

    monkeypatch.setattr(PlaceReader, "__call__", count)
    stage.put(0, 100)

    async def story(lag: Lag) -> None:
        for _ in range(3):
            await lag.look({0: None})

    stage.play(story)
    assert sum(asked) == 1


def test_what_is_gone_is_not_behind(stage: Stage) -> None:
    for age in (900, 300):
        stage.put(0, age)
    stage.broker.delete_before(RAW, 0, 1)

    async def story(lag: Lag) -> None:
        await lag.look({0: 0})
        assert stage.shown() == (1, 300)

    stage.play(story)
