"""SequenceReader: counts devices' record numbers on the raw topic, and keeps the counts on the sequences topic."""

from collections.abc import Collection
from contextlib import aclosing

import structlog

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import InvalidRecord, StandingStill
from attendance.kafka.producer import Producer
from attendance.kafka.progress import Progress
from attendance.kafka.readers import OnwardReader, snapshot
from attendance.kafka.records import OutRecord, Record
from attendance.records.raw_event import RawEvent, is_replay_copy
from attendance.records.sequences import Sequences
from attendance.settings import KafkaSettings
from sinks.completeness.watermark import SequenceNumbers

log = structlog.get_logger(__name__)


class SequenceReader:
    """The record numbers of every device, up to the offsets that were read. A new process goes on from there."""

    def __init__(self, kafka: KafkaSettings, producer: Producer, client_id: str) -> None:
        """Nothing is read yet.

        Args:
            kafka: Where the topics are.
            producer: Writes the counts.
            client_id: By what name Kafka knows the consumers.
        """
        self._progress: Progress | None = None
        self._kafka = kafka
        self._producer = producer
        self._client_id = client_id
        self._raw = OnwardReader(kafka, kafka.topics["raw"], client_id)
        self._numbers: dict[str, SequenceNumbers] = {}
        self._offsets: dict[int, int] = {}
        self._partition_of: dict[str, int] = {}
        self._restored = False

    def use_progress(self, progress: Progress) -> None:
        """Read nothing while the raw topic lacks records that were not read yet.

        Args:
            progress: Notices that. It is closed with this.
        """
        self._progress = progress
        progress.look = self._look

    @property
    def devices(self) -> Collection[str]:
        """The devices of which a number was seen."""
        return self._numbers.keys()

    def numbers(self, device_id: str) -> SequenceNumbers:
        """The record numbers of a device; none have been seen if it is unknown."""
        return self._numbers.get(device_id) or SequenceNumbers()

    async def read_on(self, numbered: Collection[str]) -> None:
        """Read the raw topic to its end, and write down how far it was read and what was counted.

        Args:
            numbered: The devices that number their records. Others are not counted.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
            StandingStill: Records that were not read yet are gone.
        """
        if not self._restored:
            if self._progress is not None:
                await self._progress.until_known()
            for record in await snapshot(self._kafka, self._kafka.topics["sequences"], self._client_id):
                self._restore(record)
            self._restored = True
        await self._look()
        if self._progress is not None and self._progress.missing:
            raise StandingStill(" ".join(map(str, self._progress.missing.values())))
        before = dict(self._offsets)
        async with aclosing(self._raw.read_on(before)) as batches:
            async for batch in batches:
                for record in batch:
                    self._offsets[record.partition] = record.offset + 1
                    device_id = (record.key or b"").decode(errors="replace")
                    if device_id in numbered:
                        self._partition_of[device_id] = record.partition
                        self._count(device_id, record)
        changed = [partition for partition, offset in self._offsets.items() if before.get(partition) != offset]
        await self._producer.send(*(self._to_record(partition, numbered) for partition in changed))
        if self._progress is not None:
            await self._progress.write(self._offsets)

    async def _look(self) -> None:
        """See where to read on. What was never read is read from the first record, whatever an account says."""
        if self._progress is not None and self._offsets:
            self._offsets |= await self._progress.begin(self._offsets)

    async def close(self) -> None:
        """Let go of the consumers."""
        await self._raw.close()
        if self._progress is not None:
            await self._progress.close()

    def _count(self, device_id: str, record: Record) -> None:
        try:
            event = RawEvent.decode(record.value)
        except InvalidRecord:
            return  # the stream dead-letters it
        # A copy or a correction is no record of the device's: its number was counted the first time, and may be of a
        # count that the device has forgotten since.
        again = event.supersedes is not None or is_replay_copy(record.headers)
        if event.sequence is not None and not again:
            numbers = self._numbers.setdefault(device_id, SequenceNumbers())
            numbers.add(event.sequence, event.event_time, event.received_at)

    def _restore(self, record: Record) -> None:
        if record.value is None:
            return
        try:
            sequences = Sequences.decode(record.key, record.value)
        except InvalidRecord as error:
            # If it was one of ours, its partition of the raw topic is read from the beginning, which counts the same.
            log.error("Ignoring a record of sequences that cannot be read.", key=record.key, error=error.message)
            return
        at = (sequences.partition, sequences.offset)
        moves = NOTHING_MOVED if self._progress is None else self._progress.moves
        self._offsets[sequences.partition] = moves.next_now(self._kafka.topics["raw"], at, record)
        for device_id, counted in sequences.devices.items():
            self._partition_of[device_id] = sequences.partition
            self._numbers[device_id] = SequenceNumbers(counted)

    def _to_record(self, partition: int, numbered: Collection[str]) -> OutRecord:
        """The offset and what was counted up to it in one record, so that neither is ahead of the other."""
        devices = {
            device_id: self.numbers(device_id).counted
            for device_id, of in self._partition_of.items()
            if of == partition and device_id in numbered
        }
        sequences = Sequences(partition, self._offsets[partition], devices)
        return OutRecord(self._kafka.topics["sequences"], sequences.key, sequences.encode())
