"""Attacks on the real process, with topics of its own, on the embedded broker."""

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


@pytest.fixture(scope="module")
def push(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """One `punchstream push` for all tests of a module that need no limits of their own."""
    limits = {
        "PUSH_MAX_BODY": "1000000",
        "PUSH_BODY_TIMEOUT": "3",
        "PUSH_MAX_RECEIVING": "8000000",
        "PUSH_MAX_RECEIVING_PER_ADDRESS": "4000000",
    }
    with Attacked(embedded_broker, tmp_path_factory.mktemp("push"), **limits) as push:
        yield push
