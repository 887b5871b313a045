"""The memory is what the log says, read once, and is written before it is believed."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendance.errors import ConfigurationError, KafkaUnavailable
from attendance.kafka import OutRecord, Producer
from attendance.settings import KafkaSettings
from streams import memory as module
from streams.dedup import Kept, Punch, remember
from streams.memory import Memory, decode, encode

HORIZON = 90 * 86400
T = 1_800_000_000
KEY = b'["D1","7"]'


class Log:
    """The log topic, as `attendance.kafka.read` and a producer see it."""

    def __init__(self) -> None:
        self.records: dict[int, list[bytes]] = {0: [], 1: []}
        self.reads: list[dict[int, int | None]] = []
        self.failures = 0

    async def send(self, record: OutRecord) -> Mapping[tuple[str, int], int]:
        assert record.partition is not None
        assert record.value is not None
        records = self.records[record.partition]
        records.append(record.value)
        return {(record.topic, record.partition): len(records) - 1}

    async def read(
        self, _kafka: object, _topic: str, _client: str, _since: datetime, begin: Mapping[int, int | None]
    ) -> AsyncGenerator[list[Any], None]:
        self.reads.append(dict(begin))
        for partition, offset in begin.items():
            for at in range(offset or 0, len(self.records[partition])):
                if self.failures:
                    self.failures -= 1
                    raise KafkaUnavailable("away")
                yield [SimpleNamespace(partition=partition, offset=at, value=self.records[partition][at])]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(module, "read", log.read)
    return log


def make(log: Log) -> Memory:
    return Memory(KafkaSettings.load(), cast("Producer", log), HORIZON)


def kept(n: int, key: bytes = KEY) -> Kept:
    return Kept(key, Punch(T + 100 * n, 1, n).pack())


def lists(*punches: Kept) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for key, entry in punches:
        found[key] = remember(found.get(key, b""), entry, HORIZON)
    return found


@given(st.lists(st.builds(Kept, st.binary(max_size=300), st.integers(0, 1000).map(lambda n: kept(n).entry))))
def test_a_log_record_holds_the_punches_that_were_written(punches: list[Kept]) -> None:
    assert list(decode(encode(punches))) == punches


@pytest.mark.parametrize("value", [None, b"", b"\x00", b"{}"])
def test_a_record_of_another_format_is_said_to_be_one(value: bytes | None) -> None:
    with pytest.raises(ConfigurationError, match="format"):
        list(decode(value))


def test_another_worker_learns_what_one_remembered(log: Log) -> None:
    first, second = make(log), make(log)

    async def act() -> None:
        await first.catch_up([0, 1])
        await first.add(0, [kept(1), kept(2, b"other")], lists(kept(1), kept(2, b"other")))
        await first.add(0, [kept(3)], lists(kept(1), kept(3)))
        await second.catch_up([0, 1])

    asyncio.run(act())

    assert first[0] == second[0] == lists(kept(1), kept(2, b"other"), kept(3))
    assert first[1] == second[1] == {}


def test_after_a_rebalance_only_what_others_may_have_written_is_read(log: Log) -> None:
    log.records[0] = [encode([kept(1)])]
    memory = make(log)

    async def act() -> None:
        await memory.catch_up([0])
        await memory.add(0, [kept(2)], lists(kept(1), kept(2)))
        await memory.catch_up([0, 1])

    asyncio.run(act())

    assert log.reads == [{0: None}, {0: 2, 1: None}]


def test_what_another_wrote_in_between_is_found_and_nothing_of_ours_is_undone(log: Log) -> None:
    """A worker that was paused, and whose partition another had meanwhile."""
    paused, other = make(log), make(log)

    async def act() -> None:
        await paused.catch_up([0])
        await paused.add(0, [kept(1)], lists(kept(1)))
        await other.catch_up([0])
        await other.add(0, [kept(2)], lists(kept(1), kept(2)))
        await paused.add(0, [kept(3)], lists(kept(1), kept(3)))  # it does not know yet that it lost the partition
        await paused.catch_up([0])
        await other.catch_up([0])

    asyncio.run(act())

    assert paused[0] == other[0] == lists(kept(1), kept(2), kept(3))


def test_partitions_that_went_away_are_forgotten_and_read_whole_when_they_come_back(log: Log) -> None:
    memory = make(log)

    async def act() -> None:
        await memory.catch_up([0])
        await memory.add(0, [kept(1)], lists(kept(1)))
        await memory.catch_up([1])
        with pytest.raises(KeyError):
            memory[0]
        await memory.catch_up([0])

    asyncio.run(act())

    assert log.reads[-1] == {0: None}
    assert memory[0] == lists(kept(1))


def test_while_kafka_is_away_it_waits_and_goes_on_where_it_was(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    async def come_back(_: float) -> None:
        """The wait is over at once."""

    log.records[0] = [encode([kept(1)]), encode([kept(2)])]
    log.failures = 1
    monkeypatch.setattr("attendance.kafka.asyncio.sleep", come_back)
    memory = make(log)

    asyncio.run(memory.catch_up([0]))

    assert memory[0] == lists(kept(1), kept(2))
