"""A log in memory: what operations read and write, without a broker."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from attendance.kafka.records import Headers, OutRecord
from attendance.topics import Name, Topics
from operations.log import Send

Begin = Mapping[int, int | None]


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
    """An `operations.log.Log`. What is sent is kept in `sent`, and stands on no topic."""

    def __init__(self, prefix: str = "t") -> None:
        self.topics = Topics(prefix)
        self.sent: list[OutRecord] = []
        self.begins: dict[Name, Begin | None] = {}
        """From where each topic that was read was read."""
        self.refuses: Exception | None = None
        """Raised instead of taking a record, once `accepts` more have been taken."""
        self.accepts = 0
        self._records: dict[Name, list[StoredRecord]] = defaultdict(list)

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
            offset = sum(each.partition == partition for each in records)
        record = StoredRecord(self.topics[topic], partition, offset, timestamp, key, value, headers)
        records.append(record)
        return record

    def put(self, topic: Name, *records: StoredRecord) -> None:
        self._records[topic].extend(records)

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
            self.sent += records

        yield send

    async def until_delivered(self) -> None:
        return
