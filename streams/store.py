"""Stores: where a process has the deduplication state of a partition, in memory or on disk. They know no Kafka.

The changelog in Kafka is the truth. A store only saves reading again what it contains already.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Final, NamedTuple, Protocol

MOST_LISTS: Final = 200_000
"""Of one partition in memory. A fleet whose partitions have more device users is better off with a store on disk."""
MOVED_AT_ONCE: Final = 2000

_SCHEMA: Final = """
pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -8192;
create table other (key primary key, list) without rowid;
"""


class StoreFailed(Exception):
    """The disk, or what is on it, is broken. It says nothing about a record, so the process has to end."""


class Checkpoint(NamedTuple):
    """The last changelog record that a store contains: its offset, and its key, which verifies the changelog."""

    offset: int
    key: bytes


class Lists(Protocol):
    """The packed list of each device user."""

    def get(self, key: bytes, default: bytes, /) -> bytes:
        """The list of one device user, or `default`.

        Args:
            key: The device user, as `streams.pipeline.user_key` writes it.
            default: What is returned if nothing is known of the device user.

        Raises:
            StoreFailed: it cannot be read.
        """


class HistoryNeeded(Exception):
    """A punch is older than what its list reaches back to, and what the changelog says of then was not read yet."""


class Known(Lists, Protocol):
    """All that is known of the device users of one partition: their lists, and what the changelog has beyond them."""

    @property
    def floor(self) -> float:
        """Punches up to this time, in seconds since the epoch, may be missing in every list."""

    def near(self, key: bytes, first: float, last: float, /) -> tuple[bytes, float]:
        """What the changelog says of a device user, from one time to another.

        Args:
            key: The device user.
            first: Seconds since the epoch.
            last: The same; both are included.

        Returns:
            A packed list, and up to which time punches may have been kept that the changelog does not have any more.

        Raises:
            HistoryNeeded: the changelog has to be read first.
        """

    def everything(self, key: bytes, /) -> bytes:
        """The packed list of all that the changelog says of a device user.

        Raises:
            HistoryNeeded: the changelog has to be read first.
        """


class Store(Lists, Protocol):
    """The deduplication state of one partition, its checkpoint and its floor. One task at a time uses it."""

    checkpoint: Checkpoint | None
    """None if the store contains nothing of the changelog, or nobody knows what."""

    floor: int | None
    """Punches up to this time, in seconds since the epoch, may be missing; 0 if none is. None while nobody knows."""

    def write(self, lists: Mapping[bytes, bytes], checkpoint: Checkpoint | None) -> None:
        """Replace lists, and the checkpoint with the floor as it is now. A crash leaves all, or nothing.

        Assumes that the changelog holds all that is in the lists.

        Args:
            lists: The new packed lists, by device user.
            checkpoint: The last changelog record that the store contains now.

        Raises:
            StoreFailed: they cannot be written.
        """

    def clear(self) -> None:
        """Remove all lists, the checkpoint and the floor."""

    def close(self) -> None:
        """Close the disk. The store is not used any more."""


OpenStore = Callable[[int], Awaitable[Store]]


class DictStore:
    """A store in the memory of this process. Beyond so many lists, others are in a temporary SQLite file.

    Whoever sends decides how many device users there are, so memory must not grow with them.
    """

    def __init__(self, most: int = MOST_LISTS) -> None:
        """Nothing is in it.

        Args:
            most: At most so many lists are in memory.
        """
        self.checkpoint: Checkpoint | None = None
        self.floor: int | None = None
        self._most = most
        self._lists: dict[bytes, bytes] = {}
        self._others: sqlite3.Connection | None = None

    def get(self, key: bytes, default: bytes, /) -> bytes:
        """See `Store`."""
        found = self._lists.get(key)
        if found is not None:
            return found
        if self._others is None:
            return default
        with _disk():
            row = self._others.execute("select list from other where key = ?", (key,)).fetchone()
        return default if row is None else bytes(row[0])

    def write(self, lists: Mapping[bytes, bytes], checkpoint: Checkpoint | None) -> None:
        """See `Store`."""
        self._lists.update(lists)
        self.checkpoint = checkpoint
        while len(self._lists) > self._most:
            self._move()

    def _move(self) -> None:
        """Move some lists to the file: those that came to memory first. What is written to anew comes back."""
        keys = list(islice(self._lists, min(MOVED_AT_ONCE, len(self._lists) - self._most // 2)))
        with _disk():
            if self._others is None:
                # One task at a time uses it, in whichever thread its loop runs.
                self._others = sqlite3.connect("", check_same_thread=False)  # a file of SQLite's own
                self._others.executescript(_SCHEMA)
            self._others.executemany(
                "insert or replace into other values (?, ?)", ((key, self._lists[key]) for key in keys)
            )
        for key in keys:
            del self._lists[key]

    def clear(self) -> None:
        """See `Store`."""
        self.close()
        self._lists.clear()
        self.checkpoint = self.floor = None

    def close(self) -> None:
        """See `Store`."""
        if self._others is not None:
            self._others.close()
            self._others = None


@contextmanager
def _disk() -> Iterator[None]:
    """A disk that is full says nothing about a record."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreFailed(f"the temporary file of the deduplication state: {error}") from error


async def open_dict_store(_partition: int) -> Store:
    """An empty store in memory."""
    return DictStore()
