"""Attacks on the real process: each test has its own, with topics of its own, on the embedded broker."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attacked import Attack, Attacked

from sandbox.broker import Broker


@pytest.fixture
def attacked(embedded_broker: Broker, tmp_path: Path) -> Iterator[Attack]:
    """Starts `punchstream push`, with limits by their names in the environment, which ends with the test."""
    with ExitStack() as ends:

        def start(**options: Any) -> Attacked:
            return ends.enter_context(Attacked(embedded_broker, tmp_path, **options))

        yield start
