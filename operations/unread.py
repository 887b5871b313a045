"""Unread requests on the log: which dead letters name them, and what reading them again adds to the topics.

A request is read as a whole, however many letters name it. What the topics have of it already is not sent again: so it
may be read as often as anybody likes.
"""

import re
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Self

from msgspec.structs import replace

from attendance.errors import Reason
from attendance.kafka.records import OutRecord, Record
from attendance.records.dead_letter import REPLAY_COUNT, DeadLetter
from attendance.records.dead_letter_action import LetterId
from attendance.records.raw_event import UNREAD_ID
from attendance.records.unread import UnreadRequest, joined
from attendance.sealing import Seal, StaysSealed
from attendance.times import format_milliseconds
from attendance.topics import Name, Topics
from operations.dead_letters import Letter, begin_at, read_letters, readable
from operations.log import Log, Skipped, decoded
from operations.reading_again import NotUnderstood, Reading, old_request
from producers.letters import shared
from producers.pictures import redact

Read = Callable[[UnreadRequest], Reading]
"""What today's adapter makes of a request. Raises NotUnderstood."""

GONE: Final = "its unread request is not kept any more (UNREAD_DAYS)"
ID: Final = "ce_id"
TIME: Final = "ce_time"
_WHOLE: Final = frozenset({Reason.UNREADABLE_BODY, Reason.INTERNAL_ERROR})
_EARLIER: Final = timedelta(minutes=5)
"""How much earlier than it arrived, by another clock, a request may have been published."""


@dataclass(frozen=True, slots=True)
class Named:
    """A letter that is about a request, about one record of it, or about all from one on that have no other.

    `record` is the record, as the letter's message names it; None where the letter is about all of the request.
    """

    id: LetterId
    record: str | None
    replay_count: int
    has_further: bool = False

    @classmethod
    def of(cls, letter: Letter) -> Self:
        """What a letter says of itself."""
        content = letter.content
        record = None if content.reason in _WHOLE else record_named(content)
        return cls(letter.id, record, content.replay_count, content.further is not None)

    def is_read(self, still_rejected: Collection[str | None]) -> bool:
        """Whether what the letter is about is understood.

        Args:
            still_rejected: The records of the request that still are not.
        """
        if self.record is None or not self.has_further:
            return self.record is None or self.record not in still_rejected
        return all(_number(each) < _number(self.record) for each in still_rejected)


def record_named(letter: DeadLetter) -> str | None:
    """The record of a request, page or file that a letter is about, such as `events[3]`; None where it names none."""
    record, colon, _ = letter.message.partition(": ")
    return record if colon else None


def _number(record: str | None) -> int:
    """Where a record stands among those of its request."""
    found = re.search(r"\d{1,18}", record or "")
    return int(found[0]) if found is not None else 0


def still_rejected(reading: Reading) -> frozenset[str | None]:
    """The records of a request that are not understood today either."""
    return frozenset(record_named(letter) for letter in reading.records.dead_letters)


async def read_requests(log: Log, ids: Collection[str], skipped: Skipped) -> AsyncGenerator[UnreadRequest, None]:
    """The unread requests of these ids, each once and whole. Memory is bounded by the ids, and by what is in parts.

    One that is sealed is opened, where `SEAL_KEY` has its key, and otherwise stays as it is.

    Args:
        log: Where they stand.
        ids: Which of them.
        skipped: Where the records are counted that are no unread requests.

    Raises:
        ConfigurationError: `SEAL_KEY` holds no keys.
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    wanted = set(ids)
    if not wanted:
        return
    seal = Seal.load()
    # By their number too: another release may cut the same bytes into more parts. By their key: another may seal them.
    parts: dict[tuple[str, int, str], dict[int, UnreadRequest]] = defaultdict(dict)
    async with aclosing(log.read("unread")) as batches:
        async for batch in batches:
            for _, part in decoded(batch, lambda record: UnreadRequest.decode(record.value), skipped):
                if part.unread_id in wanted and part.part < part.parts:
                    copy = part.unread_id, part.parts, part.sealed
                    found = parts[copy]
                    found[part.part] = part
                    if len(found) == part.parts:
                        wanted.discard(part.unread_id)
                        yield _opened(joined(parts.pop(copy).values()), seal)


def _opened(request: UnreadRequest, seal: Seal) -> UnreadRequest:
    try:
        return seal.open(request)
    except StaysSealed as reason:
        return replace(request, message=str(reason))


async def find_request(log: Log, id_: str, skipped: Skipped) -> UnreadRequest | None:
    """The unread request of that id; None where it is not there any more. See `read_requests`."""
    async with aclosing(read_requests(log, [id_], skipped)) as requests:
        async for request in requests:
            return request
    return None


def describe_request(request: UnreadRequest | None) -> dict[str, object] | None:
    """All about an unread request, for programs. None is one that is not there any more."""
    if request is None:
        return None
    return {
        "id": request.unread_id,
        "at": format_milliseconds(request.received_at),
        "adapter": request.adapter,
        "adapter_version": request.adapter_version,
        "transport": request.transport,
        "devices": list(request.devices),
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": dict(request.headers),
        "place": request.place,
        "options": dict(request.options),
        "removed": list(request.removed),
        "sealed": request.message if request.sealed else None,
        "body": None if request.sealed else readable(redact(request.body)),
    }


@dataclass(frozen=True, slots=True)
class _Finding:
    """What a request comes to: in words, what of it is still rejected and why, and the digests of the rest."""

    words: str
    rejected: frozenset[str | None]
    why: str
    digests: frozenset[bytes]


class ReadingAgain:
    """What is to be read again for some letters, and what comes of it. Memory is bounded by the letters.

    Args:
        read: What today's adapter makes of a request.
        topics: The full names.
    """

    def __init__(self, read: Read, topics: Topics) -> None:
        self.letters: dict[str, list[Named]] = defaultdict(list)
        """By the id of their unread request, or by their own where they hold the request themselves."""
        self.refused: dict[LetterId, str] = {}
        """The letters of which nothing is made, with the reason."""
        self.there: set[bytes] = set()
        """Digests of what the topics have of it already."""
        self.read = read
        self._topics = topics
        self._old: set[LetterId] = set()
        self._found: dict[str, _Finding] = {}
        self._begin: datetime | None = None

    def add(self, letter: Letter) -> bool:
        """Take in a letter. Returns whether it is about something that can be read again."""
        id_ = letter.content.unread
        request = None
        if id_ is None:
            request = old_request(letter.content)
            if request is None:
                return False
            id_ = str(letter.id)
        self.letters[id_].append(Named.of(letter))
        if request is not None:
            self._old.add(letter.id)
            self._find(id_, request)
        return True

    async def find(self, log: Log, skipped: Skipped) -> None:
        """Read the unread requests that the letters name.

        Args:
            log: Where they stand.
            skipped: As in `read_requests`.

        Raises:
            KafkaUnavailable: Kafka does not answer, or the topic is missing.
        """
        missing = self.letters.keys() - set(map(str, self._old))
        async with aclosing(read_requests(log, missing, skipped)) as requests:
            async for request in requests:
                missing.discard(request.unread_id)
                self._find(request.unread_id, request)
        for id_ in missing:
            self._refuse(id_, GONE)

    async def compare(self, log: Log) -> None:
        """Look what the topics have. Where nothing is added, a letter is refused if what it is about is still rejected.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        wanted = {each for found in self._found.values() for each in found.digests}
        self.there |= await _there(log, wanted, self._begin)
        for id_, found in self._found.items():
            if found.rejected and found.digests <= self.there:
                self._refuse(id_, found.why, found.rejected)

    async def requests(self, log: Log, skipped: Skipped) -> AsyncGenerator[tuple[UnreadRequest, list[Named]], None]:
        """Each request that is to be read again, with the letters for which it is.

        Args:
            log: Where they stand.
            skipped: As in `read_requests`.

        Raises:
            KafkaUnavailable: Kafka does not answer, or a topic is missing.
        """
        if self._old:
            async with aclosing(read_letters(log, skipped, begin_at(self._old))) as letters:
                async for letter in letters:
                    request = old_request(letter.content) if letter.id in self._old else None
                    if request is not None and str(letter.id) in self.letters:
                        yield request, self.letters[str(letter.id)]
        ids = self.letters.keys() - set(map(str, self._old))
        async with aclosing(read_requests(log, ids, skipped)) as requests:
            async for request in requests:
                yield request, self.letters[request.unread_id]

    def ids(self) -> set[LetterId]:
        """The letters for which something is read again."""
        return {named.id for letters in self.letters.values() for named in letters}

    def words(self) -> dict[LetterId, str]:
        """What is made of the request of each letter for which it is read again."""
        return {named.id: self._found[id_].words for id_, named in self._named()}

    def readable(self) -> dict[LetterId, bool]:
        """Of each letter that was added, whether today's adapters understand what it is about."""
        found = {named.id: named.is_read(self._found[id_].rejected) for id_, named in self._named()}
        return dict.fromkeys(self.refused, False) | found

    def _named(self) -> Iterator[tuple[str, Named]]:
        return ((id_, named) for id_ in self._found for named in self.letters.get(id_, ()))

    def _find(self, id_: str, request: UnreadRequest) -> None:
        try:
            reading = self.read(request)
        except NotUnderstood as reason:
            self._refuse(id_, str(reason))
            return
        self._found[id_] = _Finding(
            str(reading),
            still_rejected(reading),
            reading.rejected[0].message if reading.rejected else "",
            frozenset(digest(record, self._topics) for record in _punches_and_others(reading, self._topics, "")),
        )
        self._begin = request.received_at if self._begin is None else min(self._begin, request.received_at)

    def _refuse(self, id_: str, reason: str, rejected: Collection[str | None] | None = None) -> None:
        """Take out the letters of a request: all, or those that are about one of the records rejected, or about all."""
        letters = self.letters.pop(id_, [])
        read = [] if rejected is None else [each for each in letters if each.record and each.is_read(rejected)]
        if read:
            self.letters[id_] = read
        self.refused |= {named.id: reason for named in letters if named not in read}


def new_records(
    reading: Reading, request: UnreadRequest, letters: Sequence[Named], there: Collection[bytes], topics: Topics
) -> list[OutRecord]:
    """What is sent of a reading: what the topics do not have, and letters for the records that are still rejected.

    A record that another letter is about, which stays open, gets none. Many share one letter, as when they came.

    Args:
        reading: What an adapter made of the request.
        request: The request.
        letters: Those for which it was read.
        there: Digests of what the topics have.
        topics: The full names.
    """
    found = _punches_and_others(reading, topics, request.unread_id)
    records = [each for each in found if digest(each, topics) not in there]
    count = max((named.replay_count for named in letters), default=0) + 1
    own = {each.record for each in letters if not each.has_further}
    begin = min((_number(each.record) for each in letters if each.has_further), default=sys.maxsize)
    again = [
        replace(
            letter,
            value=redact(letter.value or b""),
            headers=[(REPLAY_COUNT, str(count).encode())],
            unread=request.unread_id or None,
        )
        for letter in reading.records.dead_letters
        if None in own or record_named(letter) in own or _number(record_named(letter)) >= begin
    ]
    return records + [letter.to_record(topics["dead_letters"]) for letter in shared(again)]


def _punches_and_others(reading: Reading, topics: Topics, unread_id: str) -> list[OutRecord]:
    header = [(UNREAD_ID, unread_id.encode())] if unread_id else []
    records = []
    for event in reading.records.events:
        key, value, headers = event.record()
        records.append(OutRecord(topics["raw"], key, value, [*headers, *header]))
    others = reading.records.other_events
    return records + [replace(each, value=redact(each.value)).to_record(topics["other_events"]) for each in others]


def digest(record: OutRecord | Record, topics: Topics) -> bytes:
    """What tells a raw event, or another one, from every other: its id, and for another event when it arrived.

    Args:
        record: Of the raw topic, or of that of other events.
        topics: The full names.
    """
    headers = dict(record.headers)
    if record.topic == topics["raw"]:
        return headers.get(ID) or b""
    return sha256(b"\0".join((record.key or b"", headers.get(TIME) or b"", record.value or b""))).digest()


async def _there(log: Log, wanted: set[bytes], begin: datetime | None) -> set[bytes]:
    """Those of the digests that the topics have since then."""
    found: set[bytes] = set()
    topics: tuple[Name, ...] = ("raw", "other_events")
    if begin is None or not wanted:
        return found
    for name in topics:
        async with aclosing(log.read(name, since=begin - _EARLIER)) as batches:
            async for batch in batches:
                found.update(wanted.intersection(digest(record, log.topics) for record in batch))
    return found
