"""DeduplicationState: the punches that were kept, in a store for each partition, and the changelog in Kafka.

The changelog (`dedup-state.v1`) has the raw topic's partitions. One of its records holds the punches that one step
kept, each with its device user, and says nothing about those kept before. So whoever reads it takes the union: a worker
that was paused, lost its partitions, and writes for a moment longer can add what its successor adds too, but never undo
anything. Nothing is ever rewritten, and retention removes what is older than any horizon.

A record's key is random. A store's checkpoint has the key of the last record that the store contains, and the store is
used only if the changelog still has that record. If the changelog was made anew, is another cluster's, or has lost its
end, the store is rebuilt.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception class
from typing import Final

import structlog

from attendance.errors import ConfigurationError, InvalidRecord, Reason
from attendance.kafka.producer import Producer
from attendance.kafka.readers import read
from attendance.kafka.records import OutRecord, Record
from attendance.runtime import until_available
from attendance.settings import KafkaSettings
from attendance.times import now
from streams.dedup import PUNCH_BYTES, Kept, insert
from streams.store import Checkpoint, Lists, OpenStore, Store

log = structlog.get_logger(__name__)

FORMAT: Final = b"\x01"
LATER_FORMATS: Final = tuple(bytes([number]) for number in range(2, 16))
"""What a record of a later version may begin with. JSON and text begin with none of them."""
_KEY_LENGTH: Final = Struct(">H")
_RANDOM_BYTES: Final = 8


class DeduplicationState:
    """The kept punches of every device user, by partition.

    One task at a time uses it.
    """

    def __init__(self, kafka: KafkaSettings, producer: Producer, horizon: float, open_store: OpenStore) -> None:
        """Start with no partition.

        Args:
            kafka: How to reach Kafka, and the name of the changelog.
            producer: Writes the changelog.
            horizon: Seconds of event time that each list reaches back.
            open_store: Opens the store of a partition.
        """
        self._kafka = kafka
        self._producer = producer
        self._topic = kafka.topics["dedup_state"]
        self._horizon = horizon
        self._open_store = open_store
        self._stores: dict[int, Store] = {}

    def __getitem__(self, partition: int) -> Lists:
        """The packed list of each device user of a partition that `catch_up` was called with."""
        return self._stores[partition]

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Restore these partitions from the changelog, and close all others. Waits for Kafka.

        If the checkpoint of a store can be verified, only what comes after it is read.

        Raises:
            ConfigurationError: a store is another process's, or the changelog is of another format.
            StoreFailed: the disk is broken.
        """
        wanted = set(partitions)
        self._close(self._stores.keys() - wanted)
        for partition in wanted - self._stores.keys():
            self._stores[partition] = await self._open_store(partition)
        count = await until_available(self._restore)
        log.info("Deduplication state is up to date.", partitions=len(wanted), read=count)

    def close(self) -> None:
        """Close the stores of all partitions."""
        self._close(list(self._stores))

    def _close(self, partitions: Iterable[int]) -> None:
        for partition in list(partitions):
            self._stores.pop(partition).close()

    async def _restore(self) -> int:
        """Bring every store up to date. Returns how many records of the changelog that took."""
        count, mismatched = await self._read_into(self._stores)
        if mismatched:
            log.warning(
                "Stores do not match the changelog; they are rebuilt from all of it.",
                topic=self._topic,
                partitions=sorted(mismatched),
            )
            for store in mismatched.values():
                store.clear()
            more, _ = await self._read_into(mismatched)
            count += more
        return count

    async def _read_into(self, stores: Mapping[int, Store]) -> tuple[int, dict[int, Store]]:
        """Read on from the checkpoints. Returns the number of records, and the stores that do not match."""
        count = 0
        begin = {number: store.checkpoint and store.checkpoint.offset for number, store in stores.items()}
        unverified = {number: store for number, store in stores.items() if store.checkpoint is not None}
        mismatched: dict[int, Store] = {}
        since = now() - timedelta(seconds=self._horizon)
        client = self._kafka.client_id("stream-memory")
        async with aclosing(read(self._kafka, self._topic, client, since, begin)) as batches:
            async for batch in batches:
                partition = batch[0].partition
                store = stores[partition]
                records = batch
                if unverified.pop(partition, None) is not None:
                    if not _verify(batch[0], store.checkpoint):
                        mismatched[partition] = store
                    records = batch[1:]
                if records and partition not in mismatched:
                    self._apply(store, records)
                    count += len(records)
        return count, mismatched | unverified

    def _apply(self, store: Store, records: Sequence[Record]) -> None:
        lists: dict[bytes, bytes] = {}
        for record in records:
            try:
                punches = decode(record.value)
            except InvalidRecord as error:
                log.error(
                    "Ignoring a record of the changelog that is not the stream's.",
                    partition=record.partition,
                    offset=record.offset,
                    error=error.message,
                )
                continue
            for key, entry in punches:
                lists[key] = insert(lists.get(key) or store.get(key, b""), entry, self._horizon)
        store.write(lists, _checkpoint_of(records[-1]))

    async def add(self, partition: int, punches: Sequence[Kept], lists: Mapping[bytes, bytes]) -> None:
        """Write punches to the changelog, and then the new lists to the store. Waits for Kafka.

        Args:
            partition: Of the raw topic, and of the changelog.
            punches: What a step kept.
            lists: The whole packed list of each device user of these punches, with the punches in it.

        Raises:
            StoreFailed: the disk is broken.
        """
        key = os.urandom(_RANDOM_BYTES)
        record = OutRecord(self._topic, key, encode(punches), partition=partition)
        offsets = await until_available(lambda: self._producer.send(record))
        store = self._stores[partition]
        written = Checkpoint(offsets[self._topic, partition], key)
        # If somebody else has written meanwhile, their records have to be read from the old checkpoint the next time.
        next_offset = 0 if store.checkpoint is None else store.checkpoint.offset + 1
        store.write(lists, written if written.offset == next_offset else store.checkpoint)


def _checkpoint_of(record: Record) -> Checkpoint:
    return Checkpoint(record.offset, record.key or b"")


def _verify(record: Record, checkpoint: Checkpoint | None) -> bool:
    """Whether this is the record of the checkpoint. A record without a key verifies nothing."""
    return bool(record.key) and _checkpoint_of(record) == checkpoint


def encode(punches: Iterable[Kept]) -> bytes:
    """The value of a changelog record: a format byte, then for each punch the length of its key, the key, the punch."""
    return FORMAT + b"".join(_KEY_LENGTH.pack(len(key)) + key + entry for key, entry in punches)


def decode(value: bytes | None) -> list[Kept]:
    """What `encode` wrote.

    Raises:
        ConfigurationError: a later version wrote it. Without its punches, their duplicates would be let through.
        InvalidRecord: it is something else.
    """
    if value is not None and value.startswith(LATER_FORMATS):
        raise ConfigurationError("the dedup-state topic holds records of a later version's format")
    if value is None or not value.startswith(FORMAT):
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, "not of this stream's format")
    punches = []
    at = len(FORMAT)
    try:
        while at < len(value):
            start = at + _KEY_LENGTH.size
            end = start + _KEY_LENGTH.unpack_from(value, at)[0]
            at = end + PUNCH_BYTES
            punches.append(Kept(value[start:end], value[end:at]))
    except StructError as error:
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, "breaks off") from error
    if at > len(value):
        raise InvalidRecord(Reason.UNDECODABLE_RECORD, "breaks off")
    return punches
