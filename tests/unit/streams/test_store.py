"""A store keeps lists and their checkpoint, both or neither, whatever happens to the process."""

import asyncio
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendance.errors import ConfigurationError
from attendance.settings import StreamSettings
from streams import rocksdb
from streams.open_store import store_opener
from streams.rocksdb import Locked, RocksStore, options
from streams.store import Checkpoint, DictStore, Store, StoreFailed

KEYS = [b'["D%d","7"]' % n for n in range(5)]

Open = Callable[[Path], Store]


def in_memory(_: Path) -> Store:
    return DictStore()


def in_memory_in_part(_: Path) -> Store:
    return DictStore(most=2)


def on_disk(path: Path) -> Store:
    return RocksStore(path, options())


each_store = pytest.mark.parametrize("open_store", [in_memory, in_memory_in_part, on_disk])


def content(store: Store) -> dict[bytes, bytes]:
    found = {key: store.get(key, b"") for key in KEYS}
    return {key: value for key, value in found.items() if value}


batches = st.dictionaries(st.sampled_from(KEYS), st.binary(min_size=1, max_size=50))
checkpoints = st.none() | st.builds(Checkpoint, st.integers(0, 2**63), st.binary(max_size=20))
operations = st.lists(st.tuples(batches, checkpoints) | st.just("clear") | st.just("reopen"), max_size=8)


@each_store
@settings(max_examples=15, deadline=None)
@given(steps=operations)
def test_a_store_holds_what_was_written(
    open_store: Open, steps: list[tuple[Mapping[bytes, bytes], Checkpoint] | str]
) -> None:
    with TemporaryDirectory() as directory:
        store = open_store(Path(directory) / "store")
        lists: dict[bytes, bytes] = {}
        checkpoint: Checkpoint | None = None
        for step in steps:
            if isinstance(step, tuple):
                written, at = step
                checkpoint = at or checkpoint
                store.write(written, checkpoint)
                lists |= written
            elif step == "clear":
                store.clear()
                lists, checkpoint = {}, None
            elif open_store is on_disk:
                store.close()
                store = open_store(Path(directory) / "store")
                # Nobody knows which changelog records lists without a checkpoint are of.
                lists = lists if checkpoint else {}
            assert (content(store), store.checkpoint) == (lists, checkpoint)
        assert store.get(b"nobody", b"default") == b"default"
        store.close()


def test_however_many_device_users_there_are_a_store_in_memory_has_some_of_them_there() -> None:
    store = DictStore(most=5000)
    store.write({b"first": b"1"}, None)
    tracemalloc.start()
    try:
        for number in range(20):
            store.write({b"%d:%d" % (number, user): b"%d" % number for user in range(1000)}, None)
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert now < 5000 * 300
    assert store.get(b"first", b"") == b"1"
    assert {store.get(b"%d:%d" % (number, 7), b"") for number in range(20)} == {b"%d" % number for number in range(20)}
    store.write({b"first": b"2"}, None)
    assert store.get(b"first", b"") == b"2"


# Writes lists of every user in turn, each batch with the next checkpoint, until it is killed.
WRITER = """
import sys
from pathlib import Path
from streams.rocksdb import RocksStore, options
from streams.store import Checkpoint
store = RocksStore(Path(sys.argv[1]), options())
number = 0
while True:
    lists = {b"%d" % user: b"%d " % number * 300 for user in (number % 100, 100)}
    store.write(lists, Checkpoint(number, b"%d" % number))
    if number % 1000 == 0:
        print(number, flush=True)
    number += 1
"""


def test_after_a_kill_lists_and_checkpoint_are_those_of_one_moment(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        flushed_twice = 30_000
        while int(writer.stdout.readline()) < flushed_twice:
            pass
        writer.kill()

    store = on_disk(tmp_path)

    assert store.checkpoint is not None
    last = store.checkpoint.offset
    assert last > 1000
    assert store.checkpoint.key == b"%d" % last
    newest = {user: last - (last - user) % 100 for user in range(100)} | {100: last}
    assert {user: store.get(b"%d" % user, b"").split()[0] for user in newest} == {
        user: b"%d" % number for user, number in newest.items()
    }
    store.close()


def test_a_store_waits_for_another_process_and_then_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store = store_opener(StreamSettings.load(dedup_store="rocksdb", dedup_directory=tmp_path), "log")
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(rocksdb.asyncio, "sleep", wait)
    monkeypatch.setattr(rocksdb.time, "monotonic", lambda: sum(waits))
    holder = on_disk(tmp_path / "log" / "3")
    with pytest.raises(Locked):
        on_disk(tmp_path / "log" / "3")
    with pytest.raises(ConfigurationError, match=f"DEDUP_DIRECTORY: another process uses {tmp_path}/log/3"):
        asyncio.run(open_store(3))
    assert sum(waits) > rocksdb.LOCK_SECONDS

    async def let_go(_: float) -> None:
        holder.close()

    monkeypatch.setattr(rocksdb.asyncio, "sleep", let_go)
    asyncio.run(open_store(3)).close()


def broken(directory: Path, name: str) -> None:
    (path,) = directory.glob(name)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 3)
        file.write(bytes(500))


def filled(path: Path) -> None:
    store = on_disk(path)
    store.write({key: bytes(range(256)) * 40 for key in KEYS}, Checkpoint(7, b"seven"))
    store.close()


def test_a_store_that_cannot_be_opened_for_corruption_is_begun_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    broken(tmp_path, "MANIFEST-*")

    store = on_disk(tmp_path)

    assert (content(store), store.checkpoint) == ({}, None)
    store.close()


def test_a_store_that_is_found_corrupt_fails_and_is_empty_the_next_time(tmp_path: Path) -> None:
    filled(tmp_path)
    broken(tmp_path, "*.sst")
    store = on_disk(tmp_path)
    with pytest.raises(StoreFailed, match="Corruption"):
        content(store)
    store.close()

    store = on_disk(tmp_path)

    assert (content(store), store.checkpoint) == ({}, None)
    store.close()


def test_a_store_of_another_format_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    monkeypatch.setattr(rocksdb, "_FORMAT", rocksdb._FORMAT + 1)

    store = on_disk(tmp_path)

    assert (content(store), store.checkpoint) == ({}, None)
    store.close()


def test_a_store_keeps_its_floor_with_its_checkpoint(tmp_path: Path) -> None:
    store = on_disk(tmp_path)
    assert store.floor is None
    store.floor = 1_800_000_000
    store.write({}, Checkpoint(7, b"seven"))
    store.close()

    store = on_disk(tmp_path)

    assert (store.floor, store.checkpoint) == (1_800_000_000, Checkpoint(7, b"seven"))
    store.clear()
    assert store.floor is None
    store.close()


def test_a_store_whose_lists_reach_less_far_than_the_horizon_of_today_is_begun_anew(tmp_path: Path) -> None:
    for horizon, is_there in ((90.0, False), (90.0, True), (30.0, True), (90.0, False)):
        store = RocksStore(tmp_path, options(), horizon)
        assert (store.checkpoint is not None) is is_there
        store.write({}, Checkpoint(7, b"seven"))
        store.close()


def test_without_the_extra_the_start_says_which_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "streams.rocksdb")
    monkeypatch.setitem(sys.modules, "rocksdict", None)

    with pytest.raises(ConfigurationError, match=r"DEDUP_STORE: rocksdict is not installed.*punchstream\[rocksdb\]"):
        store_opener(StreamSettings.load(dedup_store="rocksdb", dedup_directory=tmp_path), "log")


def test_a_directory_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match=r"DEDUP_DIRECTORY: .*file"):
        store_opener(StreamSettings.load(dedup_store="rocksdb", dedup_directory=tmp_path / "file"), "log")
