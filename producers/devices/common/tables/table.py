"""Tables of punches with a header, whichever file they stand in: which columns count, and how their dates are written.

A table is read twice: once to find its header and to decide over all its rows whether day or month comes first, and
once for its punches. Names of columns are compared without case, spaces and punctuation.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Annotated, Final, Literal, cast

from msgspec.structs import replace
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from attendance.errors import InvalidRecord, Reason, UnreadableFile
from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.registry import Device
from attendance.wire import encode_json
from producers.devices.common.options import Options
from producers.devices.common.punch import cut, invalid, punch, scalars
from producers.devices.contract import Rejected, Row, terminal_of
from producers.devices.zkteco import states as zkteco_states

Cells = Sequence[object]
Rows = Callable[[], Iterator[tuple[int, Cells]]]
"""Reads a table from its beginning: the number of each row that is not empty, from 1, and its cells."""

Order = Literal["ymd", "dmy", "mdy"]

UNCOMPUTED: Final = object()
"""A cell with a formula whose value is not in the file."""

EPOCH: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - a spreadsheet's first day, in no zone

HEADER_ROWS: Final = 20
"""So many rows may stand above the header: a title, a period."""

_SAID: Final[Mapping[str, EventType]] = {
    **dict.fromkeys(("in", "i", "cin", "checkin", "clockin", "punchin", "entry", "enter"), "IN"),
    **dict.fromkeys(("breakin", "overtimein", "otin", "oin", "outback", "returnin"), "IN"),
    **dict.fromkeys(("out", "o", "cout", "checkout", "clockout", "punchout", "exit", "leave"), "OUT"),
    **dict.fromkeys(("breakout", "overtimeout", "otout", "oout"), "OUT"),
}
# One row a person and day: nothing says which of its times were punched.
_SUMMARY: Final = frozenset(
    {
        "in", "out", "intime", "outtime", "firstin", "lastout", "clockin", "clockout", "checkin", "checkout",
        "firstpunch", "lastpunch", "punchrecords", "totalhours", "workhours", "workinghours", "worktime", "onduty",
        "offduty", "timetable", "workedhours", "totalduration",
    }
)  # fmt: skip
_DATE: Final = re.compile(
    r"(?P<first>\d{1,4})(?P<mark>[-/.\s])(?P<second>\d{1,2}|[^\W\d_]{3,9})(?P=mark)(?P<third>\d{4}|\d{1,2})(?!\d)"
)
_TIME: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d{1,6})?)?(?:\s*([AaPp])\.?[Mm]\.?)?")
_FIRST: Final[Mapping[Order, str]] = {"ymd": "year", "dmy": "day", "mdy": "month"}
_ROUNDED_ID: Final = re.compile(r"\d+(\.\d*)?[Ee]\+?\d+|\d+\.\d+")
_NEITHER_LETTER_NOR_DIGIT: Final = re.compile(r"[\W_]+")
_LAST_DAY: Final = 100_000  # of a spreadsheet's days; that is in 2173
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True, slots=True)
class Profile:
    """What another software calls its columns.

    Of `time`, which has date and time of day, and the pair `date` and `clock` a table needs one. `states` says that a
    number in the direction's column is an attendance state of ZKTeco. `payload` are columns that an event keeps.
    """

    user: str
    time: str = ""
    date: str = ""
    clock: str = ""
    direction: str = ""
    serial: str = ""
    states: bool = False
    payload: Sequence[str] = ()

    @property
    def needed(self) -> Sequence[str]:
        """The columns without which a table is not of this profile."""
        return [name for name in (self.user, self.time, self.date, self.clock) if name]


_BIOTIME: Final = ("Work Code",)

PROFILES: Final[Mapping[str, Profile]] = {
    "biotime": Profile(
        "Employee ID",
        date="Date",
        clock="Time",
        direction="Punch State",
        serial="Serial Number",
        states=True,
        payload=_BIOTIME,
    ),
    "biotime-report": Profile(
        "Employee ID",
        date="Date",
        clock="Punch Time",
        direction="Punch State",
        serial="Serial Number",
        states=True,
        payload=_BIOTIME,
    ),
    "biotime-time": Profile(
        "Employee ID",
        "Punch Time",
        direction="Punch State",
        serial="Serial Number",
        states=True,
        payload=_BIOTIME,
    ),
    "easytime": Profile(
        "Employee Code",
        "Punch Time",
        direction="Punch State",
        serial="Serial Number",
        states=True,
        payload=("Terminal Alias",),
    ),
    "zktime5": Profile("No.", "Date/Time", direction="Status", states=True, payload=("Location ID", "VerifyCode")),
    "ivms": Profile("Person ID", "Time", direction="Attendance Status", payload=("Attendance Check Point",)),
    "etimetracklite": Profile(
        "Employee Code", "Log Date", direction="Direction", serial="Serial Number", payload=("Device Name",)
    ),
    "generic": Profile("user", "time", direction="direction", serial="serial"),
}
"""Every table that is known, by the name that `options.profile` may give it. The first that fits is taken."""


def _as_text(value: object) -> object:
    """YAML reads `0` as a number, and a table has it as text."""
    return {str(key): each for key, each in value.items()} if isinstance(value, dict) else value


def _of_text(encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError as error:
        raise ValueError(str(error)) from error
    return encoding


def _known_profile(name: str) -> str:
    if name not in PROFILES:
        raise ValueError(f"{name!r} is none of {', '.join(PROFILES)}")
    return name


class Columns(BaseModel):
    """What the columns of any other table are called, or their places from 1 where it has no header."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str | int
    time: str | int | None = None
    date: str | int | None = None
    clock: str | int | None = None
    direction: str | int | None = None
    serial: str | int | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "Columns":
        given = [value for _, value in self if value is not None]
        if (self.time is None) == (self.date is None) or (self.date is None) != (self.clock is None):
            raise ValueError("time is needed, or date and clock")
        if len({type(value) for value in given}) > 1:
            raise ValueError("names and places cannot be mixed")
        if any(isinstance(value, int) and value < 1 for value in given) or "" in given:
            raise ValueError("a column has a name, or a place from 1")
        return self


class TableOptions(Options):
    """The options of an entry whose files are tables.

    `date_format` is the order of day, month and year, or a format of `strptime` for the whole time. `directions` says
    what a word or number in the direction's column means. `user_width` is the length to which a user id that a
    spreadsheet has made a number is filled up with zeros again.
    """

    profile: Annotated[str, AfterValidator(_known_profile)] | None = None
    columns: Columns | None = None
    date_format: str | None = Field(None, pattern=r"^(ymd|dmy|mdy|.*%.*)$")
    directions: Annotated[dict[str, EventType], BeforeValidator(_as_text)] = Field(default_factory=dict)
    user_width: int = Field(0, ge=0, le=24)
    encoding: Annotated[str, AfterValidator(_of_text)] | None = None
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    sheet: str | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """Where a table's columns are: places from 0, by what they hold. `line` is 0 for a table without a header.

    `width` is how many cells a row has, None where that tells nothing.
    """

    line: int
    width: int | None
    places: Mapping[str, int]
    payload: Mapping[str, int]
    states: bool
    user_column: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose header and order of dates are known."""

    file: str
    read: Rows
    header: Header
    options: TableOptions
    order: Order | None
    epoch: datetime

    def rows(
        self, device: Device, terminals: Mapping[str, Device], source: Source, received_at: datetime
    ) -> Iterator[Row]:
        """Every row below the header. `source` is what all of them have in common."""
        for line, cells in self.read():
            if line <= self.header.line or self._is_header_again(cells):
                continue
            try:
                event = self._event(cells, device, terminals, replace(source, line=line), received_at)
            except InvalidRecord as error:
                yield Row(line, Rejected(line - 1, error.reason, error.message, self._kept(cells)))
            else:
                yield Row(line, event)

    def _event(
        self, cells: Cells, device: Device, terminals: Mapping[str, Device], source: Source, received_at: datetime
    ) -> RawEvent:
        header = self.header
        if not fits(cells, header.width):
            raise invalid(f"{len(cells)} columns, but the header has {header.width}")
        serial = _text(self._cell(cells, "serial"))
        payload = {name: _text(cell(cells, place)) for name, place in header.payload.items()}
        if serial:
            payload["serial"] = serial
        if serial and device.serial is not None and serial not in terminals:
            # The entry is a terminal itself, and its punches by push have its id: another's would be paid twice.
            raise InvalidRecord(Reason.UNKNOWN_DEVICE, "the terminal of this row is another one than the entry's")
        if any(cell(cells, place) is UNCOMPUTED for place in header.places.values()):
            raise invalid("a formula of this row was never computed")
        return punch(
            terminal_of(serial, terminals, device),
            user=_user(self._cell(cells, "user"), self.options.user_width),
            time=self._time(cells),
            event_type=self._direction(_text(self._cell(cells, "direction"))),
            received_at=received_at,
            source=source,
            payload=scalars({name: value for name, value in payload.items() if value}, payload),
        )

    def _time(self, cells: Cells) -> str | None:
        written = when(cells, self.header.places, self.epoch)
        if not written:
            return None
        given = self.options.date_format
        if given is not None and "%" in given:
            try:
                return str(datetime.strptime(written, given).replace(microsecond=0))  # noqa: DTZ007 - a wall clock
            except ValueError:
                return written
        return _iso(written, self.order)

    def _direction(self, said: str) -> EventType:
        given = self.options.directions.get(said)
        if given is not None:
            return given
        if self.header.states and said.isdecimal():
            return zkteco_states.direction(said)
        return _SAID.get(_normal(said), "UNKNOWN")

    def _cell(self, cells: Cells, held: str) -> object:
        place = self.header.places.get(held)
        return None if place is None else cell(cells, place)

    def _kept(self, cells: Cells) -> bytes:
        """What a dead letter keeps: no cell of a column that is not known, which may hold a name."""
        if not fits(cells, self.header.width):
            return encode_json({"columns": len(cells)})
        return encode_json({held: cut(_text(cell(cells, place))) for held, place in self.header.places.items()})

    def _is_header_again(self, cells: Cells) -> bool:
        """Whether a row is the header once more, as where several exports stand in one file."""
        return self.header.line > 0 and _normal(_text(self._cell(cells, "user"))) == self.header.user_column


def find_header(
    rows: Iterable[tuple[int, Cells]], options: TableOptions, payload_fields: Collection[str]
) -> Header | None:
    """The header among a table's first rows, of the profile that the options name or of the first that fits.

    Raises:
        UnreadableFile: the table has a row for each person and day, and not for each punch.
    """
    if options.columns is not None and isinstance(options.columns.user, int):
        return _by_place(options.columns)
    profiles = _profiles(options)
    summary = None
    for line, cells in islice(rows, HEADER_ROWS):
        names = [_normal(_text(each)) for each in cells]
        while names and not names[-1]:
            names.pop()
        for profile in profiles:
            if all(_normal(name) in names for name in profile.needed):
                return _header(line, names, profile, payload_fields)
        if len(_SUMMARY.intersection(names)) > 1:
            summary = line
    if summary is not None:
        raise UnreadableFile(
            f"line {summary}: the header of a report with a row for each day, which does not say what was punched; "
            "export the log of punches (transactions, original records)"
        )
    return None


def open_table(file: str, read: Rows, header: Header, options: TableOptions, epoch: datetime = EPOCH) -> Table:
    """Decide over all its rows how a table's dates are written.

    Raises:
        UnreadableFile: day and month could be exchanged in each of its dates, rows contradict each other, or a
            spreadsheet has days where times should be.
    """
    if "time" in header.places and _has_days_only(read, header, epoch):
        raise UnreadableFile(f"{file}: its dates have no time of day")
    if options.date_format is not None:
        order = cast("Order", options.date_format) if options.date_format in ("ymd", "dmy", "mdy") else None
        return Table(file, read, header, options, order, epoch)
    seen: dict[Order | None, int] = {}
    for line, cells in read():
        if line > header.line and fits(cells, header.width):
            match = _DATE.match(when(cells, header.places, epoch))
            if match is not None and _is_undecided(match):
                seen.setdefault(_order_of(match), line)
    known = {order: line for order, line in seen.items() if order is not None}
    if len(known) > 1:
        found = " and ".join(f"line {line} with the {_FIRST[order]} first" for order, line in known.items())
        raise UnreadableFile(f"{file}: dates of two orders: {found}")
    if seen and not known:
        line = next(iter(seen.values()))
        raise UnreadableFile(
            f"{file}, line {line}: day and month could be exchanged in every date; options.date_format (dmy or mdy) "
            "says which is first"
        )
    return Table(file, read, header, options, next(iter(known), None), epoch)


def _has_days_only(read: Rows, header: Header, epoch: datetime) -> bool:
    """Whether the times of a spreadsheet are all the beginning of a day, of which one alone may be a punch."""
    days = 0
    for line, cells in read():
        if line > header.line and (value := cell(cells, header.places["time"])) is not None:
            moment = _moment(value, epoch)
            if not isinstance(moment, datetime) or moment.time() != time():
                return False
            days += 1
    return days > 1


def when(cells: Cells, places: Mapping[str, int], epoch: datetime) -> str:
    """Date and time of a row as one text, that of a spreadsheet's own dates and times in ISO 8601."""
    if "time" in places:
        value = cell(cells, places["time"])
        return _text(_moment(value, epoch))
    day, clock = _moment(cell(cells, places["date"]), epoch), cell(cells, places["clock"])
    day = day.date() if isinstance(day, datetime) else day
    if isinstance(clock, int | float) and not isinstance(clock, bool) and 0 <= clock < 1:
        clock = timedelta(days=clock)
    if isinstance(clock, timedelta):
        clock = _rounded(epoch + clock).time()
    elif isinstance(clock, datetime):
        clock = _rounded(clock).time()
    return f"{_text(day)} {_text(clock)}".strip()


def fits(cells: Cells, width: int | None) -> bool:
    """Whether a row has as many cells as the header, but for empty ones at its end."""
    if width is None:
        return True
    return len(cells) >= width and not any(cells[width:])


def cell(cells: Cells, place: int) -> object:
    """The cell at a place; None beyond the end of the row."""
    return cells[place] if place < len(cells) else None


def _profiles(options: TableOptions) -> Sequence[Profile]:
    if options.columns is not None:
        return [_own(options.columns)]
    if options.profile is None:
        return list(PROFILES.values())
    return [PROFILES[options.profile]]


def _header(line: int, names: Sequence[str], profile: Profile, payload_fields: Collection[str]) -> Header:
    held = {
        "user": profile.user,
        "time": profile.time,
        "date": profile.date,
        "clock": profile.clock,
        "direction": profile.direction,
        "serial": profile.serial,
    }
    places = {key: names.index(_normal(name)) for key, name in held.items() if name and _normal(name) in names}
    kept = {name: names.index(_normal(name)) for name in (*profile.payload, *payload_fields) if _normal(name) in names}
    payload = {name: place for name, place in kept.items() if place not in places.values()}
    return Header(line, len(names), places, payload, profile.states, _normal(profile.user))


def _own(columns: Columns) -> Profile:
    def name(value: str | int | None) -> str:
        return "" if value is None else str(value)

    return Profile(
        name(columns.user),
        name(columns.time),
        name(columns.date),
        name(columns.clock),
        name(columns.direction),
        name(columns.serial),
    )


def _by_place(columns: Columns) -> Header:
    places = {name: int(value) - 1 for name, value in columns if value is not None}
    return Header(0, None, places, {}, states=False)


def _is_undecided(match: re.Match[str]) -> bool:
    """Whether a date has day and month as numbers in one of two orders, and is a date in one of them at least."""
    if len(match["first"]) > 2 or not match["second"].isdecimal():
        return False
    first, second = int(match["first"]), int(match["second"])
    return _is_day_and_month(first, second) or _is_day_and_month(second, first)


def _is_day_and_month(day: int, month: int) -> bool:
    return 1 <= day <= 31 and 1 <= month <= 12


def _order_of(match: re.Match[str]) -> Order | None:
    """The one order that a date can have; None where day and month could be exchanged."""
    first, second = int(match["first"]), int(match["second"])
    if _is_day_and_month(second, first):
        return None if _is_day_and_month(first, second) else "mdy"
    return "dmy"


def _iso(written: str, order: Order | None) -> str:
    """A wall-clock time as `2026-01-01 08:00:00`; what is none of the known forms stays as it is."""
    dated = _DATE.match(written)
    timed = None if dated is None else _TIME.fullmatch(written[dated.end() :].lstrip(" ,T\t\u00a0\u202f").strip())
    if dated is None or timed is None:
        return written
    first, second, third = dated["first"], dated["second"], dated["third"]
    if len(first) == 4:
        order = "ymd"
    elif not second.isdecimal():
        order = "dmy"
    year, month, day = {
        "ymd": (first, second, third),
        "dmy": (third, second, first),
        "mdy": (third, first, second),
    }.get(order or "", ("", "", ""))
    hour, half = int(timed[1]), (timed[4] or "").lower()
    if half and not 1 <= hour <= 12:
        return written
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    try:
        number = int(month) if month.isdecimal() else _MONTHS.index(month[:3].lower()) + 1
        century = 2000 if len(year) == 2 else 0
        moment = datetime(century + int(year), number, int(day), hour, int(timed[2]), int(timed[3] or 0))  # noqa: DTZ001 - a wall clock
    except ValueError:
        return written
    return str(moment)


def _moment(value: object, epoch: datetime) -> object:
    """A spreadsheet's date, which may be a number of days; whole seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value < _LAST_DAY:
        value = epoch + timedelta(days=value)
    return _rounded(value) if isinstance(value, datetime) else value


def _rounded(moment: datetime) -> datetime:
    """To the nearest second: a spreadsheet keeps a time as a fraction of a day."""
    return (moment + timedelta(milliseconds=500)).replace(microsecond=0)


def _text(value: object) -> str:
    """A cell as text: without spaces around it, and without what keeps a spreadsheet from making it a number."""
    match value:
        case None:
            return ""
        case _ if value is UNCOMPUTED:
            return ""
        case str():
            text = value.strip()
            if len(text) > 3 and text.startswith('="') and text.endswith('"'):
                text = text[2:-1].strip()
            return text.removeprefix("'")
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def _user(value: object, width: int) -> str:
    text = _text(value)
    if isinstance(value, bool | datetime | date | time) or _ROUNDED_ID.fullmatch(text):
        raise invalid("user_id is a number that a spreadsheet rounded, or no number at all")
    return text.zfill(width) if text.isdecimal() else text


def _normal(name: str) -> str:
    return _NEITHER_LETTER_NOR_DIGIT.sub("", name.casefold())
