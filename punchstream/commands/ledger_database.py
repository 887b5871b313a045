"""The ledger's database as the settings describe it, for the commands that need one."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from attendance.errors import ConfigurationError
from ledger.settings import LedgerSettings

if TYPE_CHECKING:
    from ledger.database import Database


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
