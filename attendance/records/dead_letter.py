"""The dead-letter envelope: a failed record as it was, and why it failed.

Key, value and headers are the original's own bytes; what was added stands in further headers that begin with
`x-original-` and `x-dead-letter-`, so that the usual Kafka tools can show a dead letter and send it back.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from msgspec import Meta, MsgspecError, Struct, convert
from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import MAX_VALUE_BYTES, Headers, OutRecord, Record
from attendance.times import format_milliseconds
from attendance.wire import Milliseconds, Offset, Partition

MAX_MESSAGE: Final = 1000
_OURS: Final = ("x-original-", "x-dead-letter-")
# None of the above: it stays on the record when that fails again, so that the count goes on.
REPLAY_COUNT: Final = "x-replay-count"
REPLAY_REASON: Final = "x-replay-reason"
"""The header of a dead letter that was sent back: for which reason it had failed."""


def is_dead_letter_replay(headers: "Headers | None") -> bool:
    """Whether somebody looked at a record with these headers as a dead letter, and sent it back."""
    return any(name == REPLAY_COUNT for name, _ in headers or ())


def was_dead_letter_of(headers: "Headers | None", reason: Reason) -> bool:
    """Whether somebody sent a record with these headers back that had failed for this reason the last time."""
    return any(name == REPLAY_REASON and data == reason.encode() for name, data in headers or ())


class DeadLetter(Struct, frozen=True):
    """One failed record. `timestamp` is the original's, in milliseconds since the epoch.

    `topic`, `partition` and `offset` say where it stood; a request that never became a record has none of them, and
    `where` says what it was (`http:/v1/events`). `unread` is the id of the unread request that holds all of it.
    `further` is how many more records of that request, behind the one that `message` names, it is about.
    """

    stage: str
    reason: Reason
    message: str
    at: Milliseconds
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int | None = None
    topic: str | None = None
    partition: Partition | None = None
    offset: Offset | None = None
    where: str | None = None
    attempts: int = 1
    event_id: str | None = None
    unread: str | None = None
    further: Annotated[int, Meta(ge=1)] | None = None

    @classmethod
    def of(
        cls,
        record: Record,
        stage: str,
        error: InvalidRecord,
        at: datetime,
        *,
        attempts: int = 1,
        event_id: str | None = None,
    ) -> "DeadLetter":
        """The dead letter of a consumed record.

        If Kafka would refuse it for its size, again and again, it is without the value, and then without headers and
        key: the record stays on its topic, where the headers say.
        """
        headers = [(name, data) for name, data in record.headers or () if not name.startswith(_OURS)]
        beside = len(record.key or b"") + sum(len(name) + len(data or b"") for name, data in headers)
        fits = beside + len(record.value or b"") <= MAX_VALUE_BYTES
        beside_fits = beside <= MAX_VALUE_BYTES
        return cls(
            stage=stage,
            reason=error.reason,
            message=error.message if fits else f"{error.message} (too large to keep here)",
            at=at,
            key=record.key if beside_fits else None,
            value=record.value if fits else None,
            headers=headers if beside_fits else (),
            timestamp=record.timestamp,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            attempts=attempts,
            event_id=event_id,
        )

    def encode_headers(self) -> list[tuple[str, bytes]]:
        """The original's headers, then ours."""
        ours: dict[str, object] = {header: getattr(self, name) for name, header in HEADERS.items()}
        ours["x-dead-letter-message"] = self.message[:MAX_MESSAGE]
        ours["x-dead-letter-at"] = format_milliseconds(self.at)
        return [
            *self.headers,
            *((header, str(value).encode()) for header, value in ours.items() if value is not None),
        ]

    def to_record(self, topic: str) -> OutRecord:
        """The record to send. Until Kafka has it, the record that it came from must not count as done."""
        return OutRecord(topic, self.key, self.value, self.encode_headers())

    @property
    def replay_count(self) -> int:
        """How often the record had been replayed when it failed. What is no count counts as none."""
        # A record may come from anybody who may write to its topic.
        counts = [
            int(data) for name, data in self.headers if name == REPLAY_COUNT and re.fullmatch(rb"\d{1,9}", data or b"")
        ]
        return max(counts, default=0)

    def to_replay(self) -> OutRecord:
        """The original record, for its topic, where its key leads it to its partition; its replay count is one more.

        Assumes a letter with a topic.
        """
        assert self.topic is not None
        headers = [(name, data) for name, data in self.headers if name not in (REPLAY_COUNT, REPLAY_REASON)]
        ours = [(REPLAY_COUNT, str(self.replay_count + 1).encode()), (REPLAY_REASON, self.reason.encode())]
        return OutRecord(self.topic, self.key, self.value, [*headers, *ours])

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None, headers: Headers) -> "DeadLetter":
        """The dead letter that a record of the dead-letter topic holds.

        Raises:
            InvalidRecord: the record is no dead letter.
        """
        headers = [(name, data or b"") for name, data in headers]  # any producer may send one without a value
        ours = {name: data.decode(errors="replace") for name, data in headers if name.startswith(_OURS)}
        fields: dict[str, object] = {name: ours[header] for name, header in HEADERS.items() if header in ours}
        try:
            fields |= {name: int(ours[HEADERS[name]]) for name in NUMBERS & fields.keys()}
            fields["headers"] = [(name, data) for name, data in headers if not name.startswith(_OURS)]
            letter = convert({**fields, "key": key, "value": value}, cls)
            return replace(letter, at=letter.at.astimezone(UTC), attempts=letter.attempts or 1)
        except (MsgspecError, ValueError, OverflowError) as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a dead letter: {error}") from error


HEADERS: Final = {
    "topic": "x-original-topic",
    "partition": "x-original-partition",
    "offset": "x-original-offset",
    "timestamp": "x-original-timestamp",
    "stage": "x-dead-letter-stage",
    "reason": "x-dead-letter-reason",
    "message": "x-dead-letter-message",
    "attempts": "x-dead-letter-attempts",
    "at": "x-dead-letter-at",
    "where": "x-dead-letter-where",
    "event_id": "x-dead-letter-event-id",
    "unread": "x-dead-letter-unread",
    "further": "x-dead-letter-further",
}
"""The fields that stand in headers, in the order of these."""
NUMBERS: Final = frozenset({"partition", "offset", "timestamp", "attempts", "further"})
