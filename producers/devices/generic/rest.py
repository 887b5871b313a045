"""Any REST interface that hands out punches as JSON, as the registry entry's `options` describe it.

For devices and servers without an adapter of their own. Nothing is assumed of the order of records unless they are
asked for by an increasing number, so by time the cursor moves only when everything has been read.
"""

import math
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol, Self

import httpx
import structlog
from msgspec import structs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from attendance.errors import DeviceRefused, InvalidRecord, Reason, UnreadableAnswer
from attendance.records.raw_event import EventType, RawEvent, Scalar, Source
from attendance.registry import Device, ZoneName
from attendance.times import (
    earliest_wall_clock,
    format_seconds,
    from_wall_clock,
    now,
    parse_utc,
    read_device_time,
    zone,
)
from attendance.wire import encode_json
from producers.devices.common.bodies import check_unambiguous
from producers.devices.common.clocks import ASSUMED_LAG, LOST_CLOCK, MAX_ZONE_DIFFERENCE
from producers.devices.common.http import HttpAnswer, ask, base_url
from producers.devices.common.options import HttpOptions, read_options
from producers.devices.common.punch import cut, invalid, punch, scalars
from producers.devices.contract import Cursor, DeviceReport, Fetch, Page, Probed, Rejected, Tools, terminal_of

log = structlog.get_logger(__name__)

NAME: Final = "rest"
VERSION: Final = "1"

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""What a first fetch asks for by time: clocks that lost their power begin here."""
_AHEAD: Final = timedelta(days=1)
"""How far in the future records are asked for: clocks are wrong, and the stream judges that."""
_MILLISECONDS: Final = 10**11  # an epoch from here on is in milliseconds; in seconds it is the year 5138


_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_PLACEHOLDERS: Final = frozenset({"from", "to", "cursor", "page", "offset", "size"})


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class FieldNames(_Model):
    """Where a record has what, each a name, or names joined by dots."""

    user: str = Field(min_length=1)
    time: str = Field(min_length=1)
    direction: str | None = None
    sequence: str | None = None
    serial: str | None = None


class CursorBy(_Model):
    """What is new: by time, with an overlap in seconds; or by an increasing number, with an overlap in numbers."""

    by: Literal["time", "number"] = "time"
    overlap: int | None = Field(None, ge=0)

    @property
    def seconds(self) -> timedelta:
        """The overlap by time."""
        return timedelta(seconds=600 if self.overlap is None else self.overlap)

    @property
    def numbers(self) -> int:
        """The overlap by number: a database may show a number before a smaller one."""
        return 100 if self.overlap is None else self.overlap


class Paging(_Model):
    """How an answer goes on: not at all, by page, by offset, or where the answer's own link leads."""

    by: Literal["none", "page", "offset", "next"] = "none"
    first: int = 1
    size: int = Field(500, ge=1, le=10_000)
    next: str | None = None


def _strptime(text: str) -> str:
    if text not in ("iso", "epoch", "epoch_ms"):
        now = datetime(2026, 12, 31, 23, 58, 59, tzinfo=UTC)
        try:
            again = datetime.strptime(now.strftime(text), text)  # noqa: DTZ007 - a wall clock
        except ValueError as error:
            raise ValueError(f"iso, epoch, epoch_ms or a format such as %d/%m/%Y %H:%M:%S: {error}") from error
        if again.replace(tzinfo=None, second=0) != now.replace(tzinfo=None, second=0):
            raise ValueError("the format leaves out a part of the time")
    return text


class RestOptions(HttpOptions):
    """The entry's `options`.

    Strings in `query` and `body` may hold `{from}`, `{to}`, `{cursor}`, `{page}`, `{offset}` and `{size}`. In `body`
    one that is nothing but a placeholder becomes a number where that is one. `records` is where the answer has the
    list, empty where it is the list; `total` where it says how many there are in all. `complete` says that what the
    other side has is all that was punched until now: true of a terminal, not of a server that terminals upload to.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)
    needs_host: ClassVar[bool] = True

    path: str = Field(pattern=r"^/([^/?#][^?#]*)?$")
    method: Literal["GET", "POST"] = "GET"
    query: dict[str, str] = Field(default_factory=dict)
    body: dict[str, Any] | None = None
    records: str = ""
    total: str | None = None
    fields: FieldNames
    directions: dict[str, Literal["IN", "OUT"]] = Field(default_factory=dict)
    time_format: Annotated[str, AfterValidator(_strptime)] = "iso"
    timezone: ZoneName | None = None
    cursor: CursorBy = CursorBy()
    paging: Paging = Paging()
    auth: Literal["none", "basic", "bearer", "header"] = "none"
    auth_header: str = Field("X-Api-Key", pattern=r"^[A-Za-z0-9-]+$")
    complete: bool = False

    @property
    def placeholders(self) -> set[str]:
        """Those that query and body have."""
        return _placeholders([self.query, self.body])

    @model_validator(mode="after")
    def _fits(self) -> Self:
        used = self.placeholders
        if unknown := used - _PLACEHOLDERS:
            raise ValueError(f"no such placeholder: {', '.join(sorted(unknown))}")
        needed = {"time": "from", "number": "cursor"}[self.cursor.by]
        if needed not in used:
            raise ValueError(f"a cursor by {self.cursor.by} needs {{{needed}}} in query or body")
        if self.cursor.by == "number" and self.fields.sequence is None:
            raise ValueError("a cursor by number needs fields.sequence")
        if self.paging.by in ("page", "offset") and self.paging.by not in used:
            raise ValueError(f"paging by {self.paging.by} needs {{{self.paging.by}}} in query or body")
        if (self.paging.by == "next") != (self.paging.next is not None):
            raise ValueError("paging by next, and only that, needs paging.next: where the answer has the link")
        if self.total is not None and (self.cursor.by, self.paging.by) == ("number", "none"):
            raise ValueError("a total has no meaning where each answer goes on after the largest number of the last")
        if self.body is not None and self.method == "GET":
            raise ValueError("a body needs method POST")
        return self


class Rest:
    """The pull adapter."""

    name: Final = NAME
    version: Final = VERSION
    verified_on: Final = "simulator"
    options: Final = RestOptions

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """What is new by the cursor, less its overlap. See `PullAdapter.fetch`."""
        interface = _Interface(self._tools, wanted.source)
        options = interface.options
        reader = _Reader(options, wanted, self._tools.payload_fields)
        progress: _Progress = _ByTime(wanted, options) if options.cursor.by == "time" else _ByNumber(wanted, options)
        place: _Place | None = _Place(progress.start, options.paging.first)
        while place is not None:
            part = interface.read(await interface.ask(place), place)
            page, numbers = reader.read(part.records)
            fault = part.fault or progress.take(page.events, numbers)
            following = progress.following(place) if options.paging.by == "none" else part.following
            if following is None and fault is None and (start := progress.next_start()) is not None:
                following = _Place(start, options.paging.first)
            whole = following is None and fault is None
            claims = whole and options.complete and wanted.since is None
            yield structs.replace(
                page,
                cursor=progress.cursor(whole=whole) if fault is None else wanted.cursor or {},
                complete_until=wanted.now - ASSUMED_LAG if claims else None,
            )
            if fault is not None:
                raise UnreadableAnswer(f"{wanted.source.device_id}: {fault}")
            place = following

    async def probe(self, source: Device) -> Probed:
        """Whether it answers as its entry says. It tells no serial number. See `PullAdapter.probe`."""
        interface = _Interface(self._tools, source)
        place = _Place(_Start(now(), now() + _AHEAD), interface.options.paging.first)
        interface.read(await interface.ask(place), place)
        return Probed(None, DeviceReport())


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a reading begins, and the latest time that it asks for: `{from}`, `{to}` and `{cursor}`."""

    time: datetime
    until: datetime
    number: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Which part of a reading is asked for.

    `seen` is how many records came before, `previous` the last of their pages, `total` how many there must be in all.
    """

    start: _Start
    page: int
    seen: int = 0
    previous: Sequence[object] = ()
    total: int = 0
    link: httpx.URL | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """One answer. `following` is None after the last; `fault` says what cannot be right."""

    records: Sequence[object]
    following: _Place | None
    fault: str | None = None


class _Interface:
    """One device's interface, as its entry describes it."""

    def __init__(self, tools: Tools, device: Device) -> None:
        self.options = read_options(device, RestOptions)
        self._base = base_url(device, self.options).join(self.options.path)
        self._tools = tools
        self._device = device
        self._zone = self.options.timezone or device.timezone

    async def ask(self, place: _Place) -> HttpAnswer:
        """The answer for a place."""
        options, values = self.options, self._values(place)
        query = {name: str(_filled(text, values)) for name, text in options.query.items()}
        headers, auth = self._credentials()
        return await ask(
            self._tools.http,
            self._device.device_id,
            options.method,
            place.link or self._base,
            headers=headers,
            # A link has its query already.
            params=None if place.link else query,
            json=None if options.body is None else _filled(options.body, values),
            auth=auth,
        )

    def read(self, answer: HttpAnswer, place: _Place) -> _Part:
        """What an answer says.

        Raises:
            UnreadableAnswer: it has no list of records where the entry says.
            DeviceRefused: its link leads elsewhere.
        """
        options = self.options
        said = answer.json()
        try:
            records = dig(said, options.records)
            total = None if options.total is None else dig(said, options.total)
            onward = None if options.paging.next is None else dig(said, options.paging.next)
        except InvalidRecord as error:
            raise UnreadableAnswer(f"{answer.asked}: {error.message}") from error
        if not isinstance(records, list):
            raise UnreadableAnswer(f"{answer.asked}: no list at {options.records or 'the top'}")
        if options.total is not None and (not isinstance(total, int) or isinstance(total, bool) or total < 0):
            raise UnreadableAnswer(f"{answer.asked}: no number at {options.total}")
        assert total is None or isinstance(total, int)
        seen = place.seen + len(records)
        link = self._link(onward, place, answer)
        match options.paging.by:
            case "none":
                last = True
            case "next":
                last = link is None
            case _:
                # Not at a page that is not full: the other side may allow fewer than were asked for.
                last = not records or (total is not None and seen >= total)
        here = _Place(place.start, place.page + 1, seen, records, total or 0, link)
        return _Part(records, None if last else here, _fault(place, here, last=last))

    def _link(self, told: object, place: _Place, answer: HttpAnswer) -> httpx.URL | None:
        if told is None or told == "":
            return None
        try:
            link = (place.link or self._base).join(str(told))
        except httpx.InvalidURL as error:
            raise UnreadableAnswer(f"{answer.asked}: no link at {self.options.paging.next}") from error
        if (link.scheme, link.host, _port(link)) != (self._base.scheme, self._base.host, _port(self._base)):
            # Whoever could write that link would be sent our credentials.
            raise DeviceRefused(f"{answer.asked}: its next link leads to another host")
        if link == place.link:
            raise UnreadableAnswer(f"{answer.asked}: its next link leads to itself")
        return link

    def _values(self, place: _Place) -> dict[str, str | int]:
        return {
            "from": self._written(place.start.time),
            "to": self._written(place.start.until),
            "cursor": place.start.number,
            "page": place.page,
            "offset": place.seen,
            "size": self.options.paging.size,
        }

    def _written(self, instant: datetime) -> str | int:
        match self.options.time_format:
            case "epoch":
                return int(instant.timestamp())
            case "epoch_ms":
                return int(instant.timestamp()) * 1000
            case "iso":
                return format_seconds(instant)
            case form:
                if "%z" in form:
                    return instant.astimezone(zone(self._zone)).strftime(form)
                return earliest_wall_clock(instant, self._zone).strftime(form)

    def _credentials(self) -> tuple[dict[str, str], httpx.BasicAuth | None]:
        def secret(name: str) -> str:
            return self._tools.secret(self._device, name)

        match self.options.auth:
            case "basic":
                return {}, httpx.BasicAuth(secret("user"), secret("password"))
            case "bearer":
                return {"authorization": f"Bearer {secret('token')}"}, None
            case "header":
                return {self.options.auth_header: secret("token")}, None
            case _:
                return {}, None


def _fault(before: _Place, after: _Place, *, last: bool) -> str | None:
    """What cannot be right about the answer between two places."""
    if after.total < before.total:
        return f"of {before.total} records only {after.total} are left while they are read"
    if last and after.seen < after.total:
        return f"{after.seen} records where {after.total} must be"
    if after.previous and after.previous == before.previous:
        return "the same page again where the next one must be"
    return None


class _Progress(Protocol):
    """How far a fetch has come, as the cursor of its pages.

    The record that was newest before, its anchor, has to be found again. Where it is not, the other side compares by
    another zone than its entry says, or counts anew: then what is new may be further back.
    """

    start: _Start

    def take(self, events: Sequence[RawEvent], numbers: Sequence[int]) -> str | None:
        """Take in a page. Returns what cannot be right about it."""

    def following(self, place: _Place) -> _Place | None:
        """Where to go on after a place, without paging; None where nothing is left."""

    def next_start(self) -> _Start | None:
        """Where to read next, once all of the last reading is there; None where nothing is left."""

    def cursor(self, *, whole: bool) -> Cursor:
        """The cursor after this page. `whole` says that nothing is left to be read."""


class _ByTime:
    """The time of the newest record: it moves when all has been read, for pages may be in any order.

    It does not move by a record that is dated ahead of the server's clock, or all before that would be passed over.
    """

    def __init__(self, wanted: Fetch, options: RestOptions) -> None:
        self._wanted = wanted
        self._newest = _through(wanted.cursor)
        self._anchor = self._newest if wanted.since is None else None
        self._until = wanted.now + _AHEAD
        begin = wanted.since
        if begin is None:
            begin = _EARLIEST if self._newest is None else max(_EARLIEST, self._newest - options.cursor.seconds)
        self.start = _Start(begin, self._until)
        # A sweep looks as well for what was punched after the clock was lost, which can come at any time.
        self._lost = wanted.since is not None and "to" in options.placeholders

    def take(self, events: Sequence[RawEvent], numbers: Sequence[int]) -> str | None:  # noqa: ARG002 - see _Progress
        for event in events:
            time = event.event_time
            if time is None or time > self._wanted.now:
                continue
            if time == self._anchor:
                self._anchor = None
            self._newest = time if self._newest is None else max(self._newest, time)
        return None

    def following(self, place: _Place) -> _Place | None:  # noqa: ARG002 - see _Progress
        return None

    def next_start(self) -> _Start | None:
        if self._lost:
            self._lost = False
            return _Start(_EARLIEST, LOST_CLOCK)
        if self._anchor is None:
            return None
        log.info("What was newest before is not there now; it is looked for.", device_id=self._wanted.source.device_id)
        self._anchor = None
        return _Start(max(_EARLIEST, self.start.time - MAX_ZONE_DIFFERENCE), self._until)

    def cursor(self, *, whole: bool) -> Cursor:
        if not whole or self._newest is None or self._wanted.since is not None:
            return self._wanted.cursor or {}
        return {"through": format_seconds(self._newest)}


class _ByNumber:
    """The largest number: it moves with each page, which have to be in the order of the numbers."""

    def __init__(self, wanted: Fetch, options: RestOptions) -> None:
        self._wanted = wanted
        self._known = _number(wanted.cursor)
        self._anchor = self._known if wanted.since is None and options.cursor.numbers else 0
        self._largest = self._previous = 0
        begin, time = max(0, self._known - options.cursor.numbers), _EARLIEST
        if wanted.since is not None and "from" in options.placeholders:
            begin, time = 0, wanted.since
        self.start = _Start(time, wanted.now + _AHEAD, begin)

    def take(self, events: Sequence[RawEvent], numbers: Sequence[int]) -> str | None:  # noqa: ARG002 - see _Progress
        for number in numbers:
            if number < self._previous:
                return f"record {number} comes after {self._previous}, so none can be told to be new"
            self._previous = number
            if number == self._anchor:
                self._anchor = 0
        self._largest = max(self._largest, self._previous)
        return None

    def following(self, place: _Place) -> _Place | None:
        if self._previous <= place.start.number:
            return None
        return replace(place, start=replace(place.start, number=self._previous))

    def next_start(self) -> _Start | None:
        if not self._anchor:
            return None
        log.info("The largest number of before is not there now; all is read.", device_id=self._wanted.source.device_id)
        self._anchor = self._known = self._largest = self._previous = 0
        return replace(self.start, number=0)

    def cursor(self, *, whole: bool) -> Cursor:  # noqa: ARG002 - see _Progress
        number = max(self._known, self._largest)
        if self._wanted.since is not None or self._anchor or not number:
            return self._wanted.cursor or {}
        return {"number": number}


class _Reader:
    """Makes events of records."""

    def __init__(self, options: RestOptions, wanted: Fetch, payload_fields: Collection[str]) -> None:
        self._options = options
        self._wanted = wanted
        self._payload = tuple(payload_fields)
        names = options.fields
        self._paths = [path for path in (names.user, names.time, names.direction, names.sequence, names.serial) if path]
        self._zone = options.timezone

    def read(self, records: Sequence[object]) -> tuple[Page, list[int]]:
        """A page without its cursor, and the numbers of all its records that have one."""
        events, rejected, numbers = [], [], []
        batch_id = token_hex(16)
        for index, record in enumerate(records):
            try:
                number = self._number(record)
                if number is not None:
                    numbers.append(number)
                events.append(self._event(record, number, Source("pull", NAME, VERSION, batch_id, index)))
            except InvalidRecord as error:
                rejected.append(Rejected(index, error.reason, error.message, self._kept(record)))
        return Page({}, events, rejected), numbers

    def _number(self, record: object) -> int | None:
        path = self._options.fields.sequence
        told = dig(record, path) if path else None
        if isinstance(told, str) and re.fullmatch(r"[0-9]{1,18}", told):
            return int(told)
        return told if isinstance(told, int) and not isinstance(told, bool) and told >= 0 else None

    def _event(self, record: object, number: int | None, source: Source) -> RawEvent:
        if not isinstance(record, dict):
            raise invalid(f"a record must be an object, not {type(record).__name__}")
        names = self._options.fields
        device = self._device(record)
        told = dig(record, names.time)
        event = punch(
            device,
            user=dig(record, names.user),
            time=told,
            event_type=self._direction(dig(record, names.direction) if names.direction else None),
            received_at=self._wanted.now,
            source=source,
            sequence=number,
            payload=scalars(record, self._payload),
        )
        return structs.replace(event, event_time=self._instant(told, device.timezone))

    def _device(self, record: Mapping[str, object]) -> Device:
        device = self._wanted.source
        path = self._options.fields.serial
        if path is not None:
            serial = str(dig(record, path))
            if serial not in self._wanted.terminals:
                raise InvalidRecord(Reason.UNKNOWN_DEVICE, "no device with this serial is asked by way of this")
            device = terminal_of(serial, self._wanted.terminals, device)
        return device if self._zone is None else device.model_copy(update={"timezone": self._zone})

    def _direction(self, told: object) -> EventType:
        return "UNKNOWN" if told is None else self._options.directions.get(str(told), "UNKNOWN")

    def _instant(self, told: object, zone_name: str) -> datetime | None:
        """The instant that a record tells; None where it cannot be derived."""
        form = self._options.time_format
        try:
            match told:
                case bool() | None:
                    return None
                case int() | float() | str() if form.startswith("epoch"):
                    number = float(told)
                    seconds = number / 1000 if abs(number) >= _MILLISECONDS else number
                    return datetime.fromtimestamp(math.floor(seconds), UTC)
                case str() if form == "iso":
                    return read_device_time(told, zone_name)
                case str() | int() if not form.startswith("epoch") and form != "iso":
                    parsed = datetime.strptime(str(told), form)  # noqa: DTZ007 - a wall clock, or it has an offset
                    aware = from_wall_clock(parsed, zone_name) if parsed.tzinfo is None else parsed.astimezone(UTC)
                    return aware.replace(microsecond=0)
        except (ValueError, OverflowError, OSError):
            pass
        return None

    def _kept(self, record: object) -> bytes:
        """What a dead letter keeps of a record: the fields that the entry names."""
        if not isinstance(record, Mapping):
            return encode_json(cut(record))
        kept: dict[str, Scalar] = {}
        for path in self._paths:
            with suppress(InvalidRecord):
                kept[path] = cut(dig(record, path))
        return encode_json(kept | scalars(record, self._payload))


def dig(said: object, path: str) -> object:
    """What stands at a dotted path, None where nothing does. The empty path is the whole.

    Raises:
        InvalidRecord: a name on the way is given several values (`invalid_event`).
    """
    for name in path.split(".") if path else ():
        if not isinstance(said, Mapping):
            return None
        check_unambiguous(said, (name,))
        said = said.get(name)
    return said


def _placeholders(template: object) -> set[str]:
    match template:
        case str():
            return set(_PLACEHOLDER.findall(template))
        case Mapping():
            return {name for value in template.values() for name in _placeholders(value)}
        case list():
            return {name for value in template for name in _placeholders(value)}
    return set()


def _filled(template: object, values: Mapping[str, str | int]) -> object:
    """A template with the values in it; a string that is one placeholder becomes the value itself."""
    match template:
        case str():
            if whole := _PLACEHOLDER.fullmatch(template):
                return values[whole[1]]
            return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), template)
        case Mapping():
            return {name: _filled(value, values) for name, value in template.items()}
        case list():
            return [_filled(value, values) for value in template]
    return template


def _through(cursor: Cursor | None) -> datetime | None:
    try:
        return parse_utc((cursor or {})["through"])
    except (KeyError, TypeError, ValueError):
        return None


def _number(cursor: Cursor | None) -> int:
    number = (cursor or {}).get("number")
    return number if isinstance(number, int) and number > 0 else 0


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
