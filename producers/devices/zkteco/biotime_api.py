"""ZKBioTime, BioTime 8 and EasyTime Pro: the REST API of the server that terminals of ZKTeco send to.

The API finds punches by the time of the punch, and a terminal that was off-line sends old ones. So it is asked, beside
what is new, how many punches it has from before; where those have become more, the past is read again, back to where
the new ones are. See docs/devices/zkbiotime.md.

Source: ZKTeco, "BioTime 8.0 API User Manual". Nothing of this was tried on a server of theirs.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from secrets import token_hex
from typing import Any, Final

import httpx
import orjson

from attendance.errors import DeviceRefused, InvalidRecord, UnreadableAnswer
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent, Source
from attendance.times import earliest_wall_clock
from attendance.wire import encode_json
from producers.devices.common.attendance_states import direction_of_state
from producers.devices.common.bodies import check_unambiguous, read_json, write_record
from producers.devices.common.http import HttpAnswer, ask, base_url
from producers.devices.common.listed import kept_record
from producers.devices.common.options import HttpOptions, read_options
from producers.devices.common.punch import invalid, punch, scalars
from producers.devices.common.windows import Incomplete, read_windows
from producers.devices.contract import Cursor, DeviceReport, Fetch, Page, Probed, Rejected, Tools, terminal_of

PAGE: Final = 200
WINDOW: Final = 10 * PAGE
LAG: Final = timedelta(minutes=10)
"""How far behind the present the past begins. What is newer is read each time, so that most late punches are in it."""
SEEN: Final = 1_000
"""Numbers of newer punches that a cursor remembers, so that they are not handed over each time."""
_STEPS_BACK: Final = tuple(timedelta(hours=hours) for hours in (3, 24, 7 * 24, 31 * 24, 366 * 24))
"""How far back the past is read for late punches, one step after the other, before all of it is."""

# Naive, as all times of the API are: the wall clocks of the terminals, whichever zone each is in.
_BEGINNING: Final = datetime.fromisoformat("1970-01-02T00:00:00")
_END: Final = datetime.fromisoformat("2099-12-31T23:59:59")

TRANSACTIONS: Final = "/iclock/api/transactions/"
_LOGINS: Final = (("/jwt-api-token-auth/", "JWT"), ("/api-token-auth/", "Token"))
_PAYLOAD: Final = ("terminal_sn", "punch_state", "verify_type", "upload_time")
_NO_LOGIN: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
_REFUSALS: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_DECIDING: Final = ("id", "emp_code", "punch_time", "punch_state", "terminal_sn")
_KEPT: Final = ("id", "emp_code", "punch_time")
"""Beside the payload, what a dead letter keeps of a row."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """The cursor.

    Everything dated before `until` was handed over, and so were the rows `seen`, which are later. The server counted
    `behind` rows before `until`; None where nobody counted them all. `newest` is the highest number that was read, and
    `before` what that was at the fetch before: rows below it are known, for numbers are given in the order of arrival.
    """

    until: datetime = _BEGINNING
    seen: Sequence[int] = ()
    behind: int | None = None
    newest: int = 0
    before: int = 0

    @classmethod
    def read(cls, cursor: Cursor | None) -> "_Progress":
        """What `write` wrote; the beginning where it is something else, which loses nothing."""
        match cursor:
            case {
                "until": str(until),
                "seen": list(seen),
                "behind": int() | None as behind,
                "newest": int(newest),
                "before": int(before),
            }:
                try:
                    return cls(datetime.fromisoformat(until), seen, behind, newest, before)
                except ValueError:
                    pass
        return cls()

    def write(self) -> Cursor:
        """The cursor as JSON."""
        return {
            "until": self.until.isoformat(),
            "seen": sorted(self.seen)[-SEEN:],
            "behind": self.behind,
            "newest": self.newest,
            "before": self.before,
        }


class ZkBioTime:
    """The pull adapter.

    A punch is that of the entry whose `via` is the server's and whose `serial` is the terminal's. One of a terminal
    that no entry names counts for the server's own entry, with the terminal's serial number in its payload.
    """

    name: Final = "zkbiotime"
    version: Final = "1"
    verified_on: Final = "simulator"
    options: Final = HttpOptions

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._payload = tuple(dict.fromkeys((*_PAYLOAD, *tools.payload_fields)))
        self._tokens: dict[str, str] = {}

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """What has come since the cursor, late punches first. See `PullAdapter.fetch`."""
        api = _Api(self._tools, wanted.source, self._tokens)
        done = _Progress() if wanted.since else _Progress.read(wanted.cursor)
        start = _earliest(wanted, wanted.since) if wanted.since else done.until
        swept = wanted.cursor if wanted.since else None
        known = frozenset(done.seen)
        until = _earliest(wanted, wanted.now) - LAG
        # Counted before anything is read: what comes in between is counted the next time, and looked for then.
        behind = await api.count(until)
        cursor = wanted.cursor or {}
        async for rows in _late(api, done):
            yield self._page(wanted, rows, cursor)
        read: dict[int, datetime | None] = {}
        async for found, end in read_windows(api.search, start, _END, WINDOW):
            fresh = {number: row for number, row in (found or {}).items() if number not in known}
            read |= {number: _time(row) for number, row in (found or {}).items() if isinstance(number, int)}
            if end is not None and swept is None:
                through = min(end, until)
                cursor = _Progress(
                    through,
                    [number for number, time in read.items() if time is None or time >= through],
                    behind if end == _END else None,
                    newest=max((done.newest, *read)),
                    before=done.newest,
                ).write()
            yield self._page(wanted, fresh, cursor)

    def read_again(self, raw: bytes, wanted: Fetch) -> Page:
        """What a record comes to today. See `PullAdapter.read_again`."""
        return self._page(wanted, {0: read_json(raw)}, {})

    async def probe(self, source: Device) -> Probed:
        """How many terminals the server has; it says no serial number of its own. See `PullAdapter.probe`."""
        terminals = await _Api(self._tools, source, self._tokens).terminals()
        return Probed(None, DeviceReport(details={"terminals": terminals}))

    def _page(self, wanted: Fetch, rows: Mapping[int | str, Any], cursor: Cursor) -> Page:
        events: list[RawEvent] = []
        rejected: list[Rejected] = []
        batch_id = token_hex(16)
        for index, row in enumerate(rows.values()):
            try:
                if not isinstance(row, dict):
                    raise invalid("a row must be an object")
                check_unambiguous(row, _DECIDING)
                terminal = row.get("terminal_sn")
                serial = terminal.strip() if isinstance(terminal, str) else ""
                event = punch(
                    terminal_of(serial, wanted.terminals, wanted.source),
                    user=row.get("emp_code"),
                    time=row.get("punch_time"),
                    event_type=direction_of_state(row.get("punch_state")),
                    received_at=wanted.now,
                    source=Source("pull", self.name, self.version, batch_id, index),
                    sequence=row.get("id"),
                    payload=scalars(row, self._payload),
                )
            except InvalidRecord as error:
                kept = scalars(row, (*_KEPT, *self._payload)) if isinstance(row, dict) else None
                listed = kept_record(row, "emp_code", (*_DECIDING, *self._payload), ("punch_time",))
                rejected.append(Rejected(index, error.reason, error.message, encode_json(kept), write_record(listed)))
            else:
                events.append(event)
        return Page(cursor, events, rejected)


async def _late(api: "_Api", done: _Progress) -> AsyncIterator[Mapping[int | str, Any]]:
    """What came since the last fetch with a time before it, by steps back until as many are found as there must be."""
    if done.behind is None:
        return
    missing = await api.count(done.until) - done.behind
    found: set[int] = set()
    end = done.until
    for start in (*(done.until - back for back in _STEPS_BACK), _BEGINNING):
        if len(found) >= missing:
            return
        async for rows, _ in read_windows(api.search, start, end, WINDOW):
            late = rows or {}
            found.update(number for number in late if isinstance(number, int) and number > done.newest)
            # A number that is a little lower may have come later: numbers are given before a row is there to be read.
            yield {number: row for number, row in late.items() if isinstance(number, str) or number > done.before}
        end = start


class _Api:
    """One server's API. Each call raises what `PullAdapter.fetch` raises."""

    def __init__(self, tools: Tools, device: Device, tokens: dict[str, str]) -> None:
        self._tools = tools
        self._device = device
        self._url = base_url(device, read_options(device, HttpOptions))
        self._tokens = tokens

    async def count(self, end: datetime) -> int:
        """How many punches it has that are dated before."""
        return await self._total(TRANSACTIONS, {"end_time": str(end)})

    async def terminals(self) -> int:
        """How many terminals it has."""
        return await self._total("/iclock/api/terminals/", {})

    async def search(self, first: datetime, last: datetime) -> "_Search":
        """The punches from the one time to the other, with the first page of them.

        Args:
            first: Where to begin, a wall clock.
            last: Where to end, a wall clock.
        """
        search = _Search(self, {"start_time": str(first), "end_time": str(last)})
        await search.read_first()
        return search

    def wrong(self, message: str) -> UnreadableAnswer:
        """The error of an answer that cannot be right."""
        return UnreadableAnswer(f"{self._device.device_id}: {message}")

    async def _total(self, path: str, query: Mapping[str, str]) -> int:
        match (await self.get(path, {**query, "page": "1", "page_size": "1"})).json():
            case {"count": int(total)}:
                return total
        raise self.wrong("no count of rows")

    async def get(self, path: str, query: Mapping[str, str] | bytes) -> HttpAnswer:
        """What it answers to a token, which is renewed where it has expired.

        Args:
            path: The path.
            query: The query, or all of it as another answer had it.
        """
        device_id = self._device.device_id
        url = self._url.copy_with(path=path)
        url = url.copy_with(query=query) if isinstance(query, bytes) else url.copy_merge_params(query)
        for _ in range(2):
            headers = {"authorization": self._tokens.get(device_id) or await self._log_in()}
            answer = await ask(self._tools.http, device_id, "GET", url, headers=headers, accept=_REFUSALS)
            if answer.status == HTTPStatus.FORBIDDEN:
                closed = b"IsNotOpenAPI" in answer.body
                hint = "its licence has no API; its database may be read instead" if closed else "the account may not"
                raise DeviceRefused(f"{answer.asked}: 403: {hint}")
            if answer.status != HTTPStatus.UNAUTHORIZED:
                return answer
            self._tokens.pop(device_id, None)
        raise DeviceRefused(f"{device_id}: it does not take the token that it has just given")

    async def _log_in(self) -> str:
        """A token as the header has it. Older servers have another kind, elsewhere."""
        device_id = self._device.device_id
        named = {name: self._tools.secret(self._device, name) for name in ("username", "password")}
        for path, kind in _LOGINS:
            url = self._url.copy_with(path=path)
            answer = await ask(
                self._tools.http,
                device_id,
                "POST",
                url,
                json=named,
                accept=(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND),
            )
            if answer.status == HTTPStatus.BAD_REQUEST:
                raise DeviceRefused(f"{answer.asked}: 400: it does not take these credentials")
            if answer.status == HTTPStatus.NOT_FOUND:
                continue
            match answer.json():
                case {"token": str(token)} if token.isascii() and token.isprintable() and token:
                    self._tokens[device_id] = f"{kind} {token}"
                    return self._tokens[device_id]
            raise self.wrong("it gives no token")
        raise DeviceRefused(f"{device_id}: it has no API to log in to")


class _Search:
    """Rows of a span of time by their numbers, of which the first page is read before its `pages`.

    Pages shift while punches come in, and rows of one time have no order among themselves. So rows are distinguished by
    their numbers, and each time that all are read the pages have another length.
    """

    def __init__(self, api: _Api, span: Mapping[str, str]) -> None:
        self.total = 0
        self._api = api
        self._span = span
        self._at_first: int | None = None
        self._times = 0
        self._page: Mapping[int | str, Any] = {}
        self._read: set[int | str] = set()
        self._next = b""

    async def read_first(self) -> None:
        """The first page."""
        size = PAGE - 13 * self._times
        self._times += 1
        await self._read_page({**self._span, "page": "1", "page_size": str(size)})

    async def pages(self) -> AsyncIterator[Mapping[int | str, Any]]:
        """The rows of each page. In the end, there have to be as many as at first."""
        if not self._page and self._at_first:
            await self.read_first()
        several = bool(self._next)
        asked: set[bytes] = set()
        while True:
            yield self._page
            self._page = {}
            if not self._next:
                break
            if self._next in asked:
                raise self._api.wrong("a page names one before it as the next")
            asked.add(self._next)
            # Of where the next page is, only what to ask is taken: the token goes to nobody else.
            await self._read_page(self._next)
        if len(self._read) < (self._at_first or 0):
            error = self._api.wrong(f"{len(self._read)} rows where it says {self.total}")
            raise Incomplete(str(error)) if several else error

    async def _read_page(self, query: Mapping[str, str] | bytes) -> None:
        """A page. There may be no more rows than it says."""
        match (await self._api.get(TRANSACTIONS, query)).json():
            case {"count": int(total), "next": str() | None as following, "data": list(rows)}:
                pass
            case _:
                raise self._api.wrong("no page of rows")
        try:
            self._next = httpx.URL(following or "").query
        except httpx.InvalidURL as error:
            raise self._api.wrong("the next page has no address") from error
        self._page = {_number(row): row for row in rows}
        self._read |= self._page.keys()
        self.total = total
        self._at_first = total if self._at_first is None else self._at_first
        count = len(self._read)
        if count > total or (self._next and not rows):
            raise self._api.wrong(f"{count} rows where it says {total}")


def _number(row: object) -> int | str:
    """A row's number; where it has none, the row itself."""
    number = row.get("id") if isinstance(row, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else orjson.dumps(row).decode()


def _time(row: Mapping[str, object]) -> datetime | None:
    try:
        return datetime.fromisoformat(str(row.get("punch_time"))).replace(tzinfo=None)
    except ValueError:
        return None


def _earliest(wanted: Fetch, instant: datetime) -> datetime:
    """A time before which no wall clock of any of the terminals was at this instant or after it."""
    zones = {device.timezone for device in (wanted.source, *wanted.terminals.values())}
    return min(earliest_wall_clock(instant, name) for name in zones)
