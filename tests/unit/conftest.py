"""Fixtures that every unit test has."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def root_logger_as_before() -> Iterator[None]:
    """A command sends all logs to the standard error of its own time, which a later test would find closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
