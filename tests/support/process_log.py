"""Waiting for a process that writes a log."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

DEADLINE: Final = 30


def until(condition: Callable[[], Any], log: Path) -> Any:
    """Wait for a condition, and return what it returned. If it does not come, the end of the log says more."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        time.sleep(0.1)
    return found
