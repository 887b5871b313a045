"""DeviceStatus: what a device says of itself, and the wire format of the device-status topic."""

from collections.abc import Mapping
from typing import ClassVar

import structlog

from attendance.errors import InvalidRecord
from attendance.kafka.records import Record
from attendance.records.raw_event import Scalar
from attendance.wire import JsonRecord, Milliseconds, Seconds, Text

log = structlog.get_logger(__name__)


class DeviceStatus(JsonRecord, frozen=True):
    """What was last heard of a device beside its punches. It is written after Kafka has acknowledged those.

    `complete_until` claims, in the device's own time as it stands in `event_time`, that every punch dated before it is
    in the raw topic; None claims nothing. It is UTC, whole seconds. `heard_at` is the server's clock. `pending` is how
    many punches the device had not handed over, `last_sequence` the number of its newest record, `clock_skew` by how
    many seconds its clock was ahead of the server's, None where it did not say. `details` are further facts to show.

    `last_event` is when the newest of the punches was made that it has handed over: by its own clock or, where that was
    ahead or cannot be read, when it arrived; UTC, whole seconds, None where that is not known.

    `clock_measured_at` is when `clock_skew` was measured, UTC; None where it was not, or by an older version, which did
    not say.
    """

    what: ClassVar[str] = "a device status"

    device_id: Text
    heard_at: Milliseconds
    complete_until: Seconds | None = None
    pending: int | None = None
    last_sequence: int | None = None
    clock_skew: int | None = None
    details: Mapping[str, Scalar] = {}
    last_event: Seconds | None = None
    clock_measured_at: Milliseconds | None = None

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8. The field that came later is left out where nothing was measured."""
        value = super().encode()
        is_new = self.clock_measured_at is not None
        return value if is_new else value.removesuffix(b',"clock_measured_at":null}') + b"}"

    @property
    def key(self) -> bytes:
        """The record key."""
        return self.device_id.encode()


def read_status(record: Record) -> DeviceStatus | None:
    """The status in a record of the topic; None where there is none, or it cannot be decoded, which is logged.

    A status only ever adds to what is known, so nobody has to stop for one that cannot be decoded.
    """
    if record.value is None:
        return None
    try:
        return DeviceStatus.decode(record.value)
    except InvalidRecord as error:
        log.error("A device status cannot be read.", key=record.key, error=error.message)
        return None
