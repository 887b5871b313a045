"""Memory: the punches that were kept, in a store, and their log in Kafka, from which a worker learns what it lacks.

The log (`dedup-state.v1`) has the raw topic's partitions. A record of it holds the punches that one step kept, each
with its device user, and says nothing about those kept before. So whoever reads it takes the union: a worker that was
paused, lost its partitions, and goes on writing for a moment can add what its successor adds too, but never undo
anything. Nothing is ever rewritten, and retention removes what is older than any horizon.

A record's key is random. A store remembers that of the last record it knows, and is believed only where the log still
has that record: not where the log was made anew, is another cluster's, or has lost its end.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from struct import Struct
from typing import Final

import structlog

from attendance.errors import ConfigurationError
from attendance.kafka.producer import Producer
from attendance.kafka.readers import read
from attendance.kafka.records import OutRecord, Record
from attendance.runtime import until_available
from attendance.settings import KafkaSettings
from attendance.times import now
from streams.dedup import PUNCH_BYTES, Kept, remember
from streams.store import Lists, OpenStore, Position, Store

log = structlog.get_logger(__name__)

FORMAT: Final = b"\x01"
_KEY_LENGTH: Final = Struct(">H")
_RANDOM_BYTES: Final = 8


class Memory:
    """What is remembered of the device users of each partition.

    One task at a time uses it.
    """

    def __init__(self, kafka: KafkaSettings, producer: Producer, horizon: float, open_store: OpenStore) -> None:
        """Nothing is remembered yet. `horizon` is in seconds."""
        self._kafka = kafka
        self._producer = producer
        self._topic = kafka.topics["dedup_state"]
        self._horizon = horizon
        self._open_store = open_store
        self._stores: dict[int, Store] = {}

    def __getitem__(self, partition: int) -> Lists:
        """The packed list of each device user of a partition, which `catch_up` must have named."""
        return self._stores[partition]

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Remember what the log holds of these partitions, and let go of the others. Waits for Kafka.

        Of a partition whose store is believed only what that does not know is read.

        Raises:
            ConfigurationError: a store is another process's, or the log is of another format.
            StoreFailed: the disk is broken.
        """
        wanted = set(partitions)
        self._close(self._stores.keys() - wanted)
        for partition in wanted - self._stores.keys():
            self._stores[partition] = await self._open_store(partition)
        count = await until_available(self._read)
        log.info("Memory is up to date.", partitions=len(wanted), read=count)

    def close(self) -> None:
        """Let go of all partitions."""
        self._close(list(self._stores))

    def _close(self, partitions: Iterable[int]) -> None:
        for partition in list(partitions):
            self._stores.pop(partition).close()

    async def _read(self) -> int:
        """Bring every store up to date. Returns how many records of the log that took."""
        count, disproved = await self._read_into(self._stores)
        if disproved:
            log.warning(
                "Stores are not of this log; it is read whole.", topic=self._topic, partitions=sorted(disproved)
            )
            for store in disproved.values():
                store.clear()
            more, _ = await self._read_into(disproved)
            count += more
        return count

    async def _read_into(self, stores: Mapping[int, Store]) -> tuple[int, dict[int, Store]]:
        """Read on from where these stores are. Returns the number of records, and the stores of another log."""
        count = 0
        begin = {number: store.position and store.position.offset for number, store in stores.items()}
        unproved = {number: store for number, store in stores.items() if store.position is not None}
        disproved: dict[int, Store] = {}
        since = now() - timedelta(seconds=self._horizon)
        client = self._kafka.client_id("stream-memory")
        async with aclosing(read(self._kafka, self._topic, client, since, begin)) as batches:
            async for batch in batches:
                partition = batch[0].partition
                store = stores[partition]
                records = batch
                if unproved.pop(partition, None) is not None:
                    if not _proves(batch[0], store.position):
                        disproved[partition] = store
                    records = batch[1:]
                if records and partition not in disproved:
                    self._learn(store, records)
                    count += len(records)
        return count, disproved | unproved

    def _learn(self, store: Store, records: Sequence[Record]) -> None:
        lists: dict[bytes, bytes] = {}
        for record in records:
            for key, entry in decode(record.value):
                lists[key] = remember(lists.get(key) or store.get(key, b""), entry, self._horizon)
        store.take(lists, _position(records[-1]))

    async def add(self, partition: int, punches: Sequence[Kept], lists: Mapping[bytes, bytes]) -> None:
        """Write punches to the log, and then take the lists in which they stand. Waits for Kafka."""
        marker = os.urandom(_RANDOM_BYTES)
        record = OutRecord(self._topic, marker, encode(punches), partition=partition)
        offsets = await until_available(lambda: self._producer.send(record))
        store = self._stores[partition]
        written = Position(offsets[self._topic, partition], marker)
        # Where somebody else has written meanwhile, that has to be read from here on the next time.
        next_offset = 0 if store.position is None else store.position.offset + 1
        store.take(lists, written if written.offset == next_offset else store.position)


def _position(record: Record) -> Position:
    return Position(record.offset, record.key or b"")


def _proves(record: Record, position: Position | None) -> bool:
    """Whether it is the last record that a store knows. A log of records without keys proves nothing."""
    return bool(record.key) and _position(record) == position


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
