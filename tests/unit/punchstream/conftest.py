"""The commands on a log in memory."""

from pathlib import Path

import pytest
from memory_log import MemoryLog

from punchstream.commands import arguments


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    """The empty log that every command reads and writes."""
    log = MemoryLog()
    monkeypatch.setattr(arguments, "KafkaLog", lambda *_: log)
    return log


@pytest.fixture
def fleet_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The fleet file that every command reads. It is not there yet."""
    path = tmp_path / "devices.yaml"
    monkeypatch.setenv("PUNCHSTREAM_DEVICES", str(path))
    return path
