"""Which kind of store a partition's deduplication state is in, by `DEDUP_STORE`."""

from typing import Final

from attendance.errors import ConfigurationError
from attendance.settings import StreamSettings
from streams.store import OpenStore, open_dict_store

EXTRA: Final = "punchstream[rocksdb]"


def store_opener(settings: StreamSettings, topic: str) -> OpenStore:
    """What opens the store of a partition.

    Args:
        settings: Say which kind of store, and in which directory.
        topic: The changelog; its stores have a directory of its name.

    Returns:
        A coroutine function from the number of a partition to its store.

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
    return RocksStores(settings.dedup_directory / topic, settings.dedup_horizon).open
