"""One Hikvision terminal's ISAPI: who it is, its clock, and the search of events.

Source: Hikvision, "ISAPI Developer Guide" (Access Control), `/ISAPI/AccessControl/AcsEvent`.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from http import HTTPStatus
from typing import Any, Final, Protocol
from uuid import uuid4

import structlog

from attendance.errors import DeviceRefused, DeviceUnavailable, UnreadableAnswer
from attendance.fleet import Device
from attendance.times import earliest_wall_clock, from_wall_clock, read_device_time, zone
from producers.devices.common.http import HttpAnswer, ask, base_url
from producers.devices.common.options import read_options
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.contract import DeviceReport, Tools
from producers.devices.hikvision.events import ACCESS, HikvisionOptions, punch_events, read_number
from producers.devices.hikvision.login import Login

log = structlog.get_logger(__name__)

PAGE: Final = 30
"""Records in a page, which all firmware allows; some allows fewer, and says so."""

# Wall clocks that 32-bit firmware understands in every zone.
BEGINNING: Final = datetime(1970, 1, 2, tzinfo=UTC)
END: Final = datetime(2037, 12, 31, tzinfo=UTC)
_ERRORS: Final = (
    *(HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
    *(HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED),
)
_NOT_NOW: Final = re.compile(r"busy|upgrad|reboot", re.IGNORECASE)
_NO_RIGHT: Final = re.compile(r"privilege|permission|authori|activat|lock|password", re.IGNORECASE)

_ANY: Final[Mapping[str, Mapping[str, object]]] = {
    "access": {"major": ACCESS, "minor": 0, "timeReverseOrder": False},
    "access, any order": {"major": ACCESS, "minor": 0},
    "all": {"major": 0, "minor": 0, "timeReverseOrder": False},
    "all, any order": {"major": 0, "minor": 0},
}
_EACH: Final = "each type"
"""The last resort: it leaves out the types of events that nobody knows, which could be punches."""
CONDITIONS: Final = (*_ANY, _EACH)
"""The conditions of a search that firmware takes, the best first: all events at a door, all events, one type by one."""
_SMALL_PAGE: Final = 10
_TRIED: Final = 3
"""So many types of events are refused before none is tried any more."""


class _NotAnswered(DeviceRefused):
    """It has no answer to this request, whatever the credentials are."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A terminal's clock, UTC, and the zone in which it has its times; `zone_name` where that is its entry's.

    Where the terminal does not tell it, it is ours, and not `is_told`.
    """

    time: datetime
    zone: tzinfo
    zone_name: str | None
    is_told: bool = True

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
        device_time = self.time if self.is_told else None
        return DeviceReport(device_time=device_time, details={} if self.zone_name else {"zone": str(self.zone)})


class Found(Protocol):
    """A search of which the first page was read. See `windows.Search`."""

    @property
    def total(self) -> int:
        """How many records it holds."""

    def pages(self) -> AsyncIterator[Sequence[object]]:
        """The records of each page."""


class Isapi:
    """One terminal's ISAPI. Each call raises what `PullAdapter.fetch` raises.

    `events` is the one of `CONDITIONS` by which it is searched, `local_times` whether it refuses times with an offset;
    a search changes both where the terminal wants another form. `page_sizes` are tried in this order.

    Args:
        tools: What pull adapters work with.
        device: The entry.
        asked_for_digest: Whether the terminal has asked for a digest before.
    """

    def __init__(self, tools: Tools, device: Device, *, asked_for_digest: bool = False) -> None:
        self.device = device
        self.page_sizes: Sequence[int] = (PAGE,)
        self.local_times = False
        self.events = CONDITIONS[0]
        self._http = tools.http
        self._options = read_options(device, HikvisionOptions)
        self._url = base_url(device, self._options)
        self.login = Login(
            tools.secret(device, "username"),
            tools.secret(device, "password"),
            tls=self._options.tls,
            offers_digest=asked_for_digest,
        )

    async def info(self) -> Mapping[str, str]:
        """Who it is."""
        return _leaves(await self._ask("GET", "/ISAPI/System/deviceInfo"))

    async def check_serial(self) -> None:
        """That it is the terminal of the entry, where that has a serial number: another may have its address by now."""
        wanted = self.device.serial
        if wanted is None:
            return
        try:
            serial = (await self.info()).get("serialNumber", "")
        except _NotAnswered as error:
            raise DeviceRefused(f"{error}; it does not tell its serial number, so its entry can have none") from error
        if not is_serial_of_entry(serial, wanted):
            raise DeviceRefused(f"{self.device.device_id}: at its address is {serial!r}, not {wanted!r}")

    async def clock(self, now: datetime) -> Clock:
        """Its clock.

        Args:
            now: Ours, UTC, which stands for it where it does not tell its own.
        """
        try:
            written = _leaves(await self._ask("GET", "/ISAPI/System/time")).get("localTime", "")
        except _NotAnswered:
            return Clock(now, zone(self.device.timezone), self.device.timezone, is_told=False)
        time = read_device_time(written, self.device.timezone)
        if time is None:
            raise UnreadableAnswer(f"{self.device.device_id}: its clock cannot be read")
        time = min(max(time, BEGINNING), END)
        offset, entry_zone = _offset(written), zone(self.device.timezone)
        if offset is None or offset.utcoffset(None) == time.astimezone(entry_zone).utcoffset():
            return Clock(time, entry_zone, self.device.timezone)
        return Clock(time, offset, None)

    async def most_results(self) -> Sequence[int]:
        """How many records it gives at once; the numbers to try where it does not say."""
        try:
            path = "/ISAPI/AccessControl/AcsEvent/capabilities?format=json"
            answer = await self._ask("GET", path, accept=(*_ERRORS, HTTPStatus.INTERNAL_SERVER_ERROR))
            said = answer.json()
        except (UnreadableAnswer, _NotAnswered):
            return (PAGE, _SMALL_PAGE)
        match said:
            case {"AcsEvent": {"AcsEventCond": {"maxResults": {"@max": most}}}}:
                return (min(read_number(most) or PAGE, PAGE),)
        return (PAGE,)

    async def search(self, clock: Clock, first: datetime, last: datetime) -> Found:
        """A search of the events from the one time to the other, with its first page, in a form that it takes.

        Args:
            clock: The terminal's clock.
            first: Where to begin.
            last: Where to end.
        """
        empty: Found | None = None
        refusal: _NotAnswered | None = None
        known = (self.events, self.local_times, self.page_sizes[0])
        for events, local_times, page_size in dict.fromkeys((known, *self._forms())):
            times = (clock.write(first, local=local_times), clock.write(last, local=local_times))
            try:
                found = await self._search(events, times, page_size)
            except _NotAnswered as error:
                refusal = refusal or error
                continue
            # Who takes another condition and finds nothing by it may have taken it for something else.
            if found.total or events == self.events:
                if known != (events, local_times, page_size):
                    self.events, self.local_times, self.page_sizes = events, local_times, (page_size,)
                    log.info(
                        "A terminal wants a search in another form.",
                        device_id=self.device.device_id,
                        events=events,
                        local_times=local_times,
                        page_size=page_size,
                    )
                return found
            empty = empty or found
        if empty is None:
            message = "it takes no search of events in any form, or not from this account: let it push"
            raise DeviceRefused(f"{refusal}; {message}") from refusal
        return empty

    def _forms(self) -> Iterator[tuple[str, bool, int]]:
        for page_size in self.page_sizes:
            for events in CONDITIONS:
                for local_times in (self.local_times, not self.local_times):
                    yield events, local_times, page_size

    async def page_of(self, condition: Mapping[str, object]) -> Any:  # noqa: ANN401 - what it says
        """What it answers to a condition."""
        path = "/ISAPI/AccessControl/AcsEvent?format=json"
        answer = await self._ask("POST", path, json={"AcsEventCond": condition})
        said = answer.json()
        if isinstance(said, dict) and "AcsEvent" not in said and said.get("statusCode") not in (None, 1):
            raise self._refused(answer)  # some firmware refuses with the status of success
        return said

    def wrong(self, message: str) -> UnreadableAnswer:
        """The error of an answer that cannot be right."""
        return UnreadableAnswer(f"{self.device.device_id}: {message}")

    async def _search(self, events: str, times: tuple[str, str], page_size: int) -> Found:
        form = {"maxResults": page_size, "startTime": times[0], "endTime": times[1]}
        if events != _EACH:
            return await self._begin({**_ANY[events], **form})
        searches: list[EventSearch] = []
        for tried, minor in enumerate(punch_events(self._options), 1):
            try:
                searches.append(await self._begin({"major": ACCESS, "minor": minor, **form}))
            except _NotAnswered:  # it has no such events
                if tried >= _TRIED and not searches:
                    raise
        return _Searches(searches)

    async def _begin(self, condition: Mapping[str, object]) -> "EventSearch":
        search = EventSearch(self, {"searchID": str(uuid4()), **condition})
        await search.read_page()
        return search

    async def _ask(self, method: str, path: str, accept: Sequence[int] = _ERRORS, **options: Any) -> HttpAnswer:
        device_id, url = self.device.device_id, self._url.join(path)
        try:
            answer = await ask(self._http, device_id, method, url, accept=accept, auth=self.login, **options)
        except (KeyError, ValueError, NotImplementedError) as error:  # what httpx makes of a strange challenge
            raise self.wrong(f"its challenge cannot be answered: {type(error).__name__}") from error
        if answer.status in accept:
            raise self._refused(answer)
        return answer

    def _refused(self, answer: HttpAnswer) -> DeviceRefused | DeviceUnavailable:
        """What is wrong where it answers that something is."""
        kind = _status_words(answer.body)
        named = f"{answer.asked}: {answer.status} {kind}".rstrip()
        if answer.status == HTTPStatus.UNAUTHORIZED:
            refused = "it refuses the credentials, and locks the account if it is asked on"
            return DeviceRefused(f"{named}: {self.login.problem or refused}")
        if _NOT_NOW.search(kind):
            return DeviceUnavailable(named)
        if answer.status == HTTPStatus.FORBIDDEN and _NO_RIGHT.search(kind):
            return DeviceRefused(f"{named}: the account may not do this, or is locked")
        return _NotAnswered(f"{named}: it does not answer this request")


class _Searches:
    """Several searches as one."""

    def __init__(self, searches: Sequence["EventSearch"]) -> None:
        self.total = sum(search.total for search in searches)
        self._searches = searches

    async def pages(self) -> AsyncIterator[Sequence[object]]:
        """The records of each page of each search."""
        for search in self._searches:
            async for page in search.pages():
                yield page


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
        try:
            answer = await self._isapi.page_of({**self._condition, "searchResultPosition": self._read})
        except _NotAnswered as error:
            if not self._read:
                raise
            raise self._isapi.wrong(f"it breaks off a search: {error}") from error
        match answer:
            case {
                "AcsEvent": {"responseStatusStrg": str(status), "numOfMatches": matches, "totalMatches": all_matches}
            }:
                count, total = read_number(matches), read_number(all_matches)
                rows = answer["AcsEvent"].get("InfoList") or []
            case _:
                raise self._isapi.wrong("no page of events")
        if count is None or total is None:
            raise self._isapi.wrong("a page of events whose number cannot be read")
        if not isinstance(rows, list) or len(rows) != count:
            raise self._isapi.wrong(f"not the {count} records that it says are in a page")
        # Behind the last record, some firmware says that nothing matches, and that there are none in all.
        total = self.total if self._read and not (count or total) else total
        self._page, self._read = rows, self._read + count
        # Some says that there are more where all have come.
        self.total, self._more = total, status.upper() == "MORE" and (count > 0 or self._read < total)
        if self._read > total or (self._read < total if not self._more else not rows):
            raise self._isapi.wrong(f"{self._read} records where it says {total}")


def _offset(text: str) -> tzinfo | None:
    try:
        return datetime.fromisoformat(text).tzinfo
    except ValueError:
        return None


def _leaves(answer: HttpAnswer) -> Mapping[str, str]:
    """The texts of a document that stand right under its root, which JSON has as its only field."""
    fields = answer.document()
    if isinstance(fields, dict) and len(fields) == 1:
        [inner] = fields.values()
        fields = inner if isinstance(inner, dict) else fields
    return {name: text for name, text in fields.items() if isinstance(text, str)} if isinstance(fields, dict) else {}


def _status_words(content: bytes) -> str:
    """The vendor's own words for what is wrong, in a `ResponseStatus` as JSON or XML; empty where it has none."""
    words = (re.search(rb"%b[\"'>:\s]+([\w ]{1,64})" % name, content) for name in (b"subStatusCode", b"statusString"))
    return ", ".join(found[1].decode() for found in words if found)
