"""Times on the wire, and the one rule that reads a terminal's wall clock.

A naive device time is read in the device's IANA zone. Where a change of clocks makes it ambiguous or impossible, the
offset in force *before* the change is used: an ambiguous time is the first of the two instants, and a time inside the
skipped hour becomes the same distance after the change.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

import tzdata
from msgspec.json import Encoder

from attendance.errors import ConfigurationError

TZDATA: Final[str] = tzdata.IANA_VERSION
"""The release of the zones, such as `2026a`."""
_ZONE: Final = re.compile(r"[\w+-]+(/[\w+-]+)*", re.ASCII)
# Of the digits in an epoch time; fourteen would be a date and time run together.
_SECONDS_DIGITS = range(9, 11)
_MILLISECONDS_DIGITS = range(12, 14)

_MILLISECONDS: Final = tuple(f".{number:03}Z" for number in range(1000))
_MILLISECONDS_BYTES: Final = tuple(each.encode() for each in _MILLISECONDS)
_JSON: Final = Encoder()
_TO_SECONDS: Final = slice(1, 1 + len("2026-01-01T05:00:00"))  # without the quote
_LONGEST_RETRY_AFTER: Final = 3600.0  # seconds; a wrong clock or proxy must not stop deliveries for days
# No clock goes back by more, so a change that is further ahead repeats no time that has been.
_LONGEST_REPEAT: Final = timedelta(hours=3)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The IANA zone of that name, as the installed release of `tzdata` has it.

    Raises:
        ConfigurationError: no such zone.
    """
    try:
        if not _ZONE.fullmatch(name):
            raise ValueError(name)
        # Not `ZoneInfo(name)`: it reads the system's files first, which are as old as the system.
        with files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as file:
            return ZoneInfo.from_file(file, name)
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{name!r} is not an IANA time zone such as 'Asia/Riyadh'") from error


def now() -> datetime:
    """The server's clock, UTC."""
    return datetime.now(UTC)


def from_milliseconds(at: int) -> datetime:
    """The instant, UTC, that is so many milliseconds after the epoch: how Kafka and the ledger have times."""
    return datetime.fromtimestamp(at / 1000, UTC)


def from_wall_clock(naive: datetime, zone_name: str) -> datetime:
    """The UTC instant of a wall-clock time in a zone, by the rule at the head of this module."""
    # fold=0 selects the offset before the change, for ambiguous and for impossible times alike (PEP 495).
    return naive.replace(tzinfo=zone(zone_name), fold=0).astimezone(UTC)


def to_wall_clock(instant: datetime, zone_name: str) -> datetime:
    """The naive wall-clock time, whole seconds, that an instant has in a zone."""
    return instant.astimezone(zone(zone_name)).replace(tzinfo=None, microsecond=0)


def midnight(day: date, zone_name: str) -> datetime:
    """When a day begins in a zone, UTC."""
    return from_wall_clock(datetime.combine(day, time()), zone_name)


def earliest_wall_clock(instant: datetime, zone_name: str) -> datetime:
    """The naive time, whole seconds, before which no wall clock in the zone is at or after the instant.

    It is the wall clock's time, or an earlier one while the clock is about to go back.
    """
    ahead = to_wall_clock(instant + _LONGEST_REPEAT, zone_name) - _LONGEST_REPEAT
    return min(to_wall_clock(instant, zone_name), ahead)


def read_device_time(text: str, zone_name: str) -> datetime | None:
    """The UTC instant, whole seconds, of what a device wrote; None when it cannot be derived.

    Understood are ISO 8601 with or without an offset (`2026-01-01T08:00:00+03:00`, `2026-01-01 08:00:00`,
    `2026/01/01 08:00:00`), and the Unix epoch in seconds (9 or 10 digits) or milliseconds (12 or 13). A date without a
    time of day is refused, as is any form in which day and month could be exchanged.
    """
    text = text.strip()
    try:
        if text.isascii() and text.isdecimal():
            if len(text) in _MILLISECONDS_DIGITS:
                return datetime.fromtimestamp(int(text) // 1000, UTC)
            return datetime.fromtimestamp(int(text), UTC) if len(text) in _SECONDS_DIGITS else None
        if len(text) < len("2026-01-01T08:00"):
            return None
        if text[4] == "/" and text[7] == "/":
            text = text.replace("/", "-", 2)
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is None:
            # As `from_wall_clock` has it, of a time whose fold is 0: this is done for every record.
            return parsed.replace(tzinfo=zone(zone_name), microsecond=0).astimezone(UTC)
        return parsed.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError, OSError):
        return None


def read_retry_after(header: str) -> float | None:
    """The seconds that an HTTP header Retry-After asks for, an hour at most; None where it says nothing."""
    try:
        seconds = float(header) if header.isdecimal() else (_http_date(header) - now()).total_seconds()
    except ValueError:
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def _http_date(text: str) -> datetime:
    """Raises ValueError."""
    moment = parsedate_to_datetime(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def format_seconds(instant: datetime) -> str:
    """`2026-01-01T05:00:00Z`: UTC, whole seconds."""
    return f"{_wall_clock(instant)}Z"


def format_milliseconds(instant: datetime) -> str:
    """`2026-01-01T05:00:00.123Z`: UTC, milliseconds."""
    return _wall_clock(instant) + _MILLISECONDS[instant.microsecond // 1000]


def encode_milliseconds(instant: datetime) -> bytes:
    """What `format_milliseconds` writes, in bytes, for half of the time: it is written for every record."""
    return _JSON.encode(_utc(instant))[_TO_SECONDS] + _MILLISECONDS_BYTES[instant.microsecond // 1000]


def _wall_clock(instant: datetime) -> str:
    # A tenth of what `isoformat` takes, and times are written several times for each event.
    return _JSON.encode(_utc(instant))[_TO_SECONDS].decode()


def parse_utc(text: str) -> datetime:
    """The instant that one of the two formats above names.

    Raises:
        ValueError: not a time, or a time without an offset.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    try:
        return _utc(instant)
    except OverflowError as error:
        raise ValueError(f"{text!r} is out of range in UTC") from error


def _utc(instant: datetime) -> datetime:
    return instant if instant.tzinfo is UTC else instant.astimezone(UTC)
