"""What the adapters that read a database have in common: the flag, the login, how far they read, and pages of rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from secrets import token_hex
from types import MappingProxyType
from typing import Annotated, Any, Final

import structlog
from pydantic import BeforeValidator, Field

from attendance.errors import InvalidRecord, Reason, UnreadableAnswer
from attendance.fleet import Device
from attendance.records.raw_event import EventType, RawEvent, Source
from attendance.times import format_seconds, parse_utc
from attendance.wire import encode_json
from producers.devices.common.bodies import read_json, write_record
from producers.devices.common.listed import kept_record
from producers.devices.common.options import read_options
from producers.devices.common.punch import punch, scalars
from producers.devices.common.sql.database import Database, Row
from producers.devices.contract import Cursor, Fetch, Options, Page, Rejected, Tools, terminal_of

log = structlog.get_logger(__name__)

PAGE_ROWS: Final = 2_000
WINDOW: Final = 1_000
"""So many newer record numbers end the wait for a number that was left out."""

GAP_TIMEOUT: Final = timedelta(hours=1)

_THREADS: Final = 8
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _is_true(value: object) -> object:
    if not isinstance(value, int) or int(value) != 1:
        raise ValueError("true is needed to read a database")
    return True


class DatabaseOptions(Options):
    """The options of an entry that reads a database. The flag has to be set: none is read by accident."""

    read_database: Annotated[bool, BeforeValidator(_is_true)] = Field(False, validate_default=True)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a table was read by its record number, and when that was last found to have moved.

    Transactions that run side by side may commit their numbers out of order, so a number that was left out is waited
    for: until the newest is `WINDOW` ahead of it, or nothing has come for `GAP_TIMEOUT`.
    """

    last: int = 0
    missing: frozenset[int] = frozenset()
    moved: datetime = _NEVER

    @classmethod
    def from_cursor(cls, value: Mapping[str, Any], now: datetime) -> "Position":
        """What `to_cursor` wrote.

        Args:
            value: What stands in a cursor.
            now: The server's clock, UTC.
        """
        moved = parse_utc(value["moved"])
        return cls(value["last"], frozenset(value["missing"] if now - moved < GAP_TIMEOUT else ()), moved)

    def to_cursor(self) -> Cursor:
        """As JSON."""
        return {"last": self.last, "missing": sorted(self.missing), "moved": format_seconds(self.moved)}

    @property
    def floor(self) -> int:
        """Whatever is new has a greater number."""
        return min(self.missing, default=self.last + 1) - 1

    def is_new(self, number: int) -> bool:
        """Whether the record of that number was not read before."""
        return number > self.last or number in self.missing

    def after(self, numbers: Sequence[int], now: datetime) -> "Position":
        """The position once these were read, which rise and between which the query left none out.

        Args:
            numbers: The record numbers of a page, which rise; the query left none out between them.
            now: The server's clock, UTC.
        """
        if not any(map(self.is_new, numbers)):
            return self
        last = max(self.last, numbers[-1])
        # Before the first number ever seen, nothing is missing.
        first = max(self.last or numbers[0], last - WINDOW)
        awaited = self.missing.union(range(first + 1, last)).difference(numbers)
        return Position(last, frozenset(number for number in awaited if number >= last - WINDOW), now)


@dataclass(frozen=True, slots=True)
class Columns:
    """What a row's columns are called. `payload` are those that an event keeps as they are, beside the terminal's."""

    user: str
    time: str
    direction: str
    sequence: str
    terminal: str
    payload: Sequence[str]

    @property
    def kept(self) -> Sequence[str]:
        """What a dead letter keeps of a row."""
        return (self.user, self.time, self.direction, self.sequence, self.terminal, *self.payload)


class SqlAdapter(ABC):
    """Reads rows out of databases."""

    verified_on: Final = "simulator"
    options: type[DatabaseOptions] = DatabaseOptions

    def __init__(self, tools: Tools) -> None:
        self._secret = tools.secret
        self._payload_fields = tools.payload_fields
        # Not asyncio's own threads: a database that hangs would keep those from everybody else.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=self.name)

    @property
    @abstractmethod
    def name(self) -> str:
        """The adapter's name in the fleet file."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Of what the adapter makes of a row."""

    def database(self, source: Device) -> Database:
        """The database of an entry.

        Raises:
            DeviceRefused: the entry names none.
            ConfigurationError: its options do not say that it may be read.
        """
        read_options(source, self.options)
        return Database(self._secret(source, "url"), self._threads)

    def ends_here(self, database: Database, wanted: Fetch, *, has_moved: bool) -> bool:
        """Whether a fetch has read as much as one may, so that the next goes on from the cursor.

        Args:
            database: What is read, which has more.
            wanted: What was asked.
            has_moved: Whether the next fetch would begin further on than this one did.

        Raises:
            UnreadableAnswer: it has, and the next could not go on.
        """
        if not database.is_spent:
            return False
        found = f"finds more than {database.bounds}, which are kept"
        if wanted.since is not None:
            raise UnreadableAnswer(f"a sweep {found}; a query needs :since")
        if not has_moved:
            raise UnreadableAnswer(f"a look {found}, and its cursor cannot go on")
        log.info("A database has more than one look reads; the next goes on.", device_id=wanted.source.device_id)
        return True

    def page(
        self,
        wanted: Fetch,
        cursor: Cursor,
        columns: Columns,
        rows: Sequence[Row],
        direction: Callable[[object], EventType],
        serials: Mapping[str, str] = MappingProxyType({}),
    ) -> Page:
        """Every row as an event or as rejected.

        A record of a terminal that no entry names counts for the entry of the server, with the terminal's number in its
        payload: it is nobody else's, and is not lost.

        Args:
            wanted: What was asked.
            cursor: Where to go on after these rows.
            columns: What their columns are called.
            rows: Each has all of those columns.
            direction: What the value in the direction's column says.
            serials: The terminals' serial numbers by what the rows call them, where that is something else.
        """
        events: list[RawEvent] = []
        rejected: list[Rejected] = []
        batch_id = token_hex(16)
        for line, row in enumerate(rows):
            terminal = "" if row[columns.terminal] is None else str(row[columns.terminal]).strip()
            terminals = wanted.terminals
            try:
                serial = serials.get(terminal, terminal)
                event = punch(
                    terminal_of(serial if serial in terminals else terminal, terminals, wanted.source),
                    user=row[columns.user],
                    time=row[columns.time],
                    event_type=direction(row[columns.direction]),
                    received_at=wanted.now,
                    source=Source("sql", self.name, self.version, batch_id, line),
                    sequence=row[columns.sequence],
                    payload=scalars(row, (columns.terminal, *columns.payload)),
                )
            except InvalidRecord as error:
                kept = encode_json(scalars(row, columns.kept))
                listed = kept_record(row, columns.user, columns.kept, (columns.time,))
                # Only the database knows what it calls its terminals.
                named = {terminal: serials[terminal]} if terminal in serials else {}
                raw = write_record({"row": listed, "serials": named})
                rejected.append(Rejected(line, error.reason, error.message, kept, raw))
            else:
                events.append(event)
        return Page(cursor, events, rejected)


def row_of(raw: bytes, columns: Columns) -> tuple[Row, Mapping[str, str]]:
    """A row that `SqlAdapter.page` once rejected, with all of the columns, and the serial number of its terminal.

    Args:
        raw: As `Rejected.raw` had it.
        columns: What is read of a row today.

    Raises:
        InvalidRecord: it is no row (`undecodable_record`).
    """
    match read_json(raw):
        case {"row": dict(row), "serials": dict(serials)}:
            return dict.fromkeys(columns.kept) | row, {name: str(serial) for name, serial in serials.items()}
    raise InvalidRecord(Reason.UNDECODABLE_RECORD, "not a row of a database")


def numbers_of(rows: Sequence[Row], column: str) -> Sequence[int]:
    """The record numbers of the rows.

    Args:
        rows: A page of rows.
        column: The name of the column that has the record number.

    Raises:
        UnreadableAnswer: one is no integer, or they do not rise: then nobody could say how far the rows were read.
    """
    numbers = [row[column] for row in rows]
    if any(isinstance(number, bool) or not isinstance(number, int) for number in numbers):
        raise UnreadableAnswer(f"{column} is not an integer in every row")
    if any(before >= after for before, after in pairwise(numbers)):
        raise UnreadableAnswer(f"rows are not in the order of {column}, each with its own")
    return numbers


def any_zone(since: datetime) -> datetime:
    """A naive time that no wall clock had before the instant, whichever zone it is in."""
    return since.replace(tzinfo=None, microsecond=0) - timedelta(days=1)
