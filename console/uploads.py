"""Uploads: files that somebody wants to import, from the preview until their punches are taken in.

A file stands in a folder that only this process's user may read. It is removed once it is taken in or put aside, and
when nobody has done anything with it for a while. What came of its rows is kept a while longer, to be looked at.
"""

import asyncio
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from operations.import_rows import RowTally
from operations.imports import Imported

MOST_BYTES: Final = 20 * 2**20
"""Of a file."""
MOST: Final = 20
"""Files at a time. The oldest that is not being taken in goes for a new one."""
LIFE: Final = timedelta(minutes=30)
"""So long after somebody last did something with it an upload is forgotten."""
LOOK_SECONDS: Final = 60.0
"""Between two looks whether one is to be forgotten."""

UploadState = Literal["looked", "running", "done", "stopped"]


@dataclass(slots=True)
class Upload:
    """One file.

    Attributes:
        by: Who brought it.
        folder: Where it is until it is removed.
        looked: What the preview found, and its rows.
        at: When somebody last did something with it.
        id: By which it is found. Nobody can guess it.
        state: What it is now: a preview; being taken in; taken in; or stopped, and may be taken in again.
        taken: How many rows Kafka has so far.
        result: What came of it, once it is taken in.
        problem: Why it stopped.
        task: Takes it in.
    """

    by: str
    folder: TemporaryDirectory[str] = field(repr=False)
    looked: Imported
    at: datetime
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: UploadState = "looked"
    taken: int = 0
    result: Imported | None = None
    problem: str | None = None
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Of the file, as whoever brought it called it."""
        return self.looked.file.path.name

    @property
    def rows(self) -> RowTally:
        """The rows as they are known best."""
        tally = (self.result or self.looked).tally
        assert isinstance(tally, RowTally)
        return tally

    def forget(self) -> None:
        """Remove the file and its rows."""
        self.folder.cleanup()
        for each in (self.looked, self.result):
            if each is not None and isinstance(each.tally, RowTally):
                each.tally.each.close()


class Uploads:
    """Every upload of this process."""

    def __init__(self) -> None:
        """There is none yet."""
        self._uploads: dict[str, Upload] = {}

    def __len__(self) -> int:
        return len(self._uploads)

    def add(self, upload: Upload) -> None:
        """Keep one."""
        self.expire(upload.at)
        waiting = (each for each in self._uploads.values() if each.state != "running")
        if len(self._uploads) >= MOST and (oldest := min(waiting, key=lambda each: each.at, default=None)) is not None:
            self.drop(oldest)
        self._uploads[upload.id] = upload

    def find(self, id_: str, by: str, at: datetime) -> Upload | None:
        """Somebody's own; None where there is none, or it was forgotten.

        Args:
            id_: Its id.
            by: Who asks.
            at: What time it is.
        """
        self.expire(at)
        upload = self._uploads.get(id_)
        if upload is None or upload.by != by:
            return None
        upload.at = at
        return upload

    def drop(self, upload: Upload) -> None:
        """Forget one."""
        if self._uploads.pop(upload.id, None) is not None:
            upload.forget()

    def expire(self, at: datetime) -> None:
        """Forget what nobody has done anything with for a while.

        Args:
            at: What time it is.
        """
        for each in [each for each in self._uploads.values() if each.state != "running" and at - each.at > LIFE]:
            self.drop(each)

    def close(self) -> None:
        """Forget all of them."""
        for each in list(self._uploads.values()):
            self.drop(each)


def safe_name(name: str) -> str:
    """A name for a file, of what a browser says it is called: its last part, in bounds. The suffix says how it is read.

    Args:
        name: As the browser says it.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(each if each.isprintable() else "_" for each in last).strip(". ")[-100:]
    return kept or "file"


def new_folder() -> "TemporaryDirectory[str]":
    """A folder that only this process's user may read."""
    return TemporaryDirectory(prefix="punchstream-import-", ignore_cleanup_errors=True)


def file_in(folder: "TemporaryDirectory[str]", name: str) -> Path:
    """Where a file of that name stands in a folder. Takes what `safe_name` takes."""
    return Path(folder.name, safe_name(name))
