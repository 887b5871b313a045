"""What several commands are told in one way."""

from datetime import UTC, datetime

from attendance.errors import ConfigurationError
from attendance.times import parse_utc


def instant(text: str | None, option: str = "--since") -> datetime | None:
    """The instant that a date, or a time with an offset, names; `option` is where it was given.

    Raises:
        ConfigurationError: it names none.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if len(text) == len("2026-01-01") else parse_utc(text)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}") from error
