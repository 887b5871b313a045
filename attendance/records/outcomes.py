"""Outcomes: what became of a raw event, and the wire formats of the dropped, unmapped and deliveries topics.

Dead letters have an envelope of their own (`attendance/records/dead_letter.py`), because they may hold bytes that
nothing could decode.
"""

from datetime import date
from typing import Final, Literal

from msgspec import Raw, Struct
from msgspec.json import Decoder

from attendance.errors import Reason
from attendance.records.raw_event import RawEvent
from attendance.times import format_milliseconds, format_seconds
from attendance.wire import Instant, Text, decode_as, encode_json

DeliveryStatus = Literal["created", "already_there", "replaced"]


class Dropped(Struct, frozen=True):
    """A raw record that repeats a punch which was kept. `partition` and `offset` are the dropped record's own.

    `reason` is `duplicate` (the same event_id) or `repeat` (within the punch window of the one kept).
    """

    event_id: Text
    kept_event_id: Text
    reason: Reason
    device_id: Text
    device_user_id: Text
    event_time: Instant
    partition: int
    offset: int

    @property
    def key(self) -> bytes:
        """The record key, as on the raw topic."""
        return self.device_id.encode()

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return encode_json(
            {
                "event_id": self.event_id,
                "kept_event_id": self.kept_event_id,
                "reason": self.reason,
                "device_id": self.device_id,
                "device_user_id": self.device_user_id,
                "event_time": format_seconds(self.event_time),
                "partition": self.partition,
                "offset": self.offset,
            }
        )

    @classmethod
    def decode(cls, value: bytes | None) -> "Dropped":
        """What `encode` wrote.

        Raises:
            InvalidRecord: it is something else.
        """
        return decode_as(_DROPPED, value, "a dropped record", "event_time")


class Waiting(Struct, frozen=True):
    """A punch that waits for a mapping, or for its employee to become active. The raw event is kept whole.

    `reason` is `unmapped_user` or `employee_inactive`; `employee` is named where it is known.
    """

    event: RawEvent
    reason: Reason
    employee: str | None = None

    @property
    def key(self) -> bytes:
        """The record key: the unmapped topic is compacted by event_id, so a redelivery replaces itself."""
        return self.event.event_id.encode()

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return encode_json({"reason": self.reason, "employee": self.employee, "event": Raw(self.event.encode())})

    @classmethod
    def decode(cls, value: bytes | None) -> "Waiting":
        """What `encode` wrote.

        Raises:
            InvalidRecord: it is something else.
        """
        return decode_as(_WAITING, value, "a waiting record")


class Late(Struct, frozen=True):
    """A delivery that came after its day was closed in the target, so that it is not counted there by itself.

    `shift_type` and `attendance_date` are the target's own. Where both are None it is not known whether it was late.
    """

    device_id: Text
    shift_type: str | None = None
    attendance_date: date | None = None


class Delivery(Struct, frozen=True):
    """What the target answered for one check-in.

    `document` is the target's own name of what it holds. `already_there` means that the target had this punch before:
    from an earlier try, or because the employee already has a check-in of that time and direction. `late` says that it
    may have come too late to be counted, None that it did not. `supersedes` is that of the check-in; `replaced` means
    that the document held what was superseded and now holds this.
    """

    event_id: Text
    employee: Text
    document: Text
    status: DeliveryStatus
    target: Text
    delivered_at: Instant
    attempts: int = 1
    late: Late | None = None
    supersedes: str | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return self.event_id.encode()

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return encode_json(
            {
                "event_id": self.event_id,
                "employee": self.employee,
                "document": self.document,
                "status": self.status,
                "target": self.target,
                "delivered_at": format_milliseconds(self.delivered_at),
                "attempts": self.attempts,
                "late": self.late,
                "supersedes": self.supersedes,
            }
        )

    @classmethod
    def decode(cls, value: bytes | None) -> "Delivery":
        """What `encode` wrote.

        Raises:
            InvalidRecord: it is something else.
        """
        return decode_as(_DELIVERY, value, "a delivery", "delivered_at")


_DROPPED: Final = Decoder(Dropped)
_WAITING: Final = Decoder(Waiting)
_DELIVERY: Final = Decoder(Delivery)
