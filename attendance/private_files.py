"""Files that hold secrets or personal data: for their owner only."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


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
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
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
