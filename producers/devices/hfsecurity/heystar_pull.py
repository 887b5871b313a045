"""HeyStar terminals that are asked for their records, themselves or by the middleware."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import structlog

from attendance.errors import DeviceRefused, DeviceUnavailable
from attendance.times import format_seconds, parse_utc
from producers.devices.common.clocks import ASSUMED_LAG, LOST_CLOCK, MAX_ZONE_DIFFERENCE
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.common.settings import DIFFERS, summary
from producers.devices.contract import Cursor, DeviceReport, Fetch, Page
from producers.devices.hfsecurity.heystar import HeyStarApi, found_in, serial_in
from producers.devices.hfsecurity.heystar_settings import SAVE, SAVE_DAYS, compare, number_in
from producers.devices.hfsecurity.lan_api import EARLIEST
from producers.devices.hfsecurity.two_clocks import Zones

log = structlog.get_logger(__name__)

OVERLAP: Final = timedelta(minutes=10)
LOOK_AFTER: Final = timedelta(minutes=15)
"""How long a terminal is believed to have the settings that it was last seen to have."""
LONGEST_SWEEP: Final = timedelta(days=31)

DIRECTION: Final = "direction"
"""The name of what was found of directions in a device's status."""

_FACTS: Final = ("version", "model", "personCount", "faceCount")

ToPage = Callable[[Sequence[object], Cursor], Page]
"""A page of these records, with the cursor after it."""


class KnownRecord(NamedTuple):
    """What a record is found again by: the terminal's number of it, and when it was made. A reset repeats neither."""

    number: str
    time: datetime


class HeyStarReader:
    """Reads terminals by HeyStar. What it finds out about one stays a detail until it finds out something else."""

    def __init__(self) -> None:
        self._details: dict[str, Mapping[str, str | int | float]] = {}
        self._looked_at: dict[str, datetime] = {}
        self._save_days: dict[str, int] = {}
        self._keeps_nothing: set[str] = set()
        self._zones = Zones()

    async def fetch(
        self, api: HeyStarApi, wanted: Fetch, to_page: ToPage, callback_url: Callable[[], str | None]
    ) -> AsyncIterator[Page]:
        """The pages of `PullAdapter.fetch`.

        Args:
            api: The terminal's.
            wanted: What is asked.
            to_page: Makes a page of records.
            callback_url: Where the terminal should post to; None where the entry wants nothing.
        """
        device_id = api.device.device_id
        await check_serial(api)
        if wanted.since is not None:
            async for page in self._sweep(api, wanted, wanted.since, to_page):
                yield page
            return
        anchor = _known_in_cursor(wanted.cursor)
        progress = _Progress(api, wanted, anchor)
        started = EARLIEST if anchor is None else max(anchor.time - OVERLAP, EARLIEST)
        async for page in self._read(api, started, progress, to_page):
            yield page
        begun_anew = anchor is not None and not progress.saw_anchor
        if begun_anew and anchor is not None:
            log.warning(
                "A device does not have the newest record known of it; reading all that it has.",
                device_id=device_id,
                record=anchor.number,
                made_at=format_seconds(anchor.time),
            )
            self._learn(device_id, {"memory": f"begun anew: its record of {format_seconds(anchor.time)} is gone"})
            progress = _Progress(api, wanted, None)
            async for page in self._read(api, EARLIEST, progress, to_page):
                yield page
        # Only now: punches come first, and a wrong password is to be tried once.
        await self._look_after(api, wanted.now, callback_url)
        # What was in a memory that was cleared may be missing for ever, and so is what is never kept.
        complete = progress.has_said and not begun_anew and device_id not in self._keeps_nothing
        until = wanted.now - ASSUMED_LAG if complete else None
        report = DeviceReport(last_sequence=progress.last_number, details=self._details.get(device_id, {}))
        yield Page(progress.at_the_end, report=report, complete_until=until)

    async def _read(
        self, api: HeyStarApi, start: datetime, progress: "_Progress", to_page: ToPage
    ) -> AsyncIterator[Page]:
        async for rows in api.records(start):
            progress.take(rows)
            if rows:
                self._learn(api.device.device_id, self._zones.detail(rows, api.device))
                self._learn(api.device.device_id, _directions(rows, api))
                yield to_page(rows, progress.so_far)

    async def _sweep(self, api: HeyStarApi, wanted: Fetch, since: datetime, to_page: ToPage) -> AsyncIterator[Page]:
        """All from some time on, or as far back as the terminal keeps its records; and those of a lost clock."""
        days = self._save_days.get(api.device.device_id, 0)
        kept = wanted.now - min(timedelta(days=min(days, LONGEST_SWEEP.days)), LONGEST_SWEEP)
        start = max(min(since, kept), EARLIEST + MAX_ZONE_DIFFERENCE) - MAX_ZONE_DIFFERENCE
        windows = [(start, None)] if start <= LOST_CLOCK else [(EARLIEST, LOST_CLOCK), (start, None)]
        for begin, end in windows:
            async for rows in api.records(begin, end):
                if rows:
                    yield to_page(rows, wanted.cursor or {})

    async def _look_after(self, api: HeyStarApi, now: datetime, callback_url: Callable[[], str | None]) -> None:
        """What the terminal says of itself and of its settings, now and then. None of it may hold up the punches."""
        device_id = api.device.device_id
        looked = self._looked_at.get(device_id)
        if looked is not None and now - looked < LOOK_AFTER:
            return
        self._looked_at[device_id] = now
        try:
            self._learn(device_id, facts_in(await api.about()))
            found = await compare(api, callback_url())
        except (DeviceUnavailable, DeviceRefused) as error:
            log.warning("A device's settings cannot be read.", device_id=device_id, error=str(error))
            self._learn(device_id, {"settings": f"unknown: {error}"})
            return
        if (days := number_in(found, SAVE_DAYS)) is not None:
            self._save_days[device_id] = days
        if number_in(found, SAVE) == 0:
            self._keeps_nothing.add(device_id)
        else:
            self._keeps_nothing.discard(device_id)
        said = summary([each.setting for each in found])
        if said != self._details.get(device_id, {}).get("settings") and any(each.setting.differs for each in found):
            log.warning("A device's settings are not as wanted.", device_id=device_id, settings=said)
        self._learn(device_id, {"settings": said})

    def _learn(self, device_id: str, details: Mapping[str, str | int | float]) -> None:
        self._details[device_id] = {**self._details.get(device_id, {}), **details}


class _Progress:
    """How far a fetch has come, as the cursor of its pages.

    It is the newest record that has been read. Before the end the cursor moves only while the terminal gives its
    records in the order of their times, and has given the one where the fetch goes on. It does not move by a record
    that is dated ahead of the server's clock, or all before that would be passed over.
    """

    def __init__(self, api: HeyStarApi, wanted: Fetch, anchor: KnownRecord | None) -> None:
        self.saw_anchor = False
        self.has_said = False
        """Whether the terminal has answered with a list."""
        self._api = api
        self._wanted = wanted
        self._anchor = anchor
        self._newest = anchor
        self._previous = datetime.min.replace(tzinfo=UTC)
        self._ordered = True

    def take(self, rows: Sequence[object] | None) -> None:
        """Take in a page.

        Args:
            rows: Its records; None where the terminal gave no list.
        """
        self.has_said = self.has_said or rows is not None
        for row in rows or ():
            place = _known_in_row(row, self._api)
            if place is None or place.time < self._previous:
                self._ordered = False
                continue
            self._previous = place.time
            self.saw_anchor = self.saw_anchor or place == self._anchor
            if EARLIEST <= place.time <= self._wanted.now and (self._newest is None or place.time >= self._newest.time):
                self._newest = place

    @property
    def so_far(self) -> Cursor:
        """The cursor after a page that is not the last."""
        found_its_place = self._anchor is None or self.saw_anchor
        return self.at_the_end if self._ordered and found_its_place else self._wanted.cursor or {}

    @property
    def at_the_end(self) -> Cursor:
        """The cursor when all was read."""
        if self._newest is None:
            return {}
        return {"record": self._newest.number, "made_at": format_seconds(self._newest.time)}

    @property
    def last_number(self) -> int | None:
        """The number of the newest record."""
        number = "" if self._newest is None else self._newest.number
        return int(number) if number.isdecimal() and len(number) < len(str(2**63)) else None


async def check_serial(api: HeyStarApi) -> None:
    """Accept the terminal of the entry, where that has a serial number and the terminal tells it.

    Raises:
        DeviceRefused: another terminal answers at this address: its punches would be booked on this one.
    """
    wanted = api.device.serial
    if wanted is None or api.way == "middleware":  # which is asked for the terminal of that serial number
        return
    found = serial_in(await api.about())
    if found is not None and not is_serial_of_entry(found, wanted):
        raise DeviceRefused(f"{api.device.device_id}: at its address is {found}, not {wanted}")


def facts_in(content: object) -> Mapping[str, str | int | float]:
    """The facts to show in what a terminal says of itself.

    Args:
        content: What it says.
    """
    facts = {name: found_in(content, name) for name in _FACTS}
    return {name: value for name, value in facts.items() if isinstance(value, str | int | float)}


def _directions(rows: Sequence[object], api: HeyStarApi) -> Mapping[str, str]:
    """Whether records that are asked for have the directions that the entry gives a meaning; empty where it does not.

    What is pushed may have them nevertheless: then one punch has two ids, of which the stream drops the second.
    """
    if not api.options.direction:
        return {}
    if any(isinstance(row, Mapping) and "direction" in row for row in rows):
        return {DIRECTION: "in its records"}
    return {DIRECTION: f"{DIFFERS}: the records that it is asked for have none"}


def _known_in_row(row: object, api: HeyStarApi) -> KnownRecord | None:
    time = api.time_of(row)
    if time is None or not isinstance(row, Mapping):
        return None
    number = row.get("id", row.get("recordId"))
    return KnownRecord("" if number is None else str(number), time)


def _known_in_cursor(cursor: Cursor | None) -> KnownRecord | None:
    """The newest record that was read; None where nothing can be said, and all is read again."""
    try:
        return KnownRecord(str((cursor or {})["record"]), max(parse_utc((cursor or {})["made_at"]), EARLIEST))
    except (KeyError, TypeError, ValueError):
        return None
