"""What several commands begin with: times of their arguments, and the log."""

import getpass
import os
from datetime import UTC, datetime
from typing import Final

from attendance.errors import ConfigurationError
from attendance.settings import KafkaSettings
from attendance.times import parse_utc
from operations.log import KafkaLog

SINCE: Final = "Only punches that arrived since then. A date such as `2026-01-01` is midnight UTC."
UNTIL: Final = "Only punches that arrived before then. A date is midnight UTC."


def instant(text: str | None, option: str = "--since") -> datetime | None:
    """The instant that a date, or a time with an offset, names.

    Args:
        text: Such as `2026-01-01`, which is midnight in UTC; None names none.
        option: Where it was given, for the error.

    Raises:
        ConfigurationError: it names none.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if len(text) == len("2026-01-01") else parse_utc(text)
    except ValueError as error:
        known = "neither a date such as 2026-01-31 nor a time such as 2026-01-31T08:00:00+03:00"
        raise ConfigurationError(f"{option}: `{text}` is {known}") from error


def kafka_log(client: str) -> KafkaLog:
    """The topics as the settings describe them; `client` says which command asks.

    Raises:
        ConfigurationError: a setting is wrong or missing.
    """
    return KafkaLog(KafkaSettings.load(), client)


def who() -> str:
    """The operating system's user, who decides."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user need not have a name
        return f"uid {os.getuid()}"
