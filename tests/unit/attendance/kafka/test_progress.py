"""What a stage's progress is on a Kafka that forgets, is made anew, or comes back from elsewhere."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from attendance.kafka.accounts import AccountsTopic
from attendance.kafka.producer import Producer
from attendance.kafka.progress import Placement, Progress
from attendance.metrics import Metrics
from attendance.records.account import AcceptedLoss, Account, decode
from attendance.settings import KafkaSettings
from memory_broker import MemoryBroker, install
from virtual_time import run_in_virtual_time

RAW = "attendance.raw.v1"
ACCOUNTS = "attendance.accounts.v1"
GAUGE = 'punchstream_records_missing{partition="0",topic="attendance.raw.v1"}'


class Stage:
    """A stage's progress, as its process has it."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.producer = Producer(kafka, "c")
        self.accounts = AccountsTopic(kafka, self.producer, "c")
        self.metrics = Metrics()
        self.progress = Progress(kafka, "stream", RAW, self.accounts, self.metrics)
        self.changes = 0
        self.progress.on_change = self.changed
        self.following = asyncio.create_task(self.accounts.follow())

    async def changed(self) -> None:
        self.changes += 1

    async def end(self) -> None:
        self.following.cancel()
        with suppress(asyncio.CancelledError):
            await self.following
        await self.progress.close()
        await self.producer.stop()

    def missing(self) -> str | None:
        lines = self.metrics.exposition().decode().splitlines()
        return next((line.removeprefix(f"{GAUGE} ") for line in lines if line.startswith(GAUGE)), None)


def play(kafka: KafkaSettings, story: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    """Run one process of the stage."""

    async def process() -> None:
        stage = Stage(kafka)
        await story(stage)
        await stage.end()

    run_in_virtual_time(asyncio.wait_for(process(), 3600))


def put(broker: MemoryBroker, number: int, of: str = "punch") -> None:
    for each in range(number):
        broker.put(RAW, f"{of} {each}".encode(), b"riyadh-01")


def accounts(broker: MemoryBroker) -> list[Account]:
    found = [decode(record.key, record.value) for record in broker.records(ACCOUNTS)]
    return [each for each in found if isinstance(each, Account)]


def accept(broker: MemoryBroker, first: int, through: int, *, anew: bool = False) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    loss = AcceptedLoss(RAW, 0, first, through, 1, at, "fatima", "known", anew=anew)
    broker.put(ACCOUNTS, loss.encode(), loss.key)


def test_an_account_says_from_where_to_where_and_by_which_record_it_is_known_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, 5)
    broker.delete_before(RAW, 0, 1)

    async def story(stage: Stage) -> None:
        assert await stage.progress.begin({0: None, 1: None}) == {0: 1, 1: 0}
        await stage.progress.write({0: 4, 1: None})
        put(broker, 1)
        await stage.progress.write({0: 4, 1: None})
        await stage.progress.write({0: 6, 1: None})

    play(kafka, story)
    first, second = accounts(broker)
    assert (first.first, first.through, first.end, first.identity and first.identity.offset) == (1, 4, 5, 3)
    assert (second.first, second.through, second.end, second.identity and second.identity.offset) == (1, 6, 6, 5)


def test_an_account_goes_back_for_nobody_who_sets_offsets_back(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, 5)

    async def story(stage: Stage) -> None:
        await stage.progress.begin({0: 5})
        await stage.progress.write({0: 5})
        assert await stage.progress.begin({0: 2}) == {0: 2}
        await stage.progress.write({0: 3})

    play(kafka, story)
    assert [each.through for each in accounts(broker)] == [5]


def test_a_stage_that_retention_has_passed_stands_until_the_loss_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, 10)

    async def before(stage: Stage) -> None:
        await stage.progress.begin({0: None})
        await stage.progress.write({0: 4})

    async def after(stage: Stage) -> None:
        assert await stage.progress.begin({0: 4, 1: None}) == {1: 0}
        assert "4 records of attendance.raw.v1:0" in (await stage.progress.find_reason() or "")
        assert (stage.missing(), stage.changes) == ("4.0", 1)
        await stage.progress.write({0: 4})
        accept(broker, 4, 8)
        await asyncio.sleep(1)
        assert await stage.progress.begin({0: 4}) == {0: 8}
        assert (await stage.progress.find_reason(), stage.missing(), stage.changes) == (None, None, 2)
        await stage.progress.write({0: 8})

    play(kafka, before)
    broker.delete_before(RAW, 0, 8)
    play(kafka, after)
    assert [(each.first, each.through) for each in accounts(broker)] == [(0, 4), (0, 8)]


def test_where_all_that_was_before_is_an_accepted_loss_a_stage_that_had_not_begun_knows_that_it_did_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, 10)
    broker.delete_before(RAW, 0, 8)

    async def story(stage: Stage, at: int) -> bool:
        await stage.progress.begin({0: at})
        assert not stage.progress.is_untouched(0, 8), "nobody has accepted it"
        accept(broker, at, 8)
        await asyncio.sleep(1)
        assert await stage.progress.begin({0: at}) == {0: 8}
        assert not stage.progress.is_untouched(0, 9), "offset 8 may be decided"
        untouched = stage.progress.is_untouched(0, 8)
        stage.progress.lost()
        assert not stage.progress.is_untouched(0, 8), "another may have decided something"
        return untouched

    found = {}

    async def not_begun(stage: Stage) -> None:
        found[0] = await story(stage, 0)

    async def begun(stage: Stage) -> None:
        found[3] = await story(stage, 3)

    play(kafka, not_begun)
    play(kafka, begun)
    assert found == {0: True, 3: False}


@pytest.mark.parametrize("grown", [3, 30])
def test_a_topic_that_was_made_anew_is_noticed_however_far_it_has_grown(
    monkeypatch: pytest.MonkeyPatch, grown: int
) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, 10)

    async def before(stage: Stage) -> None:
        await stage.progress.begin({0: None})
        await stage.progress.write({0: 8})

    async def after(stage: Stage) -> None:
        assert await stage.progress.begin({0: None}) == {}
        reason = await stage.progress.find_reason() or ""
        assert "attendance.raw.v1:0 was made anew or cut short" in reason
        assert "At least 2 records" in reason
        accept(broker, 8, 1, anew=True)
        await asyncio.sleep(1)
        assert await stage.progress.begin({0: None}) == {0: 1}
        await stage.progress.write({0: 3})

    async def later(stage: Stage) -> None:
        assert await stage.progress.begin({0: 3}) == {0: 3}

    play(kafka, before)
    broker.create_topic(RAW, 2)
    put(broker, grown, "another punch")
    play(kafka, after)
    assert [(each.first, each.through) for each in accounts(broker)] == [(0, 8), (1, 3)]
    play(kafka, later)


def test_an_account_that_is_written_before_anything_of_the_new_topic_is_done_does_not_go_by_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, 10)

    async def before(stage: Stage) -> None:
        await stage.progress.begin({0: None})
        await stage.progress.write({0: 8})

    async def after(stage: Stage) -> None:
        assert await stage.progress.begin({0: 8}) == {}
        accept(broker, 8, 0, anew=True)
        await asyncio.sleep(1)
        assert await stage.progress.begin({0: 8}) == {0: 0}
        await stage.progress.write({0: 0})
        assert await stage.progress.begin({0: 0}) == {0: 0}
        await stage.progress.write({0: 3})
        assert await stage.progress.begin({0: 3}) == {0: 3}

    play(kafka, before)
    broker.create_topic(RAW, 2)
    put(broker, 30, "another punch")
    play(kafka, after)
    assert [(each.first, each.through) for each in accounts(broker)] == [(0, 8), (0, 0), (0, 3)]


def test_a_group_that_kafka_forgot_goes_on_by_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, 10)

    async def before(stage: Stage) -> None:
        await stage.progress.begin({0: None})
        await stage.progress.write({0: 8})

    async def after(stage: Stage) -> None:
        assert await stage.progress.begin({0: None, 1: None}) == {0: 8, 1: 0}

    play(kafka, before)
    play(kafka, after)


def test_partitions_that_are_somebody_elses_now_are_missed_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, 10)
    broker.delete_before(RAW, 0, 8)

    async def story(stage: Stage) -> None:
        assert await stage.progress.begin({0: 4}) == {}
        stage.progress.lost()
        assert (await stage.progress.find_reason(), stage.missing()) == (None, None)
        await stage.progress.begin({1: None})
        assert stage.changes == 2, "who stood still for it is told"

    play(kafka, story)


def test_a_partition_that_is_revoked_while_it_is_looked_at_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, 10)
    broker.delete_before(RAW, 0, 8)

    async def story(stage: Stage) -> None:
        placement = Placement(stage.progress)

        async def committed(_number: int) -> int:
            placement.revoke()
            return 4

        async def next_offset(_number: int) -> int:
            raise NotImplementedError

        assert await placement.look([0], committed, next_offset) == {}
        assert (await stage.progress.find_reason(), stage.missing()) == (None, None)

    play(kafka, story)


def test_an_account_that_kafka_does_not_take_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch, request_timeout=5.0)
    put(broker, 10)

    async def story(stage: Stage) -> None:
        await stage.progress.begin({0: None})
        broker.hold_acknowledgements()
        await stage.progress.write({0: 8})
        broker.acknowledge()
        await stage.progress.write({0: 8})

    play(kafka, story)
    assert {(each.first, each.through) for each in accounts(broker)} == {(0, 8)}
