"""Files that hold secrets or personal data: for their owner only."""

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def open_new(path: Path, mode: int = 0o600) -> int:
    """A descriptor to write a new file, by default one that only its owner may read. A link is not followed.

    Args:
        path: Nothing is there yet, and its folder exists.
        mode: Who may do what with it, less the umask.

    Raises:
        OSError: there is something already, or it cannot be made.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step. What was there is replaced, and no link is followed.

    Args:
        path: Its folder exists.
        text: What to write.

    Raises:
        OSError: it cannot be written; what was there is left.
    """
    with _beside(path, lambda new: new.replace(path)) as stream:
        stream.write(text.encode())


@contextmanager
def new_private(path: Path) -> Iterator[BinaryIO]:
    """Write a new file that only its owner may read. It is there once all of it is written, and otherwise not at all.

    Args:
        path: Nothing is there yet, and its folder exists.

    Yields:
        Where to write.

    Raises:
        OSError: there is something already, or it cannot be written.
    """
    _check_free(path)
    with _beside(path, lambda new: _put(new, path)) as stream:
        yield stream


@contextmanager
def _beside(path: Path, put: Callable[[Path], object]) -> Iterator[BinaryIO]:
    """A file beside a path, which is put in its place when all of it is on the disk, and removed where that fails."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # Nobody can have put a file or a link there: its name was not known, and then this fails.
    file = open_new(new)
    try:
        with os.fdopen(file, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(file)
        put(new)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _put(new: Path, path: Path) -> None:
    """Put a file where nothing is. A rename alone would replace what has come there meanwhile."""
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:  # a file system that has no links
        _check_free(path)
        new.rename(path)
    else:
        new.unlink()


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
