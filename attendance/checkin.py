"""Checkin: one punch whose employee is known, and the wire format of the checkins topic."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

import orjson

from attendance.errors import InvalidRecord, Reason
from attendance.event import cloudevents_headers, decode_object, text
from attendance.times import format_seconds, parse_utc, to_wall_clock

LogType = Literal["IN", "OUT", ""]
CheckinTime = Literal["erpnext_zone", "device_local"]

LOG_TYPES: Final = frozenset(get_args(LogType))
CHECKIN_TIMES: Final = frozenset(get_args(CheckinTime))


@dataclass(frozen=True, slots=True)
class Checkin:
    """What a target is to store, once.

    `event_id` is that of the raw event and the idempotency key at the target. `event_time` is UTC, whole seconds;
    `checkin_time` says in whose wall clock the target gets it, `device_timezone` being the device's. `log_type` is
    empty where the direction is left to the shift's own rule.

    `supersedes` is the `event_id` of a check-in that was wrong: what the target stored for it, under the name
    `superseded_document`, becomes this one.
    """

    event_id: str
    employee: str
    event_time: datetime
    log_type: LogType
    device_id: str
    device_user_id: str
    site: str
    device_timezone: str
    checkin_time: CheckinTime = "erpnext_zone"
    supersedes: str | None = None
    superseded_document: str | None = None

    @property
    def key(self) -> bytes:
        """The record key: an employee's check-ins stay in order."""
        return self.employee.encode()

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
        source = f"/sites/{self.site}/devices/{self.device_id}"
        return cloudevents_headers(self.event_id, b"punchstream.attendance.checkin.v1", source, self.event_time)

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8."""
        data: dict[str, str | None] = {
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
        if self.supersedes is not None:
            data |= {"supersedes": self.supersedes, "superseded_document": self.superseded_document}
        return orjson.dumps(data)

    @classmethod
    def decode(cls, value: bytes | None) -> "Checkin":
        """The check-in that `encode` wrote, in this version or an older one.

        Raises:
            InvalidRecord: not such a check-in (`undecodable_record`); one without employee or time never passes.
        """
        data = decode_object(value)
        try:
            checkin = cls(
                event_id=text(data, "event_id"),
                employee=text(data, "employee"),
                event_time=parse_utc(data["event_time"]),
                log_type=data["log_type"],
                device_id=text(data, "device_id"),
                device_user_id=text(data, "device_user_id"),
                site=text(data, "site"),
                device_timezone=text(data, "device_timezone"),
                checkin_time=data.get("checkin_time", "erpnext_zone"),
                supersedes=None if data.get("supersedes") is None else text(data, "supersedes"),
                superseded_document=data.get("superseded_document"),
            )
            if checkin.log_type not in LOG_TYPES or checkin.checkin_time not in CHECKIN_TIMES:
                raise ValueError(f"log_type {checkin.log_type!r}, checkin_time {checkin.checkin_time!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRecord(Reason.UNDECODABLE_RECORD, f"not a check-in: {error!r}") from error
        return checkin
