"""What each field of a record that others may read means, and which fields a record may lack."""

from collections.abc import Mapping
from typing import Final

from attendance.records.attendance_day import AttendanceDay
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.device_status import DeviceStatus
from attendance.records.discard import DiscardedWaiting
from attendance.records.outcomes import Delivery, Dropped, Late, Waiting
from attendance.records.raw_event import GivenTime, RawEvent, Source

_EVENT_ID: Final = "The identity of the punch, the same on every topic."
_DEVICE: Final = "The terminal, as the fleet names it."
_USER: Final = "The user as the terminal has it, leading zeros and letters kept. Not an employee number."
_EMPLOYEE: Final = "The employee, as ERPNext names it."
_CREATED: Final = "Who had the name `employee` then: when ERPNext created that employee. Null if nobody knew."

MEANINGS: Final[Mapping[type, Mapping[str, str]]] = {
    RawEvent: {
        "event_id": "The first 128 bits of SHA-256, in hex, over device_id|device_user_id|event_time|event_type. If"
        " event_time is null, device_time replaces it.",
        "device_id": f"{_DEVICE} Also the record key.",
        "site": "The site of the terminal, as the fleet names it.",
        "device_user_id": _USER,
        "event_type": "What the terminal said, before any policy.",
        "event_time": "When it happened, UTC, whole seconds. Null if device_time is missing or cannot be read.",
        "device_time": "The time as the terminal wrote it. Null if it wrote none.",
        "device_timezone": "The IANA zone in which device_time was read.",
        "received_at": "The server's clock when the event arrived, UTC, milliseconds.",
        "source": "The way in. It differs between copies of one punch.",
        "sequence": "The terminal's own record number, if it has one.",
        "replayed": "True if the terminal says that this is history.",
        "payload": "The vendor's own fields, reduced to those that the operator allows.",
        "supersedes": "Only on a correction: the event_id of the wrong event that this one replaces. Its own if only"
        " the employee was wrong.",
        "superseded_document": "Only on a correction: the target's name of the document that it has of the superseded"
        " event.",
        "clock_skew": "Only if the terminal's clock was known to be wrong: the seconds by which it was ahead of the"
        " server's.",
        "given_time": "Only on a correction whose event_time a person gave, because the terminal's clock was wrong.",
    },
    Source: {
        "transport": "How the event came.",
        "adapter": "The adapter that read it.",
        "adapter_version": "The version of that adapter.",
        "batch_id": "The request, poll or file that the event came in.",
        "line": "Where it stood in that batch.",
    },
    GivenTime: {
        "by": "Who gave it.",
        "at": "When it was given, UTC, milliseconds.",
        "note": "Why.",
        "instead_of": "The wrong event_time; null if there was none.",
    },
    Checkin: {
        "event_id": _EVENT_ID,
        "employee": f"{_EMPLOYEE} Also the record key.",
        "event_time": "When the punch was made, UTC, whole seconds.",
        "log_type": "The direction for the target; empty if the shift's own rule decides.",
        "device_id": _DEVICE,
        "device_user_id": _USER,
        "site": "The site of the terminal, as the fleet names it.",
        "device_timezone": "The IANA zone of the terminal's clock.",
        "checkin_time": "In whose wall clock the target gets the time: that of ERPNext's zone, or the device's own.",
        "supersedes": "Only on a correction: the event_id of the wrong check-in that this one replaces.",
        "superseded_document": "Only on a correction: the target's name of the document that becomes this one.",
        "latitude": "Where the device hangs, in degrees; only together with longitude.",
        "longitude": "Where the device hangs, in degrees; only together with latitude.",
        "employee_created": _CREATED,
    },
    Dropped: {
        "event_id": _EVENT_ID,
        "kept_event_id": "The punch that was kept instead; its own if it was erased.",
        "reason": "`duplicate`: the same event_id was there before. `repeat`: within the punch window of the one kept."
        " `erased`: it waited when its person was erased.",
        "device_id": f"{_DEVICE} Also the record key.",
        "device_user_id": _USER,
        "event_time": "When the punch was made, UTC, whole seconds.",
        "partition": "The partition of the raw topic that has the dropped record.",
        "offset": "The offset there.",
    },
    Waiting: {
        "event": "The raw event, whole.",
        "reason": "Why it waits, such as `unmapped_user`. Words are added.",
        "employee": f"{_EMPLOYEE} Null if it is not known.",
        "sent_back": "How often in a row the sink sent a check-in of it back.",
        "sent_back_at": "When it did so the last time, UTC, milliseconds.",
        "employee_created": _CREATED,
        "message": "Why it did so, in words.",
        "checkin": "Which check-in that was: `partition:offset` of its record.",
    },
    DiscardedWaiting: {
        "discard_id": "A random id; the record key is `discard:` and this id.",
        "events": "The event_ids of the punches that are no longer to wait.",
        "device_id": "The device of all of them.",
        "at": "When somebody discarded them, UTC, milliseconds.",
        "by": "Who did so.",
        "note": "Why.",
    },
    DeadLetter: {
        "stage": "The stage that could not go on with the record.",
        "reason": "Why, as one word, such as `implausible_time`. Words are added.",
        "message": "Why, in words.",
        "at": "When it failed, UTC, milliseconds.",
        "timestamp": "Kafka's time of the original, in milliseconds since the epoch.",
        "topic": "The topic of the original. A request that never became a record has none.",
        "partition": "The partition of the original.",
        "offset": "The offset of the original.",
        "where": "What it was, if it was no record: `http:/v1/events`.",
        "attempts": "How often it was tried.",
        "event_id": _EVENT_ID,
        "unread": "The id of the unread request that holds all of it.",
        "further": "How many more records of that request the letter is about.",
    },
    Delivery: {
        "event_id": f"{_EVENT_ID} Also the record key.",
        "employee": _EMPLOYEE,
        "document": "The target's own name of what it holds, such as the name of an Employee Checkin.",
        "status": "`created`, `already_there`, or `replaced`: the document of the superseded punch became this.",
        "target": "The target, such as `erpnext`.",
        "delivered_at": "When the target answered, UTC, milliseconds.",
        "attempts": "How often it was tried.",
        "late": "If it may have come too late to be counted by the target; null if it did not.",
        "supersedes": "Only on a correction: the event_id of the wrong check-in.",
        "removed": "Only if the target held the punch twice: the copy of the document that was removed.",
    },
    Late: {
        "device_id": _DEVICE,
        "shift_type": "The shift that was closed; null together with attendance_date if nobody knows.",
        "attendance_date": "The day that was closed.",
    },
    AttendanceDay: {
        "employee": _EMPLOYEE,
        "shift_type": "The Shift Type.",
        "attendance_date": "The day, as ERPNext counts it.",
        "outcome": "`written`, `corrected`: one that replaces another, `already_there`, or `refused`.",
        "decided_at": "When that was decided, UTC, milliseconds.",
        "document": "ERPNext's Attendance, if there is one.",
        "status": "Its status, such as `Present`.",
        "in_time": "The first punch, as a wall-clock time in `zone`.",
        "out_time": "The last punch, as a wall-clock time in `zone`.",
        "working_hours": "Hours.",
        "reason": "Why it was refused, as one word. Words are added.",
        "detail": "Why, in words.",
        "supersedes": "The Attendance that this one replaces, which was cancelled.",
        "modified": "ERPNext's stamp of the document as it was left.",
        "zone": "The zone of ERPNext, in which its times are.",
    },
    DeviceStatus: {
        "device_id": f"{_DEVICE} Also the record key.",
        "heard_at": "When the device was last heard, by the server's clock, UTC, milliseconds.",
        "complete_until": "The device claims that every punch dated before is on the raw topic. Null claims nothing.",
        "pending": "How many punches it had not handed over; null if it did not say.",
        "last_sequence": "The number of its newest record.",
        "clock_skew": "By how many seconds its clock was ahead of the server's.",
        "details": "Further facts to show. Names are added, and may go.",
        "last_event": "When the newest punch was made that it has handed over, UTC, whole seconds.",
        "clock_measured_at": "When clock_skew was measured, UTC, milliseconds.",
    },
}
"""By type and field, for whoever has no source code at hand."""

LEFT_OUT: Final[Mapping[type, Mapping[str, bool]]] = {
    RawEvent: {"supersedes": False, "superseded_document": True, "clock_skew": False, "given_time": False},
    Checkin: {
        "supersedes": False,
        "superseded_document": True,
        "latitude": False,
        "longitude": False,
        "employee_created": False,
    },
    Waiting: {"sent_back": False, "sent_back_at": False, "employee_created": True, "message": True, "checkin": True},
    Delivery: {"removed": False},
    DeviceStatus: {"clock_measured_at": False},
}
"""The fields that a record may lack: most have nothing to say, and older releases did not know them. True if such a
field may be null where it is there. Every other field is in every record; what is added later is added here."""
