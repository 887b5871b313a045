"""SeveralTopics: reads several topics on with one consumer and no group. Whoever uses it keeps the offsets."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from attendance.errors import KafkaUnavailable
from attendance.kafka.clients import create_consumer, unavailable
from attendance.kafka.consumer import WatchedConsumer
from attendance.kafka.following import Contact
from attendance.kafka.readers import Extent, assigned_partitions
from attendance.settings import KafkaSettings

At = tuple[str, int]
"""A topic's full name, and a partition."""
Ends = Mapping[TopicPartition, int]
"""By partition the offset that the next record gets."""

FETCHED_AT_ONCE: Final = 2_000
"""Records of one `next`."""
WAIT_MS: Final = 500


class SeveralTopics:
    """Every partition of several topics. Nothing is connected before `extents`."""

    def __init__(self, settings: KafkaSettings, topics: Sequence[str], client_id: str) -> None:
        """Nothing is connected yet.

        Args:
            settings: How to reach Kafka.
            topics: The full names.
            client_id: As whom.
        """
        self._settings = settings
        self._topics = topics
        self._consumer: WatchedConsumer = create_consumer(settings, *topics, client_id=client_id)
        self._is_started = False
        self._contact = Contact()

    async def extents(self) -> Mapping[At, Extent]:
        """What every partition has now.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        try:
            if not self._is_started:
                self._is_started = True
                # Which one is found below.
                with suppress(UnknownTopicOrPartitionError):
                    await self._consumer.start()
            partitions = [each for topic in self._topics for each in assigned_partitions(self._consumer, topic)]
            first = await self._consumer.beginning_offsets(partitions)
            end = await self._consumer.end_offsets(partitions)
        except KafkaError as error:
            raise await self._unavailable(error) from error
        return {(tp.topic, tp.partition): Extent(first[tp], end[tp]) for tp in partitions}

    def begin(self, offsets: Mapping[At, int]) -> None:
        """Read on from these offsets.

        Args:
            offsets: Of every partition.
        """
        for (topic, number), offset in offsets.items():
            self._consumer.seek(TopicPartition(topic, number), offset)

    async def next(self) -> Mapping[At, Sequence[ConsumerRecord]]:
        """The next records, in the order of each partition; nothing where none came within half a second.

        Raises:
            KafkaUnavailable: Kafka does not answer, or removals of compacted topics may have been missed: begin anew.
        """
        try:
            found = await self._consumer.getmany(timeout_ms=WAIT_MS, max_records=FETCHED_AT_ONCE)
            if self._contact.was_lost(self._consumer):
                raise KafkaUnavailable("Kafka was not heard of for long; removals may be gone")
        except KafkaError as error:
            raise await self._unavailable(error) from error
        return {(tp.topic, tp.partition): records for tp, records in found.items()}

    async def ends(self) -> Ends:
        """Up to where there are records now.

        Raises:
            KafkaUnavailable: Kafka does not answer.
        """
        try:
            ends: Ends = await self._consumer.end_offsets(self._consumer.assignment())
        except KafkaError as error:
            raise await self._unavailable(error) from error
        return ends

    async def behind(self, ends: Ends) -> int:
        """How many records there are up to these ends that `next` has not given. What compaction has removed is none.

        Args:
            ends: As `ends` gave them.

        Raises:
            KafkaUnavailable: Kafka does not answer.
        """
        try:
            behind: int = sum([max(0, end - await self._consumer.position(tp)) for tp, end in ends.items()])
        except KafkaError as error:
            raise await self._unavailable(error) from error
        return behind

    async def close(self) -> None:
        """Let go of the consumer."""
        await self._consumer.stop()

    async def _unavailable(self, error: KafkaError) -> KafkaUnavailable:
        return await unavailable(self._settings, error, operation="Read", topics=self._topics)
