"""The store on disk: a RocksDB for each partition. Needs the extra `rocksdb`.

RocksDB's own write-ahead log is off. After a crash a database is as it was at its last flush. That is a state that it
once had, because a batch of writes is in one memtable, and memtables are flushed in their order. So its lists and its
checkpoint belong together, and the changelog in Kafka has the rest.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any, Final, cast

import structlog
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DbClosedError,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from attendance.errors import ConfigurationError
from streams.store import Checkpoint, Store, StoreFailed

log = structlog.get_logger(__name__)

# Of all databases of a process together; what is not written to disk yet is counted in.
CACHE_BYTES: Final = 32 * 1024 * 1024
UNFLUSHED_BYTES: Final = 8 * 1024 * 1024
LOG_FILE_BYTES: Final = 1024 * 1024
BLOOM_BITS: Final = 10  # a key that is not there is taken for there once in a hundred times

LOCK_SECONDS: Final = 30
"""How long to wait for another process, which closes a lost partition once its step is done."""

# No device user's key begins so: theirs are JSON lists. Stores on disk have this key, so it does not follow the class.
_CHECKPOINT_KEY: Final = b"position"
# A format byte, the offset, the floor, and the horizon of the lists; the record's key follows.
_CHECKPOINT: Final = Struct(">BQqd")
_FORMAT: Final = 2
_UNKNOWN: Final = -1  # a floor that nobody knows


class Locked(Exception):
    """Another process has the database open."""


class RocksStores:
    """The stores of one process, each in a directory of its own. They share what they keep in memory."""

    def __init__(self, directory: Path, horizon: float) -> None:
        """Nothing is opened yet.

        Args:
            directory: Where they are.
            horizon: Seconds that each list reaches back.

        Raises:
            ConfigurationError: the directory cannot be made.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"DEDUP_DIRECTORY: {error}") from error
        self._directory = directory
        self._horizon = horizon
        self._options = options()

    async def open(self, partition: int) -> Store:
        """The store of a partition. If another process has it open, wait for it to close.

        Raises:
            ConfigurationError: another process keeps it open.
            StoreFailed: it cannot be opened.
        """
        path = self._directory / str(partition)
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return RocksStore(path, self._options, self._horizon)
            except Locked:
                if time.monotonic() > give_up:
                    raise ConfigurationError(f"DEDUP_DIRECTORY: another process uses {path}") from None
                log.info("Waiting for a store that another process has open.", path=str(path))
                await asyncio.sleep(1)


def options() -> Options:
    """How databases are opened. Databases with the same options object share their caches."""
    cache = Cache(CACHE_BYTES)
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_cache_index_and_filter_blocks(True)
    table.set_bloom_filter(BLOOM_BITS, block_based=False)
    chosen = Options(raw_mode=True)
    chosen.create_if_missing(True)
    chosen.set_block_based_table_factory(table)
    chosen.set_write_buffer_manager(
        WriteBufferManager.new_write_buffer_manager_with_cache(UNFLUSHED_BYTES, False, cache)
    )
    chosen.set_max_log_file_size(LOG_FILE_BYTES)
    chosen.set_keep_log_file_num(2)
    return chosen


class RocksStore:
    """A store in a directory. Lists without a checkpoint are removed, and so is what is corrupt, or too short."""

    def __init__(self, path: Path, options: Options, horizon: float = 0.0) -> None:
        """Open the database, and make it if there is none.

        Args:
            path: Its directory.
            options: What `options` returned; one object for all databases of a process.
            horizon: Seconds that each list reaches back. Lists that were written for less are removed.

        Raises:
            Locked: another process has it open.
            StoreFailed: it cannot be opened.
        """
        self._path = str(path)
        self._options = options
        self._horizon = horizon
        self._unlogged = WriteOptions()
        self._unlogged.disable_wal = True  # type: ignore[method-assign, assignment] # a property, whatever its type says
        try:
            self._db = self._open()
        except StoreFailed as error:
            if not _is_corruption(error):
                raise
            log.warning("A store is corrupt; it is removed and rebuilt from the whole changelog.", error=str(error))
            Rdict.destroy(self._path, self._options)
            self._db = self._open()
        self.floor: int | None = None
        self.checkpoint = self._stored_checkpoint()
        if self.checkpoint is None:
            self.clear()

    def get(self, key: bytes, default: bytes, /) -> bytes:
        """See `Store`."""
        try:
            found: Any = self._db.get(key, default)
        except Exception as error:
            if _is_corruption(error):
                self._destroy()  # so that the next start reads the changelog instead
            raise StoreFailed(str(error)) from error
        return cast("bytes", found)

    def write(self, lists: Mapping[bytes, bytes], checkpoint: Checkpoint | None) -> None:
        """See `Store`."""
        batch = WriteBatch(raw_mode=True)
        for key, kept in lists.items():
            batch.put(key, kept)
        if checkpoint is not None:
            floor = _UNKNOWN if self.floor is None else self.floor
            packed = _CHECKPOINT.pack(_FORMAT, checkpoint.offset, floor, self._horizon)
            batch.put(_CHECKPOINT_KEY, packed + checkpoint.key)
        try:
            self._db.write(batch, self._unlogged)
        except Exception as error:
            raise StoreFailed(str(error)) from error
        self.checkpoint = checkpoint

    def clear(self) -> None:
        """See `Store`."""
        self._destroy()
        self._db = self._open()
        self.checkpoint = self.floor = None

    def close(self) -> None:
        """See `Store`. What was not flushed yet is."""
        with suppress(DbClosedError):  # if it was found corrupt
            self._db.close()

    def _open(self) -> Rdict:
        try:
            return Rdict(self._path, self._options)
        except Exception as error:
            if "While lock file" in str(error) or "lock hold by" in str(error):  # another process, or this one
                raise Locked from error
            raise StoreFailed(str(error)) from error

    def _destroy(self) -> None:
        self._db.close()
        Rdict.destroy(self._path, self._options)

    def _stored_checkpoint(self) -> Checkpoint | None:
        value = self.get(_CHECKPOINT_KEY, b"")
        if not value.startswith(bytes((_FORMAT,))):
            return None
        _, offset, floor, horizon = _CHECKPOINT.unpack_from(value)
        if horizon < self._horizon:
            return None
        self.floor = None if floor == _UNKNOWN else floor
        return Checkpoint(offset, value[_CHECKPOINT.size :])


def _is_corruption(error: Exception) -> bool:
    # RocksDB's kinds of errors come as text.
    return str(error).startswith("Corruption")
