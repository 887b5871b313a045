"""What becomes of punches of a device user who is ignored: dead letters of the reason `user_ignored`.

Such a letter counts as discarded from the beginning, with the note of the entry as its message, so that there is never
one of which nobody knows whether somebody has dealt with it. It names the entry: what is sent again later is not
ignored by the same one, however late a process learns that the entry is gone.
"""

from datetime import datetime
from typing import Final

from msgspec.structs import replace

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import Headers, Record
from attendance.records.dead_letter import DeadLetter
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import IGNORED_BY, REPLAY_OF, TYPE, RawEvent
from attendance.records.user_map import IgnoredUser
from attendance.wire import Place

STAGE: Final = "stream"


def ignoring_id(headers: Headers | None) -> bytes | None:
    """By which entry a punch was ignored before it was sent again; None where it was not."""
    return next((data for name, data in headers or () if name == IGNORED_BY), None)


class IgnoredPunch(InvalidRecord):
    """A punch of a device user who is ignored, and the entry that says so."""

    def __init__(self, event: RawEvent, ignored: IgnoredUser) -> None:
        super().__init__(Reason.USER_IGNORED, f"ignored by {ignored.by}: {ignored.note}")
        self.event = event
        self.ignored = ignored


def letter_of_record(record: Record, punch: IgnoredPunch, at: datetime) -> DeadLetter:
    """The dead letter of a raw record.

    Args:
        record: The record.
        punch: The punch in it.
        at: The server's clock, UTC.
    """
    letter = DeadLetter.of(record, STAGE, punch, at, event_id=punch.event.event_id)
    return replace(letter, headers=_naming(punch.ignored, letter.headers))


def letter_of_waiting(waiting: Waiting, raw_record: Place, ignored: IgnoredUser, at: datetime, raw: str) -> DeadLetter:
    """The dead letter of a punch that waited.

    Its punch was kept when it came. So what is sent again of it is a replay copy, and is not dropped as its own
    duplicate.

    Args:
        waiting: What waited.
        raw_record: Where its raw record is.
        ignored: By which entry.
        at: The server's clock, UTC.
        raw: The full name of the raw topic.
    """
    partition, offset = raw_record
    copy = REPLAY_OF, b"%d:%d" % raw_record
    event, id_ = waiting.event, waiting.event.event_id
    punch = IgnoredPunch(event, ignored)
    return DeadLetter(
        stage=STAGE,
        reason=punch.reason,
        message=punch.message,
        at=at,
        key=event.key,
        value=event.encode(id_),
        headers=_naming(ignored, [*event.headers(id_, TYPE), copy]),
        topic=raw,
        partition=partition,
        offset=offset,
        event_id=id_,
    )


def _naming(ignored: IgnoredUser, headers: Headers) -> Headers:
    others = [(name, data) for name, data in headers if name != IGNORED_BY]
    return [*others, (IGNORED_BY, ignored.ignoring_id.encode())]
