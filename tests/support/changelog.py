"""The changelog topic, as `attendance.kafka.readers.read` and a producer see it, without a broker."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from attendance.errors import KafkaUnavailable
from attendance.kafka.records import OutRecord
from streams.dedup import Kept
from streams.state import encode


class Changelog:
    """Two partitions of it. `first` is the first offset that each still has, `time` what records are dated by."""

    def __init__(self, time: float = 0) -> None:
        self.records: dict[int, list[OutRecord]] = {0: [], 1: []}
        self.times: dict[int, list[float]] = {0: [], 1: []}
        self.first = {0: 0, 1: 0}
        self.reads: list[dict[int, int | None]] = []
        self.failures = 0
        self.time = time

    def write(self, *punches: Kept, key: bytes | None = b"somebody", partition: int = 0) -> None:
        """A record, as another worker writes it."""
        self._append(OutRecord("changelog", key, encode(punches), partition=partition))

    def put(self, value: bytes, key: bytes | None = b"somebody") -> None:
        """A record of somebody who is no worker."""
        self._append(OutRecord("changelog", key, value, partition=0))

    def make_anew(self, partition: int = 0) -> None:
        """Somebody deletes the topic and makes it again."""
        self.records[partition], self.times[partition], self.first[partition] = [], [], 0

    async def send(self, record: OutRecord) -> Mapping[tuple[str, int], int]:
        assert record.partition is not None
        self._append(record)
        return {(record.topic, record.partition): len(self.records[record.partition]) - 1}

    def _append(self, record: OutRecord) -> None:
        assert record.partition is not None
        self.records[record.partition].append(record)
        self.times[record.partition].append(self.time)

    async def read(
        self,
        _kafka: object,
        _topic: str,
        _client: str,
        since: datetime | None,
        begin: Mapping[int, int | None],
    ) -> AsyncGenerator[list[Any], None]:
        self.reads.append(dict(begin))
        for partition, offset in begin.items():
            records, times = self.records[partition], self.times[partition]
            at = max(self.first[partition], offset or 0)
            if since is not None and offset is None:
                at = next((n for n in range(at, len(times)) if times[n] >= since.timestamp()), len(times))
            for each in range(at, len(records)):
                if self.failures:
                    self.failures -= 1
                    raise KafkaUnavailable("away")
                record = records[each]
                yield [
                    SimpleNamespace(
                        partition=partition,
                        offset=each,
                        key=record.key,
                        value=record.value,
                        timestamp=round(times[each] * 1000),
                    )
                ]
