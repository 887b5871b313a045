"""A log in memory: what operations read and write, without a broker."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from attendance.kafka.records import Headers, OutRecord
from attendance.topics import Name, Topics
from attendance.wire import Place
from operations.log import Send

Begin = Mapping[int, int | None]
STANDING: tuple[Name, ...] = ("accounts", "console_activity", "console_users", "fleet", "jobs")


@dataclass
class StoredRecord:
    """A record of a topic."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class MemoryLog:
    """An `operations.log.Log`. What is sent is kept in `sent`, and stands on no topic, but for those of `STANDING`."""

    def __init__(self, prefix: str = "t") -> None:
        self.topics = Topics(prefix)
        self.sent: list[OutRecord] = []
        self.begins: dict[Name, Begin | None] = {}
        """From where each topic that was read was read."""
        self.refuses: Exception | None = None
        """Raised instead of taking a record, once `accepts` more have been taken."""
        self.accepts = 0
        self.first: dict[tuple[Name, int], int] = {}
        """Where partitions begin whose records were removed by retention."""
        self.partitions: dict[Name, int] = {}
        """How many a topic has, where some are empty."""
        self.groups: dict[tuple[str, Name], dict[int, int | None]] = {}
        """What the group of a stage has committed in a topic."""
        self.in_groups: dict[str, list[str]] = {}
        """Who is in the group of a stage."""
        self.configuration: list[str] = []
        """What is wrong with the configuration of topics."""
        self._records: dict[Name, list[StoredRecord]] = defaultdict(list)
        self._ends: dict[tuple[Name, int], int] = {}

    def add(
        self,
        topic: Name,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        *,
        partition: int = 0,
        offset: int | None = None,
        timestamp: int = 0,
    ) -> StoredRecord:
        records = self._records[topic]
        if offset is None:
            offset = self._ends.get((topic, partition), 0)
        self._ends[topic, partition] = max(offset + 1, self._ends.get((topic, partition), 0))
        record = StoredRecord(self.topics[topic], partition, offset, timestamp, key, value, headers)
        records.append(record)
        return record

    def put(self, topic: Name, *records: StoredRecord) -> None:
        self._records[topic].extend(records)
        for each in records:
            at = topic, each.partition
            self._ends[at] = max(each.offset + 1, self._ends.get(at, 0))

    def retain(self, topic: Name, first: int, partition: int = 0) -> None:
        """Retention removes what is before an offset."""
        first = min(first, self._ends.get((topic, partition), 0))
        self.first[topic, partition] = max(first, self.first.get((topic, partition), 0))
        self.remove(topic, lambda record: record.partition == partition and record.offset < first)

    def remove(self, topic: Name, which: Callable[[StoredRecord], bool]) -> None:
        """Records are gone: compaction, or somebody, removed them."""
        self._records[topic] = [each for each in self._records[topic] if not which(each)]

    def cut(self, topic: Name, end: int, partition: int = 0) -> None:
        """A log is cut short: what is from an offset on is gone, and the next record gets that offset."""
        self.remove(topic, lambda record: record.partition == partition and record.offset >= end)
        self._ends[topic, partition] = min(end, self._ends.get((topic, partition), 0))
        self.first[topic, partition] = min(end, self.first.get((topic, partition), 0))

    def records(self, topic: Name) -> list[StoredRecord]:
        return list(self._records[topic])

    async def extents(self, topic: Name) -> dict[int, tuple[int, int]]:
        numbers = {*range(self.partitions.get(topic, 1)), *(number for of, number in self._ends if of == topic)}
        return {number: (self.first.get((topic, number), 0), self._ends.get((topic, number), 0)) for number in numbers}

    async def at(self, topic: Name, places: Collection[Place]) -> dict[Place, StoredRecord]:
        found = {(each.partition, each.offset): each for each in self._records[topic]}
        return {place: found[place] for place in places if place in found}

    async def committed(self, topic: Name, stage: str) -> dict[int, int | None]:
        return self.groups.get((stage, topic), {})

    async def configuration_faults(self) -> list[str]:
        return self.configuration

    async def members(self, stage: str) -> list[str]:
        return self.in_groups.get(stage, [])

    async def commit(self, topic: Name, stage: str, offsets: Mapping[int, int]) -> None:
        self.groups[stage, topic] = {**self.groups.get((stage, topic), {}), **offsets}

    async def read(
        self, topic: Name, *, since: datetime | None = None, begin: Begin | None = None
    ) -> AsyncIterator[list[StoredRecord]]:
        self.begins[topic] = begin
        first = 0 if since is None else since.timestamp() * 1000
        yield [
            each
            for each in self._records[topic]
            if each.timestamp >= first
            and (begin is None or (each.partition in begin and each.offset >= (begin[each.partition] or 0)))
        ]

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Send]:
        async def send(*records: OutRecord) -> None:
            if self.refuses is not None and len(self.sent) >= self.accepts:
                raise self.refuses
            for record in records:
                for name in STANDING:
                    if record.topic == self.topics[name]:
                        self.add(name, record.key, record.value, record.headers)
                        break
                else:
                    self.sent.append(record)

        yield send

    async def until_delivered(self) -> None:
        return
