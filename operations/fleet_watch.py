"""Fleet files that are looked at again and again: when a change of them is to be applied."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attendance.errors import ConfigurationError
from attendance.fleet_entries import GivenEntry
from attendance.settling import wait_for
from operations.fleet_sources import Found, files_of, read_file, together

_Stamps = Mapping[Path, tuple[int, int, int] | None]


class FleetWatch:
    """Looks at files and folders. A change counts once it was the same at two looks, or for longer where it takes away.

    A file that is gone takes nothing away: a disk may be missing, and programs remove a file before they write it anew.
    """

    def __init__(self, paths: Sequence[Path], *, force: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is read yet.

        Args:
            paths: As `files_of` has them.
            force: Whether what a file had goes with it.
            clock: Seconds, from any beginning.
        """
        self._paths = paths
        self._force = force
        self._clock = clock
        self._applied: dict[Path, _File] = {}
        self._found: dict[Path, _File] = {}
        self._taken: object = None
        self._seen: object = None
        self._since = 0.0
        self._is_said = False

    def begin(self) -> Found:
        """What the files hold now.

        Raises:
            ConfigurationError: as `files_of`.
        """
        files = files_of(self._paths)
        self._seen = _stamps(files), ""
        return self._read(files)

    def take(self, *, applied: bool) -> None:
        """Look out for the next change from now on.

        Args:
            applied: Whether the fleet is as the files say. Otherwise the next change is compared with what it was.
        """
        self._taken = self._seen
        if applied:
            self._applied = self._found

    def look(self) -> tuple[Found | None, str | None]:
        """What is to be applied now, if anything is; and what people should know, once."""
        try:
            files, fault = files_of(self._paths), ""
        except ConfigurationError as error:
            files, fault = [], f"{error}; nothing is removed"
        seen = _stamps(files), fault
        if seen != self._seen:
            self._seen, self._since, self._is_said = seen, self._clock(), False
            return None, None
        if seen == self._taken:
            return None, None
        gone = [path for path in self._applied if path not in files]
        if fault:
            return None, self._once(fault)
        if gone and not self._force:
            names = ", ".join(map(str, gone))
            return None, self._once(
                f"{names}: gone. Nothing is written until it is there again; --force removes what it had"
            )
        found = self._read(files)
        if not found.problems and self._clock() - self._since < (seconds := self._wait()):
            return None, self._once(
                f"The files may be half-written; they are applied once they stay so for {seconds:g} s"
            )
        return found, None

    def _once(self, text: str) -> str | None:
        said, self._is_said = self._is_said, True
        return None if said else text

    def _read(self, files: Sequence[Path]) -> Found:
        read = {path: read_file(path) for path in files}
        self._found = {path: _File(each.content, _devices(each.entries)) for path, each in read.items()}
        return together(read.values())

    def _wait(self) -> float:
        """For how many seconds the files have to stay as they are."""
        there = frozenset[str]().union(*(each.devices for each in self._found.values()))
        return max(
            (
                wait_for(len(before.devices), len(before.devices - there), before.content, self._found[path].content)
                for path, before in self._applied.items()
                if path in self._found
            ),
            default=0.0,
        )


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    devices: frozenset[str]


def _devices(entries: Iterable[GivenEntry]) -> frozenset[str]:
    return frozenset(each.name for each in entries if each.kind == "device" and each.name is not None)


def _stamps(files: Sequence[Path]) -> _Stamps:
    return {path: _stamp(path) for path in files}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
