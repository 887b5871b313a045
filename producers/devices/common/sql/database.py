"""A database that is read and never written: short queries, each a transaction of its own that is rolled back."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, DateTime, Engine, Executable, NullPool, create_engine, inspect, make_url
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from attendance.errors import DeviceRefused, DeviceUnavailable

LOGIN_SECONDS: Final = 10
QUERY_SECONDS: Final = 60
LONGEST_TEXT: Final = 65_536
"""Characters of a value. What is longer is cut off there: no user id, time or direction is nearly as long."""
SLICE_BYTES: Final = 8 * 1024 * 1024
"""Bytes of the rows that are in memory together, about. One row may have more."""
LOOK_ROWS: Final = 10_000_000
LOOK_BYTES: Final = 4 * 1024**3
"""What is read at most for one fetch, about."""

_VALUE_BYTES: Final = 64  # of a value, beside its text
_ROWS_AHEAD: Final = 50  # that a driver may have in memory before they are looked at
_SQLITE_TIME: Final = sqlite.DATETIME(truncate_microseconds=True)  # type: ignore[no-untyped-call]
TIME: Final = DateTime().with_variant(_SQLITE_TIME, "sqlite")
"""The type of a bound time: naive, whole seconds. Columns have no type, so that a value that is none comes as it is."""

Row = Mapping[str, Any]
"""A row by its columns' names; its values are JSON's scalars, times as text."""

_DRIVERS: Final = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mssql": "mssql+pymssql"}
# What a person has to put right. PostgreSQL: authorization, names, permissions, a write. SQLite: a key that does not
# fit, names, a write. SQL Server: logins, permissions, names, a write.
_REFUSED_STATES: Final = ("25006", "28", "3D", "42", "SQLITE_AUTH", "SQLITE_ERROR", "SQLITE_NOTADB", "SQLITE_READONLY")
_REFUSED_NUMBERS: Final = frozenset({102, 156, 207, 208, 229, 230, 916, 3906, 4060, 4064, 18452, 18456, 18486})
_INT64: Final = 2**63

Found = TypeVar("Found")


class Slice(NamedTuple):
    """The first rows of a query; whether it may have more; and whether they are cut for their bytes."""

    rows: Sequence[Row]
    has_more: bool
    is_cut: bool = False


class Database:
    """One database for the time of a fetch.

    No error and no log line names its URL, nor what its driver says, which may quote it.
    """

    def __init__(self, url: str, threads: Executor) -> None:
        """Nothing is connected yet.

        Args:
            url: SQLAlchemy's form: `mssql://user:password@host/database`, `postgresql://...`, `sqlite:////path`.
            threads: Where queries run.

        Raises:
            DeviceRefused: it is no such URL, or its driver is not installed.
        """
        self._engine = _engine(url)
        self._threads = threads
        self._rows_read = self._bytes_read = 0

    @property
    def is_spent(self) -> bool:
        """Whether as much was read as one fetch may read."""
        return self._rows_read >= LOOK_ROWS or self._bytes_read >= LOOK_BYTES

    @property
    def bounds(self) -> str:
        """How much that is, in words."""
        return f"{LOOK_ROWS} rows or {LOOK_BYTES >> 20} MiB"

    async def rows(
        self, statement: Executable, values: Mapping[str, Any], limit: int, most: int | None = None
    ) -> Slice:
        """The first rows that a query gives: at least one, if it gives any.

        Args:
            statement: The query.
            values: The values of its binds.
            limit: Rows, at most.
            most: Bytes after which no further row is read, about; None for `SLICE_BYTES`.

        Raises:
            DeviceUnavailable: the database does not answer, or breaks off.
            DeviceRefused: it refuses the login or the query.
        """
        most = SLICE_BYTES if most is None else most

        def read(connection: Connection) -> tuple[list[Row], int]:
            streaming = connection.execution_options(stream_results=True, max_row_buffer=_ROWS_AHEAD)
            result = streaming.execute(statement, values)
            names = tuple(result.keys())
            rows: list[Row] = []
            size = 0
            while len(rows) < limit and size < most and (row := result.fetchone()) is not None:
                plain = [_plain(value) for value in row]
                size += sum(_VALUE_BYTES + (len(value) if isinstance(value, str) else 0) for value in plain)
                rows.append(dict(zip(names, plain, strict=True)))
            return rows, size

        rows, size = await self._run(read)
        self._rows_read += len(rows)
        self._bytes_read += size
        is_cut = size >= most
        return Slice(rows, is_cut or len(rows) == limit, is_cut)

    async def table_names(self) -> Sequence[str]:
        """The tables of the login's own schema. Raises what `rows` raises."""
        return await self._run(lambda connection: inspect(connection).get_table_names())

    async def _run(self, work: Callable[[Connection], Found]) -> Found:
        def run() -> Found:
            # Closing without a commit rolls back.
            with self._engine.connect() as connection:
                return work(connection)

        try:
            # The driver gives up first; this is for one that does not.
            async with asyncio.timeout(LOGIN_SECONDS + QUERY_SECONDS + 5):
                return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except TimeoutError:
            raise DeviceUnavailable("the database does not answer") from None
        except SQLAlchemyError as error:
            raise _failure(error) from None


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        driver = _DRIVERS[parsed.get_backend_name()]
    except (ArgumentError, KeyError, ValueError):
        raise DeviceRefused(
            f"credentials: url must begin by one of {', '.join(f'{name}://' for name in _DRIVERS)}"
        ) from None
    parsed = parsed.set(drivername=driver)
    connect_args: dict[str, Any]
    match parsed.get_backend_name():
        case "sqlite":
            parsed = _read_only_file(parsed)
            connect_args = {"timeout": LOGIN_SECONDS}
        case "postgresql":
            options = f"-c default_transaction_read_only=on -c statement_timeout={QUERY_SECONDS * 1000}"
            connect_args = {"connect_timeout": LOGIN_SECONDS, "options": options}
        case _:
            connect_args = {"login_timeout": LOGIN_SECONDS, "timeout": QUERY_SECONDS, "read_only": True}
    try:
        # A pool would hold connections to every database that is asked once a minute.
        return create_engine(parsed, poolclass=NullPool, connect_args=connect_args, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise DeviceRefused(f"{error.name} is not installed: pip install 'punchstream[sql]'") from None


def _read_only_file(url: URL) -> URL:
    if not url.database or url.database.startswith((":", "file:")):
        raise DeviceRefused("credentials: url must name a file, as in sqlite:////srv/punches.db")
    return URL.create("sqlite", database=f"file:{quote(url.database)}", query={"mode": "ro", "uri": "true"})


def _failure(error: SQLAlchemyError) -> DeviceRefused | DeviceUnavailable:
    if not isinstance(error, DBAPIError) or error.orig is None:
        return DeviceRefused(f"the query cannot be run: {type(error).__name__}")
    original = error.orig
    state = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    number = next((part for part in _flat(original.args) if isinstance(part, int)), None)
    refused = (
        (state is not None and state.startswith(_REFUSED_STATES))
        or number in _REFUSED_NUMBERS
        # A login that fails has no state in libpq, only these words.
        or "authentication failed" in str(original)
    )
    message = f"{type(original).__name__} {state or number or ''}".rstrip()
    if refused:
        return DeviceRefused(f"the database refuses the login or the query: {message}")
    return DeviceUnavailable(f"the database does not answer, or broke off: {message}")


def _flat(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments, or the tuple that is the only one: pymssql does either."""
    return parts[0] if len(parts) == 1 and isinstance(parts[0], tuple) else parts


def _plain(value: object) -> str | int | float | bool | None:
    match value:
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case date():
            return value.isoformat()
        case Decimal() if value.is_finite() and value == value.to_integral_value() and abs(value) < _INT64:
            return int(value)
        case int() if abs(value) < _INT64:
            return value
        case Decimal() | int():
            return str(value)
    return value[:LONGEST_TEXT] if isinstance(value, str) else value if isinstance(value, float) else None
