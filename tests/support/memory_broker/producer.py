"""What the product asks of aiokafka's producer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, ProducerClosed, TopicAuthorizationFailedError
from aiokafka.structs import RecordMetadata

from memory_broker.broker import MemoryBroker

OVERHEAD = 70  # bytes that a record alone takes beside its key, value and headers, about


@dataclass
class Message:
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None

    @property
    def size(self) -> int:
        headers = sum(len(name) + len(value) + 4 for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers + OVERHEAD


@dataclass
class MemoryBatch:
    """Takes messages until it is full; the first one whatever its size."""

    most: int
    messages: list[Message] = field(default_factory=list)
    size: int = 0

    def append(
        self,
        *,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> object | None:
        message = Message(key, value, headers, timestamp)
        if self.messages and self.size + message.size > self.most:
            return None
        self.messages.append(message)
        self.size += message.size
        return self


class MemoryProducer:
    """A producer of a broker in memory. Its records arrive in the order in which they were sent."""

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        client_id: str,
        max_request_size: int = 1024 * 1024,
        max_batch_size: int = 16_384,
        request_timeout_ms: int = 40_000,
        **_: Any,
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._max_request_size = max_request_size
        self._max_batch_size = max_batch_size
        self._request_timeout = request_timeout_ms / 1000
        self._sending: set[asyncio.Task[None]] = set()
        self._last: asyncio.Task[None] | None = None
        self._is_closed = False
        # A cluster of one, whose name nobody can resolve.
        node = SimpleNamespace(host="memory", port=9092)
        cluster = SimpleNamespace(leader_for_partition=lambda _: 0, broker_metadata=lambda _: node)
        self.client = SimpleNamespace(cluster=cluster)

    async def start(self) -> None:
        self._broker.connect(self._client_id)

    async def stop(self) -> None:
        """Wait for what is on its way."""
        self._is_closed = True
        if self._sending:
            await asyncio.wait(self._sending)

    async def partitions_for(self, topic: str) -> set[int]:
        return await self._broker.known(topic, self._request_timeout)

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[RecordMetadata]:
        assert not (key is None and value is None), "Need at least one: key or value"
        await self._broker.known(topic, self._request_timeout)
        message = Message(key, value, headers or ())
        if message.size > self._max_request_size:
            raise MessageSizeTooLargeError("larger than max_request_size")
        return self._dispatch(TopicPartition(topic, partition), [message])

    def create_batch(self) -> MemoryBatch:
        return MemoryBatch(self._max_batch_size)

    async def send_batch(self, batch: MemoryBatch, topic: str, *, partition: int) -> asyncio.Future[RecordMetadata]:
        await self._broker.known(topic, self._request_timeout)
        return self._dispatch(TopicPartition(topic, partition), batch.messages)

    def _dispatch(self, tp: TopicPartition, messages: list[Message]) -> asyncio.Future[RecordMetadata]:
        if self._is_closed:
            raise ProducerClosed
        self._broker.raise_if_told("send", self._client_id)
        loop = asyncio.get_running_loop()
        acknowledgement: asyncio.Future[RecordMetadata] = loop.create_future()
        if self._broker.is_away or self._sending:
            task = loop.create_task(self._later(tp, messages, acknowledgement, self._last))
            self._last = task
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        else:
            self._arrive(tp, messages, acknowledgement)
        return acknowledgement

    async def _later(
        self,
        tp: TopicPartition,
        messages: list[Message],
        acknowledgement: asyncio.Future[RecordMetadata],
        before: asyncio.Task[None] | None,
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            await self._broker.answer(self._request_timeout)
        except KafkaTimeoutError as error:
            acknowledgement.set_exception(error)
        else:
            self._arrive(tp, messages, acknowledgement)

    def _arrive(
        self, tp: TopicPartition, messages: list[Message], acknowledgement: asyncio.Future[RecordMetadata]
    ) -> None:
        if tp.topic in self._broker.refused:
            self._broker.log.append(("refused", tp.topic))
            acknowledgement.set_exception(TopicAuthorizationFailedError(tp.topic))
            return
        limit = self._broker.configs[tp.topic].get("max.message.bytes")
        if limit is not None and sum(message.size for message in messages) > int(limit):
            acknowledgement.set_exception(MessageSizeTooLargeError("larger than max.message.bytes"))
            return
        offsets = [
            self._broker.put(
                tp.topic,
                each.value,
                each.key,
                partition=tp.partition,
                headers=each.headers,
                timestamp_ms=each.timestamp_ms,
            )
            for each in messages
        ]
        self._broker.log.append(("send", [each.value for each in messages]))
        last = self._broker.partition(tp).records[-1]

        def deliver() -> None:
            if not acknowledgement.done() and not acknowledgement.get_loop().is_closed():
                result = RecordMetadata(tp.topic, tp.partition, tp, offsets[0], last.timestamp, last.timestamp_type, 0)
                acknowledgement.set_result(result)

        self._broker.acknowledge_to(deliver)
        if not acknowledgement.done():
            expire = acknowledgement.get_loop().call_later(self._request_timeout, _expire, acknowledgement)
            acknowledgement.add_done_callback(lambda _: expire.cancel())


def _expire(acknowledgement: asyncio.Future[RecordMetadata]) -> None:
    if not acknowledgement.done():
        acknowledgement.set_exception(KafkaTimeoutError("not acknowledged"))
