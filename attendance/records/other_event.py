"""OtherEvent: what a device sent that is no punch, and the wire format of the other-events topic."""

from datetime import datetime
from hashlib import sha256
from typing import Final

from msgspec import Struct

from attendance.kafka.records import OutRecord
from attendance.wire import cloudevents_headers

KIND: Final = "x-kind"
ADAPTER: Final = "x-adapter"


class OtherEvent(Struct, frozen=True):
    """A stranger's face, a door, an operator's action. `kind` is one lower-case word, of the adapter's own.

    `value` is the vendor's record as JSON, reduced to the fields that may be kept. `ce_id` is the beginning of its
    SHA-256: what is sent again is there again, with the same one.
    """

    device_id: str
    site: str
    adapter: str
    kind: str
    received_at: datetime
    value: bytes

    def to_record(self, topic: str) -> OutRecord:
        """The record to send: the key is the device's, kind and adapter are headers."""
        source = f"/sites/{self.site}/devices/{self.device_id}".encode()
        headers = [
            *cloudevents_headers(
                sha256(self.value).hexdigest()[:32], b"punchstream.attendance.other.v1", source, self.received_at
            ),
            (KIND, self.kind.encode()),
            (ADAPTER, self.adapter.encode()),
        ]
        return OutRecord(topic, self.device_id.encode(), self.value, headers)
