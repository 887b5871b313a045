"""Hikvision access terminals that are asked.

What is read is decided by the terminal's own clock and memory alone, never by what it pushed: so what a push lost is in
the next pull. See docs/devices/hikvision.md. Nothing of this was tried on hardware.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from secrets import token_hex
from typing import Final

import orjson
import structlog
from msgspec.structs import replace

from attendance.errors import InvalidRecord
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent, Source
from attendance.times import format_seconds, now, parse_utc, read_device_time
from producers.devices.common.bodies import read_json, write_record
from producers.devices.common.clocks import LOST_CLOCK
from producers.devices.common.options import read_options
from producers.devices.common.punch import invalid
from producers.devices.common.windows import read_windows
from producers.devices.contract import Cursor, DeviceReport, Fetch, Other, Page, Probed, Rejected, Tools
from producers.devices.hikvision.events import HikvisionOptions, kept, payload_names, read_record
from producers.devices.hikvision.isapi import BEGINNING, CONDITIONS, END, PAGE, Clock, Isapi
from producers.devices.hikvision.listed import KeptFields

log = structlog.get_logger(__name__)

WINDOW: Final = 30 * PAGE
OVERLAP: Final = timedelta(minutes=2)
"""How much of what was read is read again, for records that come into a terminal's memory out of their order."""
SEEN: Final = 1_000
"""Records that a cursor remembers, so that an overlap does not hand them over again."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """The cursor.

    Everything dated before `through` was handed over, by the terminal's clock, which was `ahead` seconds ahead of ours
    then; so were the records `seen`, which are later or before 2020. `local_times` says that it wants times without an
    offset, `events` by which condition it is searched.
    """

    through: datetime = BEGINNING
    ahead: float = 0
    seen: Sequence[str] = ()
    local_times: bool = False
    events: str = CONDITIONS[0]

    @classmethod
    def read(cls, cursor: Cursor | None) -> "_Progress":
        """What `write` wrote; the beginning where it is something else, which loses nothing."""
        match cursor:
            case {
                "through": str(through),
                "ahead": int() | float() as ahead,
                "seen": list(seen),
                "local_times": local,
                **more,
            }:
                try:
                    events = next((each for each in CONDITIONS if each == more.get("events")), CONDITIONS[0])
                    return cls(parse_utc(through), ahead, [str(key) for key in seen], bool(local), events)
                except ValueError:
                    pass
        return cls()

    def write(self) -> Cursor:
        """The cursor as JSON."""
        return {
            "through": format_seconds(self.through),
            "ahead": self.ahead,
            "seen": list(self.seen[-SEEN:]),
            "local_times": self.local_times,
            "events": self.events,
        }


class HikvisionPull:
    """The pull adapter. It changes nothing on a terminal."""

    name: Final = "hikvision"
    version: Final = "1"
    verified_on: Final = "simulator"
    options: Final = HikvisionOptions

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._payload = payload_names(tools.payload_fields)
        self._kept_fields = KeptFields(tools.payload_fields)
        self._page_sizes: dict[str, Sequence[int]] = {}
        self._asked_for_digest: set[str] = set()
        self._sent_in_the_clear: set[str] = set()

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """The events since the cursor, in windows of the terminal's time. See `PullAdapter.fetch`."""
        isapi = self._isapi(wanted.source)
        await isapi.check_serial()
        clock = await isapi.clock(wanted.now)
        self._note_login(isapi)
        isapi.page_sizes = await self._sizes_of_pages(isapi)
        reading = _Reading(wanted, clock)
        isapi.local_times, isapi.events = reading.progress.local_times, reading.progress.events
        cursor: Cursor = wanted.cursor or {}
        report: DeviceReport | None = clock.report()
        for span in reading.spans:
            async for rows, end in read_windows(partial(isapi.search, clock), *span, WINDOW):
                until = None
                if end is not None:
                    cursor, until = reading.after(span, end, isapi)
                    # What is claimed last stands, so it stands with the clock by which it is claimed.
                    report = report if until is None else clock.report()
                yield self._page(wanted, reading.fresh(rows or ()), Page(cursor, report=report, complete_until=until))
                report = None
        self._page_sizes[wanted.source.device_id] = isapi.page_sizes

    def read_again(self, raw: bytes, wanted: Fetch) -> Page:
        """What a record comes to today. See `PullAdapter.read_again`."""
        return self._page(wanted, [read_json(raw)], Page({}))

    async def probe(self, source: Device) -> Probed:
        """Its serial number, model, firmware and clock. See `PullAdapter.probe`."""
        isapi = self._isapi(source)
        info = await isapi.info()
        report = (await isapi.clock(now())).report()
        self._note_login(isapi)
        identity = {name: info[name] for name in ("model", "firmwareVersion") if info.get(name)}
        return Probed(info.get("serialNumber") or None, replace(report, details={**report.details, **identity}))

    def _isapi(self, source: Device) -> Isapi:
        return Isapi(self._tools, source, asked_for_digest=source.device_id in self._asked_for_digest)

    def _note_login(self, isapi: Isapi) -> None:
        """Remember, while the process runs, that a terminal asks for a digest; warn of one that never does."""
        device_id, tls = isapi.device.device_id, read_options(isapi.device, HikvisionOptions).tls
        if isapi.login.offers_digest:
            self._asked_for_digest.add(device_id)
        elif isapi.login.uses_basic and not tls and device_id not in self._sent_in_the_clear:
            self._sent_in_the_clear.add(device_id)
            log.warning(
                "A terminal wants its password in the clear; turn on digest authentication, or use HTTPS.",
                device_id=device_id,
            )

    async def _sizes_of_pages(self, isapi: Isapi) -> Sequence[int]:
        """How many records a page may have, which is asked for once."""
        device_id = isapi.device.device_id
        if device_id not in self._page_sizes:
            self._page_sizes[device_id] = await isapi.most_results()
        return self._page_sizes[device_id]

    def _page(self, wanted: Fetch, rows: Sequence[object], page: Page) -> Page:
        events: list[RawEvent] = []
        others: list[Other] = []
        rejected: list[Rejected] = []
        batch_id = token_hex(16)
        options = read_options(wanted.source, HikvisionOptions)
        for index, row in enumerate(rows):
            try:
                if not isinstance(row, dict):
                    raise invalid("a record must be an object")
                outcome = read_record(
                    row,
                    wanted.source,
                    options,
                    received_at=wanted.now,
                    source=Source("pull", self.name, self.version, batch_id, index),
                    payload=self._payload,
                )
            except InvalidRecord as error:
                rejected.append(
                    Rejected(
                        index,
                        error.reason,
                        error.message,
                        kept(row, self._payload),
                        write_record(self._kept_fields.of_alert(row)),
                    )
                )
                continue
            if isinstance(outcome, Other):
                others.append(outcome)
            else:
                events.append(outcome)
        return replace(page, events=events, rejected=rejected, others=others)


class _Reading:
    """From when to when a fetch reads, and how far it has come.

    A fetch goes on from the newest record that the last one read, not from the time of day: so it does not matter how
    late a terminal writes a punch into its memory. A record dated ahead of the terminal's clock does not count.
    """

    def __init__(self, wanted: Fetch, clock: Clock) -> None:
        self.progress = _Progress.read(wanted.cursor)
        self._wanted = wanted
        self._clock = clock
        self._ahead = (clock.time - wanted.now).total_seconds()
        self._known = frozenset(() if wanted.since else self.progress.seen)
        self._times: dict[str, datetime | None] = {}
        # A clock that was put back gives times anew that were read to their end.
        back = timedelta(seconds=max(0.0, self.progress.ahead - self._ahead))
        self._through = max(BEGINNING, clock.earliest(wanted.since or self.progress.through - back))
        self._end = max(END, clock.time + timedelta(days=1))
        self.spans = [(self._through, self._end)]
        """What is read. All but a sweep ask for what is dated before 2020 too, last, so as not to hold up the rest."""
        if wanted.since is None and self._through > LOST_CLOCK:
            self.spans.append((BEGINNING, LOST_CLOCK))

    def fresh(self, rows: Sequence[object]) -> list[object]:
        """Those of them that the cursor does not say were handed over."""
        keys = [_key(row) for row in rows]
        self._times |= {key: _time(row, self._wanted.source) for key, row in zip(keys, rows, strict=True)}
        return [row for key, row in zip(keys, rows, strict=True) if key not in self._known]

    def after(self, span: tuple[datetime, datetime], end: datetime, isapi: Isapi) -> tuple[Cursor, datetime | None]:
        """The cursor, once all of this span before `end` was read, and up to when that is everything.

        Args:
            span: One of `spans`.
            end: Up to where it was read.
            isapi: How the terminal wants to be searched.
        """
        if self._wanted.since is not None and self._wanted.cursor is not None:
            return self._wanted.cursor, None
        if end != self._end and span is self.spans[0]:
            self._through = min(end, self._clock.time - OVERLAP)
        elif end == self._end:
            past = [time for time in self._times.values() if time is not None and time <= self._clock.time]
            self._through = max([self._through, *(time - OVERLAP for time in past)])
        last = span is self.spans[-1] and end == span[1]
        seen = [key for key, time in self._times.items() if time is None or time < LOST_CLOCK or time >= self._through]
        # What is before 2020 was not read again until the end, and is still known.
        before = [] if last else [key for key in self.progress.seen if key not in self._times]
        cursor = _Progress(self._through, self._ahead, [*before, *seen], isapi.local_times, isapi.events).write()
        is_everything = last and self._wanted.since is None and self._clock.is_told
        return cursor, self._clock.time - OVERLAP if is_everything else None


def _key(row: object) -> str:
    """What tells a record from every other in a terminal's memory, also after its numbers began again."""
    if isinstance(row, dict) and "serialNo" in row:
        return f"{row['serialNo']}@{row.get('time')}"[:64]
    return sha256(orjson.dumps(row)).hexdigest()[:32]


def _time(row: object, device: Device) -> datetime | None:
    time = row.get("time") if isinstance(row, dict) else None
    return read_device_time(time, device.timezone) if isinstance(time, str) else None
