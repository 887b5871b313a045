"""What waits for its step is bounded by records, and a rebalance ends the wait for more."""

import asyncio
from types import SimpleNamespace
from typing import Any

from streams.app import BatchBuffer


def chunk(records: int) -> Any:
    return SimpleNamespace(message=SimpleNamespace(value=[None] * records))


def test_a_step_gets_all_chunks_that_have_arrived() -> None:
    async def act() -> list[Any]:
        buffer = BatchBuffer(10)
        for records in (4, 4, 4):
            await buffer.put(chunk(records))
        return await buffer.take()

    assert asyncio.run(act()) == [chunk(4)] * 3


def test_a_chunk_waits_while_there_are_as_many_records_as_a_step_takes() -> None:
    async def act() -> None:
        buffer = BatchBuffer(10)
        await buffer.put(chunk(10))
        late = asyncio.create_task(buffer.put(chunk(1)))
        await asyncio.sleep(0)
        assert not late.done()
        assert await buffer.take() == [chunk(10)]
        await late
        assert await buffer.take() == [chunk(1)]

    asyncio.run(act())


def test_a_rebalance_ends_the_wait_for_a_chunk() -> None:
    async def act() -> list[Any]:
        buffer = BatchBuffer(10)
        waiting = asyncio.create_task(buffer.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        await buffer.on_partitions_assigned()
        return await waiting

    assert asyncio.run(act()) == []
