"""Databases of other attendance software, as SQLite files with the vendors' tables.

SQLite has neither a login nor a network. What goes wrong there is made to go wrong where SQLAlchemy connects and
queries, so only for an adapter in the same process; another process finds the file with all punches in it.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from sqlalchemy import Engine, event

from sandbox.terminals.base import Faults, Punch

_LOOK_SECONDS = 0.1


class SqlDatabase:
    """A database file. A vendor's own says what its tables are."""

    adapter = ""
    punch_tables = ""
    """How the names of the tables with punches begin."""

    def __init__(self, serial: str, zone: str, password: str) -> None:
        self.serial = serial
        self.zone = zone
        self.password = password
        self.memory: list[Punch] = []
        self.faults = Faults()
        self.logins_refused = 0
        self.requests = 0
        self._path = Path()
        self._written = 0
        self._writing = Lock()
        self._serving = False

    def registry_entry(self) -> Mapping[str, Any]:
        """What the registry needs: the mode, the adapter and the flag."""
        return {"mode": "pull", "adapter": self.adapter, "options": {"read_database": True}}

    def credentials(self) -> Mapping[str, str]:
        """The URL, which is where a password stands."""
        return {"url": f"sqlite:///{self._path}?password={self.password}"}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The file exists while entered."""
        with TemporaryDirectory(prefix="punchstream-sql-") as directory:
            self._path = Path(directory) / "punches.db"
            self._written = 0
            with sqlite3.connect(self._path) as connection:
                self.create(connection)
            connection.close()
            self._serving = True
            self.write()
            follower = asyncio.create_task(self._follow())
            try:
                with self._in_the_way():
                    yield
            finally:
                follower.cancel()
                with suppress(asyncio.CancelledError):
                    await follower
                with self._writing:  # a thread that it started may still write
                    self._serving = False

    def write(self) -> None:
        """Put the punches that came since the last time into the file. An emptied memory empties the file."""
        with self._writing:
            if not self._serving:
                return
            connection = sqlite3.connect(self._path)
            # Nobody needs the file after a crash.
            connection.execute("PRAGMA synchronous = OFF")
            with connection:
                if len(self.memory) < self._written:
                    self.clear(connection)
                    self._written = 0
                for number, punch in enumerate(self.memory[self._written :], start=self._written + 1):
                    self.insert(connection, number, punch)
                self._written = len(self.memory)
            connection.close()

    def create(self, connection: sqlite3.Connection) -> None:
        """Make the vendor's tables."""
        raise NotImplementedError

    def insert(self, connection: sqlite3.Connection, number: int, punch: Punch) -> None:
        """Store one punch, the `number`th of all."""
        raise NotImplementedError

    def clear(self, connection: sqlite3.Connection) -> None:
        """Forget all punches."""
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            if name.startswith(self.punch_tables):
                connection.execute(f'DELETE FROM "{name}"')  # noqa: S608 - a name from the schema

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await asyncio.to_thread(self.write)

    @contextmanager
    def _in_the_way(self) -> Iterator[None]:
        event.listen(Engine, "do_connect", self._connects)
        event.listen(Engine, "before_cursor_execute", self._queries)
        try:
            yield
        finally:
            event.remove(Engine, "do_connect", self._connects)
            event.remove(Engine, "before_cursor_execute", self._queries)

    def _connects(self, _dialect: object, _record: object, arguments: Sequence[Any], _named: object) -> None:
        if str(self._path) not in str(arguments[0]):
            return
        self.requests += 1
        time.sleep(self.faults.delay)
        if self.faults.unavailable > 0:
            self.faults.unavailable -= 1
            raise _sqlite_error("unable to open database file", "SQLITE_CANTOPEN")
        if self.faults.password_wrong:
            # What an encrypted file says to the wrong key.
            self.logins_refused += 1
            raise _sqlite_error("file is not a database", "SQLITE_NOTADB")
        self.write()

    def _queries(self, connection: Any, _cursor: object, statement: str, *_: object) -> None:  # noqa: ANN401
        if str(self._path) not in str(connection.engine.url.database) or self._is_no_read(statement):
            return
        if self.faults.cut_after is not None and self.faults.cut_after < len(self.memory):
            raise _sqlite_error("disk I/O error", "SQLITE_IOERR")
        if self.faults.grows:
            self.memory.append(self.faults.grows.pop(0))

    def _is_no_read(self, statement: str) -> bool:
        return self.punch_tables not in statement or "max(" in statement


class ETimeTrackLite(SqlDatabase):
    """eTimeTrackLite's: a table for each month, and numbers that begin anew in each."""

    adapter = "etimetracklite"
    punch_tables = "DeviceLogs_"

    def create(self, connection: sqlite3.Connection) -> None:
        """The terminals. Tables of months are made with their first punch."""
        connection.execute("CREATE TABLE Devices (DeviceId INTEGER PRIMARY KEY, DeviceFName TEXT, SerialNumber TEXT)")
        connection.execute("CREATE TABLE DeviceLogs_Processed (DeviceLogId INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO Devices VALUES (17, 'Gate', ?)", (self.serial,))

    def insert(self, connection: sqlite3.Connection, number: int, punch: Punch) -> None:  # noqa: ARG002 - has its own
        """A late punch lands in the table of its own month."""
        table = f"DeviceLogs_{punch.at.month}_{punch.at.year}"
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} (DeviceLogId INTEGER PRIMARY KEY AUTOINCREMENT, DownloadDate TEXT,"
            " DeviceId INTEGER, UserId TEXT, LogDate TEXT, Direction TEXT, AttDirection TEXT, C1 TEXT, C2 TEXT,"
            " WorkCode TEXT, UpdateFlag INTEGER, EmployeeImage BLOB)"
        )
        connection.execute(
            f"INSERT INTO {table} (DeviceId, UserId, LogDate, Direction, EmployeeImage)"  # noqa: S608 - two numbers
            " VALUES (17, ?, ?, ?, ?)",
            (punch.user, punch.at.isoformat(sep=" "), punch.direction.lower(), punch.photo),
        )


class BioTimeSql(SqlDatabase):
    """BioTime's `iclock_transaction`."""

    adapter = "biotime_sql"
    punch_tables = "iclock_transaction"

    def create(self, connection: sqlite3.Connection) -> None:
        """The one table."""
        connection.execute(
            "CREATE TABLE iclock_transaction (id INTEGER PRIMARY KEY AUTOINCREMENT, emp_code TEXT, first_name TEXT,"
            " punch_time TEXT, punch_state TEXT, verify_type INTEGER, work_code TEXT, terminal_sn TEXT,"
            " area_alias TEXT, upload_time TEXT)"
        )

    def insert(self, connection: sqlite3.Connection, number: int, punch: Punch) -> None:  # noqa: ARG002 - has its own
        """The number is the table's own."""
        state = {"IN": "0", "OUT": "1", "": "255"}[punch.direction]
        connection.execute(
            "INSERT INTO iclock_transaction (emp_code, first_name, punch_time, punch_state, verify_type, terminal_sn)"
            " VALUES (?, ?, ?, ?, 15, ?)",
            (punch.user, punch.name, punch.at.isoformat(sep=" "), state, self.serial),
        )


class Sql(SqlDatabase):
    """A table of somebody's own, read by a query in the registry."""

    adapter = "sql"
    punch_tables = "punches"

    def registry_entry(self) -> Mapping[str, Any]:
        """What the registry needs, with the query."""
        query = (
            'SELECT id AS sequence, badge AS "user", at AS "time", way AS direction, door AS serial'
            " FROM punches WHERE id > :cursor AND at >= :since ORDER BY id"
        )
        return {"mode": "pull", "adapter": "sql", "options": {"read_database": True, "query": query}}

    def create(self, connection: sqlite3.Connection) -> None:
        """The one table."""
        connection.execute(
            "CREATE TABLE punches (id INTEGER PRIMARY KEY, badge TEXT, person TEXT, at TEXT, way TEXT, door TEXT)"
        )

    def insert(self, connection: sqlite3.Connection, number: int, punch: Punch) -> None:
        """The number is the punch's own, where it has one."""
        connection.execute(
            "INSERT INTO punches VALUES (?, ?, ?, ?, ?, ?)",
            (
                number if punch.number is None else punch.number,
                punch.user,
                punch.name,
                punch.at.isoformat(sep=" "),
                punch.direction.lower(),
                self.serial,
            ),
        )


def _sqlite_error(message: str, name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorname = name
    return error
