"""Durations as people write them: `90 days`, `12 h`, `5 min`, `30 s`, or a plain number.

`Seconds`, `WholeSeconds` and `Days` are types for fields of settings. A plain number is in the unit of the type.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

_DAY: Final = 86400
_NAMES: Final = {
    1: ("s", "sec", "second", "seconds"),
    60: ("m", "min", "minute", "minutes"),
    3600: ("h", "hour", "hours"),
    _DAY: ("d", "day", "days"),
}
_UNITS: Final = {name: seconds for seconds, names in _NAMES.items() for name in names}
_DURATION: Final = re.compile(r"\+?([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)


def parse_seconds(text: str, plain: int = 1) -> float:
    """Read a duration such as `90 days`, `12h`, `5 min`, `30 s` or `60`.

    Args:
        text: What somebody wrote.
        plain: The unit of a number without a unit, in seconds.

    Returns:
        The duration in seconds.

    Raises:
        ValueError: it is no duration.
    """
    match = _DURATION.fullmatch(text.strip())
    unit = match and (_UNITS.get(match[2].lower()) if match[2] else plain)
    if not match or not unit:
        raise ValueError("a duration such as 30 s, 5 min, 12 h or 90 days")
    return float(match[1]) * unit


def format_seconds(seconds: float) -> str:
    """Write a duration in the largest unit of which it is a whole number; `parse_seconds` reads it back."""
    for length, unit in ((_DAY, "days"), (3600, "h"), (60, "min")):
        if seconds and seconds % length == 0:
            count = int(seconds // length)
            return "1 day" if (count, unit) == (1, "days") else f"{count} {unit}"
    return f"{int(seconds) if float(seconds).is_integer() else seconds} s"


def format_rounded(seconds: float) -> str:
    """Write a duration as people read it, rounded: `0.25 s`, `12 min`, `3.5 h`, `4.0 days`."""
    if abs(seconds) < 60:
        return f"{seconds:.3g} s"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / _DAY
    if abs(minutes) < 60:
        return f"{minutes:.0f} min"
    return f"{hours:.1f} h" if abs(hours) < 48 else f"{days:.1f} days"


@dataclass(frozen=True, slots=True)
class Unit:
    """Marks a field of settings as a duration, and says in which unit, in seconds, its value is."""

    seconds: int


def with_unit(value: float, metadata: Iterable[object]) -> str | None:
    """Write the value of a setting with its unit.

    Args:
        value: The setting's value.
        metadata: Of the setting's field, which has a `Unit` if the setting is a duration.

    Returns:
        The text, or None if the setting is no duration.
    """
    units = [each for each in metadata if isinstance(each, Unit)]
    return format_seconds(value * units[0].seconds) if units else None


def _seconds(value: object) -> object:
    return parse_seconds(value) if isinstance(value, str) else value


def _days(value: object) -> object:
    return parse_seconds(value, plain=_DAY) / _DAY if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False), Unit(1)]
WholeSeconds = Annotated[int, BeforeValidator(_seconds), Unit(1)]
Days = Annotated[int, BeforeValidator(_days), Unit(_DAY)]
