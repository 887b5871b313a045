"""What the product asks of aiokafka's admin client."""

from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import InvalidReplicationFactorError, TopicAlreadyExistsError
from aiokafka.structs import OffsetAndMetadata

from memory_broker.broker import MemoryBroker


class Created(NamedTuple):
    topic_errors: list[tuple[str, int, str | None]]


class MemoryAdmin:
    """An admin client of a broker in memory, which is a cluster of one."""

    def __init__(self, broker: MemoryBroker, *, client_id: str, request_timeout_ms: int = 40_000, **_: Any) -> None:
        self._broker = broker
        self._client_id = client_id
        self._request_timeout = request_timeout_ms / 1000

    async def start(self) -> None:
        self._broker.connect(self._client_id)

    async def close(self) -> None: ...

    async def _answer(self) -> None:
        self._broker.raise_if_told("admin", self._client_id)
        await self._broker.answer(self._request_timeout)

    async def describe_cluster(self) -> dict[str, Any]:
        await self._answer()
        return {"brokers": [{"node_id": 0, "host": "memory", "port": 9092}]}

    async def list_topics(self) -> list[str]:
        await self._answer()
        return list(self._broker.topics)

    async def create_topics(self, new_topics: list[NewTopic]) -> Created:
        await self._answer()
        errors = []
        for topic in new_topics:
            code = 0
            if topic.name in self._broker.topics:
                code = TopicAlreadyExistsError.errno
            elif topic.replication_factor > 1:
                code = InvalidReplicationFactorError.errno
            else:
                self._broker.create_topic(topic.name, topic.num_partitions, dict(topic.topic_configs))
            errors.append((topic.name, code, None))
        return Created(errors)

    async def describe_topics(self, topics: list[str]) -> list[dict[str, Any]]:
        await self._answer()
        return [
            {
                "topic": name,
                "partitions": [{"partition": n, "replicas": [0]} for n in range(len(self._broker.topics[name]))],
            }
            for name in topics
        ]

    async def list_consumer_group_offsets(
        self, group_id: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        await self._answer()
        offsets = self._broker.groups[group_id].offsets
        return {tp: OffsetAndMetadata(offsets.get(tp, -1), "") for tp in partitions}
