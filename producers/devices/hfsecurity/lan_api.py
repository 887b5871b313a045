"""HFSECURITY terminals that are asked: the LAN API on port 8090 ("Device LAN Version Interface Document" V5.1).

Callbacks may be lost while the server is away, and their address is known to be forgotten, so a terminal that pushes
should be asked as well. Nothing is ever deleted, and the only setting that is written is the callbacks' address, where
the entry's option `callback_url` names one. Nothing of this was tried on hardware.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Final
from urllib.parse import quote, urlsplit

import structlog
from msgspec.structs import replace

from attendance.errors import DeviceRefused, DeviceUnavailable, InvalidRecord, UnreadableAnswer
from attendance.records.raw_event import RawEvent, Source
from attendance.registry import Device
from attendance.times import earliest_wall_clock, format_seconds, parse_utc, read_device_time
from producers.devices.common.clocks import ASSUMED_LAG, LOST_CLOCK, MAX_ZONE_DIFFERENCE
from producers.devices.common.http import ask, base_url
from producers.devices.common.options import read_options
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.contract import Cursor, DeviceReport, Fetch, Other, Page, Probed, Rejected, Tools
from producers.devices.hfsecurity.recognition import (
    NAME,
    TIME_NAMES,
    VERIFIED_ON,
    VERSION,
    HfSecurityOptions,
    first,
    kept,
    payload_names,
    read_record,
    report_of,
)

log = structlog.get_logger(__name__)

PORT: Final = 8090
LENGTH: Final = 500
"""Records in a page; the device allows 1,000."""
MAX_ANSWER: Final = 4 << 20
"""Bytes, many times what a page of records without photographs takes."""
OVERLAP: Final = timedelta(minutes=10)
LOOK_AFTER: Final = timedelta(minutes=15)
"""How long a device is believed to post to the address that it was last seen to have."""

# Wall clocks that no device shows, rather than the document's 0 and 0: there is firmware that refuses those. The first
# is after the epoch's beginning and the last before the end of 32 bits in every zone.
_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST: Final = "2037-12-31 23:59:59"

# Firmware may give its own word for what is wrong beside a status.
_READ_ANYWAY: Final = frozenset(range(400, 500)) - {401, 403, 408, 425, 429}
_NOT_NOW: Final = frozenset({"1000", "1005"})  # unknown, and busy
_REFUSED: Final[Mapping[str, str]] = {
    "1001": "the password is wrong",
    "1002": "the password is missing",
    "1003": "no password was ever set on it",
    "1004": "it is disabled",
    "1006": "its firmware does not do this",
    **dict.fromkeys(("2049", "2050", "2061", "2063", "2064", "2099"), "it does not take this address or time"),
}


@dataclass(frozen=True, slots=True)
class _Window:
    """From when to when records are asked for: an instant, and a wall clock of the device.

    `anchor` is the time of a record that has to be among them; None where there is none that is known.
    """

    start: datetime
    end: str = _LATEST
    anchor: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """A page as the device gave it. `fault` says what cannot be right about it; then it is the window's last."""

    records: Sequence[object]
    last: bool
    fault: str | None = None


class HfSecurityPull:
    """The pull adapter."""

    name: Final = NAME
    version: Final = VERSION
    verified_on: Final = VERIFIED_ON
    options: Final = HfSecurityOptions

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._payload = payload_names(tools.payload_fields)
        self._looked_after: dict[str, datetime] = {}

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """The records since the cursor less an overlap, by the device's time. See `PullAdapter.fetch`."""
        device = wanted.source
        lan = _Lan(self._tools, device)
        await _check_serial(lan)
        progress = _Progress(wanted)
        windows = _windows(wanted, progress.begun_at)
        begun = False
        for window in windows:
            async for part in lan.read(window):
                # Only now: punches come first, and a wrong password is to be tried once.
                report = None if begun else await self._look_after(lan, wanted.now)
                begun = True
                last = part.last and window is windows[-1]
                yield self._page(wanted, part, progress.after(part, last=last), report, last=last)
                if part.fault is not None:
                    raise UnreadableAnswer(f"{device.device_id}: {part.fault}")

    async def probe(self, source: Device) -> Probed:
        """Its serial number, and what it says of itself. See `PullAdapter.probe`."""
        lan = _Lan(self._tools, source)
        return Probed(await lan.serial(), await lan.information())

    def _page(self, wanted: Fetch, part: _Part, cursor: Cursor, report: DeviceReport | None, *, last: bool) -> Page:
        events: list[RawEvent] = []
        others: list[Other] = []
        rejected: list[Rejected] = []
        batch_id = token_hex(16)
        options = read_options(wanted.source, HfSecurityOptions)
        for index, record in enumerate(part.records):
            try:
                outcome = read_record(
                    record,
                    wanted.source,
                    options,
                    received_at=wanted.now,
                    source=Source("pull", NAME, VERSION, batch_id, index),
                    payload=self._payload,
                    sequence=record.get("id") if isinstance(record, Mapping) else None,
                )
            except InvalidRecord as error:
                rejected.append(Rejected(index, error.reason, error.message, kept(record, self._payload)))
                continue
            if isinstance(outcome, Other):
                others.append(outcome)
            else:
                events.append(outcome)
        until = None
        # A total that is no more than a full page may be that of the page.
        if last and part.fault is None and wanted.since is None and len(part.records) < LENGTH:
            told = None if report is None else report.device_time
            until = wanted.now - ASSUMED_LAG if told is None else min(wanted.now, told)
        return Page(cursor, events, rejected, others, report, until)

    async def _look_after(self, lan: "_Lan", now: datetime) -> DeviceReport | None:
        """What the device says of itself, now and then; and its callbacks' address put right, where one is wanted.

        None of it may hold up the punches.
        """
        device_id = lan.device.device_id
        looked = self._looked_after.get(device_id)
        if looked is not None and now - looked < LOOK_AFTER:
            return None
        self._looked_after[device_id] = now
        report = DeviceReport()
        try:
            report = await lan.information()
            told = await _reconcile(lan)
        except (DeviceUnavailable, DeviceRefused) as error:
            log.warning("A device's settings cannot be looked after.", device_id=device_id, error=str(error))
            told = {"callback": f"unknown: {error}"} if lan.options.callback_url is not None else {}
        return replace(report, details={**report.details, **told})


class _Progress:
    """How far a fetch has come, as the cursor of its pages.

    The cursor is the time of the newest record that has been read. Before the window's end it moves only as long as
    the device gives its records in the order of their times, for a fetch that goes on there asks for later ones. It
    does not move by a record that is dated ahead of the server's clock, or all before that would be passed over.
    """

    def __init__(self, wanted: Fetch) -> None:
        self._wanted = wanted
        self.begun_at = _through(wanted.cursor)
        self._newest = self.begun_at
        self._previous = datetime.min.replace(tzinfo=UTC)
        self._ordered = True
        # A sweep that begins after the cursor leaves a gap behind it.
        self._covers = wanted.since is None or (self.begun_at is not None and wanted.since <= self.begun_at)

    def after(self, part: _Part, *, last: bool) -> Cursor:
        """The cursor after this page, of which `last` says whether it is the last of the fetch."""
        for time in _times(part.records, self._wanted.source):
            if time is None or time < self._previous:
                self._ordered = False
                continue
            self._previous = time
            if _EARLIEST <= time <= self._wanted.now and (self._newest is None or time > self._newest):
                self._newest = time
        moves = self._covers and part.fault is None and (last or self._ordered)
        if not moves or self._newest is None:
            return self._wanted.cursor or {}
        return {"through": format_seconds(self._newest)}


class _Lan:
    """One device's LAN API."""

    def __init__(self, tools: Tools, device: Device) -> None:
        self.device = device
        self._tools = tools
        self.options = read_options(device, HfSecurityOptions)
        self._base = base_url(device, self.options, PORT)

    async def serial(self) -> str:
        """Its serial number."""
        answer = await self._call("GET", "/getDeviceKey", {})
        if not isinstance(answer, str) or not answer:
            raise UnreadableAnswer(f"{self.device.device_id}: /getDeviceKey says no serial number")
        return answer

    async def information(self) -> DeviceReport:
        """What it says of itself."""
        told = await self._call("GET", "/device/information", self._password())
        return (report_of(told, "time", self.device) if isinstance(told, Mapping) else None) or DeviceReport()

    def callback_url(self) -> str | None:
        """The address that the entry wants it to post to, less its last part; None where it wants none."""
        wanted = self.options.callback_url
        if wanted is None:
            return None
        token = quote(self._tools.secret(self.device, "token"), safe="") if "{token}" in wanted else ""
        return wanted.replace("{token}", token).rstrip("/")

    async def callbacks(self) -> object:
        """What it says of the addresses that it posts to; the document does not say in which shape."""
        return await self._call("GET", "/device/callback", self._password())

    async def post_recognitions_to(self, url: str) -> None:
        """Set where it posts recognitions, without photographs."""
        fields = {"callbackUrl": url, "base64Enable": "1"}
        await self._call("POST", "/setIdentifyCallBack", self._password() | fields)

    async def post_heartbeats_to(self, url: str) -> None:
        """Set where it posts a heartbeat every minute."""
        await self._call("POST", "/setDeviceHeartBeat", self._password() | {"url": url, "interval": "60"})

    async def read(self, window: _Window) -> AsyncIterator[_Part]:
        """The records of a window, oldest first.

        Where its anchor is missing, the wall clock by which the device compares may be in another zone than its entry
        says, so that newer records are missing too; or its memory was cleared. Then the window begins early enough for
        any zone.
        """
        index = before = 0
        while True:
            total, records = await self._page(window, index)
            if index == 0 and window.anchor is not None and _misses(window.anchor, _times(records, self.device)):
                log.info(
                    "A device does not have the newest record known of it in its place.",
                    device_id=self.device.device_id,
                )
                window = _Window(window.start - MAX_ZONE_DIFFERENCE, window.end)
                continue
            expected = max(0, min(total - index * LENGTH, LENGTH))
            fault = None
            if total < before:
                fault = f"of {before} records only {total} are left while they are read"
            elif len(records) != expected:
                fault = f"{len(records)} records where {expected} of {total} must be"
            index, before = index + 1, total
            last = fault is not None or index * LENGTH >= total
            yield _Part(records, last, fault)
            if last:
                return

    async def _page(self, window: _Window, index: int) -> tuple[int, Sequence[object]]:
        """How many records the window holds, and the page of that number."""
        answer = await self._call(
            "GET",
            "/newFindRecords",
            self._password()
            | {
                "personId": "-1",
                "startTime": str(earliest_wall_clock(max(window.start, _EARLIEST), self.device.timezone)),
                "endTime": window.end,
                "length": str(LENGTH),
                "model": "-1",
                "order": "1",
                "index": str(index),
            },
        )
        match answer:
            case {"pageInfo": {"total": total}, "records": list(records)} if str(total).isdecimal():
                return int(total), records
        raise UnreadableAnswer(f"{self.device.device_id}: no page of records")

    def _password(self) -> dict[str, str]:
        return {"pass": self._tools.secret(self.device, "password")}

    async def _call(self, method: str, path: str, fields: Mapping[str, str]) -> object:
        """The data of an answer.

        Raises:
            DeviceUnavailable, DeviceRefused, UnreadableAnswer: there is none, as `PullAdapter.fetch` tells them apart.
        """
        answer = await ask(
            self._tools.http,
            self.device.device_id,
            method,
            self._base.copy_with(path=path),
            limit=MAX_ANSWER,
            accept=_READ_ANYWAY,
            params=fields if method == "GET" else None,
            data=None if method == "GET" else fields,
        )
        match answer.json():
            case {"success": True, **rest}:
                return rest.get("data")
            case {"success": False, "code": str(code)}:
                raise _failure(f"{answer.asked}: {code}", code)
        raise UnreadableAnswer(f"{answer.asked}: {answer.status} and no answer of the LAN API")


def _failure(message: str, code: str) -> DeviceRefused | DeviceUnavailable:
    number = code.rpartition("-")[2]
    if number in _REFUSED:
        return DeviceRefused(f"{message}: {_REFUSED[number]}")
    return DeviceUnavailable(message) if number in _NOT_NOW else UnreadableAnswer(message)


async def _check_serial(lan: _Lan) -> None:
    """Raise where another device answers at this address: its punches would be booked on this one."""
    wanted = lan.device.serial
    if wanted is not None and not is_serial_of_entry(found := await lan.serial(), wanted):
        raise DeviceRefused(f"{lan.device.device_id}: at its address is {found}, not {wanted}")


async def _reconcile(lan: _Lan) -> Mapping[str, str]:
    """Have the device post to the entry's `callback_url`, and say what was found; nothing where there is none."""
    wanted = lan.callback_url()
    if wanted is None:
        return {}
    found = _addresses(await lan.callbacks())
    differs = False
    for url, post in (
        (f"{wanted}/identify", lan.post_recognitions_to),
        (f"{wanted}/heartbeat", lan.post_heartbeats_to),
    ):
        if not _addresses(url) <= found:
            await post(url)
            differs = True
    if not differs:
        return {"callback": "as wanted"}
    # Their paths hold a token.
    hosts = ", ".join(sorted({f"{host}:{port}" for host, port, _ in found})) or "nowhere"
    log.warning("A device posted elsewhere; it was told again where to.", device_id=lan.device.device_id, found=hosts)
    return {"callback": f"set again: it posted to {hosts}"}


def _addresses(told: object) -> set[tuple[str, int, str]]:
    """Host, port and path of every address in what a device says, however it says it."""
    match told:
        case str():
            try:
                url = urlsplit(told)
                port = url.port or (443 if url.scheme == "https" else 80)
                return {(url.hostname, port, url.path.rstrip("/"))} if url.hostname else set()
            except ValueError:
                return set()
        case Mapping():
            return {address for each in told.values() for address in _addresses(each)}
        case list():
            return {address for each in told for address in _addresses(each)}
    return set()


def _windows(wanted: Fetch, through: datetime | None) -> Sequence[_Window]:
    if wanted.since is not None:
        since = max(wanted.since, _EARLIEST) - MAX_ZONE_DIFFERENCE
        lost = _Window(_EARLIEST, str(LOST_CLOCK.replace(tzinfo=None)))
        return [_Window(since)] if since <= LOST_CLOCK else [lost, _Window(since)]
    return [_Window(_EARLIEST) if through is None else _Window(through - OVERLAP, anchor=through)]


def _through(cursor: Cursor | None) -> datetime | None:
    """The time of the newest record that was read; None where nothing can be said, and all is read again."""
    try:
        return max(parse_utc((cursor or {})["through"]), _EARLIEST)
    except (KeyError, TypeError, ValueError):
        return None


def _times(records: Sequence[object], device: Device) -> list[datetime | None]:
    return [
        read_device_time(str(first(record, TIME_NAMES)), device.timezone) if isinstance(record, Mapping) else None
        for record in records
    ]


def _misses(anchor: datetime, times: Sequence[datetime | None]) -> bool:
    """Whether a page that should hold a record of that time, or be full before it, does not."""
    return anchor not in times and (len(times) < LENGTH or any(time is not None and time > anchor for time in times))
