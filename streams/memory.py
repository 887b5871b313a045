"""Memory: the punches that were kept, in memory, and their log in Kafka, from which a worker learns them anew.

The log (`dedup-state.v1`) has the raw topic's partitions. A record of it holds the punches that one step kept, each
with its device user, and says nothing about those kept before. So whoever reads it takes the union: a worker that was
paused, lost its partitions, and goes on writing for a moment can add what its successor adds too, but never undo
anything. Nothing is ever rewritten, and retention removes what is older than any horizon.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from struct import Struct
from typing import Final

import structlog

from attendance.errors import ConfigurationError
from attendance.kafka import OutRecord, Producer, read, until_available
from attendance.settings import KafkaSettings
from attendance.times import now
from streams.dedup import PUNCH_BYTES, Kept, remember

log = structlog.get_logger(__name__)

FORMAT: Final = b"\x01"
_KEY_LENGTH: Final = Struct(">H")


class Memory:
    """What is remembered of the device users of each partition.

    One task at a time uses it.
    """

    def __init__(self, kafka: KafkaSettings, producer: Producer, horizon: float) -> None:
        """Nothing is remembered yet. `horizon` is in seconds."""
        self._kafka = kafka
        self._producer = producer
        self._topic = kafka.topics["dedup_state"]
        self._horizon = horizon
        self._kept: dict[int, dict[bytes, bytes]] = {}
        self._positions: dict[int, int | None] = {}

    def __getitem__(self, partition: int) -> Mapping[bytes, bytes]:
        """The packed list of each device user of a partition, which `catch_up` must have named."""
        return self._kept[partition]

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Remember what the log holds of these partitions, and forget the others. Waits for Kafka.

        Of a partition that is remembered already only what others may have written is read.
        """
        self._positions = {partition: self._positions.get(partition) for partition in partitions}
        self._kept = {partition: self._kept.get(partition, {}) for partition in self._positions}
        await until_available(self._read)
        log.info("Memory is up to date.", partitions=len(self._kept), users=sum(map(len, self._kept.values())))

    async def _read(self) -> None:
        since = now() - timedelta(seconds=self._horizon)
        client = f"{self._kafka.topic_prefix}-stream-memory"
        async with aclosing(read(self._kafka, self._topic, client, since, self._positions)) as batches:
            async for batch in batches:
                kept = self._kept[batch[0].partition]
                for record in batch:
                    for key, entry in decode(record.value):
                        kept[key] = remember(kept.get(key, b""), entry, self._horizon)
                self._positions[batch[0].partition] = batch[-1].offset + 1

    async def add(self, partition: int, punches: Sequence[Kept], lists: Mapping[bytes, bytes]) -> None:
        """Write punches to the log, and then take the lists in which they stand. Waits for Kafka."""
        record = OutRecord(self._topic, None, encode(punches), partition=partition)
        offsets = await until_available(lambda: self._producer.send(record))
        offset = offsets[self._topic, partition]
        if offset == self._positions[partition]:
            # Nobody else has written, so the next time nothing needs to be read.
            self._positions[partition] = offset + 1
        self._kept[partition].update(lists)


def encode(punches: Iterable[Kept]) -> bytes:
    """The value of a log record: a format byte, then for each punch the length of its key, the key, the punch."""
    return FORMAT + b"".join(_KEY_LENGTH.pack(len(key)) + key + entry for key, entry in punches)


def decode(value: bytes | None) -> Iterator[Kept]:
    """What `encode` wrote.

    Raises:
        ConfigurationError: it is something else.
    """
    if value is None or not value.startswith(FORMAT):
        raise ConfigurationError("the dedup-state topic holds records that are not of this stream's format")
    at = len(FORMAT)
    while at < len(value):
        start = at + _KEY_LENGTH.size
        end = start + _KEY_LENGTH.unpack_from(value, at)[0]
        at = end + PUNCH_BYTES
        yield Kept(value[start:end], value[end:at])
