"""The JSON Lines target: check-ins in a file, one on a line, for trying out and for handing on."""

import asyncio
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from attendance.errors import ConfigurationError, InvalidRecord, TargetUnavailable
from attendance.records.checkin import Checkin
from attendance.settings import SettingsGroup, SinkSettings
from sinks.targets.base import Delivered, Result

MAX_BATCH: Final = 1000


class Settings(SettingsGroup):
    """JSON Lines: the target that appends to a file."""

    model_config = SettingsConfigDict(env_prefix="SINK_JSONL_")

    path: Path = Field(Path("checkins.jsonl"), description="The file that the `jsonl` target appends to.")


def create(_settings: SinkSettings) -> "JsonlTarget":
    """The target as the environment describes it.

    Raises:
        ConfigurationError: A `SINK_JSONL_*` setting is wrong.
    """
    return JsonlTarget(Settings.load().path)


class JsonlTarget:
    """A `sinks.targets.base.Target`: a file to which one process at a time appends.

    A line is the check-in as it is on the checkins topic; one that supersedes another follows it. When `deliver`
    returns, the disk has it. The ids of all lines are kept in memory, so this is not for years of check-ins.
    """

    name = "jsonl"
    max_batch = MAX_BATCH
    looks_up_employees = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._end = 0  # bytes of the file that are whole lines
        # By event_id the number, from 1, of its newest line, and the line itself where it supersedes another.
        self._lines: dict[str, tuple[int, bytes | None]] = {}
        self._count = 0
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """See `Target.open`. Reads the file; a last line that a crash cut off is removed or completed."""
        async with self._lock:
            if self._file is None:
                await asyncio.to_thread(self._open)

    async def deliver(self, checkins: Sequence[Checkin]) -> list[Result]:
        """See `sinks.targets.base.Target.deliver`."""
        # Shielded, so that the lock is held for as long as the thread writes.
        return await asyncio.shield(self._deliver(checkins))

    async def close(self) -> None:
        """See `sinks.targets.base.Target.close`."""
        async with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _open(self) -> None:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigurationError(f"SINK_JSONL_PATH: {self._path}: {error.strerror}") from error
        try:
            # Two processes would not see each other's lines. The lock ends with its process.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = self._path.read_bytes()
            if is_checkin(content[content.rfind(b"\n") + 1 :]):
                os.pwrite(file, b"\n", len(content))
                content += b"\n"
            self._read(content)
            # What a crash cut off was not reported as delivered, so it is delivered again.
            os.ftruncate(file, self._end)
        except BlockingIOError as error:
            os.close(file)
            raise TargetUnavailable(f"{self._path} is in use by another process") from error
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def _read(self, content: bytes) -> None:
        self._lines.clear()
        *whole, rest = content.split(b"\n")
        self._end = len(content) - len(rest)
        self._count = 0
        for line in whole:
            self._count += 1
            try:
                checkin = Checkin.decode(line)
                self._lines[checkin.event_id] = self._count, line if checkin.supersedes else None
            except InvalidRecord as error:
                raise ConfigurationError(
                    f"SINK_JSONL_PATH: {self._path}: line {self._count} is no check-in: {error}"
                ) from error

    async def _deliver(self, checkins: Sequence[Checkin]) -> list[Result]:
        async with self._lock:
            return await asyncio.to_thread(self._append, checkins)

    def _append(self, checkins: Sequence[Checkin]) -> list[Result]:
        if self._file is None:
            raise TargetUnavailable(f"{self._path} is not open")
        new: dict[str, tuple[int, bytes | None]] = {}
        lines: list[bytes] = []
        results: list[Result] = []
        for checkin in checkins:
            line = checkin.encode()
            correction = line if checkin.supersedes else None
            known = new.get(checkin.event_id) or self._lines.get(checkin.event_id)
            if known is None or (correction is not None and correction != known[1]):
                lines.append(line + b"\n")
                known = new[checkin.event_id] = self._count + len(lines), correction
                results.append(Delivered(f"line {known[0]}", "created"))
            else:
                results.append(Delivered(f"line {known[0]}", "already_there"))
        content = b"".join(lines)
        try:
            os.ftruncate(self._file, self._end)  # an earlier write may have failed midway
            written = 0
            while written < len(content):
                written += os.pwrite(self._file, content[written:], self._end + written)
            os.fsync(self._file)
        except OSError as error:
            raise TargetUnavailable(f"{self._path}: {error.strerror}") from error
        self._end += len(content)
        self._count += len(lines)
        self._lines |= new
        return results


def is_checkin(line: bytes) -> bool:
    """Whether this is a whole line but for its newline, and not one that was cut off."""
    try:
        Checkin.decode(line)
    except InvalidRecord:
        return False
    return True
