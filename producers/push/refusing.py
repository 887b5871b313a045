"""What push does not take in: the errors, their reasons, and when a terminal is to come again."""

from collections.abc import Collection
from typing import Final

from attendance.errors import (
    CannotBeKept,
    DevicePaused,
    InvalidRecord,
    KafkaUnavailable,
    Overloaded,
    Reason,
    StandingStill,
)
from attendance.fleet import Device

LATER: Final = 60
"""Seconds until a paused device should come again, at least: a person ends the pause, and not soon."""

ERRORS: Final = (InvalidRecord, KafkaUnavailable, Overloaded, CannotBeKept, DevicePaused, StandingStill)
Refusal = InvalidRecord | KafkaUnavailable | Overloaded | CannotBeKept | DevicePaused | StandingStill


def reason_of(error: Refusal) -> Reason:
    """The reason that stands for an error in the answer and in the metrics."""
    match error:
        case InvalidRecord():
            return error.reason
        case Overloaded():
            return Reason.OVERLOADED
        case CannotBeKept():
            return Reason.CANNOT_BE_KEPT
        case DevicePaused():
            return Reason.DEVICE_PAUSED
        case StandingStill():
            return Reason.STANDING_STILL
        case _:
            return Reason.KAFKA_UNAVAILABLE


def retry_after(reason: Reason, seconds: int) -> int:
    """In how many seconds a terminal is to come again.

    Args:
        reason: Why it is refused.
        seconds: What the settings say of that.
    """
    return max(seconds, LATER) if reason is Reason.DEVICE_PAUSED else seconds


def check_pauses(devices: Collection[Device]) -> None:
    """Refuse what comes from one of these devices, nobody knows which.

    Raises:
        DevicePaused: each of them is paused.
    """
    if all(device.paused for device in devices):
        raise DevicePaused(f"{', '.join(device.device_id for device in devices)}: paused")
