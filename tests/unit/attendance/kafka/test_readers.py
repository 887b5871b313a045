"""What readers do when Kafka is not there, goes away, or has less than was asked for."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import pytest
from aiokafka.errors import KafkaError, KafkaTimeoutError
from clients_made import clients_made

from attendance.errors import KafkaUnavailable
from attendance.kafka import readers
from attendance.kafka.following import READ_AGAIN_AFTER_MS
from attendance.kafka.readers import OnwardReader, follow, read, snapshot, until_there
from memory_broker import MemoryBroker, install
from virtual_time import run_in_virtual_time

TOPIC = "attendance.user-map.v1"


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_in_virtual_time(asyncio.wait_for(story(), 3600))


class Follower:
    """What a follower was given, and since when it knows all."""

    def __init__(self, kafka: Any) -> None:
        self.seen: list[bytes] = []
        self.caught_up = asyncio.Event()
        self.task = asyncio.create_task(
            follow(kafka, TOPIC, lambda each: self.seen.append(each.value), client_id="c", caught_up=self.caught_up)
        )

    async def end(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


def put(broker: MemoryBroker, *values: bytes) -> None:
    for value in values:
        broker.put(TOPIC, value, b"k")


def test_a_follower_waits_for_kafka_and_is_not_caught_up_before(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, b"1")
    broker.go_away()

    async def story() -> None:
        follower = Follower(kafka)
        await asyncio.sleep(60)
        assert not follower.caught_up.is_set()
        broker.come_back()
        await follower.caught_up.wait()
        assert follower.seen == [b"1"]
        await follower.end()

    play(story)


def test_a_follower_is_not_caught_up_before_it_has_applied_all(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, *(b"%d" % number for number in range(1200)))

    async def story() -> None:
        follower = Follower(kafka)
        await follower.caught_up.wait()
        assert len(follower.seen) == 1200
        await follower.end()

    play(story)


def test_a_follower_whose_consumer_fails_begins_anew_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, b"1", b"2")

    async def story() -> None:
        follower = Follower(kafka)
        await follower.caught_up.wait()
        broker.fail("fetch", KafkaError("gone"))
        put(broker, b"3")
        await asyncio.sleep(5)
        assert follower.seen == [b"1", b"2", b"3"], "it never goes back to what once was"
        await follower.end()

    play(story)


def test_what_compaction_let_go_of_while_a_follower_slept_is_removed_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    clock = [0.0]
    broker.clock = lambda: clock[0]
    for key in (b"stays", b"goes", b"changes"):
        broker.put(TOPIC, b"old", key)

    async def story() -> None:
        known: dict[bytes, bytes] = {}
        given: list[bytes | None] = []

        def apply(record: Any) -> None:
            given.append(record.value)
            known[record.key] = record.value
            if record.value is None:
                del known[record.key]

        following = asyncio.create_task(follow(kafka, TOPIC, apply, client_id="c"))
        await asyncio.sleep(5)
        clock[0] += READ_AGAIN_AFTER_MS / 1000
        await asyncio.sleep(5)
        assert len(given) == 3, "a short silence hides nothing"
        broker.go_away()
        await asyncio.sleep(5)
        broker.put(TOPIC, b"newer", b"changes")
        broker.put(TOPIC, b"newest", b"changes")
        log = broker.topics[TOPIC][0]
        log.records = [each for each in log.records if each.key != b"goes"]
        clock[0] += READ_AGAIN_AFTER_MS / 1000 + 1
        broker.come_back()
        await asyncio.sleep(5)
        assert known == {b"stays": b"old", b"changes": b"newest"}
        following.cancel()

    play(story)


def test_of_a_topic_that_was_compacted_only_the_last_of_each_key_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    for key, value in ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", None)):
        broker.put(TOPIC, value, key)
    broker.compact(TOPIC)
    play(lambda: _reads(kafka, [(2, b"3"), (3, None)]))


async def _reads(kafka: Any, wanted: list[tuple[int, bytes | None]]) -> None:
    assert [(record.offset, record.value) for record in await snapshot(kafka, TOPIC, "c")] == wanted


def test_what_retention_removed_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, b"1", b"2", b"3")
    broker.delete_before(TOPIC, 0, 2)
    play(lambda: _reads(kafka, [(2, b"3")]))
    broker.delete_before(TOPIC, 0, 3)
    play(lambda: _reads(kafka, []))


def test_an_offset_beyond_the_end_is_the_end_and_not_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    broker.create_topic("two", 2)
    for partition in (0, 1):
        broker.put("two", b"%d" % partition, b"k", partition=partition)

    async def story() -> None:
        found = [record.value async for batch in read(kafka, "two", "c", begin={0: 99, 1: 0}) for record in batch]
        assert found == [b"1"]

    play(story)


def test_what_arrives_while_a_topic_is_read_does_not_keep_the_reading_going(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    put(broker, b"1")

    async def story() -> None:
        found = []
        async for batch in read(kafka, TOPIC, "c"):
            found += batch
            put(broker, b"more")
        assert [record.value for record in found] == [b"1"]

    play(story)


def test_reading_ends_with_an_error_where_kafka_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)

    async def story() -> None:
        broker.fail("end_offsets", KafkaTimeoutError("no answer"))
        with pytest.raises(KafkaUnavailable, match="memory:9092: KafkaTimeoutError: no answer"):
            await snapshot(kafka, TOPIC, "c")
        broker.go_away()
        with pytest.raises(KafkaUnavailable, match="bootstrap"):
            await snapshot(kafka, TOPIC, "c")

    play(story)


def test_a_topic_is_waited_for_until_somebody_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch, make_topics=False)

    async def story() -> None:
        waiting = asyncio.create_task(until_there(kafka, TOPIC, "c"))
        await asyncio.sleep(300)
        assert not waiting.done()
        broker.create_topic(TOPIC)
        await asyncio.wait_for(waiting, 60)

    play(story)


def test_who_reads_on_again_and_again_makes_one_client_and_reads_each_record_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    made = clients_made(monkeypatch, readers)
    reader = OnwardReader(kafka, TOPIC, "c")
    seen: list[bytes] = []
    offsets: dict[int, int] = {}

    async def story() -> None:
        for look in range(1000):
            put(broker, f"{look}".encode())
            async with aclosing(reader.read_on(offsets)) as batches:
                async for batch in batches:
                    for record in batch:
                        seen.append(record.value)
                        offsets[record.partition] = record.offset + 1
        await reader.close()

    play(story)
    assert seen == [f"{look}".encode() for look in range(1000)]
    assert len(made) == 1


def test_who_reads_on_begins_anew_after_an_outage_and_where_records_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, kafka = install(monkeypatch)
    made = clients_made(monkeypatch, readers)
    reader = OnwardReader(kafka, TOPIC, "c")

    async def all_from(offset: int) -> list[bytes]:
        async with aclosing(reader.read_on({0: offset})) as batches:
            return [record.value async for batch in batches for record in batch]

    async def story() -> None:
        put(broker, b"1", b"2", b"3")
        broker.fail("fetch", KafkaError("broken"))
        with pytest.raises(KafkaUnavailable):
            await all_from(0)
        assert await all_from(1) == [b"2", b"3"]
        assert await all_from(99) == []
        broker.delete_before(TOPIC, 0, 2)
        assert await all_from(0) == [b"3"]
        await reader.close()

    play(story)
    assert len(made) == 2
