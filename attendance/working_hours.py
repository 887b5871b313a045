"""Working hours: when people punch at a site, so that the silence of a device means something only then.

They are written as `sun-thu 07:00-12:00 13:00-19:00; sat 22:00-06:00`: weekdays, and the spans of each by the wall
clock of the site. A span that ends at or before its begin ends on the next day. A weekday that is not named has none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from attendance.times import from_wall_clock, to_wall_clock

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXAMPLE: Final = "sun-thu 07:00-12:00 13:00-19:00; sat 08:00-12:00"

_DAY: Final = 24 * 60  # minutes
_SPAN: Final = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", re.ASCII)


class Span(NamedTuple):
    """A part of a weekday, by the wall clock, in minutes after its midnight. The next day begins at 1440."""

    weekday: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """The working hours of a site.

    Attributes:
        zone: The IANA zone of its wall clock.
        spans: Of the week. Those of neighbouring days may overlap.
    """

    zone: str
    spans: tuple[Span, ...]

    def include(self, at: datetime) -> bool:
        """Whether an instant lies in them."""
        return any(begin <= at < end for begin, end in self._between(at, at))

    def within(self, since: datetime, until: datetime) -> timedelta:
        """How much of the time from one instant to another lies in them; none where the second is the earlier one."""
        counted, reached = timedelta(), since
        for begin, end in self._between(since, until):
            counted += max(timedelta(), min(end, until) - max(begin, reached))
            reached = max(reached, min(end, until))
        return counted

    def by_spans(self) -> dict[str, list[int]]:
        """The weekdays, from Monday 0 on, that have the same spans, by these: `07:00-12:00 13:00-19:00`."""
        spans: dict[int, list[str]] = {}
        for each in self.spans:
            spans.setdefault(each.weekday, []).append(f"{_time(each.begin)}-{_time(each.end)}")
        found: dict[str, list[int]] = {}
        for weekday, texts in spans.items():
            found.setdefault(" ".join(texts), []).append(weekday)
        return found

    def _between(self, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The spans, by their begins, that may have a part of a time."""
        # A span begins on the day before at the earliest.
        day = to_wall_clock(since, self.zone).date() - timedelta(days=1)
        last = to_wall_clock(until, self.zone).date()
        while day <= last:
            yield from _instants(self, day)
            day += timedelta(days=1)


def _time(minutes: int) -> str:
    hour, minute = divmod(minutes if minutes <= _DAY else minutes - _DAY, 60)
    return f"{hour:02}:{minute:02}"


@lru_cache(maxsize=4096)
def _instants(hours: WorkingHours, day: date) -> tuple[tuple[datetime, datetime], ...]:
    """Begin and end, UTC, of the spans of a day."""
    # Many devices of a site are asked about the same days.
    midnight, weekday = datetime.combine(day, time()), day.weekday()
    return tuple(
        (
            from_wall_clock(midnight + timedelta(minutes=each.begin), hours.zone),
            from_wall_clock(midnight + timedelta(minutes=each.end), hours.zone),
        )
        for each in hours.spans
        if each.weekday == weekday
    )


def working_time(hours: WorkingHours | None, since: datetime, until: datetime) -> timedelta:
    """How much of the time from one instant to another is working time.

    Args:
        hours: Of the site; None where it works always.
        since: The earlier one, aware.
        until: The later one, aware.
    """
    return max(timedelta(), until - since) if hours is None else hours.within(since, until)


@lru_cache(maxsize=1024)
def parse_spans(text: str) -> tuple[Span, ...]:
    """The spans that a text says, in order.

    Args:
        text: As at the head of this module.

    Raises:
        ValueError: it is none; the message says what is wrong.
    """
    spans: set[Span] = set()
    named: set[int] = set()
    for part in text.split(";"):
        days, *written = part.split() or [""]
        weekdays = _weekdays(days)
        if twice := named.intersection(weekdays):
            raise ValueError(f"{WEEKDAYS[min(twice)]} is there twice; write its spans together, such as {EXAMPLE}")
        if not written:
            raise ValueError(f"{days} has no hours, such as {EXAMPLE}")
        named.update(weekdays)
        spans.update(Span(day, *_minutes(each)) for each in written for day in weekdays)
    return tuple(sorted(spans))


def _weekdays(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = _weekday(first), _weekday(last if dash else first)
        found += [(begin + each) % len(WEEKDAYS) for each in range((end - begin) % len(WEEKDAYS) + 1)]
    if len(set(found)) < len(found):
        raise ValueError(f"{text} names a day twice")
    return found


def _weekday(text: str) -> int:
    try:
        return WEEKDAYS.index(text.lower())
    except ValueError:
        raise ValueError(f"{text!r} is none of {', '.join(WEEKDAYS)}; working hours are such as {EXAMPLE}") from None


def _minutes(text: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(text)
    begin, end = (_minute(match[1], match[2]), _minute(match[3], match[4])) if match else (None, None)
    if begin is None or end is None or begin == _DAY:
        raise ValueError(f"{text!r} is no span such as 07:00-19:00, 22:00-06:00 or 00:00-24:00")
    if begin == end:
        raise ValueError(f"{text} ends when it begins; a whole day is 00:00-24:00")
    return begin, end if end > begin else end + _DAY


def _minute(hour: str, minute: str) -> int | None:
    after_midnight = int(hour) * 60 + int(minute)
    return after_midnight if int(minute) < 60 and after_midnight <= _DAY else None
