"""Files that hold secrets or personal data: for their owner only."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


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
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # Nobody can have put a file or a link there: its name was not known, and then this fails.
    file = open_new(new)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(file)
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
