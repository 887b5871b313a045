"""What a push adapter is: a vendor's request body in, raw events and rejections out. No network, no Kafka."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attendance.device_status import DeviceStatus
from attendance.errors import Reason
from attendance.event import RawEvent
from attendance.registry import Device


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that can never become a punch.

    `index` is its place in the body, from 0. `value` is what a dead letter keeps of it: the event as the device wrote
    it, without the fields that may not be kept.
    """

    index: int
    reason: Reason
    message: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Parsed:
    """All that a body holds: each of its events is in one of the two, and in the order of the body."""

    device_id: str
    events: Sequence[RawEvent]
    rejected: Sequence[Rejected]


class PushAdapter(Protocol):
    """Reads one vendor's request bodies. Safe for use by several requests at once."""

    @property
    def name(self) -> str:
        """As the registry's `adapter` has it."""

    @property
    def version(self) -> str:
        """Of what the adapter makes of a body. Stands in each event's source."""

    def parse(self, body: bytes, devices: Mapping[str, Device], received_at: datetime) -> Parsed:
        """Read one body.

        Args:
            body: As it arrived.
            devices: The devices that the sender's token opens, by id; never empty.
            received_at: The server's clock, UTC.

        Raises:
            InvalidRecord: nothing of the body can be used: `unreadable_body`; `body_too_large`, where it holds more
                events than one request may; `unknown_device`, where it speaks for a device that is not in `devices`.
        """

    def parse_heartbeat(self, body: bytes, devices: Mapping[str, Device], received_at: datetime) -> DeviceStatus:
        """Read the body of a heartbeat. The arguments are those of `parse`.

        Raises:
            InvalidRecord: `unreadable_body`, or `unknown_device`.
        """


CreatePushAdapter = Callable[[Collection[str]], PushAdapter]
