"""Outcomes: what became of a raw event, and the wire formats of the dropped, unmapped and deliveries topics.

Dead letters have an envelope of their own (`attendance/dead_letter.py`), because they may hold bytes that nothing
could decode.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, Self

import orjson

from attendance.errors import InvalidRecord, Reason
from attendance.event import RawEvent, decode_object, text
from attendance.times import format_milliseconds, format_seconds, parse_utc

DeliveryStatus = Literal["created", "already_there", "replaced"]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A raw record that repeats a punch which was kept. `partition` and `offset` are the dropped record's own.

    `reason` is `duplicate` (the same event_id) or `repeat` (within the punch window of the one kept).
    """

    event_id: str
    kept_event_id: str
    reason: Reason
    device_id: str
    device_user_id: str
    event_time: datetime
    partition: int
    offset: int

    @property
    def key(self) -> bytes:
        """The record key, as on the raw topic."""
        return self.device_id.encode()

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return orjson.dumps(
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
    def decode(cls, value: bytes | None) -> Self:
        """What `encode` wrote.

        Raises:
            InvalidRecord: it is something else.
        """
        data = decode_object(value)
        try:
            return cls(
                event_id=text(data, "event_id"),
                kept_event_id=text(data, "kept_event_id"),
                reason=Reason(data["reason"]),
                device_id=text(data, "device_id"),
                device_user_id=text(data, "device_user_id"),
                event_time=parse_utc(data["event_time"]),
                partition=int(data["partition"]),
                offset=int(data["offset"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a dropped record: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Waiting:
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
        return orjson.dumps(
            {"reason": self.reason, "employee": self.employee, "event": orjson.Fragment(self.event.encode())}
        )

    @classmethod
    def decode(cls, value: bytes | None) -> Self:
        """What `encode` wrote.

        Raises:
            InvalidRecord: it is something else.
        """
        data = decode_object(value)
        try:
            event = RawEvent.decode(orjson.dumps(data["event"]))
            return cls(event=event, reason=Reason(data["reason"]), employee=data.get("employee"))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a waiting record: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Late:
    """A delivery that came after its day was closed in the target, so that it is not counted there by itself.

    `shift_type` and `attendance_date` are the target's own. Where both are None it is not known whether it was late.
    """

    device_id: str
    shift_type: str | None = None
    attendance_date: date | None = None

    def to_json(self) -> dict[str, str | None]:
        """What `from_json` reads."""
        day = None if self.attendance_date is None else self.attendance_date.isoformat()
        return {"device_id": self.device_id, "shift_type": self.shift_type, "attendance_date": day}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """What `to_json` gave. Raises KeyError, TypeError or ValueError where it is something else."""
        day = data.get("attendance_date")
        return cls(
            device_id=text(data, "device_id"),
            shift_type=data.get("shift_type"),
            attendance_date=None if day is None else date.fromisoformat(day),
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the target answered for one check-in.

    `document` is the target's own name of what it holds. `already_there` means that the target had this punch before:
    from an earlier try, or because the employee already has a check-in of that time and direction. `late` says that it
    may have come too late to be counted, None that it did not. `supersedes` is that of the check-in; `replaced` means
    that the document held what was superseded and now holds this.
    """

    event_id: str
    employee: str
    document: str
    status: DeliveryStatus
    target: str
    delivered_at: datetime
    attempts: int = 1
    late: Late | None = None
    supersedes: str | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return self.event_id.encode()

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return orjson.dumps(
            {
                "event_id": self.event_id,
                "employee": self.employee,
                "document": self.document,
                "status": self.status,
                "target": self.target,
                "delivered_at": format_milliseconds(self.delivered_at),
                "attempts": self.attempts,
                "late": None if self.late is None else self.late.to_json(),
                "supersedes": self.supersedes,
            }
        )

    @classmethod
    def decode(cls, value: bytes | None) -> Self:
        """What `encode` wrote.

        Raises:
            InvalidRecord: it is something else.
        """
        data = decode_object(value)
        try:
            late = data.get("late")
            return cls(
                event_id=text(data, "event_id"),
                employee=text(data, "employee"),
                document=text(data, "document"),
                status=data["status"],
                target=text(data, "target"),
                delivered_at=parse_utc(data["delivered_at"]),
                attempts=int(data.get("attempts", 1)),
                late=None if late is None else Late.from_json(late),
                supersedes=data.get("supersedes"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a delivery: {error!r}") from error
