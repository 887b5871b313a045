"""Hikvision access terminals that are asked: the search of events of ISAPI, `AcsEvent`, with digest authentication.

What is read is decided by the terminal's own clock and memory alone, never by what it pushed: so what a push lost is in
the next pull. See docs/devices/hikvision.md.

Sources: Hikvision, "ISAPI Developer Guide" (Access Control), `/ISAPI/AccessControl/AcsEvent`. Nothing of this was tried
on hardware.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from secrets import token_hex
from typing import Any, Final
from uuid import uuid4

import httpx
import orjson
import structlog
from msgspec.structs import replace

from attendance.errors import DeviceRefused, InvalidRecord, UnreadableAnswer
from attendance.records.raw_event import RawEvent, Source
from attendance.registry import Device
from attendance.times import earliest_wall_clock, format_seconds, from_wall_clock, parse_utc, read_device_time, zone
from producers.devices.common.clocks import LOST_CLOCK
from producers.devices.common.http import HttpAnswer, ask, base_url
from producers.devices.common.options import read_options
from producers.devices.common.punch import invalid
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.common.windows import read_windows
from producers.devices.contract import Cursor, DeviceReport, Fetch, Other, Page, Probed, Rejected, Tools
from producers.devices.hikvision.events import ACCESS, HikvisionOptions, kept, payload_names, read_record

log = structlog.get_logger(__name__)

PAGE: Final = 30
"""Records in a page, which all firmware allows; some allows fewer, and says so."""
WINDOW: Final = 30 * PAGE
OVERLAP: Final = timedelta(minutes=2)
"""How much of what was read is read again, for records that come into a terminal's memory out of their order."""
SEEN: Final = 1_000
"""Records that a cursor remembers, so that an overlap does not hand them over again."""

# Wall clocks that 32-bit firmware understands in every zone.
_BEGINNING: Final = datetime(1970, 1, 2, tzinfo=UTC)
_END: Final = datetime(2037, 12, 31, tzinfo=UTC)

_ERRORS: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
_NOT_SUPPORTED: Final = "notSupport"


class _BadParameters(UnreadableAnswer):
    """It does not take the request as it is written."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """The cursor.

    Everything dated before `through` was handed over, by the terminal's clock, which was `ahead` seconds ahead of ours
    then; so were the records `seen`, which are later or before 2020. `local_times` says that it wants times without an
    offset.
    """

    through: datetime = _BEGINNING
    ahead: float = 0
    seen: Sequence[str] = ()
    local_times: bool = False

    @classmethod
    def read(cls, cursor: Cursor | None) -> "_Progress":
        """What `write` wrote; the beginning where it is something else, which loses nothing."""
        match cursor:
            case {"through": str(through), "ahead": int() | float() as ahead, "seen": list(seen), "local_times": local}:
                try:
                    return cls(parse_utc(through), ahead, [str(key) for key in seen], bool(local))
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
        }


@dataclass(frozen=True, slots=True)
class _Clock:
    """A terminal's clock, UTC, and the zone in which it has its times; `zone_name` where that is its entry's."""

    time: datetime
    zone: tzinfo
    zone_name: str | None

    def earliest(self, instant: datetime) -> datetime:
        """From when to search, so that a comparison of wall clocks, as some firmware does it, leaves nothing out."""
        if self.zone_name is None:
            return instant
        return from_wall_clock(earliest_wall_clock(instant, self.zone_name), self.zone_name)

    def write(self, instant: datetime, *, local: bool) -> str:
        """A time as a search has it."""
        told = instant.astimezone(self.zone).replace(microsecond=0)
        return (told.replace(tzinfo=None) if local else told).isoformat()

    def report(self) -> DeviceReport:
        """What it says of itself by this clock."""
        return DeviceReport(device_time=self.time, details={} if self.zone_name else {"zone": str(self.zone)})


class HikvisionPull:
    """The pull adapter. It changes nothing on a terminal."""

    name: Final = "hikvision"
    version: Final = "1"
    verified_on: Final = "simulator"
    options: Final = HikvisionOptions

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._payload = payload_names(tools.payload_fields)
        self._page_sizes: dict[str, int] = {}

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """The events since the cursor, in windows of the terminal's time. See `PullAdapter.fetch`."""
        isapi = _Isapi(self._tools, wanted.source)
        await isapi.check_serial()
        clock = await isapi.clock()
        isapi.page_size = await self._page_size(isapi)
        reading = _Reading(wanted, clock)
        isapi.local_times = reading.progress.local_times
        cursor: Cursor = wanted.cursor or {}
        report: DeviceReport | None = clock.report()
        for span in reading.spans:
            async for rows, end in read_windows(partial(isapi.search, clock), *span, WINDOW):
                until = None
                if end is not None:
                    cursor, until = reading.after(span, end, local_times=isapi.local_times)
                    # What is claimed last stands, so it stands with the clock by which it is claimed.
                    report = report if until is None else clock.report()
                yield self._page(wanted, reading.fresh(rows or ()), Page(cursor, report=report, complete_until=until))
                report = None

    async def probe(self, source: Device) -> Probed:
        """Its serial number, model, firmware and clock. See `PullAdapter.probe`."""
        isapi = _Isapi(self._tools, source)
        info = await isapi.info()
        report = (await isapi.clock()).report()
        told = {name: info[name] for name in ("model", "firmwareVersion") if info.get(name)}
        return Probed(info.get("serialNumber") or None, replace(report, details={**report.details, **told}))

    async def _page_size(self, isapi: "_Isapi") -> int:
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
                rejected.append(Rejected(index, error.reason, error.message, kept(row, self._payload)))
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

    def __init__(self, wanted: Fetch, clock: _Clock) -> None:
        self.progress = _Progress.read(wanted.cursor)
        self._wanted = wanted
        self._clock = clock
        self._ahead = (clock.time - wanted.now).total_seconds()
        self._known = frozenset(() if wanted.since else self.progress.seen)
        self._times: dict[str, datetime | None] = {}
        # A clock that was put back gives times anew that were read to their end.
        back = timedelta(seconds=max(0.0, self.progress.ahead - self._ahead))
        self._through = max(_BEGINNING, clock.earliest(wanted.since or self.progress.through - back))
        self._end = max(_END, clock.time + timedelta(days=1))
        self.spans = [(self._through, self._end)]
        """What is read. All but a sweep ask for what is dated before 2020 too, last, so as not to hold up the rest."""
        if wanted.since is None and self._through > LOST_CLOCK:
            self.spans.append((_BEGINNING, LOST_CLOCK))

    def fresh(self, rows: Sequence[object]) -> list[object]:
        """Those of them that the cursor does not say were handed over."""
        keys = [_key(row) for row in rows]
        self._times |= {key: _time(row, self._wanted.source) for key, row in zip(keys, rows, strict=True)}
        return [row for key, row in zip(keys, rows, strict=True) if key not in self._known]

    def after(
        self, span: tuple[datetime, datetime], end: datetime, *, local_times: bool
    ) -> tuple[Cursor, datetime | None]:
        """The cursor, once all of this span before `end` was read, and up to when that is everything."""
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
        cursor = _Progress(self._through, self._ahead, [*before, *seen], local_times).write()
        return cursor, self._clock.time - OVERLAP if last and self._wanted.since is None else None


class _Isapi:
    """One terminal's ISAPI.

    Each call raises what `PullAdapter.fetch` raises. `local_times` becomes true when it refuses times with an offset.
    """

    def __init__(self, tools: Tools, device: Device) -> None:
        self.device = device
        self.page_size = PAGE
        self.local_times = False
        self._http = tools.http
        self._url = base_url(device, read_options(device, HikvisionOptions))
        # It keeps the challenge, so that only the first request of a fetch is turned away for want of one.
        self._auth = httpx.DigestAuth(tools.secret(device, "username"), tools.secret(device, "password"))

    async def info(self) -> Mapping[str, str]:
        """Who it is."""
        return _leaves(await self._ask("GET", "/ISAPI/System/deviceInfo"))

    async def check_serial(self) -> None:
        """That it is the terminal of the entry, where that has a serial number: another may have its address by now."""
        wanted = self.device.serial
        if wanted is None:
            return
        serial = (await self.info()).get("serialNumber", "")
        if not is_serial_of_entry(serial, wanted):
            raise DeviceRefused(f"{self.device.device_id}: at its address is {serial!r}, not {wanted!r}")

    async def clock(self) -> _Clock:
        """Its clock."""
        told = _leaves(await self._ask("GET", "/ISAPI/System/time")).get("localTime", "")
        time = read_device_time(told, self.device.timezone)
        if time is None:
            raise UnreadableAnswer(f"{self.device.device_id}: its clock cannot be read")
        time = min(max(time, _BEGINNING), _END)
        offset, entry_zone = _offset(told), zone(self.device.timezone)
        if offset is None or offset.utcoffset(None) == time.astimezone(entry_zone).utcoffset():
            return _Clock(time, entry_zone, self.device.timezone)
        return _Clock(time, offset, None)

    async def most_results(self) -> int:
        """How many records it gives at once; as many as all firmware does where it does not say."""
        try:
            answer = await self._ask("GET", "/ISAPI/AccessControl/AcsEvent/capabilities?format=json")
            said = answer.json()
        except UnreadableAnswer:
            return PAGE
        match said:
            case {"AcsEvent": {"AcsEventCond": {"maxResults": {"@max": int(most)}}}} if 0 < most < PAGE:
                return most
        return PAGE

    async def search(self, clock: _Clock, first: datetime, last: datetime) -> "_Search":
        """A search of the events from the one time to the other, with its first page."""
        try:
            return await self._search(clock, first, last)
        except _BadParameters:
            if self.local_times:
                raise
            self.local_times = True
        found = await self._search(clock, first, last)
        log.info("A terminal wants times without an offset.", device_id=self.device.device_id)
        return found

    async def page_of(self, condition: Mapping[str, object]) -> Any:  # noqa: ANN401 - what it says
        """What it answers to a condition."""
        path = "/ISAPI/AccessControl/AcsEvent?format=json"
        return (await self._ask("POST", path, json={"AcsEventCond": condition})).json()

    def wrong(self, message: str) -> UnreadableAnswer:
        """The error of an answer that cannot be right."""
        return UnreadableAnswer(f"{self.device.device_id}: {message}")

    async def _search(self, clock: _Clock, first: datetime, last: datetime) -> "_Search":
        search = _Search(
            self,
            {
                "searchID": str(uuid4()),
                "maxResults": self.page_size,
                "major": ACCESS,
                "minor": 0,
                "startTime": clock.write(first, local=self.local_times),
                "endTime": clock.write(last, local=self.local_times),
                "timeReverseOrder": False,
            },
        )
        await search.read_page()
        return search

    async def _ask(self, method: str, path: str, **options: Any) -> HttpAnswer:
        device_id, url = self.device.device_id, self._url.join(path)
        try:
            answer = await ask(self._http, device_id, method, url, accept=_ERRORS, auth=self._auth, **options)
        except (KeyError, ValueError, NotImplementedError) as error:  # what httpx makes of a strange challenge
            raise self.wrong(f"its challenge cannot be answered: {type(error).__name__}") from error
        if answer.status not in _ERRORS:
            return answer
        kind = _sub_status(answer.body)
        named = f"{answer.asked}: {answer.status} {kind}".rstrip()
        match answer.status:
            case HTTPStatus.UNAUTHORIZED:
                raise DeviceRefused(f"{named}: it refuses the credentials, and locks the account if it is asked on")
            case HTTPStatus.BAD_REQUEST if kind != _NOT_SUPPORTED:
                raise _BadParameters(named)
            case HTTPStatus.FORBIDDEN if kind != _NOT_SUPPORTED:
                raise DeviceRefused(f"{named}: the account may not do this, or is locked")
        raise DeviceRefused(f"{named}: it cannot be asked for this; let it push")


class _Search:
    """A search, whose first page is read before its `pages`."""

    def __init__(self, isapi: _Isapi, condition: Mapping[str, object]) -> None:
        self.total = 0
        self._isapi = isapi
        self._condition = condition
        self._page: Sequence[object] = ()
        self._read = 0
        self._more = True

    async def pages(self) -> AsyncIterator[Sequence[object]]:
        """The records of each page."""
        numbers: set[str] = set()
        while True:
            yield self._page
            here = [str(row["serialNo"]) for row in self._page if isinstance(row, dict) and "serialNo" in row]
            if len(numbers | set(here)) < len(numbers) + len(here):
                raise self._isapi.wrong("a search gives a record twice, so it may leave out another")
            numbers.update(here)
            if not self._more:
                return
            await self.read_page()

    async def read_page(self) -> None:
        """The next page. At the end, the records have to be as many as the terminal says."""
        answer = await self._isapi.page_of({**self._condition, "searchResultPosition": self._read})
        match answer:
            case {
                "AcsEvent": {"responseStatusStrg": str(status), "numOfMatches": int(count), "totalMatches": int(total)}
            }:
                rows = answer["AcsEvent"].get("InfoList", [])
            case _:
                raise self._isapi.wrong("no page of events")
        if not isinstance(rows, list) or len(rows) != count:
            raise self._isapi.wrong(f"not the {count} records that it says are in a page")
        self._page, self._read = rows, self._read + count
        self.total, self._more = total, status == "MORE"
        if self._read > total or (self._read < total if not self._more else not rows):
            raise self._isapi.wrong(f"{self._read} records where it says {total}")


def _key(row: object) -> str:
    """What tells a record from every other in a terminal's memory, also after its numbers began again."""
    if isinstance(row, dict) and "serialNo" in row:
        return f"{row['serialNo']}@{row.get('time')}"[:64]
    return sha256(orjson.dumps(row)).hexdigest()[:32]


def _time(row: object, device: Device) -> datetime | None:
    time = row.get("time") if isinstance(row, dict) else None
    return read_device_time(time, device.timezone) if isinstance(time, str) else None


def _offset(text: str) -> tzinfo | None:
    try:
        return datetime.fromisoformat(text).tzinfo
    except ValueError:
        return None


def _leaves(answer: HttpAnswer) -> Mapping[str, str]:
    """The texts of an XML document's elements that stand right under its root."""
    return {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in answer.xml()}


def _sub_status(content: bytes) -> str:
    """The vendor's own word for what is wrong, in a `ResponseStatus` as JSON or XML; empty where it has none."""
    found = re.search(rb"subStatusCode[\"'>:\s]+(\w{1,64})", content)
    return found[1].decode() if found else ""
