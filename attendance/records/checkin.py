"""Checkin: one punch whose employee is known, and the wire format of the checkins topic."""

from datetime import date, datetime
from typing import ClassVar, Literal

from attendance.times import format_seconds, to_wall_clock
from attendance.wire import JsonRecord, Seconds, Text, cloudevents_headers, encode_json

LogType = Literal["IN", "OUT", ""]
CheckinTime = Literal["erpnext_zone", "device_local"]


class Checkin(JsonRecord, frozen=True):
    """What a target is to store, once.

    `event_id` is that of the raw event and the idempotency key at the target. `event_time` is UTC, whole seconds;
    `checkin_time` says in whose wall clock the target gets it, `device_timezone` being the device's. `log_type` is
    empty where the direction is left to the shift's own rule.

    `supersedes` is the `event_id` of a check-in that was wrong: what the target stored for it, under the name
    `superseded_document`, becomes this one.

    `latitude` and `longitude`, in degrees, say where the device hangs: both, or neither where the fleet file does not
    say it.

    `employee_created` says who had the name `employee` when that was decided: `created` of the user map's employee.
    None where the map did not say.
    """

    what: ClassVar[str] = "a check-in"

    event_id: Text
    employee: Text
    event_time: Seconds
    log_type: LogType
    device_id: Text
    device_user_id: Text
    site: Text
    device_timezone: Text
    checkin_time: CheckinTime = "erpnext_zone"
    supersedes: Text | None = None
    superseded_document: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    employee_created: str | None = None

    @property
    def key(self) -> bytes:
        """The record key: an employee's check-ins stay in order."""
        return self.employee.encode()

    @property
    def day(self) -> date:
        """The date on the device's clock, in its zone: the day that `Employee.may_check_in` decides by.

        Raises:
            ConfigurationError: there is no such zone.
            OverflowError: the time is out of range in the zone.
        """
        return to_wall_clock(self.event_time, self.device_timezone).date()

    def wall_clock(self, site_zone: str) -> datetime:
        """The naive time, whole seconds, that a target whose own zone is `site_zone` gets.

        Raises:
            ConfigurationError: there is no such zone.
            OverflowError: the time is out of range in the zone.
        """
        return to_wall_clock(
            self.event_time, self.device_timezone if self.checkin_time == "device_local" else site_zone
        )

    def headers(self) -> list[tuple[str, bytes]]:
        """CloudEvents 1.0 attributes in Kafka's binary mode."""
        source = f"/sites/{self.site}/devices/{self.device_id}".encode()
        return cloudevents_headers(self.event_id, b"punchstream.attendance.checkin.v1", source, self.event_time)

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        data: dict[str, str | float | None] = {
            "event_id": self.event_id,
            "employee": self.employee,
            "event_time": format_seconds(self.event_time),
            "log_type": self.log_type,
            "device_id": self.device_id,
            "device_user_id": self.device_user_id,
            "site": self.site,
            "device_timezone": self.device_timezone,
            "checkin_time": self.checkin_time,
        }
        if self.supersedes is not None or self.superseded_document is not None:
            data |= {"supersedes": self.supersedes, "superseded_document": self.superseded_document}
        if self.latitude is not None and self.longitude is not None:
            data |= {"latitude": self.latitude, "longitude": self.longitude}
        if self.employee_created is not None:
            data["employee_created"] = self.employee_created
        return encode_json(data)
