"""HeyStar: the verbs that a terminal answers at `:8090/cgi-bin/js/`, and the HF-IMS middleware for it at `:8190/api/`.

A terminal takes JSON and HTTP Basic, the middleware a form with the terminal's key and secret. Nothing of this was
tried on hardware: what is known comes from other people's code and captures.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from math import gcd
from typing import Any, Final, Literal

import httpx
import orjson
import structlog

from attendance.errors import DeviceRefused, DeviceUnavailable, UnreadableAnswer
from attendance.fleet import Device
from attendance.times import read_device_time
from producers.devices.common.http import HttpAnswer, ask, base_url
from producers.devices.common.options import read_options
from producers.devices.common.serials import is_serial_of_entry
from producers.devices.contract import Tools
from producers.devices.hfsecurity.lan_api import READ_ANYWAY, unfolded
from producers.devices.hfsecurity.recognition import TIME_NAMES, HfSecurityOptions, first

log = structlog.get_logger(__name__)

Way = Literal["cgi", "middleware"]
"""Whom to ask: the terminal itself, or the middleware that it is connected to."""
Reading = Literal["device/get", "device/getConfig", "record/findList"]
Writing = Literal["device/setSevConfig", "device/setUploadUrl", "device/setRecConfig"]

# No other verb is ever sent: there are some that restart a terminal, open its door, or delete a day's records.
READING: Final[frozenset[str]] = frozenset({"device/get", "device/getConfig", "record/findList"})
WRITING: Final[frozenset[str]] = frozenset({"device/setSevConfig", "device/setUploadUrl", "device/setRecConfig"})

PREFIXES: Final[Mapping[Way, str]] = {"cgi": "/cgi-bin/js/", "middleware": "/api/"}
PORTS: Final[Mapping[Way, int]] = {"cgi": 8090, "middleware": 8190}
USER: Final = "admin"
LENGTH: Final = 200
"""Records in a page; no source names the most that is allowed."""
FEW: Final = 20
"""Records in a page where `LENGTH` of them cannot be read."""
MAX_ANSWER: Final = 4 << 20
"""Bytes, many times what a page of records without photographs takes."""

_SUCCESS: Final = "000"
_REFUSED: Final[Mapping[str, str]] = {"401": "it does not take this password", "403": "it denies this"}
_NOT_NOW: Final[Mapping[str, str]] = {
    "404": "the terminal is not connected",
    "408": "the terminal does not answer",
    "500": "it is busy",
    "1002": "the terminal is not connected",
}
_LISTS: Final = ("records", "list", "rows")
_SERIAL_NAMES: Final = ("deviceKey", "sn", "devSn", "serialNo")
_LAST_MOMENT: Final = (2**31 - 1) * 1000

_JSON: Final = {"content-type": "application/json; charset=UTF-8"}


class _NoJson(UnreadableAnswer):
    """An answer that is whole and no JSON; `body` is what it is instead."""

    def __init__(self, message: str, body: bytes) -> None:
        super().__init__(message)
        self.body = body


class _Place:
    """Where in the records a reading is, and how many are asked for at a time.

    `passed_by` is the answer for one record that cannot be read. It becomes of consequence once the answer after it can
    be: otherwise nothing can be read at all. `opening` is the first record, where it can be read, and `first` how many
    the first page had.
    """

    def __init__(self) -> None:
        self.length = self.first = LENGTH
        self.pages = 0
        self.opening: bytes | None = None
        self.passed_by: str | None = None
        self._offset = 0
        self._most = LENGTH

    @property
    def index(self) -> int:
        """The number of the page, from 1."""
        return self._offset // self.length + 1

    def advance(self, rows: Sequence[bytes]) -> None:
        """Go on behind these records."""
        if self._offset == 0:
            self.opening, self.first = rows[0], len(rows)
            if len(rows) < self.length:
                # Where it gives fewer than it is asked for, the next page would leave out those in between.
                self._most = len(rows)
        self._offset += len(rows)
        self.pages += 1
        usual = (size for size in (self._most, FEW) if size <= self._most and self._offset % size == 0)
        self.length = next(usual, gcd(self._offset, self.length))

    def retreat(self, error: UnreadableAnswer) -> None:
        """Ask for fewer where a page cannot be read, and pass by a record that cannot be read alone.

        Raises:
            UnreadableAnswer: nor can the next.
        """
        if self.length > 1:
            self.length = FEW if self.length > FEW and self._offset % FEW == 0 else 1
            if not isinstance(error, _NoJson):  # too large: those that follow are so as well
                self._most = self.length
        elif isinstance(error, _NoJson) and self.passed_by is None:
            self.passed_by = error.body.decode(errors="replace")
            self._offset += 1
        else:
            raise UnreadableAnswer(str(error)) from error


class HeyStarApi:
    """The verbs of one terminal.

    Args:
        tools: What it works with.
        device: The entry of the terminal.
        way: Whom to ask.
    """

    def __init__(self, tools: Tools, device: Device, way: Way) -> None:
        self.device = device
        self.way = way
        self.options = read_options(device, HfSecurityOptions)
        self._tools = tools
        self._base = base_url(device, self.options, PORTS[way])

    async def is_spoken(self) -> bool:
        """Whether what is there answers in the words of HeyStar, which it is asked without a credential.

        Raises:
            DeviceUnavailable, DeviceRefused: as `ask` has it.
        """
        fields: Mapping[str, Any] = {"json": {}} if self.way == "cgi" else {"data": {}}
        try:
            answer = await self._post("device/get", accept=READ_ANYWAY | {401}, **fields)
            if answer.status == httpx.codes.UNAUTHORIZED:
                return "basic" in answer.headers.get("www-authenticate", "basic").lower()
            content = answer.json()
        except UnreadableAnswer:
            return False
        return isinstance(content, Mapping) and str(content.get("code", "")).isdecimal()

    async def about(self) -> object:
        """What it says of itself; None where it does not know the question."""
        try:
            return await self.read("device/get")
        except UnreadableAnswer:
            return None

    async def config(self, kind: int) -> object:
        """Its settings of a kind: 1 of recognition, 5 of the server. See `read`."""
        return unfolded(await self.read("device/getConfig", {"type": kind}))

    async def read(self, verb: Reading, fields: Mapping[str, str | int] | None = None) -> object:
        """What it answers to a question.

        Args:
            verb: The question.
            fields: What belongs to it.

        Raises:
            DeviceUnavailable, DeviceRefused, UnreadableAnswer: as `PullAdapter.fetch` tells them apart.
        """
        return await self._call(verb, fields or {})

    async def write(self, verb: Writing, content: Mapping[str, str | int | bool] | Sequence[object]) -> None:
        """Change what it is told, and nothing else. Raises what `read` raises.

        Args:
            verb: The kind of settings.
            content: The settings that change.
        """
        await self._call(verb, content)

    async def records(self, start: datetime, end: datetime | None = None) -> AsyncIterator[Sequence[object] | None]:
        """The records from one time to another, the oldest first, page by page until there is none.

        A record may be in several pages. A device that gives fewer than it is asked for is asked for no more, and one
        that does not know of pages is asked from the last record on. A page that cannot be read, or is too large, is
        asked for in smaller ones. A record that cannot be read by itself, while the answer after it can, is the text of
        its answer.

        Args:
            start: Where to begin.
            end: Where to end; None for no end, so that records dated ahead are there as well.

        Yields:
            The records of a page, the last of which is empty; or None for that one, where the device answers without
            any list, as it may where there is none.

        Raises:
            DeviceUnavailable, DeviceRefused, UnreadableAnswer: as `PullAdapter.fetch` tells them apart.
        """
        place = _Place()
        before: frozenset[bytes] = frozenset()
        while True:
            try:
                rows = await self._page(start, end, place.index, place.length)
            except UnreadableAnswer as error:
                place.retreat(error)
                continue
            if place.passed_by is not None:
                log.warning("A record cannot be read; it is kept as it came.", device_id=self.device.device_id)
                yield [place.passed_by]
                place.passed_by, before = None, frozenset()
            if not rows:
                yield rows
                break
            known = [orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows]
            if before.issuperset(known):
                beyond = self._beyond(start, rows)
                if beyond is None:
                    break
                start, place = beyond, _Place()
                continue
            yield rows
            before = frozenset(known)
            place.advance(known)
        if place.pages > 1 and place.opening is not None:
            again = await self._page(start, end, 1, place.first) or ()
            if place.opening not in [orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in again]:
                raise UnreadableAnswer(f"{self.device.device_id}: records went while they were read")

    async def _page(self, start: datetime, end: datetime | None, index: int, length: int) -> Sequence[object] | None:
        answer = await self.read(
            "record/findList",
            {
                "startTime": int(start.timestamp()) * 1000,
                "endTime": _LAST_MOMENT if end is None else int(end.timestamp()) * 1000,
                "index": index,
                "length": length,
                "order": 1,
                "recordType": 0,
                "personType": -1,
            },
        )
        data = unfolded(answer)
        rows = _rows(data)
        if rows is None and not _says_nothing(data):
            raise UnreadableAnswer(f"{self.device.device_id}: no page of records")
        wanted = self.device.serial
        for row in rows or ():
            found = row.get("deviceKey") if isinstance(row, Mapping) else None
            if wanted is not None and found and not is_serial_of_entry(str(found), wanted):
                raise DeviceRefused(f"{self.device.device_id}: its records are those of {found}, not of {wanted}")
        return rows

    def _beyond(self, start: datetime, rows: Sequence[object]) -> datetime | None:
        """Where to go on with a device that gives the same page whatever page it is asked for; None for nowhere."""
        times = [time for time in map(self.time_of, rows) if time is not None]
        if times and start < times[-1] and times == sorted(times):
            return times[-1]
        # Of one that begins with the newest, those before its page cannot be asked for; there are none where it is not
        # full.
        if len(rows) < LENGTH:
            return None
        raise UnreadableAnswer(f"{self.device.device_id}: it gives the same page of records again and again")

    def time_of(self, row: object) -> datetime | None:
        """The time of a record, UTC; None where it has none that can be read."""
        if not isinstance(row, Mapping):
            return None
        return read_device_time(str(first(row, TIME_NAMES)), self.device.timezone)

    async def _call(self, verb: Reading | Writing, content: Mapping[str, Any] | Sequence[object]) -> object:
        if verb not in READING | WRITING:
            raise AssertionError(f"{verb} is never sent")
        if self.way == "cgi":
            password = self._tools.secret(self.device, "password")
            answer = await self._post(verb, json=content, auth=httpx.BasicAuth(USER, password), headers=_JSON)
        else:
            if self.device.serial is None:
                raise DeviceRefused(f"{self.device.device_id}: serial: the middleware knows its terminals by it")
            name = "secret" if "secret" in self.device.credentials else "password"
            known_by = {"deviceKey": self.device.serial, "secret": self._tools.secret(self.device, name)}
            fields = content if isinstance(content, Mapping) else {}
            answer = await self._post(verb, data={**known_by, **{key: str(value) for key, value in fields.items()}})
        try:
            said = answer.json()
        except UnreadableAnswer as error:
            raise _NoJson(str(error), answer.body) from error
        match said:
            case {"code": code, **rest} if str(code) == _SUCCESS and rest.get("success") is not False:
                return rest.get("data")
            case {"success": True, **rest} if "code" not in rest:
                return rest.get("data")
            case {"code": str() | int() as code}:
                raise _failure(f"{answer.asked}: {code}", str(code))
        raise UnreadableAnswer(f"{answer.asked}: {answer.status} and no answer of HeyStar")

    async def _post(self, verb: str, *, accept: frozenset[int] = READ_ANYWAY, **options: Any) -> HttpAnswer:
        return await ask(
            self._tools.http,
            self.device.device_id,
            "POST",
            self._base.copy_with(path=PREFIXES[self.way] + verb),
            limit=MAX_ANSWER,
            accept=accept,
            **options,
        )


def _failure(message: str, code: str) -> DeviceRefused | DeviceUnavailable:
    if code in _REFUSED:
        return DeviceRefused(f"{message}: {_REFUSED[code]}")
    if code in _NOT_NOW:
        return DeviceUnavailable(f"{message}: {_NOT_NOW[code]}")
    return UnreadableAnswer(message)


def _rows(data: object) -> Sequence[object] | None:
    """The records in an answer, one of which may stand there without a list around it; None where there is no list."""
    match data:
        case list():
            return data
        case {"id": _} | {"recordId": _}:
            return [data]
        case Mapping():
            for name in _LISTS:
                rows = unfolded(data.get(name))
                if isinstance(rows, list):
                    return rows
    return None


def _says_nothing(data: object) -> bool:
    """Whether there is nothing in an answer, or nothing where its list would be."""
    if not isinstance(data, Mapping):
        return data in (None, "")
    lists = [data[name] for name in _LISTS if name in data]
    return not data or (bool(lists) and all(each in (None, "") for each in lists))


def serial_in(content: object) -> str | None:
    """The serial number in what a device says of itself, at whatever depth; None where there is none.

    Args:
        content: What the device says.
    """
    for name in _SERIAL_NAMES:
        if (found := found_in(content, name)) not in (None, ""):
            return str(found)
    return None


def found_in(content: object, name: str) -> object:
    """The first plain value of a name, at whatever depth; None where there is none.

    Args:
        content: What a device says.
        name: The name.
    """
    content = unfolded(content)
    inner: Iterable[object] = ()
    if isinstance(content, Mapping):
        value = content.get(name)
        if value is not None and not isinstance(value, Mapping | list):
            return value
        inner = content.values()
    elif isinstance(content, list):
        inner = content
    return next((found for each in inner if (found := found_in(each, name)) is not None), None)
