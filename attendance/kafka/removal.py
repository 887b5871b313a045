"""KafkaCluster: takes records away, and says how long the broker keeps them. For erasing a person."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError, PolicyViolationError, TopicAuthorizationFailedError

from attendance.errors import KafkaUnavailable
from attendance.kafka.clients import create_admin, unavailable
from attendance.kafka.group_offsets import members
from attendance.kafka.topic_facts import find
from attendance.removal import Retention
from attendance.settings import KafkaSettings
from attendance.topics import DAY_MS, FOREVER, TABLE, Name

SEGMENT_MS: Final = 7 * DAY_MS
"""So long a record may stay in a segment that takes more records, where the broker does not say it."""


class KafkaCluster:
    """A `Cluster`. Each call may raise KafkaUnavailable."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        """Nothing is connected yet.

        Args:
            settings: How to reach Kafka.
            client_id: As whom.
        """
        self._settings = settings
        self._client_id = client_id

    async def is_embedded(self) -> bool:
        """See `Cluster.is_embedded`."""
        async with _Admin(self._settings, self._client_id) as admin:
            return (await find(admin, self._settings, (), self._client_id)).is_embedded

    async def retention(self) -> Retention:
        """See `Cluster.retention`.

        Raises:
            KafkaUnavailable: it does not answer, or the configuration of a topic may not be read.
        """
        async with _Admin(self._settings, self._client_id) as admin:
            facts = await find(admin, self._settings, tuple(TABLE), self._client_id)
        if facts.is_embedded:  # it has no retention, and forgets everything when it stops
            return Retention(dict.fromkeys(TABLE))
        kept: dict[Name, timedelta | None] = {}
        for name in TABLE:
            found = facts.topics.get(name)
            if found is None or found.configs is None:
                topic = self._settings.topics[name]
                if found is None and name not in facts.hidden:
                    raise KafkaUnavailable(f"topic {topic} does not exist; `punchstream topics create` makes it")
                needed = "DescribeConfigs" if found is not None else "Describe and DescribeConfigs"
                raise await unavailable(self._settings, TopicAuthorizationFailedError(topic), operation=needed)
            lasts = int(found.configs.get("retention.ms", str(FOREVER)))
            if lasts == FOREVER or "compact" in found.configs.get("cleanup.policy", ""):
                kept[name] = None
            else:
                kept[name] = timedelta(milliseconds=lasts + int(found.configs.get("segment.ms", SEGMENT_MS)))
        return Retention(kept)

    async def has_members(self, group: str) -> bool:
        """See `Cluster.has_members`."""
        return bool(await members(self._settings, group, self._client_id))

    async def remove_before(self, topic: str, offsets: Mapping[int, int]) -> None:
        """See `Cluster.remove_before`."""
        async with _Admin(self._settings, self._client_id, "Delete", topic) as admin:
            # Where it is refused, the library names no topic.
            before = {TopicPartition(topic, number): RecordsToDelete(offset) for number, offset in offsets.items()}
            try:
                await admin.delete_records(before)
            except PolicyViolationError as error:
                raise KafkaUnavailable(
                    f"topic {topic}: by its cleanup.policy no record is deleted; `punchstream topics repair` mends it"
                ) from error


class _Admin:
    """An admin client for one question. `operation` and `topics` say what it needs, for where the library does not."""

    def __init__(self, settings: KafkaSettings, client_id: str, operation: str | None = None, *topics: str) -> None:
        self._settings = settings
        self._operation, self._topics = operation, topics
        self._client = create_admin(settings, client_id)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        try:
            await self._client.start()
        except KafkaError as error:
            await self._client.close()
            raise await unavailable(self._settings, error) from error
        return self._client

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        await self._client.close()
        if isinstance(error, KafkaError):
            raise await unavailable(self._settings, error, operation=self._operation, topics=self._topics) from error
