"""DeduplicationState: the punches that were kept, in a store for each partition, and the changelog in Kafka.

The changelog (`dedup-state.v1`) has the raw topic's partitions. One of its records holds the punches that one step
kept, each with its device user, and says nothing about those kept before. So whoever reads it takes the union: a worker
that was paused, lost its partitions, and writes for a moment longer can add what its successor adds too, but never undo
anything. Nothing is ever rewritten, and retention removes what is older than any horizon.

A list forgets what is older than the horizon; the changelog does not. Where a punch is older than its list reaches, all
of the changelog is read into a `History`, which answers from then on.

What the changelog itself does not have any more is not known to anybody. Its first record says what that is: at offset
0 nothing is missing, and else what was kept before that record arrived. Since a changelog may be made anew, its first
record has a floor under the empty key, which is no device user's: 0 if the raw topic is read from its own first record,
and else the time at which the first raw record arrived that the changelog is of. A record of today's form, which older
versions can read.

A record's key is random. A store's checkpoint has the key of the last record that the store contains, and the store is
used only if the changelog still has that record. If the changelog was made anew, is another cluster's, or has lost its
end, the store is rebuilt.
"""

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception class
from typing import Final

import structlog

from attendance.adoptions import NOTHING_MOVED, Moves
from attendance.errors import ConfigurationError, InvalidRecord, Reason
from attendance.kafka.producer import Producer, send_until_acknowledged
from attendance.kafka.readers import read
from attendance.kafka.records import OutRecord, Record
from attendance.runtime import until_available
from attendance.settings import KafkaSettings
from attendance.times import now
from streams.dedup import ANY_RECORD, PUNCH_BYTES, Kept, Punch, insert
from streams.erased import is_erasure
from streams.history import History
from streams.store import Checkpoint, HistoryNeeded, Known, OpenStore, Store

log = structlog.get_logger(__name__)

FORMAT: Final = b"\x01"
LATER_FORMATS: Final = tuple(bytes([number]) for number in range(2, 16))
"""What a record of a later version may begin with. JSON and text begin with none of them."""
FLOOR_KEY: Final = b""
"""The key under which the changelog has a floor, as the time of a punch. Older versions take it for a device user's."""
_WHOLE: Final = 1
"""The code of a floor that also says: what the changelog had before this record is in this one and those after it."""
NO_OFFSET: Final = (1 << 64) - 1
"""The offset, in memory, of a punch whose raw record an adoption has left behind."""
_KEY_LENGTH: Final = Struct(">H")
_RANDOM_BYTES: Final = 8


class KnownOfPartition:
    """What is known of one partition: a `Known`."""

    def __init__(self, store: Store, history: History | None) -> None:
        self.floor = math.inf if store.floor is None else store.floor
        self.get = store.get
        self._history = history

    def near(self, key: bytes, first: float, last: float, /) -> tuple[bytes, float]:
        """See `Known`."""
        if self._history is None:
            raise HistoryNeeded
        return self._history.near(key, first, last), self._history.unknown_until

    def everything(self, key: bytes, /) -> bytes:
        """See `Known`."""
        if self._history is None:
            raise HistoryNeeded
        return self._history.everything(key)


class DeduplicationState:
    """The kept punches of every device user, by partition.

    One task at a time uses it.
    """

    def __init__(
        self, kafka: KafkaSettings, producer: Producer, horizon: float, ahead: float, open_store: OpenStore
    ) -> None:
        """Start with no partition.

        Args:
            kafka: How to reach Kafka, and the name of the changelog.
            producer: Writes the changelog.
            horizon: Seconds of event time that each list reaches back.
            ahead: Seconds by which the time of a punch may be ahead of its arrival.
            open_store: Opens the store of a partition.
        """
        self._kafka = kafka
        self._producer = producer
        self._topic = kafka.topics["dedup_state"]
        self._horizon = horizon
        self._ahead = ahead
        self._open_store = open_store
        self.moves: Callable[[], Moves] = lambda: NOTHING_MOVED
        """The adoptions, to be asked for whenever the changelog is read."""
        self.is_untouched: Callable[[int, int], bool] = lambda _partition, _offset: False
        """Whether it is certain that nothing was decided of what was before a raw record: partition and offset."""
        self._stores: dict[int, Store] = {}
        self._histories: dict[int, History] = {}
        self._first: dict[int, Kept] = {}  # what an empty changelog is to begin with
        self._restored: frozenset[int] = frozenset()

    def __getitem__(self, partition: int) -> Known:
        """What is known of a partition that `catch_up` and `begin` were called with."""
        return KnownOfPartition(self._stores[partition], self._histories.get(partition))

    @property
    def partitions(self) -> Collection[int]:
        """The partitions that are restored."""
        return self._restored

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Restore these partitions from the changelog, and close all others. Waits for Kafka.

        If the checkpoint of a store can be verified, only what comes after it is read.

        Raises:
            ConfigurationError: a store is another process's, or the changelog is of another format.
            StoreFailed: the disk is broken.
        """
        wanted = set(partitions)
        self._restored = frozenset()
        self._close(self._stores.keys() - wanted)
        for partition in wanted - self._stores.keys():
            self._stores[partition] = await self._open_store(partition)
        for history in self._histories.values():
            history.read_on()
        count = await until_available(self._restore)
        self._restored = frozenset(wanted)
        log.info("Deduplication state is up to date.", partitions=len(wanted), read=count)

    def close(self) -> None:
        """Close the stores of all partitions."""
        self._close(list(self._stores))

    def _close(self, partitions: Iterable[int]) -> None:
        for partition in list(partitions):
            self._stores.pop(partition).close()
            self._first.pop(partition, None)
            self._forget_history(partition)

    def _forget_history(self, partition: int) -> None:
        history = self._histories.pop(partition, None)
        if history is not None:
            history.close()

    async def begin(self, partition: int, first: Record) -> None:
        """Be ready to answer for a partition. Waits for Kafka, where the changelog has nothing of the horizon.

        Args:
            partition: One that `catch_up` was called with.
            first: The first raw record of it that is to be decided now.
        """
        store = self._stores[partition]
        if store.floor is not None:
            return
        if await until_available(lambda: self._has_records(partition)):
            store.floor = self._floor_at(now().timestamp() - self._horizon)
            return
        place = (partition, first.offset)
        was = self.moves().first_was(self._kafka.topics["raw"], place)
        is_begin = was == 0 or self.is_untouched(*place)
        floor = 0 if is_begin else self._floor_at(first.timestamp / 1000)
        if floor:
            log.warning(
                "The changelog is empty, and the raw topic is not at its begin: what is older than this record may have"
                " been decided before, and is left for a person to decide.",
                topic=self._topic,
                partition=partition,
                offset=first.offset,
            )
        store.floor = floor
        self._first[partition] = _floor(floor, first.offset)

    def _floor_at(self, seconds: float) -> int:
        """Up to which time punches may be that arrived up to this time."""
        return math.ceil(seconds + self._ahead)

    async def _has_records(self, partition: int) -> bool:
        client = self._kafka.client_id("stream-memory")
        async with aclosing(read(self._kafka, self._topic, client, None, {partition: None})) as batches:
            async for _ in batches:
                return True
        return False

    async def recall(self, partition: int) -> None:
        """Read what the changelog has beyond the lists of a partition, so that every punch can be decided.

        Waits for Kafka. Only what it does not have yet is read.

        Args:
            partition: One that `begin` was called with.
        """
        history = self._histories.setdefault(partition, History())
        count = await until_available(lambda: self._read_history(partition, history))
        history.is_current = True
        log.info("Read what the changelog has beyond the horizon.", partition=partition, read=count)

    async def _read_history(self, partition: int, history: History) -> int:
        count = 0
        client = self._kafka.client_id("stream-memory")
        begin = history.next_offset
        if begin is None:
            # Unless the changelog has a record, or is to begin with one of ours.
            first = self._first.get(partition)
            history.unknown_until = self._floor_in([first]) if first else self._floor_at(now().timestamp())
        async with aclosing(read(self._kafka, self._topic, client, None, {partition: begin})) as batches:
            async for batch in batches:
                if history.next_offset is None:
                    history.unknown_until = self._floor_before(batch[0])
                for record in batch:
                    punches = self._punches(record)
                    history.unknown_until = max(history.unknown_until, self._floor_in(punches))
                    history.add(each for each in punches if each.key != FLOOR_KEY)
                history.next_offset = batch[-1].offset + 1
                count += len(batch)
        return count

    def _floor_before(self, record: Record) -> int:
        """Up to which time punches may be that the changelog had before its first record that is read."""
        was = self.moves().first_was(self._topic, (record.partition, record.offset))
        return floor_before(record, _punches(record), self._ahead) if was else 0

    def _punches(self, record: Record) -> list[Kept]:
        """What a record of the changelog has, each with the offset that its raw record has now."""
        return as_of_now(_punches(record), record, self.moves(), self._kafka.topics["raw"])

    def _floor_in(self, punches: Iterable[Kept]) -> int:
        """The floor that a record has; 0 if it has none."""
        return floor_in(punches)

    async def _restore(self) -> int:
        """Bring every store up to date. Returns how many records of the changelog that took."""
        count, mismatched = await self._read_into(self._stores)
        if mismatched:
            log.warning(
                "Stores do not match the changelog; they are rebuilt from all of it.",
                topic=self._topic,
                partitions=sorted(mismatched),
            )
            for partition, store in mismatched.items():
                store.clear()
                self._forget_history(partition)
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
                    # A store of before an adoption has offsets of then.
                    if self.moves().is_before(batch[0]) or not _verify(batch[0], store.checkpoint):
                        mismatched[partition] = store
                    records = batch[1:]
                if records and partition not in mismatched:
                    self._apply(store, records)
                    count += len(records)
        return count, mismatched | unverified

    def _apply(self, store: Store, records: Sequence[Record]) -> None:
        lists: dict[bytes, bytes] = {}
        if store.floor is None:
            store.floor = self._floor_before(records[0])
        for record in records:
            for key, entry in self._punches(record):
                if key == FLOOR_KEY:
                    store.floor = max(store.floor, Punch.unpack(entry).seconds)
                else:
                    lists[key] = insert(lists.get(key) or store.get(key, b""), entry, self._horizon)
        store.write(lists, _checkpoint_of(records[-1]))

    async def add(self, partition: int, punches: Sequence[Kept], lists: Mapping[bytes, bytes]) -> None:
        """Write punches to the changelog, and then the new lists to the store. Waits for Kafka.

        Args:
            partition: Of the raw topic, and of the changelog.
            punches: What a step kept. Of no punches nothing is written, unless it would be the first record.
            lists: The whole packed list of each device user of these punches, with the punches in it.

        Raises:
            StoreFailed: the disk is broken.
        """
        first = self._first.get(partition)
        if first is not None:
            punches = [first, *punches]
        if not punches:
            return
        key = os.urandom(_RANDOM_BYTES)
        record = OutRecord(self._topic, key, encode(punches), partition=partition)
        offsets = await send_until_acknowledged(self._producer, [record])
        self._first.pop(partition, None)
        store = self._stores[partition]
        written = Checkpoint(offsets[self._topic, partition], key)
        if store.checkpoint is not None and written.offset <= store.checkpoint.offset:
            log.warning("The changelog was made anew while the stream ran.", topic=self._topic, partition=partition)
            store.write(lists, None)
            if partition in self._histories:
                self._histories[partition].read_anew()
            # This process goes on with what it knows. Whoever reads the changelog has to know that it lacks that.
            await self.add(partition, [_floor(self._floor_at(now().timestamp()), written.offset)], {})
            return
        # If somebody else has written meanwhile, their records have to be read from the old checkpoint the next time.
        next_offset = 0 if store.checkpoint is None else store.checkpoint.offset + 1
        store.write(lists, written if written.offset == next_offset else store.checkpoint)
        if partition in self._histories:
            self._histories[partition].note(punches, written.offset)


def _floor(seconds: int, offset: int) -> Kept:
    """What the changelog has of a floor."""
    return Kept(FLOOR_KEY, Punch(seconds, 0, offset).pack())


def whole_from_here(seconds: int, offset: int) -> Kept:
    """What the first record has of a changelog that was written anew: nothing from before it is missing.

    Args:
        seconds: The floor that the changelog had before.
        offset: That of the next record of the changelog.
    """
    return Kept(FLOOR_KEY, Punch(seconds, _WHOLE, offset).pack())


def as_of_now(punches: list[Kept], record: Record, moves: Moves, raw: str) -> list[Kept]:
    """What a record of the changelog has, each punch with the offset that its raw record has now.

    Args:
        punches: What is in it.
        record: The record.
        moves: The adoptions.
        raw: The full name of the raw topic.
    """
    if not moves.is_before(record):
        return punches

    def one(kept: Kept) -> Kept:
        if kept.key == FLOOR_KEY or is_erasure(kept.key):
            return kept
        punch = Punch.unpack(kept.entry)
        if punch.offset == ANY_RECORD:
            return kept
        now = moves.now(raw, (record.partition, punch.offset), record)
        # A record that is gone is not delivered again: no other one may pass for it.
        return Kept(kept.key, punch._replace(offset=NO_OFFSET if now is None else now[1]).pack())

    return [one(kept) for kept in punches]


def is_whole(punches: Iterable[Kept]) -> int | None:
    """Where a record of the changelog was written that has, with those after it, all that came before; None if none."""
    whole = (Punch.unpack(entry) for key, entry in punches if key == FLOOR_KEY)
    return next((punch.offset for punch in whole if punch.code == _WHOLE), None)


def floor_before(record: Record, punches: Iterable[Kept], ahead: float) -> int:
    """Up to which time punches may be that the changelog had before a record that is read first.

    Args:
        record: The record.
        punches: What is in it.
        ahead: Seconds by which the time of a punch may be ahead of its arrival.
    """
    for key, entry in punches:
        if key == FLOOR_KEY and Punch.unpack(entry).code == _WHOLE:
            return Punch.unpack(entry).seconds
    return math.ceil(record.timestamp / 1000 + ahead) if record.offset else 0


def floor_in(punches: Iterable[Kept]) -> int:
    """The floor that a record of the changelog has; 0 if it has none."""
    return max((Punch.unpack(entry).seconds for key, entry in punches if key == FLOOR_KEY), default=0)


def _punches(record: Record) -> list[Kept]:
    """What a record of the changelog has; nothing where it is not the stream's."""
    try:
        return decode(record.value)
    except InvalidRecord as error:
        log.error(
            "Ignoring a record of the changelog that is not the stream's.",
            partition=record.partition,
            offset=record.offset,
            error=error.message,
        )
        return []


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
