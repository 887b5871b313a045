"""The broker: what its topics hold, which groups it knows, and which failures it was told to show."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, UnknownTopicOrPartitionError

from memory_broker.groups import Group


@dataclass
class Partition:
    """A log. Offsets need not be consecutive once it was compacted."""

    records: list[ConsumerRecord] = field(default_factory=list)
    start: int = 0
    end: int = 0


class MemoryBroker:
    """Topics, groups and failures. Clients of several event loops may use it, one loop after the other."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Partition]] = {}
        self.configs: dict[str, dict[str, str]] = {}
        self.secret_configs: set[str] = set()
        self.secret_topics: set[str] = set()
        """Topics whose configuration nobody may read."""
        self.cluster_id = "memory"
        self.groups: dict[str, Group] = defaultdict(Group)
        self.clock: Callable[[], float] = time.time
        self.is_away = False
        self.forbidden: set[str] = set()
        """Topics that nobody is authorized to read."""
        self.refused: set[str] = set()
        """Topics to which nobody has the right to write."""
        self.log: list[tuple[str, Any]] = []
        """What clients did, in order: ("commit", {partition: offset}), ("send", [values])."""
        self._failures: dict[tuple[str, str | None], deque[Exception]] = defaultdict(deque)
        self._hanging: set[str] = set()
        self._acknowledging = "at once"
        self._held: list[Callable[[], None]] = []
        self._waiters: set[asyncio.Future[None]] = set()

    # what a test does

    def create_topic(self, name: str, partitions: int = 1, configs: dict[str, str] | None = None) -> None:
        self.topics[name] = [Partition() for _ in range(partitions)]
        self.configs[name] = configs or {}
        self.wake()

    def add_partitions(self, name: str, total: int) -> None:
        """Have so many partitions from now on, as an operator's tool does it."""
        self.topics[name] += [Partition() for _ in range(total - len(self.topics[name]))]
        self.wake()

    def put(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> int:
        """Append one record as if somebody else had sent it. Returns its offset."""
        log = self.topics[topic][partition]
        timestamp = round(self.clock() * 1000) if timestamp_ms is None else timestamp_ms
        log.records.append(
            ConsumerRecord(
                topic=topic,
                partition=partition,
                offset=log.end,
                timestamp=timestamp,
                timestamp_type=int(self.configs[topic].get("message.timestamp.type") == "LogAppendTime"),
                key=key,
                value=value,
                checksum=None,
                serialized_key_size=-1 if key is None else len(key),
                serialized_value_size=-1 if value is None else len(value),
                headers=tuple(headers),
            )
        )
        log.end += 1
        self.wake()
        return log.end - 1

    def records(self, topic: str) -> list[ConsumerRecord]:
        """All that a topic holds, partition by partition."""
        return [record for partition in self.topics[topic] for record in partition.records]

    def values(self, topic: str) -> list[bytes | None]:
        return [record.value for record in self.records(topic)]

    def compact(self, topic: str) -> None:
        """Keep the last record of each key; tombstones stay, as they do for a while on a real broker."""
        for partition in self.topics[topic]:
            last = {record.key: record.offset for record in partition.records}
            partition.records = [record for record in partition.records if last[record.key] == record.offset]

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Let go of the first records, as retention does."""
        log = self.topics[topic][partition]
        log.records = [record for record in log.records if record.offset >= offset]
        log.start = min(offset, log.end)

    def go_away(self) -> None:
        """Answer nobody any more. Clients that are connected wait; a new one fails at its start."""
        self.is_away = True

    def come_back(self) -> None:
        self.is_away = False
        self.wake()

    def fail(self, operation: str, *errors: Exception, client: str | None = None) -> None:
        """Have the next calls of an operation raise these, or those of one client only.

        The operations are start, fetch, commit, send, end_offsets and admin.
        """
        self._failures[operation, client].extend(errors)

    def hang(self, operation: str) -> None:
        """Have calls of an operation wait until `go_on`: commit."""
        self._hanging.add(operation)

    def go_on(self, operation: str) -> None:
        self._hanging.discard(operation)
        self.wake()

    def hold_acknowledgements(self) -> None:
        """Take records, and acknowledge none of them before `acknowledge`."""
        self._acknowledging = "late"

    def lose_acknowledgements(self) -> None:
        """Take records, and never acknowledge them: their senders time out."""
        self._acknowledging = "never"

    def acknowledge(self) -> None:
        """Acknowledge what was held, and from now on at once."""
        self._acknowledging = "at once"
        held, self._held = self._held, []
        for deliver in held:
            deliver()

    def committed(self, group: str, topic: str) -> dict[int, int]:
        return {tp.partition: at for tp, at in self.groups[group].offsets.items() if tp.topic == topic}

    def expel(self, group: str, client_id: str) -> None:
        """Take a member out of its group, as if no heartbeat of it had arrived. It hears of that at its next one."""
        self.groups[group].expel(client_id)

    # what clients ask

    def raise_if_told(self, operation: str, client: str) -> None:
        for failures in (self._failures[operation, client], self._failures[operation, None]):
            if failures:
                raise failures.popleft()

    async def until_free(self, operation: str) -> None:
        """Return when the broker answers, and the operation does not hang."""
        while self.is_away or operation in self._hanging:
            await self.changed()

    def connect(self, client: str) -> None:
        self.raise_if_told("start", client)
        if self.is_away:
            raise KafkaConnectionError("Unable to bootstrap from memory:9092")

    async def answer(self, request_timeout: float) -> None:
        """Return when the broker answers.

        Raises:
            KafkaTimeoutError: it does not, for so many seconds.
        """
        try:
            async with asyncio.timeout(request_timeout):
                while self.is_away:
                    await self.changed()
        except TimeoutError as error:
            raise KafkaTimeoutError("no answer") from error

    async def known(self, topic: str, request_timeout: float) -> set[int]:
        """The partitions of a topic. Waits for it, as aiokafka waits for its metadata."""
        if self.is_away:
            await self.answer(request_timeout)
        try:
            async with asyncio.timeout(request_timeout):
                while topic not in self.topics:
                    await self.changed()
        except TimeoutError as error:
            raise UnknownTopicOrPartitionError from error
        return set(range(len(self.topics[topic])))

    def partition(self, tp: TopicPartition) -> Partition:
        if tp.topic not in self.topics or tp.partition >= len(self.topics[tp.topic]):
            raise UnknownTopicOrPartitionError(str(tp))
        return self.topics[tp.topic][tp.partition]

    async def changed(self) -> None:
        """Return when something was sent, or anything else has changed."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def acknowledge_to(self, deliver: Callable[[], None]) -> None:
        """Call `deliver` when the sender is to hear that its records are there."""
        if self._acknowledging == "at once":
            deliver()
        elif self._acknowledging == "late":
            self._held.append(deliver)
