"""The ledger's database as the settings describe it, for the commands that need one or ask it."""

from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attendance.durations import format_rounded
from attendance.errors import ConfigurationError
from attendance.times import now
from ledger.settings import LedgerSettings
from operations.sources import FromTopics as TheTopics
from operations.sources import Source
from punchstream.output import say

if TYPE_CHECKING:
    from ledger.database import Database

OLD: Final = timedelta(seconds=60)
"""As of so long ago an answer of a ledger that is kept should not be."""

FromTopics = Annotated[bool, typer.Option("--from-topics", help="Read the topics, not the ledger.")]


def open_database(settings: LedgerSettings, *, must_exist: bool = False) -> "Database":
    """The database, not connected yet.

    Args:
        settings: Which one.
        must_exist: Whether it is an error that a SQLite file is not there.

    Raises:
        ConfigurationError: the setting is wrong, or the libraries are not installed.
    """
    missing = [name for name in ("sqlalchemy", "alembic") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"the ledger needs {' and '.join(missing)}: pip install 'punchstream[ledger]'")
    from ledger.database import Database

    return Database(settings.database, must_exist=must_exist)


def ledger_to_ask(*, from_topics: bool) -> "Database | None":
    """The ledger that a question goes to; None where it goes to the topics: there is no `LEDGER_URL`.

    Args:
        from_topics: Whether the topics were asked for.

    Raises:
        ConfigurationError: the setting is wrong, there is no such ledger, or it is of another release.
        LedgerUnavailable: the database does not answer.
    """
    settings = LedgerSettings.load()
    if from_topics or settings.url is None:
        return None
    database = open_database(settings, must_exist=True)
    database.refuse_unprepared()
    return database


def say_source(source: Source) -> None:
    """Say on standard error that a list is a ledger's, and as of when.

    Args:
        source: It has answered.
    """
    if not isinstance(source, TheTopics):
        say(f"From {source.name}.", err=True)
        say_if_old(source)


def say_if_old(source: Source) -> None:
    """Say on standard error that a ledger is not kept in step, if so. Takes what `say_source` takes."""
    if source.as_of is not None and (age := now() - source.as_of) > OLD:
        ago = format_rounded(age.total_seconds())
        say(f"That is {ago} ago: `punchstream ledger` does not run, or does not keep up. See its /readyz.", err=True)
