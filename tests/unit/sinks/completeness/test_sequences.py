"""Record numbers are counted on from where they were counted to, and from nowhere else."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from attendance.errors import StandingStill
from attendance.kafka.accounts import AccountsTopic
from attendance.kafka.producer import Producer
from attendance.kafka.progress import Progress
from attendance.metrics import Metrics
from attendance.records.account import AcceptedLoss, Account, decode
from attendance.records.raw_event import RawEvent, Source
from attendance.settings import KafkaSettings
from memory_broker import MemoryBroker, install
from sinks.completeness.sequences import SequenceReader
from virtual_time import run_in_virtual_time

RAW = "attendance.raw.v1"
ACCOUNTS = "attendance.accounts.v1"
BEGIN = datetime(2026, 1, 1, 5, tzinfo=UTC)


class Process:
    def __init__(self, kafka: KafkaSettings) -> None:
        producer = Producer(kafka, "c")
        self.accounts = AccountsTopic(kafka, producer, "c")
        self.progress = Progress(kafka, "completeness", RAW, self.accounts, Metrics())
        self.reader = SequenceReader(kafka, producer, "c")
        self.reader.use_progress(self.progress)

    async def read_on(self) -> int | None:
        """Count, and return the first number that is missing."""
        await self.reader.read_on({"D1"})
        return self.reader.numbers("D1").missing


def play(kafka: KafkaSettings, story: Callable[[Process], Coroutine[Any, Any, None]]) -> None:
    async def process() -> None:
        ours = Process(kafka)
        following = asyncio.create_task(ours.accounts.follow())
        await story(ours)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await ours.reader.close()

    run_in_virtual_time(asyncio.wait_for(process(), 3600))


def punch(broker: MemoryBroker, *numbers: int) -> None:
    for number in numbers:
        time = BEGIN + timedelta(minutes=number)
        event = RawEvent("D1", "hq", "1", "IN", time, None, "UTC", time, Source("push", "json"), number)
        broker.put(RAW, event.encode(), event.key)


def test_numbers_that_retention_took_are_not_passed_over_before_that_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch, partitions=1)
    punch(broker, 1, 2)

    async def before(process: Process) -> None:
        assert await process.read_on() is None

    async def after(process: Process) -> None:
        with pytest.raises(StandingStill, match="2 records of"):
            await process.read_on()
        assert "2 records" in (await process.progress.find_reason() or "")
        loss = AcceptedLoss(RAW, 0, 2, 4, 2, BEGIN, "fatima", "known")
        broker.put(ACCOUNTS, loss.encode(), loss.key)
        await asyncio.sleep(1)
        assert await process.progress.find_reason() is None
        assert await process.read_on() == 3

    play(kafka, before)
    punch(broker, 3, 4, 5)
    broker.delete_before(RAW, 0, 4)
    play(kafka, after)
    found = [decode(record.key, record.value) for record in broker.records(ACCOUNTS)]
    assert [(each.first, each.through) for each in found if isinstance(each, Account)] == [(0, 2), (0, 5)]
