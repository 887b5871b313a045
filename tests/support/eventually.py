"""Waits until something is so, on a machine that may be busy."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import httpx
import pytest

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], *, within: float, wanted: str) -> Found:
    """What `look` returns once that is true; a server that does not answer yet is asked again."""
    deadline = time.monotonic() + within
    found: object = None
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if found := look():
                return found
        time.sleep(0.2)
    pytest.fail(f"not within {within:g} s: {wanted}; last seen: {found!r}")
