"""DeviceStatus: what a device says of itself, and the wire format of the device-status topic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

import structlog

from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import Record
from attendance.times import format_milliseconds, format_seconds, parse_utc
from attendance.wire import decode_object, encode_json, text

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What was last heard of a device beside its punches. It is written after Kafka has acknowledged those.

    `complete_until` claims, in the device's own time as it stands in `event_time`, that every punch dated before it is
    in the raw topic; None claims nothing. It is UTC, whole seconds. `heard_at` is the server's clock. `pending` is how
    many punches the device had not handed over, `last_sequence` the number of its newest record, `clock_skew` by how
    many seconds its clock was ahead of the server's, None where it did not say. `details` are further facts to show.

    `last_event` is when the newest of the punches was made that it has handed over: by its own clock or, where that was
    ahead or cannot be read, when it arrived; UTC, whole seconds, None where that is not known.
    """

    device_id: str
    heard_at: datetime
    complete_until: datetime | None = None
    pending: int | None = None
    last_sequence: int | None = None
    clock_skew: int | None = None
    details: Mapping[str, str | int | float] = field(default_factory=dict)
    last_event: datetime | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return self.device_id.encode()

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        return encode_json(
            {
                "device_id": self.device_id,
                "heard_at": format_milliseconds(self.heard_at),
                "complete_until": None if self.complete_until is None else format_seconds(self.complete_until),
                "pending": self.pending,
                "last_sequence": self.last_sequence,
                "clock_skew": self.clock_skew,
                "details": self.details,
                "last_event": None if self.last_event is None else format_seconds(self.last_event),
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
            until, last_event = data["complete_until"], data.get("last_event")
            return cls(
                device_id=text(data, "device_id"),
                heard_at=parse_utc(data["heard_at"]),
                complete_until=None if until is None else parse_utc(until),
                pending=data.get("pending"),
                last_sequence=data.get("last_sequence"),
                clock_skew=data.get("clock_skew"),
                details=data.get("details", {}),
                last_event=None if last_event is None else parse_utc(last_event),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a device status: {error!r}") from error


def told(record: Record) -> DeviceStatus | None:
    """What a record of the device-status topic tells; None where it tells nothing, or cannot be read, which is logged.

    A status only ever adds to what is known, so nobody has to stop for one that cannot be read.
    """
    if record.value is None:
        return None
    try:
        return DeviceStatus.decode(record.value)
    except InvalidRecord as error:
        log.error("A device status cannot be read.", key=record.key, error=error.message)
        return None
