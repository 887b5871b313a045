"""Whether the time of a punch can be true: one rule, for the stream and for the preview of a file."""

from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

from attendance.durations import format_rounded
from attendance.errors import Reason
from attendance.fleet import Device
from attendance.kafka.records import Record
from attendance.records.dead_letter import is_dead_letter_replay
from attendance.records.raw_event import ARRIVED_AT, REPLAY_OF, RawEvent, broker_time
from attendance.times import format_seconds, to_wall_clock, zone

# Clocks that lost their battery come back in 1970, 2000, 2010 or 2015. This is the floor for a device without
# `installed_on`.
EARLIEST: Final = date(2016, 1, 1)
_FIRST: Final = date(1970, 1, 3)
"""The records have seconds since 1970, in every zone. No device is older, whatever `installed_on` says."""
_DAY: Final = timedelta(days=1)
_OF_A_COPY: Final = (REPLAY_OF, ARRIVED_AT)
"""The last header of a replay copy is one of these."""
_LATEST_MS: Final = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp() * 1000)


class TimeFault(Enum):
    """What can be wrong with a time, in words that follow "whose time"."""

    UNREADABLE = "is not a time"
    AHEAD = "is ahead of its arrival"
    BEFORE_INSTALLED = "is before the device was installed"


class ImplausibleTime(NamedTuple):
    """Why the time of an event cannot be true; `message` is a sentence for the dead letter."""

    fault: TimeFault
    reason: Reason
    message: str


def arrived_at(event: RawEvent, record: Record) -> datetime:
    """The time with which that of a punch is compared: when it arrived.

    The server's clock may have been wrong when it noted that, so the broker's counts where it is earlier. What a person
    replays as a dead letter was looked at: it is compared with the time of the replay, and the bytes stay as they are.

    Args:
        event: The punch.
        record: The raw record that holds it.
    """
    received_at, made = event.received_at, event.event_time
    if made is None or (
        made <= received_at
        and made.timestamp() * 1000 <= record.timestamp
        and not (record.headers and record.headers[-1][0] in _OF_A_COPY)
    ):
        return received_at  # the usual one, by whichever clock
    if is_dead_letter_replay(record.headers):
        return max(received_at, _instant(record.timestamp))
    broker = broker_time(record)
    return received_at if broker is None else min(received_at, _instant(broker))


def _instant(milliseconds: int) -> datetime:
    # Of a record that somebody else wrote it may be any number.
    return datetime.fromtimestamp(min(max(milliseconds, 0), _LATEST_MS) / 1000, UTC)


def find_time_fault(
    event: RawEvent, device: Device | None, future_tolerance: float, arrived: datetime | None = None
) -> ImplausibleTime | None:
    """Whether the time of an event can be true.

    Args:
        event: The punch. Its time is compared with when it arrived, and with when its device was installed.
        device: The event's own entry in the registry, None where it has none.
        future_tolerance: Seconds by which a time may be ahead of the arrival.
        arrived: When it arrived; None for when the server noted that it did.

    Returns:
        What is wrong, or None. With None, `event_time` is a time.

    Raises:
        ConfigurationError: the zone that the event's time was read in is not known here.
    """
    event_time = event.event_time
    if event_time is None:
        message = f"device time {event.device_time!r} {TimeFault.UNREADABLE.value}"
        return ImplausibleTime(TimeFault.UNREADABLE, Reason.UNREADABLE_TIME, message)
    ahead = event_time - (arrived or event.received_at)
    if ahead.total_seconds() > future_tolerance:
        message = f"{format_seconds(event_time)} is {format_rounded(ahead.total_seconds())} ahead of its arrival"
        return ImplausibleTime(TimeFault.AHEAD, Reason.IMPLAUSIBLE_TIME, message)
    zone(event.device_timezone)  # to read the time by; one that is not known here is no zone
    installed = max(device.installed_on, _FIRST) if device and device.installed_on else EARLIEST
    # No zone is a day from UTC, so only about the day itself the wall clock has to be asked. Long before, there may be
    # none: the year 1 in a zone west of Greenwich.
    day = event_time.date()
    if day <= installed + _DAY and (
        day < installed - _DAY or to_wall_clock(event_time, event.device_timezone).date() < installed
    ):
        message = f"{format_seconds(event_time)} {TimeFault.BEFORE_INSTALLED.value}"
        return ImplausibleTime(TimeFault.BEFORE_INSTALLED, Reason.IMPLAUSIBLE_TIME, message)
    return None
