"""The log that operations read and write: what they need of it, and Kafka's topics as one."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.settings import KafkaSettings
from attendance.topics import Name, Topics
from attendance.wire import Place

_T = TypeVar("_T")

Send = Callable[..., Awaitable[object]]
"""Takes any number of `OutRecord`s, and returns when the log has all of them. Raises KafkaUnavailable."""


class Log(Protocol):
    """Every topic of one prefix."""

    @property
    def topics(self) -> Topics:
        """The full names."""

    def read(
        self, topic: Name, *, since: datetime | None = None, begin: Mapping[int, int | None] | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Every record that a topic holds now, in batches, in offset order within a partition.

        Args:
            topic: Which one.
            since: From the first record of that time on.
            begin: Only these partitions, each from the offset given, if one is.

        Raises:
            KafkaUnavailable: Kafka does not answer, or there is no such topic.
        """

    async def extents(self, topic: Name) -> Mapping[int, tuple[int, int]]:
        """By partition the offset of the first record that is there, and the one that the next record will have.

        Raises:
            KafkaUnavailable: Kafka does not answer, or there is no such topic.
        """

    async def at(self, topic: Name, places: Collection[Place]) -> Mapping[Place, Record]:
        """The records at these places; those that are not there are left out. Raises KafkaUnavailable."""

    async def committed(self, topic: Name, stage: str) -> Mapping[int, int | None]:
        """By partition the offset that the group of a stage has committed; None where it has none.

        Raises:
            KafkaUnavailable: Kafka does not answer, or there is no such topic.
        """

    async def members(self, stage: str) -> Sequence[str]:
        """The client ids of those who are in the group of a stage. Raises KafkaUnavailable."""

    async def commit(self, topic: Name, stage: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets for the group of a stage, which has no members.

        Args:
            topic: Of which topic.
            stage: Whose group.
            offsets: By partition.

        Raises:
            KafkaUnavailable: Kafka does not answer, or does not take them.
        """

    async def configuration_faults(self) -> Sequence[str]:
        """Where topics are configured so that records are lost or go wrong, each as a sentence with what mends it.

        Raises:
            KafkaUnavailable: Kafka does not answer.
        """

    def sending(self) -> AbstractAsyncContextManager[Send]:
        """Send records while the context lasts."""

    async def until_delivered(self) -> None:
        """Return when the sink has committed every check-in that is there now. Raises KafkaUnavailable."""


class KafkaLog:
    """The topics of Kafka as a `Log`."""

    def __init__(self, settings: KafkaSettings, client: str) -> None:
        """Nothing is connected yet.

        Args:
            settings: Which cluster and which prefix.
            client: What asks, such as `audit`; with the prefix before it, it is the client id.
        """
        self._settings = settings
        self._client_id = settings.client_id(client)

    @property
    def topics(self) -> Topics:
        """The full names."""
        return self._settings.topics

    def read(
        self, topic: Name, *, since: datetime | None = None, begin: Mapping[int, int | None] | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """See `Log.read`."""
        # Kafka's client is slow to load, so only a command that asks Kafka waits for that.
        from attendance.kafka.readers import read

        return read(self._settings, self.topics[topic], self._client_id, since, begin)

    async def extents(self, topic: Name) -> Mapping[int, tuple[int, int]]:
        """See `Log.extents`."""
        from attendance.kafka.extents import extents

        return await extents(self._settings, self.topics[topic], self._client_id)

    async def at(self, topic: Name, places: Collection[Place]) -> Mapping[Place, Record]:
        """See `Log.at`."""
        from attendance.kafka.readers import PlaceReader

        reader = PlaceReader(self._settings, self.topics[topic], self._client_id)
        try:
            return await reader(places)
        finally:
            await reader.close()

    async def committed(self, topic: Name, stage: str) -> Mapping[int, int | None]:
        """See `Log.committed`."""
        from attendance.kafka.extents import committed

        group = self._settings.group(stage)
        return await committed(self._settings, self.topics[topic], group, self._client_id)

    async def members(self, stage: str) -> Sequence[str]:
        """See `Log.members`."""
        from attendance.kafka.group_offsets import members

        return await members(self._settings, self._settings.group(stage), self._client_id)

    async def commit(self, topic: Name, stage: str, offsets: Mapping[int, int]) -> None:
        """See `Log.commit`."""
        from attendance.kafka.group_offsets import commit

        await commit(self._settings, self.topics[topic], self._settings.group(stage), offsets, self._client_id)

    async def configuration_faults(self) -> Sequence[str]:
        """See `Log.configuration_faults`."""
        from attendance.kafka.topic_facts import check_topics
        from attendance.topic_findings import refusals

        return [str(each) for each in refusals(await check_topics(self._settings, client_id=self._client_id))]

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Send]:
        """See `Log.sending`."""
        from attendance.kafka.producer import Producer

        producer = Producer(self._settings, self._client_id)
        try:
            yield producer.send
        finally:
            await producer.stop()

    async def until_delivered(self) -> None:
        """See `Log.until_delivered`."""
        from attendance.kafka.groups import GroupProgress

        progress = GroupProgress(self._settings, self._client_id)
        try:
            await progress.until_through(self.topics["checkins"], self._settings.group("sink"))
        finally:
            await progress.close()


class DryRun:
    """A `Log` that is read and not written: what is sent is gone."""

    def __init__(self, log: Log) -> None:
        """Reads `log`."""
        self._log = log

    @property
    def topics(self) -> Topics:
        """The full names."""
        return self._log.topics

    def read(
        self, topic: Name, *, since: datetime | None = None, begin: Mapping[int, int | None] | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """See `Log.read`."""
        return self._log.read(topic, since=since, begin=begin)

    async def extents(self, topic: Name) -> Mapping[int, tuple[int, int]]:
        """See `Log.extents`."""
        return await self._log.extents(topic)

    async def at(self, topic: Name, places: Collection[Place]) -> Mapping[Place, Record]:
        """See `Log.at`."""
        return await self._log.at(topic, places)

    async def committed(self, topic: Name, stage: str) -> Mapping[int, int | None]:
        """See `Log.committed`."""
        return await self._log.committed(topic, stage)

    async def members(self, stage: str) -> Sequence[str]:
        """See `Log.members`."""
        return await self._log.members(stage)

    async def commit(self, topic: Name, stage: str, offsets: Mapping[int, int]) -> None:
        """Nothing is committed."""

    async def configuration_faults(self) -> Sequence[str]:
        """See `Log.configuration_faults`."""
        return await self._log.configuration_faults()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Send]:
        """See `Log.sending`."""

        async def send(*_: object) -> None:
            return

        yield send

    async def until_delivered(self) -> None:
        """Nothing is sent, so there is nothing to wait for."""


@dataclass(slots=True)
class Skipped:
    """The records that could not be read, counted by topic, and why the first of each could not."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, record: Record, error: InvalidRecord) -> None:
        """Count a record.

        Args:
            record: Of any topic.
            error: Why it cannot be read.
        """
        self.counts[record.topic] = self.counts.get(record.topic, 0) + 1
        self.first.setdefault(record.topic, f"{record.partition}:{record.offset}, {error.message}")

    def lines(self) -> list[str]:
        """A sentence for each topic."""
        return [
            f"Skipped {count:,} {'record' if count == 1 else 'records'} of {topic} that cannot be read; "
            f"the first is {self.first[topic]}"
            for topic, count in sorted(self.counts.items())
        ]


def decoded(records: Iterable[Record], decode: Callable[[Record], _T], skipped: Skipped) -> Iterator[tuple[Record, _T]]:
    """Each record with what it says; those that cannot be read are skipped.

    Args:
        records: Of any topic.
        decode: Raises InvalidRecord where a record is something else.
        skipped: Where the others are counted.
    """
    for record in records:
        try:
            said = decode(record)
        except InvalidRecord as error:
            skipped.add(record, error)
        else:
            yield record, said


async def take_all(log: Log, topic: Name, take: Callable[[Record], object], skipped: Skipped) -> None:
    """Take in each record of a topic.

    Args:
        log: The topics.
        topic: Which one.
        take: Raises InvalidRecord where a record is something else.
        skipped: Where those are counted.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    async for batch in log.read(topic):
        for _ in decoded(batch, take, skipped):
            pass
