"""What a terminal that pushes by ADMS hears when it connects, and what has to be remembered of it until then.

What is remembered are the stamps of `Parsed.stamps`: where it is to go on, the zone that it has, and its kind.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from attendance.records.terminals import RESET
from attendance.times import format_seconds, read_device_time, to_wall_clock, zone

MAX_POST: Final = 512 * 1024
"""Bytes that a terminal is asked to send at most: well below the default limit, beyond which it would try for ever."""
STAMP: Final = "ATTLOGStamp"
ZONE: Final = "TimeZone"
KIND: Final = "DeviceType"
ACCESS: Final = "acc"

_ASKED: Final = "TimeZoneAsked"
_ASK_AGAIN: Final = timedelta(hours=1)
# What stands for "none": terminals send it whatever they have sent before.
_PLACEHOLDER: Final = re.compile(r"|0+|9{4,}|None", re.IGNORECASE)
_STAMP: Final = re.compile(r"[0-9A-Za-z]{1,32}")
_TIMES: Final = range(320_000_000, 4_000_000_000)
_FIRST_EPOCH: Final = 1_447_000_000  # November 2015; as a count of the protocol's own it would be the year 2045
# How far a terminal goes back that says nothing of how far it is: what it had not sent yet when it was cut off.
_OVERLAP: Final = timedelta(days=7)
_AHEAD: Final = timedelta(minutes=10)
# Where the protocol's own count begins, and where a clock goes back to that has lost its battery.
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST: Final = 1  # not 0, which stands for none, and not less, which firmware reads as a time that is far away
_WRITTEN_LENGTH: Final = len("20260101080000")


def is_access(query: Mapping[str, str], stamps: Mapping[str, str]) -> bool:
    """Whether a terminal that connects is for access. Where it does not say so, what is remembered of it decides.

    Args:
        query: Of its request, names in lower case.
        stamps: What is remembered.
    """
    kind = query.get("devicetype") or stamps.get(KIND)
    if not kind:
        return query.get("pushver", "").startswith("3")
    return kind.casefold() == ACCESS


def attendance_options(device: Device, stamps: Mapping[str, str], at: datetime) -> str:
    """What an attendance terminal is to do from now on, and from which record on it is to send.

    Args:
        device: Its entry.
        stamps: What is remembered of it.
        at: The server's clock.
    """
    stamp = stamps.get(STAMP, "")
    if _PLACEHOLDER.fullmatch(stamp):
        stamp = "0"  # none known: it sends all that it has
    options = {
        STAMP: stamp,
        "OPERLOGStamp": "9999",
        "ATTPHOTOStamp": "None",
        # As older firmware calls the first two.
        "Stamp": stamp,
        "OpStamp": "9999",
        "ErrorDelay": "30",
        "Delay": "10",
        "TransTimes": "00:00;14:05",
        "TransInterval": "1",
        # Neither photographs nor templates: those do not even leave the terminal.
        "TransFlag": "TransData AttLog\tOpLog",
        ZONE: zone_option(device, at),
        "Realtime": "1",
        "Encrypt": "None",
        "ServerVer": "2.4.1",
        "PushProtVer": "2.4.1",
        "PushOptionsFlag": "1",
        "PushOptions": "UserCount,TransactionCount,FPCount,FaceCount,FWVersion",
        "SupportPing": "1",
        "MaxPostSize": str(MAX_POST),
    }
    lines = [f"GET OPTION FROM: {device.serial}", *(f"{name}={value}" for name, value in options.items())]
    return "\n".join(lines) + "\n"


def access_options(device: Device, *, registered: bool) -> str:
    """The same for an access terminal.

    Args:
        device: Its entry.
        registered: Whether it is to hear that it is registered.
    """
    code = registry_code(device)
    head = ["registry=ok", f"RegistryCode={code}"] if registered else []
    return "\n".join(
        [
            *head,
            "ServerVersion=3.1.2",
            "ServerName=Punchstream",
            "PushProtVer=3.1.2",
            "ErrorDelay=30",
            "RequestDelay=10",
            "TransTimes=00:00;14:05",
            "TransInterval=1",
            "TransTables=Transaction",
            "Realtime=1",
            f"SessionID={code}",
            "TimeoutSec=10\n",
        ]
    )


def registry_code(device: Device) -> str:
    """No secret, but the same for a terminal whenever it asks."""
    return sha256(f"punchstream {device.device_id}".encode()).hexdigest()[:32]


def server_time(device: Device, at: datetime) -> str:
    """The server's time, in the protocol's own count of seconds, and the zone to show it in."""
    offset = _offset(device, at)
    sign, minutes = "-" if offset < timedelta() else "+", abs(offset) // timedelta(minutes=1)
    return f"DateTime={_counted(at.astimezone(UTC))},ServerTZ={sign}{minutes // 60:02}{minutes % 60:02}"


def zone_option(device: Device, at: datetime) -> str:
    """Whole hours, or minutes where it is none: the terminal takes a number beyond 60 for minutes."""
    minutes = _offset(device, at) // timedelta(minutes=1)
    return str(minutes // 60 if minutes % 60 == 0 else minutes)


def new_zone(device: Device, stamps: Mapping[str, str], at: datetime) -> tuple[str, Mapping[str, str]]:
    """What makes a terminal connect anew after a change of clocks: nothing else has it fetch its zone.

    Args:
        device: Its entry.
        stamps: What is remembered of it.
        at: The server's clock.

    Returns:
        The command with its id, which no answer is expected to, and what to remember; both empty while its zone is the
        right one, is not known, or was asked about within the hour.
    """
    wanted = zone_option(device, at)
    if stamps.get(ZONE, wanted) == wanted:
        return "", {}
    asked, _, when = stamps.get(_ASKED, "").partition(" ")
    then = read_device_time(when, "UTC")
    if asked == wanted and then is not None and at - then < _ASK_AGAIN:
        return "", {}
    return f"C:zone{int(at.timestamp())}:CHECK\n", {_ASKED: f"{wanted} {format_seconds(at)}"}


def stamp_of(
    posted: str, events: Sequence[RawEvent], device: Device, at: datetime, stamps: Mapping[str, str]
) -> str | None:
    """Where a terminal is to go on after what it has just sent: no further than what came with the stamp.

    A stamp that is a time counts as far as the newest punch that came with it. Where the terminal posts none, or one
    that stands for none, it is a week before that: whatever it is not 0, it does not send its whole memory again, and a
    week is what it may have had left to send. A number that is no time counts as far as punches came with it since the
    number before.

    Args:
        posted: The stamp of the request; empty where it has none.
        events: The punches that came with it.
        device: Whose they are.
        at: When they came. No stamp is later: the terminal would send nothing until then.
        stamps: What is remembered of it. One that a person had reset is not moved until the terminal has connected.

    Returns:
        The stamp; None where nothing came that says how far the terminal is.
    """
    latest = at + _AHEAD
    times = [time for event in events if (time := event.event_time) is not None and _EARLIEST <= time <= latest]
    if not times or stamps.get(RESET):
        return None
    newest = min(max(times), at)
    wall_clock = to_wall_clock(newest, device.timezone)
    is_written = len(posted) == _WRITTEN_LENGTH and posted.isdecimal()
    if (
        _PLACEHOLDER.fullmatch(posted)
        or not _STAMP.fullmatch(posted)
        or (_number(posted) >= _TIMES.stop and not is_written)
    ):
        # In the protocol's own count, as it is below any other: one that takes it for another time sends more.
        return str(max(_counted(wall_clock - _OVERLAP), _FIRST))
    if is_written:
        # A date and a time of day, run together.
        return min(posted, f"{wall_clock:%Y%m%d%H%M%S}")
    if not posted.isdecimal():
        return posted
    if int(posted) not in _TIMES:
        before = stamps.get(STAMP, "")
        is_number = before.isdecimal() and 0 < int(before) < _TIMES.start
        return str(min(int(posted), int(before) + len(events))) if is_number else posted
    counted = max(_counted(wall_clock), _FIRST)
    # Some count the seconds of their own wall clock.
    epoch = min(int(newest.timestamp()), int(wall_clock.replace(tzinfo=UTC).timestamp()))
    return str(min(int(posted), counted if int(posted) < _FIRST_EPOCH else epoch))


def reset_to(since: datetime | None) -> str:
    """The stamp that has a terminal send again what it has; in the protocol's own count, as it is below any other.

    Args:
        since: From when, by its own wall clock; None for all of it.
    """
    return "0" if since is None else str(max(_counted(since), _FIRST))


def _number(stamp: str) -> int:
    """What firmware makes of a stamp that it takes for a number."""
    digits = re.match(r"[0-9]*", stamp)
    return int(digits[0]) if digits and digits[0] else 0


def _offset(device: Device, moment: datetime) -> timedelta:
    return moment.astimezone(zone(device.timezone)).utcoffset() or timedelta()


def _counted(moment: datetime) -> int:
    """A time in the protocol's own count of seconds, in which every month has 31 days."""
    days = (moment.year - 2000) * 372 + (moment.month - 1) * 31 + moment.day - 1
    return ((days * 24 + moment.hour) * 60 + moment.minute) * 60 + moment.second
