"""One Hikvision terminal's ISAPI: who it is, its clock, and the search of events, with digest authentication.

Source: Hikvision, "ISAPI Developer Guide" (Access Control), `/ISAPI/AccessControl/AcsEvent`.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import httpx
import structlog

from attendance.errors import DeviceRefused, UnreadableAnswer
from attendance.registry import Device
from attendance.times import earliest_wall_clock, from_wall_clock, read_device_time, zone
from producers.devices.common.bodies import xml_fields
from producers.devices.common.http import HttpAnswer, ask, base_url
from producers.devices.common.options import read_options
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.contract import DeviceReport, Tools
from producers.devices.hikvision.events import ACCESS, HikvisionOptions

log = structlog.get_logger(__name__)

PAGE: Final = 30
"""Records in a page, which all firmware allows; some allows fewer, and says so."""

# Wall clocks that 32-bit firmware understands in every zone.
BEGINNING: Final = datetime(1970, 1, 2, tzinfo=UTC)
END: Final = datetime(2037, 12, 31, tzinfo=UTC)
_ERRORS: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
_NOT_SUPPORTED: Final = "notSupport"


class _BadParameters(UnreadableAnswer):
    """It does not take the request as it is written."""


@dataclass(frozen=True, slots=True)
class Clock:
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
        """A time as a search has it.

        Args:
            instant: The time.
            local: Whether the terminal wants it without an offset.
        """
        wall_clock = instant.astimezone(self.zone).replace(microsecond=0)
        return (wall_clock.replace(tzinfo=None) if local else wall_clock).isoformat()

    def report(self) -> DeviceReport:
        """What it says of itself by this clock."""
        return DeviceReport(device_time=self.time, details={} if self.zone_name else {"zone": str(self.zone)})


class Isapi:
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

    async def clock(self) -> Clock:
        """Its clock."""
        written = _leaves(await self._ask("GET", "/ISAPI/System/time")).get("localTime", "")
        time = read_device_time(written, self.device.timezone)
        if time is None:
            raise UnreadableAnswer(f"{self.device.device_id}: its clock cannot be read")
        time = min(max(time, BEGINNING), END)
        offset, entry_zone = _offset(written), zone(self.device.timezone)
        if offset is None or offset.utcoffset(None) == time.astimezone(entry_zone).utcoffset():
            return Clock(time, entry_zone, self.device.timezone)
        return Clock(time, offset, None)

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

    async def search(self, clock: Clock, first: datetime, last: datetime) -> "EventSearch":
        """A search of the events from the one time to the other, with its first page.

        Args:
            clock: The terminal's clock.
            first: Where to begin.
            last: Where to end.
        """
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

    async def _search(self, clock: Clock, first: datetime, last: datetime) -> "EventSearch":
        search = EventSearch(
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


class EventSearch:
    """A search, whose first page is read before its `pages`."""

    def __init__(self, isapi: Isapi, condition: Mapping[str, object]) -> None:
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


def _offset(text: str) -> tzinfo | None:
    try:
        return datetime.fromisoformat(text).tzinfo
    except ValueError:
        return None


def _leaves(answer: HttpAnswer) -> Mapping[str, str]:
    """The texts of an XML document's elements that stand right under its root."""
    return {name: text for name, text in xml_fields(answer.xml()).items() if isinstance(text, str)}


def _sub_status(content: bytes) -> str:
    """The vendor's own word for what is wrong, in a `ResponseStatus` as JSON or XML; empty where it has none."""
    found = re.search(rb"subStatusCode[\"'>:\s]+(\w{1,64})", content)
    return found[1].decode() if found else ""
