"""One HFSECURITY terminal's LAN API on port 8090 ("Device LAN Version Interface Document" V5.1)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlsplit

import structlog

from attendance.errors import DeviceRefused, DeviceUnavailable, InvalidRecord, UnreadableAnswer
from attendance.fleet import Device
from attendance.times import earliest_wall_clock, read_device_time
from producers.devices.common.bodies import read_json
from producers.devices.common.clocks import MAX_ZONE_DIFFERENCE
from producers.devices.common.http import ask, base_url
from producers.devices.common.options import read_options
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.contract import DeviceReport, Tools
from producers.devices.hfsecurity.recognition import TIME_NAMES, HfSecurityOptions, first, report_of

log = structlog.get_logger(__name__)

PORT: Final = 8090
LENGTH: Final = 500
"""Records in a page; the device allows 1,000."""
MAX_ANSWER: Final = 4 << 20
"""Bytes, many times what a page of records without photographs takes."""

# Wall clocks that no device shows, rather than the document's 0 and 0: there is firmware that refuses those. The first
# is after the epoch's beginning and the last before the end of 32 bits in every zone.
EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST: Final = "2037-12-31 23:59:59"

READ_ANYWAY: Final = frozenset(range(400, 500)) - {401, 403, 408, 425, 429}
"""Statuses beside which firmware may give its own word for what is wrong."""
# What is not a LAN API may have no GET at all.
_SAYS_SOMETHING: Final = READ_ANYWAY | {401, 403, 500, 501, 505}
_SERIAL_PATH: Final = "/getDeviceKey"
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
class Window:
    """From when to when records are asked for: an instant, and a wall clock of the device.

    `anchor` is the time of a record that has to be among them; None where there is none that is known.
    """

    start: datetime
    end: str = _LATEST
    anchor: datetime | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A page as the device gave it. `fault` says what cannot be right about it; then it is the window's last."""

    records: Sequence[object]
    last: bool
    fault: str | None = None


class LanApi:
    """One device's LAN API."""

    def __init__(self, tools: Tools, device: Device) -> None:
        self.device = device
        self._tools = tools
        self.options = read_options(device, HfSecurityOptions)
        self._base = base_url(device, self.options, PORT)

    async def is_spoken(self) -> bool:
        """Whether what is there is a LAN API. It is asked for what it tells everybody.

        Raises:
            DeviceUnavailable: nothing answers, or not now.
        """
        try:
            url = self._base.copy_with(path=_SERIAL_PATH)
            answer = await ask(
                self._tools.http, self.device.device_id, "GET", url, limit=MAX_ANSWER, accept=_SAYS_SOMETHING
            )
            content = answer.json()
        except (UnreadableAnswer, DeviceRefused):
            return False
        return isinstance(content, Mapping) and isinstance(content.get("success"), bool) and "result" in content

    async def serial(self) -> str:
        """Its serial number."""
        answer = await self._call("GET", _SERIAL_PATH, {})
        if not isinstance(answer, str) or not answer:
            raise UnreadableAnswer(f"{self.device.device_id}: /getDeviceKey says no serial number")
        return answer

    async def check_serial(self) -> None:
        """Accept the device of the entry, where that has a serial number.

        Raises:
            DeviceRefused: another device answers at this address: its punches would be booked on this one.
        """
        wanted = self.device.serial
        if wanted is not None and not is_serial_of_entry(found := await self.serial(), wanted):
            raise DeviceRefused(f"{self.device.device_id}: at its address is {found}, not {wanted}")

    async def information(self) -> DeviceReport:
        """What it says of itself."""
        content = unfolded(await self._call("GET", "/device/information", self._password()))
        return (report_of(content, "time", self.device) if isinstance(content, Mapping) else None) or DeviceReport()

    def callback_url(self) -> str | None:
        """The address that the entry wants it to post to, less its last part; None where it wants none."""
        return callback_url(self._tools, self.device)

    async def callbacks(self) -> object:
        """What it says of the addresses that it posts to; the document does not say in which shape."""
        return unfolded(await self._call("GET", "/device/callback", self._password()))

    async def post_recognitions_to(self, url: str) -> None:
        """Set where it posts recognitions, without photographs."""
        fields = {"callbackUrl": url, "base64Enable": "1"}
        await self._call("POST", "/setIdentifyCallBack", self._password() | fields)

    async def post_heartbeats_to(self, url: str) -> None:
        """Set where it posts a heartbeat every minute."""
        await self._call("POST", "/setDeviceHeartBeat", self._password() | {"url": url, "interval": "60"})

    async def read(self, window: Window) -> AsyncIterator[Part]:
        """The records of a window, oldest first.

        Where its anchor is missing, the wall clock by which the device compares may be in another zone than its entry
        says, so that newer records are missing too; or its memory was cleared. Then the window begins early enough for
        any zone.
        """
        index = before = 0
        while True:
            total, records = await self._page(window, index)
            if index == 0 and window.anchor is not None and _misses(window.anchor, times_of(records, self.device)):
                log.info(
                    "A device does not have the newest record known of it in its place.",
                    device_id=self.device.device_id,
                )
                window = Window(window.start - MAX_ZONE_DIFFERENCE, window.end)
                continue
            expected = max(0, min(total - index * LENGTH, LENGTH))
            fault = None
            if total < before:
                fault = f"of {before} records only {total} are left while they are read"
            elif len(records) != expected:
                fault = f"{len(records)} records where {expected} of {total} must be"
            index, before = index + 1, total
            last = fault is not None or index * LENGTH >= total
            yield Part(records, last, fault)
            if last:
                return

    async def _page(self, window: Window, index: int) -> tuple[int, Sequence[object]]:
        """How many records the window holds, and the page of that number."""
        answer = await self._call(
            "GET",
            "/newFindRecords",
            self._password()
            | {
                "personId": "-1",
                "startTime": str(earliest_wall_clock(max(window.start, EARLIEST), self.device.timezone)),
                "endTime": window.end,
                "length": str(LENGTH),
                "model": "-1",
                "order": "1",
                "index": str(index),
            },
        )
        match unfolded(answer):
            case {"pageInfo": page, "records": records}:
                match unfolded(page), unfolded(records):
                    case {"total": total}, list(rows) if str(total).isdecimal():
                        return int(total), rows
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
            accept=READ_ANYWAY,
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


def callback_url(tools: Tools, device: Device) -> str | None:
    """The address that an entry wants its device to post to, less its last part; None where it wants none.

    Args:
        tools: What knows the token.
        device: The entry.

    Raises:
        DeviceRefused: the entry or the environment has no token, and the address needs it.
    """
    wanted = read_options(device, HfSecurityOptions).callback_url
    if wanted is None:
        return None
    token = quote(tools.secret(device, "token"), safe="") if "{token}" in wanted else ""
    return wanted.replace("{token}", token).rstrip("/")


def unfolded(content: object) -> object:
    """What a device says, where it says it as JSON within a string: some firmware encodes twice.

    Args:
        content: Part of an answer.
    """
    if isinstance(content, str) and content.lstrip()[:1] in ("{", "["):
        with suppress(InvalidRecord):
            return read_json(content.encode())
    return content


def addresses_in(content: object) -> set[tuple[str, int, str]]:
    """Host, port and path of every address in what a device says, however it says it."""
    match content:
        case str():
            try:
                url = urlsplit(content)
                port = url.port or (443 if url.scheme == "https" else 80)
                return {(url.hostname, port, url.path.rstrip("/"))} if url.hostname else set()
            except ValueError:
                return set()
        case Mapping():
            return {address for each in content.values() for address in addresses_in(each)}
        case list():
            return {address for each in content for address in addresses_in(each)}
    return set()


def times_of(records: Sequence[object], device: Device) -> list[datetime | None]:
    """The time of each record, UTC; None where it has none that can be read.

    Args:
        records: As the device wrote them.
        device: Whose they are.
    """
    return [
        read_device_time(str(first(record, TIME_NAMES)), device.timezone) if isinstance(record, Mapping) else None
        for record in records
    ]


def _misses(anchor: datetime, times: Sequence[datetime | None]) -> bool:
    """Whether a page that should hold a record of that time, or be full before it, does not."""
    return anchor not in times and (len(times) < LENGTH or any(time is not None and time > anchor for time in times))
