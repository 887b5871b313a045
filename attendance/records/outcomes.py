"""Outcomes: what became of a raw event, and the wire formats of the dropped, unmapped and deliveries topics.

Dead letters have an envelope of their own (`attendance/records/dead_letter.py`), because they may hold bytes that
nothing could decode.
"""

from datetime import date
from typing import Any, ClassVar, Final, Literal

from msgspec import Raw, Struct

from attendance.errors import Reason
from attendance.kafka.records import Headers
from attendance.records.raw_event import RawEvent
from attendance.times import format_milliseconds
from attendance.wire import (
    SOURCE,
    JsonRecord,
    Milliseconds,
    Offset,
    Partition,
    Seconds,
    Text,
    cloudevents_headers,
    encode_json,
)

DeliveryStatus = Literal["created", "already_there", "replaced"]


class Dropped(JsonRecord, frozen=True):
    """A raw record that repeats a punch which was kept. `partition` and `offset` are the dropped record's own.

    `reason` is `duplicate` (the same event_id), `repeat` (within the punch window of the one kept) or `erased` (it
    waited when its person was erased; `kept_event_id` is its own).
    """

    what: ClassVar[str] = "a dropped record"

    event_id: Text
    kept_event_id: Text
    reason: Reason
    device_id: Text
    device_user_id: Text
    event_time: Seconds
    partition: Partition
    offset: Offset

    @property
    def key(self) -> bytes:
        """The record key, as on the raw topic."""
        return self.device_id.encode()

    def headers(self, raw: Headers) -> list[tuple[str, bytes]]:
        """CloudEvents 1.0 attributes in Kafka's binary mode.

        Args:
            raw: The headers of the raw record, which name the source. Where they do not, it is the device alone.
        """
        # A loop: it takes a third of what a dict or a generator takes, and the stream does it for each repeat.
        source = b""
        for name, data in raw:
            if name == SOURCE:
                source = data
        source = source or f"/devices/{self.device_id}".encode()
        return cloudevents_headers(self.event_id, b"punchstream.attendance.dropped.v1", source, self.event_time)


SENT_BACK: Final = "x-sent-back"
"""The header of a check-in that says how often in a row the sink sent it back."""


class Waiting(JsonRecord, frozen=True):
    """A punch that waits for a mapping, or until its employee may check in on its day. The raw event is kept whole.

    `reason` is `unmapped_user`, `employee_inactive`, `before_joining`, `unknown_employee` or `coordinates_refused`;
    `employee` is named where it is known.

    Where the sink sent a check-in of it back, `sent_back` says how often in a row, `sent_back_at` when the last time,
    `message` why, and `checkin` which one: `partition:offset` of its record. That check-in was for `employee`, and
    `employee_created` says who had that name then, as in a `Checkin`.
    """

    what: ClassVar[str] = "a waiting record"

    event: RawEvent
    reason: Reason
    employee: str | None = None
    sent_back: int = 0
    sent_back_at: Milliseconds | None = None
    employee_created: str | None = None
    message: str | None = None
    checkin: str | None = None

    @property
    def key(self) -> bytes:
        """The record key. The unmapped topic is compacted by it, so a redelivery replaces itself."""
        return self._key(self.event.event_id)

    def _key(self, id_: str) -> bytes:
        # The stream may still write the tombstone of the record that the check-in came from.
        return (id_ if self.checkin is None else f"{id_}:{self.checkin}").encode()

    def record(self) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        """Key, value and headers of the record, for less than they cost one by one: the id is computed once."""
        id_ = self.event.event_id
        return self._key(id_), self.encode(id_), self.event.headers(id_, b"punchstream.attendance.waiting.v1")

    def encode(self, id_: str | None = None) -> bytes:
        """The record value: JSON in UTF-8. `id_` is the `event_id`, where it is known already."""
        data: dict[str, Any] = {"reason": self.reason, "employee": self.employee}
        if self.sent_back_at is not None:
            data |= {
                "sent_back": self.sent_back,
                "sent_back_at": format_milliseconds(self.sent_back_at),
                "employee_created": self.employee_created,
                "message": self.message,
                "checkin": self.checkin,
            }
        return encode_json(data | {"event": Raw(self.event.encode(id_))})


def waiting_event_id(key: bytes | None) -> str:
    """The `event_id` in the key of a record of the unmapped topic, whoever wrote it."""
    return (key or b"").split(b":", 1)[0].decode(errors="replace")


def is_of_older_checkin(key: bytes, other: bytes) -> bool:
    """Whether a waiting record is that of an older check-in than another one.

    A sink that was killed sends a check-in back a second time, maybe after a newer one of the same punch. So what was
    written last need not be the newest.

    Args:
        key: That of a record of the unmapped topic.
        other: That of another record of the same event.

    Returns:
        True if both name a check-in of the same partition, and this one has the lower offset.
    """
    match key.split(b":"), other.split(b":"):
        case [_, partition, offset], [_, other_partition, other_offset] if partition == other_partition:
            return offset.isdigit() and other_offset.isdigit() and int(offset) < int(other_offset)
    return False


class Late(Struct, frozen=True):
    """A delivery that came after its day was closed in the target, so that it is not counted there by itself.

    `shift_type` and `attendance_date` are the target's own. Where both are None it is not known whether it was late.
    """

    device_id: Text
    shift_type: str | None = None
    attendance_date: date | None = None


class Delivery(JsonRecord, frozen=True):
    """What the target answered for one check-in.

    `document` is the target's own name of what it holds. `already_there` means that the target had this punch before:
    from an earlier try, or because the employee already has a check-in of that time and direction. `late` says that it
    may have come too late to be counted, None that it did not. `supersedes` is that of the check-in; `replaced` means
    that the document held what was superseded and now holds this. `removed` names a copy of the document that was
    removed, because the target held the punch twice.
    """

    what: ClassVar[str] = "a delivery"

    event_id: Text
    employee: Text
    document: Text
    status: DeliveryStatus
    target: Text
    delivered_at: Milliseconds
    attempts: int = 1
    late: Late | None = None
    supersedes: str | None = None
    removed: str | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return self.event_id.encode()

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8. The field that came later is left out where nothing was removed."""
        value = super().encode()
        return value if self.removed is not None else value.removesuffix(b',"removed":null}') + b"}"

    def headers(self, site: str, device_id: str) -> list[tuple[str, bytes]]:
        """CloudEvents 1.0 attributes in Kafka's binary mode.

        Args:
            site: That of the check-in.
            device_id: That of the check-in.
        """
        source = f"/sites/{site}/devices/{device_id}".encode()
        return cloudevents_headers(self.event_id, b"punchstream.attendance.delivery.v1", source, self.delivered_at)
