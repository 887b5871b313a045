"""Stores: where the memory of a partition is kept, in this process or on disk. Know no Kafka.

The log in Kafka is the truth. A store saves reading it anew, as far as it knows it.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, Protocol

from attendance.errors import ConfigurationError
from attendance.settings import StreamSettings

EXTRA: Final = "punchstream[rocksdb]"


class StoreFailed(Exception):
    """The disk, or what is on it, is broken. It says nothing about a record, so the process has to end."""


class Position(NamedTuple):
    """The last record of the log that a store knows: its offset, and its key, by which the log is known again."""

    offset: int
    key: bytes


class Lists(Protocol):
    """The packed list of each device user."""

    def get(self, key: bytes, default: bytes, /) -> bytes:
        """The list of one device user, or `default`.

        Raises:
            StoreFailed: it cannot be read.
        """


class Store(Lists, Protocol):
    """The memory of one partition, and how far it knows the log. One task at a time uses it."""

    position: Position | None
    """None where it holds nothing of the log, or nobody knows what."""

    def take(self, lists: Mapping[bytes, bytes], position: Position | None) -> None:
        """Take new lists and the position that they belong to. A crash leaves both, or neither.

        Assumes that the log holds all that is in them.

        Raises:
            StoreFailed: they cannot be written.
        """

    def clear(self) -> None:
        """Forget everything."""

    def close(self) -> None:
        """Let go of the disk. The store is not used any more."""


OpenStore = Callable[[int], Awaitable[Store]]


class DictStore(dict[bytes, bytes]):
    """A store in the memory of this process."""

    def __init__(self) -> None:
        super().__init__()
        self.position: Position | None = None

    def take(self, lists: Mapping[bytes, bytes], position: Position | None) -> None:
        """See `Store`."""
        self.update(lists)
        self.position = position

    def clear(self) -> None:
        """See `Store`."""
        super().clear()
        self.position = None

    def close(self) -> None:
        """See `Store`."""


async def open_dict_store(_partition: int) -> Store:
    """An empty store in memory."""
    return DictStore()


def store_opener(settings: StreamSettings, topic: str) -> OpenStore:
    """What opens the store of a partition of a log, as the settings ask for.

    Raises:
        ConfigurationError: RocksDB is not installed, or its directory cannot be made.
    """
    if settings.dedup_store == "memory":
        return open_dict_store
    try:
        from streams.rocksdb import RocksStores
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"DEDUP_STORE: {error.name} is not installed; it comes with the extra {EXTRA}"
        ) from error
    return RocksStores(settings.dedup_directory / topic).open
