"""A member's share of a compacted topic: acted on once it is read to its end, forgotten when it is lost."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import RecordMetadata
from clients_made import clients_made

from attendance.errors import KafkaUnavailable
from attendance.kafka import groups as clients
from attendance.kafka.following import READ_AGAIN_AFTER_MS
from attendance.kafka.groups import Assignment, GroupProgress, follow_share
from attendance.kafka.producer import Producer
from attendance.kafka.records import OutRecord
from attendance.settings import KafkaSettings
from memory_broker import install
from virtual_time import run_in_virtual_time

SETTINGS = KafkaSettings.load(bootstrap_servers="127.0.0.1:1")
ONE, TWO = TopicPartition("t", 1), TopicPartition("t", 2)


class Record(NamedTuple):
    key: str


class Done(Exception):
    """The scene is over."""


@dataclass
class FakeConsumer:
    """Plays a scene: each step is what happens during one read, and gives the records that were read."""

    scene: list[Callable[["FakeConsumer"], Sequence[str]]]
    ends: dict[TopicPartition, int] = field(default_factory=dict)
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    listener: ConsumerRebalanceListener = None
    stopped: bool = False

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    def subscribe(self, topics: list[str], listener: ConsumerRebalanceListener) -> None:
        assert (topics, isinstance(listener, ConsumerRebalanceListener)) == (["t"], True)
        self.listener = listener

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    def partitions_for_topic(self, topic: str) -> set[int]:
        assert topic == "t"
        return set(range(16))

    def last_poll_timestamp(self, _: TopicPartition) -> int | None:
        return None

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.ends[tp] for tp in partitions}

    async def position(self, tp: TopicPartition) -> int:
        if tp not in self.positions:
            raise IllegalStateError(f"{tp} is not assigned")
        return self.positions[tp]

    async def getmany(self, **_: int) -> dict[TopicPartition, list[Record]]:
        await asyncio.sleep(0)
        step = self.scene.pop(0)
        found = step(self)
        return {ONE: [Record(key) for key in found]}

    def assign(self, **ends: int) -> None:
        self.ends = {{"one": ONE, "two": TWO}[name]: end for name, end in ends.items()}
        self.positions = dict.fromkeys(self.ends, 0)
        run(self.listener.on_partitions_assigned(set(self.ends)))

    def revoke(self) -> None:
        revoked, self.positions = set(self.positions), {}
        run(self.listener.on_partitions_revoked(revoked))


def run(coroutine: Any) -> None:
    """Run what never waits."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


class Seen:
    """What a share was told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.assignments: list[Assignment] = []

    def lost(self) -> None:
        self.log.append("lost")

    def take(self, record: Record) -> None:
        self.log.append(record.key)

    def assigned(self, assignment: Assignment) -> None:
        self.assignments.append(assignment)

    async def caught_up(self) -> None:
        self.log.append("act")


def over(_: FakeConsumer) -> Sequence[str]:
    raise Done


def play(
    monkeypatch: pytest.MonkeyPatch, *scenes: list[Callable[[FakeConsumer], Sequence[str]]], by: Seen | None = None
) -> list[str]:
    seen, consumers = by or Seen(), [FakeConsumer(scene) for scene in scenes]
    waiting = list(consumers)
    monkeypatch.setattr(clients, "create_consumer", lambda *_, **__: waiting.pop(0))

    async def no_time(_: float) -> None: ...

    async def follow() -> None:
        await follow_share(SETTINGS, "t", "g", seen, client_id="c", assigned=seen.assigned)

    sleep = asyncio.sleep
    monkeypatch.setattr(clients.asyncio, "sleep", lambda seconds: sleep(0) if not seconds else no_time(seconds))
    with pytest.raises(Done):
        asyncio.run(follow())
    assert all(consumer.stopped for consumer in consumers)
    return seen.log


def read(partition: TopicPartition, *keys: str) -> Callable[[FakeConsumer], Sequence[str]]:
    def step(consumer: FakeConsumer) -> Sequence[str]:
        consumer.positions[partition] += len(keys)
        return keys

    return step


def assigned(**ends: int) -> Callable[[FakeConsumer], Sequence[str]]:
    def step(consumer: FakeConsumer) -> Sequence[str]:
        consumer.assign(**ends)
        return ()

    return step


def revoked(consumer: FakeConsumer) -> Sequence[str]:
    consumer.revoke()
    return ()


def test_a_share_is_acted_on_once_every_partition_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = [assigned(one=2, two=1), read(ONE, "a"), read(ONE, "b"), read(TWO, "c"), read(ONE, "d"), over]
    assert play(monkeypatch, scene) == ["a", "b", "c", "act", "d", "act"]


def test_a_share_that_was_lost_is_acted_on_again_only_when_the_next_one_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = [assigned(one=2), read(ONE, "a"), revoked, assigned(one=1, two=1), read(ONE, "a"), read(TWO, "c"), over]
    assert play(monkeypatch, scene) == ["a", "lost", "a", "c", "act"]


def test_after_an_error_the_share_is_lost_and_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: FakeConsumer) -> Sequence[str]:
        raise KafkaConnectionError("away")

    log = play(monkeypatch, [assigned(one=1), read(ONE, "a"), away], [assigned(one=1), read(ONE, "a"), over])
    assert log == ["a", "act", "lost", "a", "act"]


def test_a_share_is_told_which_partitions_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    scene = [assigned(one=1), read(ONE, "a"), revoked, assigned(one=1, two=1), read(ONE, "a"), read(TWO, "c"), over]
    play(monkeypatch, scene, by=seen)
    assert seen.assignments == [Assignment(frozenset({1}), 16), Assignment(frozenset({1, 2}), 16)]


def test_every_key_is_in_the_partition_that_the_producer_would_choose() -> None:
    for key in (f"device-{number}".encode() for number in range(100)):
        (chosen,) = partitions_asked_for(OutRecord("t", key, b""))
        assert [at for at in range(16) if Assignment(frozenset({at}), 16).has(key)] == [chosen]


class FakeProducer:
    """Takes records, and remembers the partition that was asked for."""

    def __init__(self, partitions: int) -> None:
        self.partitions = set(range(partitions))
        self.asked: list[int] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def partitions_for(self, _: str) -> set[int]:
        return self.partitions

    async def send(self, topic: str, *, partition: int, **_: object) -> "asyncio.Future[RecordMetadata]":
        self.asked.append(partition)
        done: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        done.set_result(RecordMetadata(topic, partition, TopicPartition(topic, partition), 0, 0, 0, 0))
        return done


def partitions_asked_for(*records: OutRecord) -> list[int]:
    fake = FakeProducer(16)

    async def send() -> None:
        producer = Producer(SETTINGS, "c", lambda *_: cast("AIOKafkaProducer", fake))
        await producer.send(*records)
        await producer.stop()

    asyncio.run(send())
    return fake.asked


def test_records_with_one_partition_key_go_to_one_partition_whatever_their_keys() -> None:
    asked = partitions_asked_for(*(OutRecord("t", f"key-{n}".encode(), b"", partition_key=b"0417") for n in range(9)))
    assert len(set(asked)) == 1
    others = partitions_asked_for(*(OutRecord("t", b"k", b"", partition_key=f"{n}".encode()) for n in range(40)))
    assert len(set(others)) > 8


def test_a_partition_that_is_named_counts_and_without_any_the_key_decides() -> None:
    assert partitions_asked_for(OutRecord("t", b"k", b"", partition=7, partition_key=b"x")) == [7]
    everyone = range(16)
    assert partitions_asked_for(OutRecord("t", b"k", b"")) == [DefaultPartitioner()(b"k", everyone, everyone)]


def test_who_asks_again_and_again_how_far_groups_are_makes_one_client_for_each_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    made = clients_made(monkeypatch, clients)
    progress = GroupProgress(kafka, "c")
    topics = {kafka.topics["raw"]: "stream", kafka.topics["checkins"]: "sink"}

    async def story() -> None:
        for look in range(1, 1001):
            for topic, group in topics.items():
                broker.put(topic, b"x")
                broker.groups[group].offsets[TopicPartition(topic, 0)] = look
                await progress.until_through(topic, group)
        broker.fail("admin", KafkaConnectionError("away"))
        with pytest.raises(KafkaUnavailable):
            await progress.until_through(kafka.topics["raw"], "stream")
        await progress.until_through(kafka.topics["raw"], "stream")
        await progress.close()

    asyncio.run(story())
    assert made == ["create_consumer", "create_admin", "create_consumer", "create_consumer", "create_admin"]


def test_of_a_topic_that_is_not_there_no_group_is_through(monkeypatch: pytest.MonkeyPatch) -> None:
    _, kafka = install(monkeypatch, make_topics=False)

    async def story() -> None:
        progress = GroupProgress(kafka, "c")
        with pytest.raises(KafkaUnavailable, match=r"checkins.*does not exist"):
            await progress.until_through(kafka.topics["checkins"], "sink")

    run_in_virtual_time(story())


def test_what_compaction_let_go_of_during_a_long_silence_is_removed_from_a_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker, kafka = install(monkeypatch)
    topic, clock = kafka.topics["unmapped"], [0.0]
    broker.clock = lambda: clock[0]
    for key in (b"stays", b"goes"):
        broker.put(topic, b"v", key)

    class Known(set[bytes]):
        def lost(self) -> None:
            self.clear()

        def take(self, record: Any) -> None:
            self.add(record.key)

        async def caught_up(self) -> None: ...

    async def story() -> None:
        known = Known()
        following = asyncio.create_task(follow_share(kafka, topic, "g", known, client_id="c"))
        await asyncio.sleep(5)
        assert known == {b"stays", b"goes"}
        del broker.topics[topic][0].records[1]
        clock[0] += READ_AGAIN_AFTER_MS / 1000
        await asyncio.sleep(5)
        assert known == {b"stays", b"goes"}, "a short silence hides nothing"
        clock[0] += READ_AGAIN_AFTER_MS / 1000 + 1
        await asyncio.sleep(5)
        assert known == {b"stays"}
        following.cancel()

    run_in_virtual_time(asyncio.wait_for(story(), 3600))
