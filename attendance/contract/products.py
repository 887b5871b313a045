"""The topics that others may read. Every other topic is state of the stages, and may change with any release."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from attendance.records.attendance_day import AttendanceDay
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.device_status import DeviceStatus
from attendance.records.discard import DiscardedWaiting
from attendance.records.other_event import ADAPTER, KIND
from attendance.records.outcomes import SENT_BACK, Delivery, Dropped, Waiting
from attendance.records.raw_event import ARRIVED_AT, IGNORED_BY, RAW_RECORD, REPLAY_OF, UNREAD_ID, RawEvent
from attendance.topics import Name

_REPLAY_HEADERS: Final = {
    "x-replay-count": "How often an operator has sent the record again after it had failed.",
    "x-replay-reason": "For which reason it had failed.",
}
_RAW_RECORD: Final = {RAW_RECORD: "`partition:offset` of the raw record that this was made from."}
_RAW: Final = {
    REPLAY_OF: "Only on a replay copy: `partition:offset` of the original.",
    ARRIVED_AT: "Only on a replay copy: when the broker took the original, in milliseconds since the epoch.",
    UNREAD_ID: "Only on what was read again: the id of the unread request that it was made from.",
    IGNORED_BY: "Only on a punch that was ignored and sent again: which entry of the user map ignored it.",
    **_REPLAY_HEADERS,
}


@dataclass(frozen=True, slots=True)
class Product:
    """What somebody outside has to know of one topic.

    Attributes:
        title: What a record is, in two or three words.
        order: In which order the records of one key stand, in words.
        records: The types of its values; none where a value is whatever a device or a producer wrote.
        in_headers: The record stands in headers, beside the bytes of another record.
        tombstones: Values may be empty: what stood under the key is over.
        event: The end of CloudEvents' type; empty where the topic has no CloudEvents headers of its own.
        always_cloudevents: Every record has had CloudEvents headers from the beginning.
        headers: Further headers, and what each says.
    """

    title: str
    order: str
    records: tuple[type, ...] = ()
    in_headers: bool = False
    tombstones: bool = False
    event: str = ""
    always_cloudevents: bool = False
    headers: Mapping[str, str] | None = None


PRODUCTS: Final[Mapping[Name, Product]] = {
    "raw": Product(
        "raw event",
        "as they arrived at the server, which is not the order of event_time",
        (RawEvent,),
        event="raw.v1",
        always_cloudevents=True,
        headers=_RAW,
    ),
    "checkins": Product(
        "check-in",
        "as they were decided; a punch that waited may come after later ones",
        (Checkin,),
        event="checkin.v1",
        headers={
            **_RAW_RECORD,
            SENT_BACK: "How often in a row the sink sent this punch back to wait.",
            **_REPLAY_HEADERS,
        },
    ),
    "dropped": Product("dropped punch", "as they were decided", (Dropped,), event="dropped.v1"),
    "unmapped": Product(
        "waiting punch",
        "only the newest record of a key counts; a tombstone says that the punch waits no more",
        (Waiting, DiscardedWaiting),
        tombstones=True,
        event="waiting.v1",
        headers={**_RAW, **_RAW_RECORD, SENT_BACK: "How often in a row the sink sent this punch back to wait."},
    ),
    "dead_letters": Product(
        "dead letter",
        "as they failed",
        (DeadLetter,),
        in_headers=True,
        headers=_REPLAY_HEADERS,
    ),
    "deliveries": Product(
        "delivery", "as the target answered; the newest of an event_id counts", (Delivery,), event="delivery.v1"
    ),
    "attendance_days": Product(
        "attendance day", "as they were decided; the newest of a day counts", (AttendanceDay,), event="day.v1"
    ),
    "device_status": Product(
        "device status",
        "only the newest record of a key counts",
        (DeviceStatus,),
    ),
    "other_events": Product(
        "other event",
        "as they arrived at the server",
        event="other.v1",
        always_cloudevents=True,
        headers={KIND: "What happened, in one word of the adapter.", ADAPTER: "The adapter that read it."},
    ),
}
"""By topic, in the order in which a punch comes by."""
