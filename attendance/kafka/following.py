"""What a follower of a compacted topic knows, and how it notices that a removal was gone before it looked.

Compaction lets go of a removal a while after it was written (`delete.retention.ms`). Whoever did not hear from the
broker for so long never sees it, and would keep what was removed until its restart. So after a quarter of that time,
and whenever it has a new consumer, a follower reads the topic as a whole and compares.
"""

import time
from collections.abc import Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from attendance.topics import REMOVALS_KEPT_MS

READ_AGAIN_AFTER_MS: Final = REMOVALS_KEPT_MS // 4


class Entries:
    """Gives what a compacted topic says to a cache: each record as it comes, and what is missing as a removal.

    The first reading is given as it comes. A later one is kept back until it is whole, and given then: in between, the
    cache would go back to what once was.
    """

    def __init__(self, topic: str, apply: Callable[[ConsumerRecord], object]) -> None:
        """Nothing is read yet.

        Args:
            topic: Its full name.
            apply: Takes a record in; one without a value removes its key.
        """
        self._topic = topic
        self._apply = apply
        self._given: set[bytes | None] = set()
        self._found: set[bytes | None] = set()
        self._kept_back: dict[bytes | None, ConsumerRecord] | None = None
        self._was_whole = False
        self.is_whole = False
        """Whether all that the topic had when the reading began has been given."""

    def begin(self) -> None:
        """A reading from the first record begins."""
        self.is_whole = False
        self._found = set()
        self._kept_back = {} if self._was_whole else None

    def take(self, record: ConsumerRecord) -> None:
        """Take in the next record."""
        if record.value is None:
            self._found.discard(record.key)
        else:
            self._found.add(record.key)
        if self._kept_back is None:
            self._give(record)
        else:
            self._kept_back.pop(record.key, None)
            self._kept_back[record.key] = record

    def complete(self) -> None:
        """The reading is whole: give what was kept back, and remove what the topic does not have any more."""
        kept_back, self._kept_back = self._kept_back or {}, None
        for record in kept_back.values():
            self._give(record)
        for key in self._given - self._found:
            self._give(_removal(self._topic, key))
        self._was_whole = self.is_whole = True

    def _give(self, record: ConsumerRecord) -> None:
        if record.value is None:
            self._given.discard(record.key)
        else:
            self._given.add(record.key)
        self._apply(record)


class Contact:
    """When the broker last answered a consumer, for each of its partitions."""

    def __init__(self) -> None:
        self._answered: dict[TopicPartition, int] = {}

    def was_lost(self, consumer: AIOKafkaConsumer) -> bool:
        """Whether the broker was not answered of for so long that removals may be gone. To be asked after each read.

        Args:
            consumer: Always the same one.
        """
        lost = False
        for tp in consumer.assignment():
            answered = consumer.last_poll_timestamp(tp)
            if answered is not None:
                lost |= answered - self._answered.get(tp, answered) > READ_AGAIN_AFTER_MS
                self._answered[tp] = answered
        return lost


def _removal(topic: str, key: bytes | None) -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic,
        partition=0,
        offset=-1,
        timestamp=int(time.time() * 1000),
        timestamp_type=0,
        key=key,
        value=None,
        checksum=None,
        serialized_key_size=-1 if key is None else len(key),
        serialized_value_size=-1,
        headers=(),
    )
