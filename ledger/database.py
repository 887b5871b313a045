"""The database of a ledger: SQLite or PostgreSQL, with the tables of this release."""

import json
import logging
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from attendance.errors import ConfigurationError, RetriableError
from attendance.private_files import open_new
from ledger.migrations.first_views import VIEWS
from ledger.tables import METADATA

AT_ONCE: Final = 500
"""Ids of one query."""
_CONNECT_SECONDS: Final = 10
_STATEMENT_MS: Final = 600_000
_LOCK_MS: Final = 30_000
_CACHE_KIB: Final = 64 * 1024
_CHECKPOINT_PAGES: Final = 10_000
"""40 MB. Ids are digests, so each row changes a page anywhere in their index. Rare checkpoints write that page once."""


class LedgerUnavailable(RetriableError):
    """The database does not answer, or breaks off. Nothing of the transaction is there."""


class LedgerTakenOver(RetriableError):
    """Another process has written this ledger since it was last looked at. Nothing was written."""


def parts_of(ids: Collection[str]) -> Iterator[list[str]]:
    """Ids in parts that one query takes.

    Args:
        ids: In the order in which they are wanted.
    """
    every = list(ids)
    for begin in range(0, len(every), AT_ONCE):
        yield every[begin : begin + AT_ONCE]


class Database:
    """A ledger's database. Its tables are made, or brought to this release, by `prepare`."""

    def __init__(self, url: str, *, must_exist: bool = False) -> None:
        """Nothing is connected yet.

        Args:
            url: `sqlite:///path` or `postgresql://user:password@host/database`.
            must_exist: Whether it is an error that a SQLite file is not there.

        Raises:
            ConfigurationError: it is another kind of database, no URL at all, or there is no such file.
        """
        self._engine = _engine(url)
        file = self._engine.url.database
        self._file = Path(file) if self.is_sqlite and file else None
        if must_exist and self._file is not None and not self._file.exists():
            raise ConfigurationError(f"LEDGER_URL: {self._file} is not there; `punchstream ledger` makes it")

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, and not PostgreSQL."""
        return self._engine.dialect.name == "sqlite"

    @property
    def parameter(self) -> str:
        """How a driver's own statement marks a value."""
        return "?" if self.is_sqlite else "%s"

    def among(self, column: str) -> str:
        """The condition of a driver's own statement that a column has one of the values of `listed`.

        Args:
            column: Of text.
        """
        of_json = f"{column} in (select value from json_each(?))"  # noqa: S608 - only our words
        return of_json if self.is_sqlite else f"{column} = any(%s)"

    def listed(self, values: Collection[str]) -> str | list[str]:
        """Values as `among` takes them.

        Args:
            values: Any.
        """
        return json.dumps([*values]) if self.is_sqlite else [*values]

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: all of it is there at the end, or nothing.

        Raises:
            LedgerUnavailable: the database does not answer, or breaks off.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    def prepare(self) -> None:
        """Make the tables, or bring them to this release: all of it is there at the end, or nothing.

        Raises:
            LedgerUnavailable: the database does not answer.
            ConfigurationError: the tables are of a later release.
        """
        self._make_file()
        # Otherwise it says at each start what kind of database it has found.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        config = _alembic()
        with self.transaction() as connection:
            if self.is_sqlite:
                # Otherwise each statement of a step would stand for itself, and a start that is broken off would leave
                # tables that no later one gets past. It also keeps out another that begins at once.
                connection.exec_driver_sql("begin immediate")
            else:
                # Two that begin at once would both make the tables.
                connection.execute(text("select pg_advisory_xact_lock(hashtext('punchstream ledger'))"))
                # A step passes over every row, however many there are; broken off, it would begin again for ever.
                connection.execute(text("set local statement_timeout = 0"))
            _refuse_later(connection, config)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def refuse_unprepared(self) -> None:
        """Return where the tables are those of this release.

        Raises:
            LedgerUnavailable: the database does not answer.
            ConfigurationError: they are of another release, or there are none.
        """
        config = _alembic()
        with self.transaction() as connection:
            found = _refuse_later(connection, config)
        if found != ScriptDirectory.from_config(config).get_current_head():
            raise ConfigurationError(
                "LEDGER_URL: the ledger is not of this release; `punchstream ledger` brings it there"
            )

    def delete(self) -> None:
        """Delete every table and view of the ledger.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        with self.transaction() as connection:
            for view in VIEWS:
                connection.execute(text(f"drop view if exists {view}"))
            there = MetaData()
            there.reflect(connection, only=lambda name, _: name in {*METADATA.tables, "alembic_version"})
            there.drop_all(connection)

    def close(self) -> None:
        """Disconnect."""
        self._engine.dispose()

    def _make_file(self) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                # It holds who was where when: for its owner only.
                os.close(open_new(self._file))
        except OSError as error:
            raise ConfigurationError(f"LEDGER_URL: {self._file}: {error.strerror}") from error


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", "ledger:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _refuse_later(connection: Connection, config: Config) -> str | None:
    """The step that the tables are at; None without tables. Raises ConfigurationError for one that nobody knows."""
    found = MigrationContext.configure(connection).get_current_revision()
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise ConfigurationError(f"LEDGER_URL: the ledger is of a later release (step {found}); use that, or delete it")
    return found


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ConfigurationError("LEDGER_URL: a SQLite ledger needs a file")
            engine = create_engine(parsed, connect_args={"timeout": _LOCK_MS / 1000})
            event.listen(engine, "connect", _set_up_sqlite)
            return engine
        if parsed.get_backend_name() == "postgresql":
            # To compile a query of the view `punches` takes longer than to run it.
            options = f"-c statement_timeout={_STATEMENT_MS} -c timezone=UTC -c jit=off"
            arguments = {"connect_timeout": _CONNECT_SECONDS, "options": options}
            return create_engine(parsed, connect_args=arguments, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigurationError(f"LEDGER_URL: {error}") from error
    raise ConfigurationError(f"LEDGER_URL: {parsed.get_backend_name()} is neither sqlite nor postgresql")


def _set_up_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # Readers see the last commit while a batch is written. After a power loss the last commits may be missing, with
    # their positions: they are read again.
    pragmas = "journal_mode = wal", "synchronous = normal", f"wal_autocheckpoint = {_CHECKPOINT_PAGES}"
    for pragma in (*pragmas, f"cache_size = -{_CACHE_KIB}"):
        connection.execute(f"pragma {pragma}")


def _unavailable(error: SQLAlchemyError) -> LedgerUnavailable:
    # SQLAlchemy's own message has the statement and its values, which name people.
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return LedgerUnavailable(f"the ledger's database: {' '.join(str(cause).split())[:500]}")
