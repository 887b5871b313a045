"""The stage of the ledger on a Kafka in memory: it reads on, waits, begins anew, and stands still where it has to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError
from ledger_story import Story, event
from sqlalchemy import text, update

from attendance.kafka.readers import Extent
from attendance.metrics import Metrics
from attendance.settings import KafkaSettings
from attendance.topics import DAY_MS, topic_configs
from attendance.topics import TABLE as TOPICS
from ledger import runner
from ledger.database import Database, LedgerUnavailable
from ledger.guard import Look, why_not
from ledger.runner import BEHIND_SECONDS, Keeper
from ledger.store import LEDGER_TOPICS, Position
from ledger.tables import POSITIONS
from memory_broker import MemoryBroker, install

DEADLINE = 60


async def _until(reached: Callable[[], bool]) -> None:
    while True:
        if reached():
            return
        await asyncio.sleep(0.02)


class Stage:
    """The broker, the database, and one process after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.broker: MemoryBroker
        self.kafka: KafkaSettings
        self.broker, self.kafka = install(monkeypatch, partitions=2)
        self.url = f"sqlite:///{tmp_path}/ledger.sqlite"
        self.metrics = Metrics("ledger")
        self.days = 100
        self._sent: dict[tuple[str, int], int] = {}
        monkeypatch.setattr(runner, "LONGEST_PAUSE", 0.01)
        monkeypatch.setattr(runner, "LOOK_SECONDS", 0.0)
        monkeypatch.setattr("attendance.kafka.several.WAIT_MS", 20)

    def send(self, story: Story) -> None:
        for (name, number), records in story.log.items():
            topic = self.kafka.topics[name]
            begin = self._sent.get((topic, number), 0)
            for each in records[begin:]:
                self.broker.put(
                    topic,
                    each.value,
                    each.key,
                    partition=number,
                    headers=tuple(each.headers),
                    timestamp_ms=each.timestamp,
                )
            self._sent[topic, number] = len(records)

    def make_anew(self, name: str = "raw") -> None:
        topic = self.kafka.topics[name]  # type: ignore[index]
        self.broker.create_topic(topic, 2, topic_configs(TOPICS[name], 400))  # type: ignore[index]
        self._sent = {at: sent for at, sent in self._sent.items() if at[0] != topic}

    def play(self, story: Callable[[Keeper], Awaitable[None]]) -> None:
        async def process() -> None:
            keeper = Keeper(self.kafka, Database(self.url), self.days, self.metrics)
            tasks = [asyncio.create_task(keeper.keep()), asyncio.create_task(keeper.guards.keep())]
            try:
                async with asyncio.timeout(DEADLINE):
                    await story(keeper)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await keeper.close()

        asyncio.run(process())

    def ask(self, query: str) -> list[tuple[object, ...]]:
        database = Database(self.url)
        try:
            with database.transaction() as connection:
                return [tuple(row) for row in connection.execute(text(query))]
        except LedgerUnavailable:
            return []
        finally:
            database.close()

    async def until(self, query: str, *rows: tuple[object, ...]) -> None:
        await _until(lambda: self.ask(query) == [*rows])

    def readiness(self) -> str:
        said: list[str] = []
        body = self.metrics.answer({"PATH_INFO": "/readyz"}, lambda status, _: said.append(status))  # type: ignore[arg-type, func-returns-value, misc, return-value]
        return said[0] + b"".join(body).decode()

    async def until_ready(self, *, ready: bool = True, why: str = "") -> None:
        await _until(lambda: ("200" in self.readiness()) == ready and why in self.readiness())

    def shown(self, name: str) -> float:
        lines = self.metrics.exposition().decode().splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(name)))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    return Stage(monkeypatch, tmp_path)


OUTCOMES = "select outcome, count(*) from punches group by outcome order by outcome"


def test_it_reads_what_is_there_and_what_comes_and_is_ready_once_it_has(stage: Stage) -> None:
    story = Story()
    raw = story.raw(event("1", 0))
    stage.send(story)
    Keeper(stage.kafka, Database(stage.url), 1, stage.metrics)
    assert "has not read the topics yet" in stage.readiness()

    async def first(_: Keeper) -> None:
        await stage.until(OUTCOMES, ("undecided", 1))
        await stage.until_ready()
        story.deliver(story.checkin(raw, "EMP-1"), "CHK-1")
        stage.send(story)
        await stage.until(OUTCOMES, ("delivered", 1))
        await stage.until_ready()

    async def second(_: Keeper) -> None:
        story.raw(event("2", 1))
        stage.send(story)
        await stage.until(OUTCOMES, ("delivered", 1), ("undecided", 1))

    stage.play(first)
    assert stage.shown("punchstream_ledger_behind_records") == 0
    assert stage.shown("punchstream_ledger_behind_seconds") == 0
    stage.play(second)


def test_a_ledger_that_cannot_look_is_further_and_further_behind(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    Keeper(stage.kafka, Database(stage.url), 1, stage.metrics)
    assert stage.shown("punchstream_ledger_behind_seconds") == 0
    begun = time.monotonic()
    monkeypatch.setattr(runner.time, "monotonic", lambda: begun + 2 * BEHIND_SECONDS)
    assert stage.shown("punchstream_ledger_behind_seconds") >= 2 * BEHIND_SECONDS


def test_it_notes_as_of_when_it_has_read_everything(stage: Stage) -> None:
    story = Story()
    story.raw(event("1", 0))
    story.report("D1", 3)
    stage.send(story)
    began = time.time_ns() // 1_000_000

    async def play(_: Keeper) -> None:
        await _until(lambda: len(stage.ask("select * from caught_up")) == len(LEDGER_TOPICS))

    stage.play(play)
    [(as_of,)] = stage.ask("select distinct as_of from caught_up")
    assert isinstance(as_of, int)
    assert began <= as_of <= time.time_ns() // 1_000_000
    assert stage.ask("select count(*) from device_status") == [(1,)]


def test_it_waits_for_kafka_and_goes_on_after_errors(stage: Stage) -> None:

    story = Story()
    story.raw(event("1", 0))
    stage.send(story)
    stage.broker.fail("fetch", KafkaConnectionError(), client=stage.kafka.client_id("ledger"))
    topic = stage.broker.topics.pop(stage.kafka.topics["dropped"])

    async def play(_: Keeper) -> None:
        await asyncio.sleep(0.2)
        assert not stage.ask(OUTCOMES)
        stage.broker.topics[stage.kafka.topics["dropped"]] = topic
        await stage.until(OUTCOMES, ("undecided", 1))

    stage.play(play)


def test_a_topic_that_was_made_anew_stands_it_still_and_nothing_of_it_is_taken_in(stage: Stage) -> None:
    story = Story()
    for hour in range(3):
        story.raw(event("1", hour))
    stage.send(story)

    async def before(_: Keeper) -> None:
        await stage.until(OUTCOMES, ("undecided", 3))

    async def after(keeper: Keeper) -> None:
        await stage.until_ready(ready=False, why="was made anew or cut short")
        assert keeper.guards.standing
        assert stage.ask(OUTCOMES) == [("undecided", 3)]
        assert stage.ask("select distinct device_user_id from punches") == [("1",)]

    stage.play(before)
    stage.make_anew()
    other = Story()
    for hour in range(5):
        other.raw(event("2", hour))
    stage.send(other)
    stage.play(after)
    stage.play(after)


def test_records_that_are_gone_before_they_were_read_stand_it_still(stage: Stage) -> None:
    story = Story()
    story.raw(event("1", 0))
    stage.send(story)

    async def before(_: Keeper) -> None:
        await stage.until(OUTCOMES, ("undecided", 1))

    async def after(_: Keeper) -> None:
        await stage.until_ready(ready=False, why="1 records of raw.v1:0 are gone")

    stage.play(before)
    story.raw(event("1", 1))
    story.raw(event("1", 2))
    stage.send(story)
    stage.broker.delete_before(stage.kafka.topics["raw"], 0, 2)
    stage.play(after)


def test_what_waits_is_read_again_where_removals_may_be_gone(stage: Stage) -> None:
    story = Story()
    first, _ = story.wait(story.raw(event("1", 0))), story.wait(story.raw(event("1", 1)))
    stage.send(story)

    async def before(_: Keeper) -> None:
        await stage.until("select count(*) from waiting", (2,))

    async def after(_: Keeper) -> None:
        await stage.until("select count(*) from waiting", (1,))

    stage.play(before)
    topic = stage.kafka.topics["unmapped"]
    # It was released, and compaction has let go of both records since.
    story.release(first)
    stage.send(story)
    for partition in stage.broker.topics[topic]:
        partition.records = [each for each in partition.records if each.key != first.key]
    database = Database(stage.url)
    with database.transaction() as connection:
        connection.execute(update(POSITIONS).values(read_at=0))
    database.close()
    stage.play(after)


def test_records_that_compaction_has_removed_at_the_end_are_not_waited_for(stage: Stage) -> None:
    story = Story()
    story.release(story.wait(story.raw(event("1", 0))))
    stage.send(story)
    for partition in stage.broker.topics[stage.kafka.topics["unmapped"]]:
        partition.records.clear()

    async def play(_: Keeper) -> None:
        await stage.until(OUTCOMES, ("undecided", 1))
        await stage.until_ready()
        await _until(lambda: stage.shown("punchstream_ledger_behind_records") == 0)

    stage.play(play)


def test_rows_go_by_the_newest_record(stage: Stage) -> None:
    stage.days = 2
    story = Story()
    story.raw(event("1", 0))
    story.clock += 5 * DAY_MS
    story.raw(event("1", 120))
    stage.send(story)

    async def play(_: Keeper) -> None:
        await stage.until("select stored_at from raw_records", (story.clock,))

    stage.play(play)


def test_a_database_that_another_process_writes_or_that_is_away_is_said_and_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story()
    story.raw(event("1", 0))
    stage.send(story)

    async def before(_: Keeper) -> None:
        await stage.until(OUTCOMES, ("undecided", 1))

    async def after(keeper: Keeper) -> None:
        await stage.until_ready()
        failing = [LedgerUnavailable("the ledger's database: gone")]
        prepare = keeper._database.prepare
        monkeypatch.setattr(
            keeper._database, "prepare", lambda: prepare() if not failing else (_ for _ in ()).throw(failing.pop())
        )
        keeper._positions["raw", 0] = keeper._positions["raw", 0]._replace(next_offset=0)
        story.raw(event("1", 1))
        stage.send(story)
        await stage.until(OUTCOMES, ("undecided", 2))

    stage.play(before)
    stage.play(after)


def test_a_position_says_when_it_is_of_another_partition() -> None:
    position = Position(5, 0)
    assert why_not(("raw", 0), position, Look(Extent(0, 5), None)) is None
    assert why_not(("raw", 0), position, Look(Extent(6, 9), None)) is not None
    assert why_not(("unmapped", 0), position, Look(Extent(6, 9), None)) is None
    assert why_not(("raw", 0), position, Look(Extent(0, 4), None)) is not None
