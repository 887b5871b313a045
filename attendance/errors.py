"""The exception tree and the closed set of reasons.

The tree is grouped by what the caller must do:

    PunchstreamError
    ├── ConfigurationError    stop the start; the message names the setting or the file entry
    ├── InvalidRecord         never retry: dead-letter this record, go on with the next
    ├── UnreadableFile        nothing more can be read from this file; a person has to look
    ├── DeviceRefused         a device refuses these credentials, or its entry cannot work: a person has to act
    ├── RetriableError        try again later, for as long as it takes
    │   ├── KafkaUnavailable  nothing was acknowledged; the record may or may not be in Kafka
    │   ├── Overloaded        too much waits for Kafka already; nothing was sent
    │   ├── StandingStill     a guard stands: this process may not work now, and nothing was done
    │   ├── DevicePaused      a person paused the device; nothing of it was taken
    │   ├── CannotBeKept      what was not understood cannot be kept whole either; it is not acknowledged
    │   ├── DeviceUnavailable a device does not answer, or not now
    │   │   └── UnreadableAnswer  what it answers cannot be understood, or cannot be right
    │   └── TargetUnavailable the target is down, slow or asks for fewer requests
    │       ├── ServerError   it failed on this very request: it may be broken, or the record may break it
    │       ├── RequestAbandoned  this very request was given up: the same, and it may have been done nevertheless
    │       └── Conflict      somebody else changed the document since it was read: decide anew what to write
    ├── DocumentRejected      the target understood and will never take this; the caller finds out why
    └── AccessDenied          credentials or permission: stop, say so, wait for a person
        ├── PermissionDenied  the permission for this very request: it may be missing for one record, or for all
        └── ZoneInDoubt       in which zone the site keeps its times is not certain: write nothing until it is
"""

from enum import StrEnum
from typing import final


@final
class Reason(StrEnum):
    """Why a record did not become a check-in, or a request was not accepted.

    The same word is the dead-letter header, the metric label and the HTTP error code.
    """

    # The request (push)
    UNKNOWN_DEVICE = "unknown_device"
    WRONG_ADDRESS = "wrong_address"
    BODY_TOO_LARGE = "body_too_large"
    BODY_TOO_SLOW = "body_too_slow"
    UNREADABLE_BODY = "unreadable_body"
    INVALID_EVENT = "invalid_event"
    CANNOT_BE_KEPT = "cannot_be_kept"
    KAFKA_UNAVAILABLE = "kafka_unavailable"
    OVERLOADED = "overloaded"
    STANDING_STILL = "standing_still"
    DEVICE_PAUSED = "device_paused"

    # The record (any stage)
    UNDECODABLE_RECORD = "undecodable_record"

    # The stream's decisions
    UNREADABLE_TIME = "unreadable_time"
    IMPLAUSIBLE_TIME = "implausible_time"
    CLOCK_SKEW = "clock_skew"
    BEYOND_HORIZON = "beyond_horizon"
    ERASED = "erased"
    DUPLICATE = "duplicate"
    REPEAT = "repeat"
    UNMAPPED_USER = "unmapped_user"
    USER_IGNORED = "user_ignored"
    EMPLOYEE_INACTIVE = "employee_inactive"
    BEFORE_JOINING = "before_joining"

    # A fault of our own in one record, which must not hold up the others
    INTERNAL_ERROR = "internal_error"

    # The sink's findings
    UNKNOWN_EMPLOYEE = "unknown_employee"
    COORDINATES_REFUSED = "coordinates_refused"
    TARGET_REJECTED = "target_rejected"
    TARGET_ERROR = "target_error"
    TARGET_FORBIDDEN = "target_forbidden"
    ATTENDANCE_MARKED = "attendance_marked"


class PunchstreamError(Exception):
    """Every error that this product raises on purpose."""


class ConfigurationError(PunchstreamError):
    """A setting or a registry entry is wrong or missing. One line, which names it."""


class InvalidRecord(PunchstreamError):
    """This record can never succeed as it is; the caller dead-letters it and goes on."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class RetriableError(PunchstreamError):
    """The same call may succeed later. `retry_after` is in seconds, where the other side named a time."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KafkaUnavailable(RetriableError):
    """Kafka did not acknowledge. The record may still arrive: every consumer is idempotent by `event_id`."""


class Overloaded(RetriableError):
    """More would wait for Kafka's acknowledgement than may. Nothing of this call was sent."""


class StandingStill(RetriableError):
    """A guard found that this process may not work now (`attendance.guards`). Nothing was done."""


class DevicePaused(RetriableError):
    """A person paused the device (`attendance.records.fleet`): it has to keep what it sent, and send it again."""


class CannotBeKept(RetriableError):
    """What no adapter understood cannot be kept whole either: it is not acknowledged, and comes again."""


class DeviceUnavailable(RetriableError):
    """A device that is asked for its punches does not answer, is busy, or broke off."""


class UnreadableAnswer(DeviceUnavailable):
    """A device's answer cannot be understood, or cannot be right: the read counts as failed and the cursor stays."""


class DeviceRefused(PunchstreamError):
    """A device refuses these credentials, or what its registry entry says cannot work. A person has to act."""


class UnreadableFile(PunchstreamError):
    """A file is not of the format that it should be of, or breaks off. The message names the place."""


class TargetUnavailable(RetriableError):
    """The target did not answer, or answered that it cannot serve now."""


class ServerError(TargetUnavailable):
    """The target failed inside while it handled this request. Only repetition tells an outage from a bad record."""


class RequestAbandoned(TargetUnavailable):
    """The request was given up under way: by us, by a proxy, or by the database that waited for a lock.

    Only repetition tells an outage from one document that holds the request up. A write may have happened, unless the
    target itself `answered`: then it has undone all of it.
    """

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class Conflict(TargetUnavailable):
    """Somebody else changed the document since it was read. Nothing was written; what to write is decided anew."""


class DocumentRejected(PunchstreamError):
    """The target understood the request and will not do it. `kind` is its own name for the error."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(f"{status} {kind}: {message}" if message else f"{status} {kind}")
        self.status = status
        self.kind = kind

    @property
    def is_missing(self) -> bool:
        """Whether there is no such document."""
        return self.status == 404


class AccessDenied(PunchstreamError):
    """The target refuses these credentials or lacks a permission. A person has to act."""


class PermissionDenied(AccessDenied):
    """The target lets us in and forbids this request. Only what it does with others tells what is not permitted."""


class ZoneInDoubt(AccessDenied):
    """It is not certain in which zone ERPNext keeps its times. Nothing may be written; the message says what to do."""
