"""A watched folder: what is put there is imported, and then moved to `done/` or `failed/`."""

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import Final

import structlog

from attendance.errors import ConfigurationError, RetriableError, UnreadableFile
from attendance.private_files import open_new

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 2.0
SETTLED_SECONDS: Final = 10.0
"""A file that has not changed for so long is taken for complete."""

MARKER: Final = ".done"
"""`NAME.done` beside NAME says that NAME is complete."""

_UNFINISHED: Final = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~", MARKER)

_Stamp = tuple[int, int]


class Folder:
    """The files of one directory, of which none is handed out while it grows.

    Only regular files count: no symbolic link, nothing hidden, and no name that programs give to what they still write.

    Args:
        directory: Looked into, without its subdirectories.
        clock: Seconds, from any beginning.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Make `done/` and `failed/`.

        Raises:
            ConfigurationError: the directory is none, or cannot be written to; or `done/` or `failed/` is a link.
        """
        self._directory = directory
        self._clock = clock
        self._seen: dict[Path, tuple[_Stamp, float]] = {}
        try:
            for name in ("done", "failed"):
                (directory / name).mkdir(exist_ok=True)
                _check_no_link(directory / name)
        except OSError as error:
            raise ConfigurationError(f"--watch: {directory}: {error.strerror}") from error

    def ready(self) -> list[Path]:
        """The files that are complete: unchanged since earlier looks for `SETTLED_SECONDS`, or with a marker."""
        now = self._clock()
        seen: dict[Path, tuple[_Stamp, float]] = {}
        for path in self._directory.iterdir():
            stamp = self.stamp(path)
            if stamp is not None:
                known, since = self._seen.get(path, (stamp, now))
                seen[path] = stamp, since if known == stamp else now
        self._seen = seen
        return sorted(
            path for path, (_, since) in seen.items() if now - since >= SETTLED_SECONDS or _marker(path).is_file()
        )

    def stamp(self, path: Path) -> _Stamp | None:
        """What changes when a file does; None where it is gone, or is nothing to import."""
        name = path.name.lower()
        if name.startswith((".", "~$")) or name.endswith(_UNFINISHED) or path.is_symlink() or not path.is_file():
            return None
        try:
            status = path.stat(follow_symlinks=False)
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def done(self, path: Path) -> Path:
        """Move a file to `done/`, under another name where that is taken. Returns where it is."""
        return self._move(path, "done")

    def failed(self, path: Path, error: str) -> Path:
        """Move a file to `failed/`, and write beside it why.

        Args:
            path: The file.
            error: What its user is to read.

        Returns:
            Where it is now.
        """
        return self._move(path, "failed", f"{error}\n")

    def _move(self, path: Path, name: str, text: str | None = None) -> Path:
        """Move a file, with a text beside it if there is one. Whoever puts files here may put links anywhere."""
        _check_no_link(self._directory / name)
        is_marked = _marker(path).exists()
        for suffix in chain([""], (f"-{number}" for number in count(1))):
            place = self._directory / name / f"{path.stem}{suffix}{path.suffix}"
            if os.path.lexists(_error_text(place)):
                continue
            try:
                place.touch(exist_ok=False)  # taken, so that what replaces it overwrites nothing else
            except FileExistsError:
                continue
            try:
                if text is not None:
                    _write_new(_error_text(place), text)
            except FileExistsError:
                place.unlink()
                continue
            except OSError:
                place.unlink()
                raise
            try:
                # Before the file: one that is left behind would call the next file of that name complete.
                _marker(path).unlink(missing_ok=True)
                path.replace(place)
            except OSError:
                place.unlink()
                if text is not None:
                    _error_text(place).unlink()
                if is_marked:
                    with suppress(FileExistsError):
                        _marker(path).touch(exist_ok=False)
                raise
            return place
        raise AssertionError("there are more names than files")


async def watch(folder: Folder, take_in: Callable[[Path], Awaitable[None]]) -> None:
    """Import what comes into a folder, until cancelled.

    A file that Kafka does not take stays and is tried again, from its beginning.

    Args:
        folder: Where to look.
        take_in: Returns when Kafka has a file.
    """
    taken: dict[Path, _Stamp] = {}
    while True:
        try:
            for path in await asyncio.to_thread(folder.ready):
                await _take_in(folder, path, take_in, taken)
        except OSError as error:
            log.error("Cannot use the watched folder; trying again.", error=str(error))
        await asyncio.sleep(LOOK_SECONDS)


async def _take_in(
    folder: Folder, path: Path, take_in: Callable[[Path], Awaitable[None]], taken: dict[Path, _Stamp]
) -> None:
    """Import a file and move it. `taken` are imported and could not be moved; those are not read again."""
    before = folder.stamp(path)
    if before is None:
        return
    try:
        if taken.get(path) != before:
            await take_in(path)
    except RetriableError as error:
        log.warning("A file cannot be imported now; trying again.", file=path.name, error=str(error))
    except (UnreadableFile, ConfigurationError) as error:
        if folder.stamp(path) != before:
            log.warning("A file changed while it was read; reading it again.", file=path.name)
            return
        moved = folder.failed(path, str(error))
        log.error("Cannot import a file; moved it to failed/.", file=path.name, moved_to=str(moved), error=str(error))
    except Exception as error:
        moved = folder.failed(path, f"a fault of Punchstream's own: {error!r}; its log has more")
        log.exception("Importing a file failed; moved it to failed/.", file=path.name, moved_to=str(moved))
    else:
        if folder.stamp(path) != before:
            log.warning("A file changed while it was read; reading it again.", file=path.name)
            return
        taken[path] = before
        folder.done(path)
        del taken[path]


def _marker(path: Path) -> Path:
    return path.with_name(path.name + MARKER)


def _error_text(path: Path) -> Path:
    return path.with_name(f"{path.name}.error.txt")


def _write_new(path: Path, text: str) -> None:
    """Write a new file that whoever may use the folder reads: never into what is there, nor through a link.

    Args:
        path: Where.
        text: What to write.

    Raises:
        FileExistsError: something is there, which is left as it was.
        OSError: it cannot be written; then nothing is there.
    """
    file = open_new(path, 0o666)
    try:
        with os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
    except OSError:
        path.unlink()
        raise


def _check_no_link(directory: Path) -> None:
    if directory.is_symlink():
        raise OSError(errno.ELOOP, f"{directory.name} is a link, and no link is followed")
