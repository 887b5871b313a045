"""Which dead letters hold a version of a punch that was corrected since, so that a replay would bring it back.

A correction takes over the document of what it supersedes. After that the target has nothing with the old `event_id`
any more, and would store the letter's version beside the corrected one.
"""

from collections import defaultdict
from contextlib import aclosing
from typing import NamedTuple

from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import LetterId
from attendance.records.raw_event import RAW_RECORD, RawEvent, is_replay_copy
from attendance.topics import Topics
from attendance.wire import position
from operations.log import Log


class Version(NamedTuple):
    """What a letter says of its punch, and which raw record that came from.

    `raw` is None for a check-in that does not say it, as those of older versions; its own time has to do then.
    """

    letter: LetterId
    event_id: str
    supersedes: str | None
    superseded_document: str | None
    raw: tuple[int, int] | None
    timestamp: int

    def is_superseded_by(self, record: Record, event: RawEvent) -> bool:
        """Whether a raw record corrects this version, or what this version itself was to correct, and is later.

        Args:
            record: The raw record.
            event: What it holds.
        """
        if event.supersedes != self.event_id and (event.supersedes, event.superseded_document) != (
            self.supersedes,
            self.superseded_document,
        ):
            return False
        if self.raw is None:
            return record.timestamp > self.timestamp
        partition, offset = self.raw
        return record.partition == partition and record.offset > offset


class Versions:
    """The versions in letters that are to be replayed. Memory is bounded by those."""

    def __init__(self) -> None:
        self._by_event_id: dict[str, list[Version]] = defaultdict(list)
        self._begin: dict[int, int] | None = {}  # None: from the first record on

    def add(self, letter: LetterId, content: DeadLetter, topics: Topics) -> None:
        """Take in the dead letter of a raw record or a check-in. What cannot be read was never corrected.

        Args:
            letter: Its id.
            content: What failed.
            topics: The full names.
        """
        punch: RawEvent | Checkin
        raw: tuple[int, int] | None = None
        try:
            if content.topic == topics["checkins"]:
                punch, raw = Checkin.decode(content.value), position(content.headers, RAW_RECORD)
            else:
                punch = RawEvent.decode(content.value)
                if content.partition is not None and content.offset is not None:
                    raw = content.partition, content.offset
        except InvalidRecord:
            return
        version = Version(
            letter, punch.event_id, punch.supersedes, punch.superseded_document, raw, content.timestamp or 0
        )
        for event_id in {punch.event_id, punch.supersedes or punch.event_id}:
            self._by_event_id[event_id].append(version)
        if raw is None:
            self._begin = None
        elif self._begin is not None:
            partition, offset = raw
            self._begin[partition] = min(offset, self._begin.get(partition, offset))

    async def superseded(self, log: Log) -> dict[LetterId, str]:
        """The letters whose version was corrected, each with the place of a raw record that did it.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        found: dict[LetterId, str] = {}
        if not self._by_event_id:
            return found
        async with aclosing(log.read("raw", begin=self._begin)) as batches:
            async for batch in batches:
                for record in batch:
                    found |= self._by(record)
        return found

    def _by(self, record: Record) -> dict[LetterId, str]:
        try:
            event = RawEvent.decode(record.value)
        except InvalidRecord:
            return {}
        # A copy changes nothing that its original did not.
        if event.supersedes is None or is_replay_copy(record.headers):
            return {}
        return {
            version.letter: f"{record.topic} {record.partition}:{record.offset}"
            for version in self._by_event_id.get(event.supersedes, ())
            if version.is_superseded_by(record, event)
        }
