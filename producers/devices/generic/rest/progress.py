"""How far a fetch has come, by the time or by the number of the records.

Nothing is assumed of the order of records unless they are asked for by an increasing number, so by time the cursor
moves only when everything has been read.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog

from attendance.records.raw_event import RawEvent
from attendance.times import format_seconds, parse_utc
from producers.devices.common.clocks import LOST_CLOCK, MAX_ZONE_DIFFERENCE
from producers.devices.contract import Cursor, Fetch
from producers.devices.generic.rest.interface import Place, Start
from producers.devices.generic.rest.options import RestOptions

log = structlog.get_logger(__name__)

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""What a first fetch asks for by time: clocks that lost their power begin here."""
AHEAD: Final = timedelta(days=1)
"""How far in the future records are asked for: clocks are wrong, and the stream decides about that."""


class Progress(Protocol):
    """How far a fetch has come, as the cursor of its pages.

    The record that was newest before, its anchor, has to be found again. Where it is not, the other side compares by
    another zone than its entry says, or counts anew: then what is new may be further back.
    """

    start: Start

    def take(self, events: Sequence[RawEvent], numbers: Sequence[int]) -> str | None:
        """Take in a page.

        Args:
            events: Those of the page.
            numbers: The numbers of all its records that have one, in their order.

        Returns:
            What cannot be right about it; None where nothing is wrong.
        """

    def following(self, place: Place) -> Place | None:
        """Where to go on after a place, without paging; None where nothing is left."""

    def next_start(self) -> Start | None:
        """Where to read next, once all of the last reading is there; None where nothing is left."""

    def cursor(self, *, whole: bool) -> Cursor:
        """The cursor after this page. `whole` says that nothing is left to be read."""


class ByTime:
    """The time of the newest record: it moves when all has been read, for pages may be in any order.

    It does not move by a record that is dated ahead of the server's clock, or all before that would be passed over.
    """

    def __init__(self, wanted: Fetch, options: RestOptions) -> None:
        self._wanted = wanted
        self._newest = _through(wanted.cursor)
        self._anchor = self._newest if wanted.since is None else None
        self._until = wanted.now + AHEAD
        begin = wanted.since
        if begin is None:
            begin = _EARLIEST if self._newest is None else max(_EARLIEST, self._newest - options.cursor.seconds)
        self.start = Start(begin, self._until)
        # A sweep looks as well for what was punched after the clock was lost, which can come at any time.
        self._lost = wanted.since is not None and "to" in options.placeholders

    def take(self, events: Sequence[RawEvent], numbers: Sequence[int]) -> str | None:  # noqa: ARG002 - as `Progress` has it
        """See `Progress.take`."""
        for event in events:
            time = event.event_time
            if time is None or time > self._wanted.now:
                continue
            if time == self._anchor:
                self._anchor = None
            self._newest = time if self._newest is None else max(self._newest, time)
        return None

    def following(self, place: Place) -> Place | None:  # noqa: ARG002 - as `Progress` has it
        """See `Progress.following`."""
        return None

    def next_start(self) -> Start | None:
        """See `Progress.next_start`."""
        if self._lost:
            self._lost = False
            return Start(_EARLIEST, LOST_CLOCK)
        if self._anchor is None:
            return None
        log.info("What was newest before is not there now; it is looked for.", device_id=self._wanted.source.device_id)
        self._anchor = None
        return Start(max(_EARLIEST, self.start.time - MAX_ZONE_DIFFERENCE), self._until)

    def cursor(self, *, whole: bool) -> Cursor:
        """See `Progress.cursor`."""
        if not whole or self._newest is None or self._wanted.since is not None:
            return self._wanted.cursor or {}
        return {"through": format_seconds(self._newest)}


class ByNumber:
    """The largest number: it moves with each page, which have to be in the order of the numbers."""

    def __init__(self, wanted: Fetch, options: RestOptions) -> None:
        self._wanted = wanted
        self._known = _number(wanted.cursor)
        self._anchor = self._known if wanted.since is None and options.cursor.numbers else 0
        self._largest = self._previous = 0
        begin, time = max(0, self._known - options.cursor.numbers), _EARLIEST
        if wanted.since is not None and "from" in options.placeholders:
            begin, time = 0, wanted.since
        self.start = Start(time, wanted.now + AHEAD, begin)

    def take(self, events: Sequence[RawEvent], numbers: Sequence[int]) -> str | None:  # noqa: ARG002 - as `Progress` has it
        """See `Progress.take`."""
        for number in numbers:
            if number < self._previous:
                return f"record {number} comes after {self._previous}, so nobody can tell which are new"
            self._previous = number
            if number == self._anchor:
                self._anchor = 0
        self._largest = max(self._largest, self._previous)
        return None

    def following(self, place: Place) -> Place | None:
        """See `Progress.following`."""
        if self._previous <= place.start.number:
            return None
        return replace(place, start=replace(place.start, number=self._previous))

    def next_start(self) -> Start | None:
        """See `Progress.next_start`."""
        if not self._anchor:
            return None
        log.info("The largest number of before is not there now; all is read.", device_id=self._wanted.source.device_id)
        self._anchor = self._known = self._largest = self._previous = 0
        return replace(self.start, number=0)

    def cursor(self, *, whole: bool) -> Cursor:  # noqa: ARG002 - as `Progress` has it
        """See `Progress.cursor`."""
        number = max(self._known, self._largest)
        if self._wanted.since is not None or self._anchor or not number:
            return self._wanted.cursor or {}
        return {"number": number}


def _through(cursor: Cursor | None) -> datetime | None:
    try:
        return parse_utc((cursor or {})["through"])
    except (KeyError, TypeError, ValueError):
        return None


def _number(cursor: Cursor | None) -> int:
    number = (cursor or {}).get("number")
    return number if isinstance(number, int) and number > 0 else 0
