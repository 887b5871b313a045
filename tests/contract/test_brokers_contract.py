"""What the product relies on in a Kafka, asked of the broker in memory and of real ones alike."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError

from attendance.errors import InvalidRecord, KafkaUnavailable
from attendance.kafka.admin import create_topics, describe_topics
from attendance.kafka.clients import create_consumer
from attendance.kafka.groups import Assignment, GroupProgress, follow_share
from attendance.kafka.producer import Producer
from attendance.kafka.readers import follow, read, snapshot
from attendance.kafka.records import MAX_RECORD_BYTES, OutRecord
from attendance.settings import KafkaSettings
from memory_broker import install
from virtual_time import run_in_virtual_time

DEADLINE = 60.0
Run = Callable[[Coroutine[Any, Any, None]], None]


EMBEDDED, KAFKA = (pytest.param(kind, marks=pytest.mark.broker) for kind in ("embedded", "kafka"))
# The embedded broker takes three seconds for each generation of a group. One test of groups shows how it does it.
without_embedded = pytest.mark.parametrize("cluster", ["memory", KAFKA], indirect=True)


@pytest.fixture(params=["memory", EMBEDDED, KAFKA])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[KafkaSettings, Run]:
    """Settings that lead to a broker, and what runs a scene on it. Every topic exists and has two partitions."""
    options: dict[str, Any] = {"topic_prefix": f"test-{uuid4().hex[:8]}", "partitions": 2, "session_timeout": 6.0}
    if request.param == "memory":
        broker, kafka = install(monkeypatch, make_topics=False, **options)
        broker.clock = lambda: asyncio.get_running_loop().time()
        run_in_virtual_time(_make_topics(kafka))
        return kafka, lambda scene: run_in_virtual_time(to_its_end(scene))
    real = request.getfixturevalue(f"{request.param}_broker")
    kafka = KafkaSettings.load(
        bootstrap_servers=real.bootstrap_servers, enable_idempotence=real.supports_idempotence, **options
    )
    asyncio.run(_make_topics(kafka))
    return kafka, lambda scene: asyncio.run(to_its_end(scene))


async def _make_topics(kafka: KafkaSettings) -> None:
    assert set((await create_topics(kafka)).values()) == {True}


@pytest.fixture
def kafka(cluster: tuple[KafkaSettings, Run]) -> KafkaSettings:
    return cluster[0]


@pytest.fixture
def run(cluster: tuple[KafkaSettings, Run]) -> Run:
    return cluster[1]


async def send(kafka: KafkaSettings, *records: OutRecord) -> Any:
    producer = Producer(kafka, "test")
    try:
        return await producer.send(*records)
    finally:
        await producer.stop()


def numbered(topic: str, count: int, partition: int = 0) -> list[OutRecord]:
    return [OutRecord(topic, b"k", b"%d" % n, partition=partition) for n in range(count)]


JOINED: list["Member"] = []


async def to_its_end(scene: Coroutine[Any, Any, None]) -> None:
    """Run a scene; whatever happens in it, its members leave their group."""
    try:
        await asyncio.wait_for(scene, DEADLINE)
    finally:
        while JOINED:
            member = JOINED.pop()
            member.at_revocation = None
            await member.consumer.stop()


class Member(ConsumerRebalanceListener):
    """A member of a group, which notes what it is told and commits what it took before it gives up a partition."""

    def __init__(self, kafka: KafkaSettings, topic: str, name: str) -> None:
        self.topic = topic
        self.calls: list[str] = []
        self.taken: list[bytes] = []
        self.at_revocation: Callable[[], Awaitable[None]] | None = None
        self.consumer: AIOKafkaConsumer = create_consumer(kafka, client_id=name, group=kafka.group("g"))

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.calls.append(f"revoked {len(revoked)}")
        if self.at_revocation is not None:
            await self.at_revocation()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.calls.append(f"assigned {len(assigned)}")

    async def join(self) -> None:
        JOINED.append(self)
        self.consumer.subscribe([self.topic], listener=self)
        await self.consumer.start()

    async def poll(self, timeout_ms: int = 200) -> None:
        for records in (await self.consumer.getmany(timeout_ms=timeout_ms)).values():
            self.taken += [record.value for record in records]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.poll()

    async def commit(self, at: int) -> None:
        await self.consumer.commit(dict.fromkeys(self.consumer.assignment(), at))


def test_records_come_back_as_they_were_sent_in_the_order_of_their_offsets(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["raw"]
    headers = [("ce_id", b"1"), ("ce_id", b"2")]

    async def scene() -> None:
        first = await send(kafka, OutRecord(topic, b"k", b"v", headers, partition=1), *numbered(topic, 3))
        assert first == {(topic, 0): 0, (topic, 1): 0}
        assert await send(kafka, OutRecord(topic, b"k", None, partition=0)) == {(topic, 0): 3}
        found = [record async for batch in read(kafka, topic, "test") for record in batch]
        by_partition = [[record for record in found if record.partition == number] for number in (0, 1)]
        assert [(r.offset, r.key, r.value) for r in by_partition[0]] == [
            (0, b"k", b"0"),
            (1, b"k", b"1"),
            (2, b"k", b"2"),
            (3, b"k", None),
        ]
        [record] = by_partition[1]
        assert (record.key, record.value, list(record.headers)) == (b"k", b"v", headers)

    run(scene())


def test_many_records_travel_as_batches_and_keep_their_order(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["raw"]

    async def scene() -> None:
        producer = Producer(kafka, "test", batches=True)
        values = [b"%06d" % n * 1000 for n in range(100)]  # more than one batch
        assert await producer.send(*(OutRecord(topic, b"k", v, partition=0) for v in values)) == {(topic, 0): 0}
        await producer.stop()
        assert [record.value for record in await snapshot(kafka, topic, "test")] == values

    run(scene())


def test_a_record_that_is_too_large_is_refused_and_the_next_one_is_taken(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["raw"]

    async def scene() -> None:
        producer = Producer(kafka, "test")
        with pytest.raises(InvalidRecord, match="larger than"):
            await producer.send(OutRecord(topic, b"k", bytes(MAX_RECORD_BYTES + 1), partition=0))
        await producer.send(OutRecord(topic, b"k", bytes(MAX_RECORD_BYTES - 1024), partition=0))
        await producer.stop()
        assert len(await snapshot(kafka, topic, "test")) == 1

    run(scene())


def test_a_consumer_goes_where_it_is_sent_and_reads_no_paused_partition(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["raw"]
    zero, one = (TopicPartition(topic, number) for number in (0, 1))

    async def scene() -> None:
        await send(kafka, *numbered(topic, 3), *numbered(topic, 2, partition=1))
        consumer = create_consumer(kafka, topic, client_id="test")
        await consumer.start()
        assert consumer.assignment() == {zero, one}
        assert consumer.partitions_for_topic(topic) == {0, 1}
        assert await consumer.beginning_offsets([zero, one]) == {zero: 0, one: 0}
        assert await consumer.end_offsets([zero, one]) == {zero: 3, one: 2}
        assert await consumer.position(zero) == 0
        consumer.pause(one)
        assert consumer.paused() == {one}
        consumer.seek(zero, 2)
        assert await values_of(consumer, 1, zero) == [b"2"]
        assert await consumer.position(zero) == 3
        consumer.resume(one)
        assert await values_of(consumer, 2) == [b"0", b"1"]
        with pytest.raises(IllegalStateError):
            await consumer.position(TopicPartition(topic, 7))
        await consumer.stop()

    run(scene())


async def values_of(consumer: AIOKafkaConsumer, count: int, *partitions: TopicPartition) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        for records in (await consumer.getmany(*partitions, timeout_ms=500)).values():
            found += [record.value for record in records]
    return found


def test_no_more_records_come_than_were_asked_for(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["raw"]

    async def scene() -> None:
        await send(kafka, *numbered(topic, 5))
        consumer = create_consumer(kafka, topic, client_id="test")
        await consumer.start()
        found: list[bytes] = []
        while len(found) < 5:
            batches = await consumer.getmany(timeout_ms=500, max_records=2)
            taken = [record.value for records in batches.values() for record in records]
            assert len(taken) <= 2
            found += taken
        assert found == [b"0", b"1", b"2", b"3", b"4"]
        await consumer.stop()

    run(scene())


def test_reading_since_a_time_begins_at_the_first_record_of_that_time(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["raw"]

    async def scene() -> None:
        for n in range(3):
            await send(kafka, OutRecord(topic, b"k", b"%d" % n, partition=0))
            await asyncio.sleep(0.05)
        every = await snapshot(kafka, topic, "test")
        since = datetime.fromtimestamp(every[1].timestamp / 1000, UTC)
        found = [record.value async for batch in read(kafka, topic, "test", since) for record in batch]
        assert found == [b"1", b"2"]

    run(scene())


# The embedded broker begins anew with the first record.
@without_embedded
def test_reading_since_a_time_to_come_finds_nothing(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["raw"]

    async def scene() -> None:
        await send(kafka, *numbered(topic, 1))
        [record] = await snapshot(kafka, topic, "test")
        later = datetime.fromtimestamp(record.timestamp / 1000 + 60, UTC)
        assert [batch async for batch in read(kafka, topic, "test", later)] == []

    run(scene())


def test_reading_begins_where_it_is_told_and_in_no_other_partition(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["raw"]

    async def scene() -> None:
        await send(kafka, *numbered(topic, 4), *numbered(topic, 2, partition=1))
        begun = {begin: [] for begin in (None, 2, 9)}
        for begin, found in begun.items():
            async for batch in read(kafka, topic, "test", begin={0: begin}):
                found += [(record.partition, record.offset) for record in batch]
        assert begun == {None: [(0, n) for n in range(4)], 2: [(0, 2), (0, 3)], 9: []}

    run(scene())


# The embedded broker makes it.
@without_embedded
def test_a_topic_that_does_not_exist_is_an_error_that_says_so(kafka: KafkaSettings, run: Run) -> None:
    async def scene() -> None:
        hasty = kafka.model_copy(update={"request_timeout": 1.0})
        with pytest.raises(KafkaUnavailable):
            await snapshot(hasty, f"{kafka.topic_prefix}.nothing", "test")

    run(scene())


def test_topics_are_made_once_and_described_with_what_they_hold(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["raw"]

    async def scene() -> None:
        assert set((await create_topics(kafka)).values()) == {False}
        await send(kafka, *numbered(topic, 3), *numbered(topic, 1, partition=1))
        [raw] = [row for row in await describe_topics(kafka) if row["topic"] == topic]
        assert (raw["partitions"], raw["replicas"], raw["records"]) == (2, 1, 4)

    run(scene())


@without_embedded
def test_a_group_goes_on_where_it_has_committed(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["checkins"]
    zero, one = (TopicPartition(topic, number) for number in (0, 1))

    async def scene() -> None:
        await send(kafka, *numbered(topic, 3))
        first = Member(kafka, topic, "first")
        await first.join()
        await first.until(lambda: len(first.taken) == 3)
        assert await first.consumer.committed(zero) is None
        await first.consumer.commit({zero: 2})
        assert [await first.consumer.committed(tp) for tp in (zero, one)] == [2, None]
        with pytest.raises(IllegalStateError):
            await first.consumer.commit({TopicPartition(topic, 7): 1})
        await first.consumer.stop()
        assert first.calls == ["revoked 0", "assigned 2"], "leaving tells the listener nothing"
        second = Member(kafka, topic, "second")
        await second.join()
        await second.until(lambda: bool(second.taken))
        assert second.taken == [b"2"]

    run(scene())


def test_a_member_that_leaves_hands_its_partitions_to_the_other_where_it_committed(
    kafka: KafkaSettings, run: Run
) -> None:
    topic = kafka.topics["checkins"]

    async def scene() -> None:
        await send(kafka, *numbered(topic, 2), *numbered(topic, 2, partition=1))
        stays, goes = Member(kafka, topic, "stays"), Member(kafka, topic, "goes")
        await stays.join()
        await stays.until(lambda: len(stays.taken) == 4)
        stays.consumer.pause(*stays.consumer.assignment())
        # The group still waits for us here, so the commit counts.
        stays.at_revocation = lambda: stays.commit(1)
        joining = asyncio.create_task(goes.join())
        # Apache Kafka may need two generations to take a member in.
        await stays.until(lambda: stays.calls[-1] == "assigned 1")
        await joining
        stays.at_revocation = None
        assert stays.calls[:3] == ["revoked 0", "assigned 2", "revoked 2"]
        assert not stays.consumer.paused(), "a rebalance takes pauses away"
        assert stays.consumer.assignment() | goes.consumer.assignment() == {
            TopicPartition(topic, number) for number in (0, 1)
        }
        assert len(goes.consumer.assignment()) == 1
        await goes.until(lambda: bool(goes.taken))
        assert goes.taken == [b"1"]
        await goes.commit(2)
        # Before that its own is on its way, and would be there twice.
        await stays.until(lambda: len(stays.taken) > 4)
        stays.taken.clear()
        await goes.consumer.stop()
        await stays.until(lambda: stays.calls[-2:] == ["revoked 1", "assigned 2"] and bool(stays.taken))
        await stays.poll()
        assert stays.taken == [b"1"], "only what nobody has committed"

    run(scene())


# The embedded broker waits for a member as long as its heartbeats come.
@without_embedded
def test_a_member_that_the_group_went_on_without_cannot_commit(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["checkins"]
    outcome: list[str] = []

    async def scene() -> None:
        await send(kafka, *numbered(topic, 1), *numbered(topic, 1, partition=1))
        slow, other = Member(kafka, topic, "slow"), Member(kafka, topic, "other")
        await slow.join()
        gone_on = asyncio.Event()

        async def commit_too_late() -> None:
            await gone_on.wait()
            try:
                await slow.commit(1)
            except CommitFailedError:
                outcome.append("refused")
            else:
                outcome.append("committed")

        slow.at_revocation = commit_too_late
        await other.join()  # after the session of the slow one
        assert len(other.consumer.assignment()) == 2
        gone_on.set()
        while not outcome:
            await other.poll()
        assert outcome == ["refused"]
        assert [await other.consumer.committed(tp) for tp in other.consumer.assignment()] == [None, None]

    run(scene())


class Held:
    """A share of a compacted topic. `acted` is set whenever it has acted."""

    def __init__(self, acted: asyncio.Event) -> None:
        self.values: dict[bytes | None, bytes | None] = {}
        self.acted_on: set[bytes | None] = set()
        self.assignments: list[Assignment] = []
        self.acted = acted

    def lost(self) -> None:
        self.values.clear()

    def take(self, record: ConsumerRecord) -> None:
        self.values[record.key] = record.value

    async def caught_up(self) -> None:
        self.acted_on = {key for key, value in self.values.items() if value is not None}
        self.acted.set()


@without_embedded
def test_the_share_of_a_member_that_ends_is_read_whole_by_the_one_that_stays(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["cursors"]

    async def scene() -> None:
        records = [OutRecord(topic, b"key-%d-%d" % (p, n), b"x", partition=p) for p in (0, 1) for n in range(3)]
        await send(kafka, *records, OutRecord(topic, b"key-0-0", None, partition=0))
        every = {record.key for record in records} - {b"key-0-0"}
        acted = asyncio.Event()
        shares = Held(acted), Held(acted)
        following = [
            asyncio.create_task(
                follow_share(kafka, topic, kafka.group("s"), share, client_id=name, assigned=share.assignments.append)
            )
            for share, name in zip(shares, ("a", "b"), strict=True)
        ]

        async def until(held: Callable[[set[bytes | None], set[bytes | None]], bool]) -> None:
            while not held(shares[0].acted_on, shares[1].acted_on):
                acted.clear()
                await acted.wait()

        try:
            # Until both have joined, the first has everything, and after that more than one rebalance may follow.
            await until(lambda a, b: a | b == every and bool(a and b) and not a & b)
            await end(following[0])
            await until(lambda _, b: b == every)
        finally:
            for each in following:
                await end(each)
        assert [len(share.assignments[-1].partitions) for share in shares] == [1, 2]
        assert shares[1].assignments[-1].total == 2

    run(scene())


async def end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_a_follower_is_caught_up_once_it_has_all_and_hears_of_what_comes(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["user_map"]

    async def scene() -> None:
        seen: asyncio.Queue[bytes] = asyncio.Queue()
        caught_up = asyncio.Event()
        await send(kafka, *numbered(topic, 2))
        following = asyncio.create_task(
            follow(kafka, topic, lambda each: seen.put_nowait(each.value), client_id="test", caught_up=caught_up)
        )
        await caught_up.wait()
        assert [seen.get_nowait(), seen.get_nowait()] == [b"0", b"1"]
        await send(kafka, OutRecord(topic, b"k", b"later", partition=0))
        assert await seen.get() == b"later"
        await end(following)

    run(scene())


def test_a_group_is_through_a_topic_once_it_has_committed_all(kafka: KafkaSettings, run: Run) -> None:
    topic = kafka.topics["checkins"]

    async def scene() -> None:
        await send(kafka, *numbered(topic, 2))
        progress = GroupProgress(kafka, "test")
        waiting = asyncio.create_task(progress.until_through(topic, kafka.group("g")))
        consumer = create_consumer(kafka, client_id="test", group=kafka.group("g"))
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.start()
        await consumer.commit({TopicPartition(topic, 0): 1})
        await asyncio.wait({waiting}, timeout=1.5)
        assert not waiting.done(), "one record is not committed"
        await consumer.commit({TopicPartition(topic, 0): 2})
        await waiting
        await progress.until_through(topic, kafka.group("g"))
        await progress.close()
        await consumer.stop()

    run(scene())


def test_a_broker_that_is_not_there_is_an_error_at_the_start(
    kafka: KafkaSettings, run: Run, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    async def scene() -> None:
        nowhere = kafka
        if "memory" in request.node.callspec.id:
            broker, nowhere = install(monkeypatch)
            broker.go_away()
        else:
            nowhere = kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
        consumer = create_consumer(nowhere, "t", client_id="test")
        with pytest.raises(KafkaConnectionError):
            await consumer.start()
        await consumer.stop()
        with pytest.raises(KafkaUnavailable):
            await send(nowhere, OutRecord("t", b"k", b"v"))

    run(scene())
