"""The socket of what answers HTTP."""

import pytest

from attendance.errors import ConfigurationError
from attendance.listening import listen


def test_port_0_listens_on_a_free_port() -> None:
    with listen("PUSH", "127.0.0.1", 0) as first, listen("PUSH", "127.0.0.1", 0) as second:
        assert first.getsockname()[1] != second.getsockname()[1] != 0


def test_an_address_that_is_taken_is_a_wrong_setting() -> None:
    with listen("PUSH", "127.0.0.1", 0) as taken, pytest.raises(ConfigurationError, match="PUSH_PORT"):
        listen("PUSH", "127.0.0.1", taken.getsockname()[1])
