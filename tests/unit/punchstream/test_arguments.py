"""What several commands are told in one way."""

from datetime import UTC, datetime

import pytest

from attendance.errors import ConfigurationError
from punchstream.commands.arguments import instant


def test_a_date_is_midnight_utc_and_a_time_needs_an_offset() -> None:
    assert instant("2026-03-02") == datetime(2026, 3, 2, tzinfo=UTC)
    assert instant("2026-03-02T08:00:00+03:00") == datetime(2026, 3, 2, 5, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match="--since"):
        instant("2026-03-02T08:00:00")
    with pytest.raises(ConfigurationError, match=r"^--until: `yesterday` is neither a date such as"):
        instant("yesterday", "--until")
