"""A watched folder: what is complete is imported once, and then moved."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from importing import write

from attendance.errors import ConfigurationError, KafkaUnavailable, UnreadableFile
from producers.files import folder
from producers.files.folder import LOOK_SECONDS, SETTLED_SECONDS, Folder, watch
from virtual_time import run_in_virtual_time


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(work: Callable[[], object]) -> object:
        return work()

    # Virtual time passes while a thread works.
    monkeypatch.setattr(folder.asyncio, "to_thread", at_once)


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def watched(tmp_path: Path, clock: list[float]) -> Folder:
    return Folder(tmp_path, lambda: clock[0])


def test_a_file_is_handed_out_when_it_has_not_changed_for_a_while(
    watched: Folder, clock: list[float], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", "one")
    assert watched.ready() == []
    clock[0] += SETTLED_SECONDS - 1
    write(path, "one, two")
    assert watched.ready() == []
    clock[0] += SETTLED_SECONDS - 1
    assert watched.ready() == []
    clock[0] += 1
    assert watched.ready() == [path]


def test_a_marker_says_at_once_that_a_file_is_complete(watched: Folder, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    marker = write(tmp_path / "a.csv.done")
    assert watched.ready() == [path]
    watched.done(path)
    assert not marker.exists()


def test_no_marker_is_left_behind_for_the_next_file_of_that_name(
    watched: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.csv")
    marker = write(tmp_path / "a.csv.done")

    def killed(_path: Path, _target: Path) -> Path:
        assert not marker.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        watched.done(path)


@pytest.mark.parametrize(
    "name", [".a.csv", "~$a.xlsx", "a.csv.part", "a.csv.filepart", "a.csv.TMP", "a.csv~", "x.done"]
)
def test_what_is_still_written_is_left_alone(name: str, watched: Folder, clock: list[float], tmp_path: Path) -> None:
    write(tmp_path / name)
    watched.ready()
    clock[0] += 2 * SETTLED_SECONDS
    assert watched.ready() == []


def test_links_and_directories_are_left_alone(watched: Folder, clock: list[float], tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to(write(tmp_path / ".elsewhere"))
    (tmp_path / "b.csv").mkdir()
    watched.ready()
    clock[0] += 2 * SETTLED_SECONDS
    assert watched.ready() == []


def test_nothing_is_ever_overwritten(watched: Folder, tmp_path: Path) -> None:
    places = [watched.done(write(tmp_path / "a.csv", text)) for text in ("one", "two", "three")]
    assert [place.name for place in places] == ["a.csv", "a-1.csv", "a-2.csv"]
    assert [place.read_text() for place in places] == ["one", "two", "three"]
    places = [watched.failed(write(tmp_path / "a.csv", text), f"not {text}") for text in ("one", "two")]
    assert [place.read_text() for place in places] == ["one", "two"]
    texts = [place.with_name(f"{place.name}.error.txt").read_text() for place in places]
    assert texts == ["not one\n", "not two\n"]


def test_an_error_text_that_was_left_behind_is_not_overwritten(watched: Folder, tmp_path: Path) -> None:
    left = write(tmp_path / "failed" / "a.csv.error.txt", "before")
    assert watched.failed(write(tmp_path / "a.csv"), "now").name == "a-1.csv"
    assert left.read_text() == "before"


def test_an_error_text_is_written_through_no_link(watched: Folder, tmp_path: Path) -> None:
    theirs = write(tmp_path / ".theirs", "before")
    (tmp_path / "failed" / "a.csv.error.txt").symlink_to(theirs)
    (tmp_path / "failed" / "a-1.csv.error.txt").symlink_to(tmp_path / ".nothing")
    moved = watched.failed(write(tmp_path / "a.csv", "row"), "now")
    assert (moved.name, moved.read_text()) == ("a-2.csv", "row")
    assert (tmp_path / "failed" / "a-2.csv.error.txt").read_text() == "now\n"
    assert theirs.read_text() == "before"
    assert not (tmp_path / ".nothing").exists()


def test_an_error_text_that_somebody_puts_there_in_the_meantime_is_left(
    watched: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = write(tmp_path / ".theirs", "before")
    touch = Path.touch

    def touch_and_link(path: Path, *, exist_ok: bool = True) -> None:
        touch(path, exist_ok=exist_ok)
        if path.name == "a.csv":
            (tmp_path / "failed" / "a.csv.error.txt").symlink_to(theirs)

    monkeypatch.setattr(Path, "touch", touch_and_link)
    assert watched.failed(write(tmp_path / "a.csv"), "now").name == "a-1.csv"
    assert theirs.read_text() == "before"
    assert not (tmp_path / "failed" / "a.csv").exists()


def test_a_file_that_cannot_be_moved_leaves_no_error_text(
    watched: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.csv")

    def refuse(_path: Path, _target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError):
        watched.failed(path, "now")
    assert list((tmp_path / "failed").iterdir()) == []


def test_an_error_in_any_characters_is_written(watched: Folder, tmp_path: Path) -> None:
    moved = watched.failed(write(tmp_path / "a.csv"), "b\udcff.csv: broken")
    assert moved.with_name("a.csv.error.txt").read_text() == "b\\udcff.csv: broken\n"


@pytest.mark.parametrize("name", ["done", "failed"])
def test_nothing_is_moved_through_a_link(name: str, watched: Folder, tmp_path: Path) -> None:
    elsewhere = tmp_path / ".elsewhere"
    elsewhere.mkdir()
    (tmp_path / name).rmdir()
    (tmp_path / name).symlink_to(elsewhere)
    path = write(tmp_path / "a.csv")
    with pytest.raises(OSError, match="is a link"):
        watched.done(path) if name == "done" else watched.failed(path, "now")
    with pytest.raises(ConfigurationError, match=f"{name} is a link"):
        Folder(tmp_path)
    assert (path.exists(), list(elsewhere.iterdir())) == (True, [])


def test_a_directory_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        Folder(tmp_path / "missing")


def watching(watched: Folder, take_in: Callable[[Path], None], until: Callable[[], bool]) -> None:
    async def taking(path: Path) -> None:
        take_in(path)

    async def scenario() -> None:
        task = asyncio.create_task(watch(watched, taking))
        async with asyncio.timeout(100 * LOOK_SECONDS):
            while not until():  # noqa: ASYNC110 - time is virtual
                await asyncio.sleep(LOOK_SECONDS)
        task.cancel()

    run_in_virtual_time(scenario())


def test_a_file_is_taken_in_once_and_then_moved(watched: Folder, tmp_path: Path) -> None:
    write(tmp_path / "a.csv.done")
    write(tmp_path / "a.csv", "punches")
    taken: list[str] = []

    def take_in(path: Path) -> None:
        taken.append(path.read_text())

    watching(watched, take_in, (tmp_path / "done" / "a.csv").exists)
    assert taken == ["punches"]


def test_a_file_that_cannot_be_read_is_set_aside_and_the_next_is_read(watched: Folder, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        write(tmp_path / f"{name}.done")
        write(tmp_path / name)

    def take_in(path: Path) -> None:
        if path.name == "a.csv":
            raise UnreadableFile("a.csv: broken")
        if path.name == "b.csv":
            raise ZeroDivisionError

    watching(watched, take_in, (tmp_path / "done" / "c.csv").exists)
    assert (tmp_path / "failed" / "a.csv.error.txt").read_text() == "a.csv: broken\n"
    assert "ZeroDivisionError" in (tmp_path / "failed" / "b.csv.error.txt").read_text()


def test_a_file_that_kafka_does_not_take_stays_and_is_tried_again(watched: Folder, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    write(tmp_path / "a.csv.done")
    tries: list[bool] = []

    def take_in(path: Path) -> None:
        tries.append(path.exists())
        if len(tries) < 3:
            raise KafkaUnavailable("silent")

    watching(watched, take_in, (tmp_path / "done" / "a.csv").exists)
    assert tries == [True] * 3
    assert not path.exists()


def test_a_file_that_cannot_be_moved_is_not_read_again(
    watched: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.csv")
    write(tmp_path / "a.csv.done")
    taken: list[Path] = []
    refusals = [PermissionError(13, "Permission denied")] * 3
    move = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if refusals:
            raise refusals.pop()
        return move(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    watching(watched, taken.append, lambda: not (tmp_path / "a.csv").exists())
    assert taken == [tmp_path / "a.csv"]
    assert not refusals
    assert [place.name for place in (tmp_path / "done").iterdir()] == ["a.csv"]


@pytest.mark.parametrize("error", [None, UnreadableFile("a.csv: broken")])
def test_a_file_that_grew_while_it_was_read_is_read_again(
    error: UnreadableFile | None, watched: Folder, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", "one")
    write(tmp_path / "a.csv.done")
    taken: list[str] = []

    def take_in(path: Path) -> None:
        taken.append(path.read_text())
        if len(taken) == 1:
            path.write_text("one, two")
            os.utime(path, ns=(1, 1))
            if error is not None:
                raise error

    watching(watched, take_in, (tmp_path / "done" / "a.csv").exists)
    assert taken == ["one", "one, two"]
    assert not path.exists()
