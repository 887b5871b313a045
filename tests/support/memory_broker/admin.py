"""What the product asks of aiokafka's admin client."""

from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource
from aiokafka.errors import (
    InvalidReplicationFactorError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata

from memory_broker.broker import MemoryBroker

DEFAULTS = {
    "cleanup.policy": "delete",
    "delete.retention.ms": "86400000",
    "max.compaction.lag.ms": "9223372036854775807",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
    "min.insync.replicas": "1",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
    "unclean.leader.election.enable": "false",
}
"""What Apache Kafka has where nothing else is set."""


class Created(NamedTuple):
    topic_errors: list[tuple[str, int, str | None]]


class Described(NamedTuple):
    API_VERSION: int
    resources: list[tuple[int, str | None, int, str, list[tuple[str, str, bool, int, bool, list[Any]]]]]


class DescribedGroups(NamedTuple):
    groups: list[tuple[int, str, str, str, str, list[str]]]


class Altered(NamedTuple):
    resources: list[tuple[int, str | None, int, str]]


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
        return {
            "brokers": [{"node_id": 0, "host": "memory", "port": 9092}],
            "cluster_id": self._broker.cluster_id,
        }

    async def list_topics(self) -> list[str]:
        await self._answer()
        return [name for name in self._broker.topics if name not in self._broker.secret_topics]

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

    async def describe_configs(self, config_resources: list[ConfigResource]) -> list[Described]:
        await self._answer()
        resources = []
        for asked in config_resources:
            own = self._broker.configs.get(asked.name) if asked.name in self._broker.topics else None
            is_secret = asked.name in self._broker.secret_configs | self._broker.secret_topics
            if own is None or is_secret:
                code = TopicAuthorizationFailedError.errno if is_secret else UnknownTopicOrPartitionError.errno
                resources.append((code, None, 2, asked.name, []))
                continue
            entries = [
                (key, value, False, 1 if key in own else 5, False, []) for key, value in (DEFAULTS | own).items()
            ]
            resources.append((0, None, 2, asked.name, entries))
        return [Described(2, resources)]

    async def alter_configs(self, config_resources: list[ConfigResource]) -> list[Altered]:
        """Replaces all that is set for a topic."""
        await self._answer()
        for asked in config_resources:
            self._broker.configs[asked.name] = dict(asked.configs)
        return [Altered([(0, None, 2, asked.name) for asked in config_resources])]

    async def delete_records(
        self, records_to_delete: dict[TopicPartition, RecordsToDelete]
    ) -> dict[TopicPartition, int]:
        await self._answer()
        for tp, before in records_to_delete.items():
            if "delete" not in (DEFAULTS | self._broker.configs[tp.topic])["cleanup.policy"].split(","):
                raise PolicyViolationError(str(tp))
            self._broker.delete_before(tp.topic, tp.partition, before.before_offset)
        return {tp: self._broker.partition(tp).start for tp in records_to_delete}

    async def describe_topics(self, topics: list[str] | None = None) -> list[dict[str, Any]]:
        await self._answer()
        topics = await self.list_topics() if topics is None else topics
        return [
            {
                "topic": name,
                "partitions": [{"partition": n, "replicas": [0]} for n in range(len(self._broker.topics[name]))],
            }
            for name in topics
        ]

    async def describe_consumer_groups(self, group_ids: list[str]) -> list[DescribedGroups]:
        await self._answer()
        groups = [(each, self._broker.groups[each].members) for each in group_ids]
        states = [(0, name, "Stable" if members else "Empty", "consumer", "", members) for name, members in groups]
        return [DescribedGroups(states)]

    async def list_consumer_group_offsets(
        self, group_id: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        await self._answer()
        offsets = self._broker.groups[group_id].offsets
        return {tp: OffsetAndMetadata(offsets.get(tp, -1), "") for tp in partitions}
