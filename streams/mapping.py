"""Who punched: the user map's answer for one event, and the policies that depend on the device or the employee."""

from typing import Final

from attendance.errors import Reason
from attendance.fleet import Device, Direction
from attendance.records.checkin import Checkin, CheckinTime, LogType
from attendance.records.outcomes import Waiting
from attendance.records.raw_event import EventType, RawEvent
from attendance.records.user_map import IgnoredUser
from attendance.times import to_wall_clock
from attendance.user_map import UserMap

_FROM_DEVICE: Final[dict[EventType, LogType]] = {"IN": "IN", "OUT": "OUT", "UNKNOWN": ""}
_FIXED: Final[dict[Direction, LogType]] = {"in": "IN", "out": "OUT", "none": ""}


def assign(
    event: RawEvent, users: UserMap, device: Device | None, ignored_before: bytes | None = None
) -> Checkin | Waiting | IgnoredUser:
    """The check-in of a punch whose employee is known and may check in, else what it waits for, or who ignores it.

    Args:
        event: The punch. It has an event time.
        users: The user map.
        device: The device's policies; None, for a device that is not in the registry any more, are the defaults.
        ignored_before: The id of the entry by which the punch was ignored before it was sent again: that one does not
            ignore it any more.
    """
    assert event.event_time is not None
    mapping = users.mapping(event.site, event.device_id, event.device_user_id)
    if mapping is None:
        ignored = users.ignored(event.site, event.device_id, event.device_user_id)
        if ignored is not None and ignored.ignoring_id.encode() != ignored_before:
            return ignored
    employee = users.employee(mapping.employee) if mapping else None
    if mapping is None or employee is None:
        return Waiting(event, Reason.UNMAPPED_USER, mapping.employee if mapping else None)
    refusal = employee.refusal(to_wall_clock(event.event_time, event.device_timezone).date())
    if refusal is not None:
        return Waiting(event, refusal, employee.name)
    direction: Direction = device.direction if device else "from_device"
    checkin_time: CheckinTime = device.checkin_time if device else "erpnext_zone"
    return Checkin(
        event_id=event.event_id,
        employee=employee.name,
        event_time=event.event_time,
        log_type=_FROM_DEVICE[event.event_type] if direction == "from_device" else _FIXED[direction],
        device_id=event.device_id,
        device_user_id=event.device_user_id,
        site=event.site,
        device_timezone=event.device_timezone,
        checkin_time=checkin_time,
        supersedes=event.supersedes,
        superseded_document=event.superseded_document,
        latitude=device.latitude if device else None,
        longitude=device.longitude if device else None,
        employee_created=employee.created,
    )
