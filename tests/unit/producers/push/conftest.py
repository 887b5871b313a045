"""The push application of each test, and what it logs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from pushing import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """Whatever is logged by the push stage."""
    entries: list[Mapping[str, Any]] = []
    capture = structlog.testing.LogCapture()
    capture.entries = entries  # type: ignore[assignment]
    for module in (
        "producers.push.endpoint",
        "producers.push.fleet",
        "producers.intake",
        "producers.knocks",
        "producers.publisher",
        "attendance.registry",
    ):
        monkeypatch.setattr(f"{module}.log", structlog.wrap_logger(None, [capture]))
    return entries
