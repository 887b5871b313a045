"""A file of secrets is its owner's, whatever was there."""

import errno
import os
from pathlib import Path

import pytest

from attendance.private_files import new_private, write_private


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("before", [None, 0o644, 0o666])
def test_only_its_owner_may_read_it_whatever_was_there(before: int | None, tmp_path: Path) -> None:
    path = tmp_path / "env"
    if before is not None:
        path.write_text("old")
        path.chmod(before)
    write_private(path, "SECRET=1\n")
    assert (path.read_text(), mode(path)) == ("SECRET=1\n", 0o600)
    assert [each.name for each in tmp_path.iterdir()] == ["env"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    theirs.chmod(0o644)
    (tmp_path / "env").symlink_to(theirs)
    write_private(tmp_path / "env", "SECRET=1\n")
    assert (theirs.read_text(), mode(theirs)) == ("theirs", 0o644)
    assert not (tmp_path / "env").is_symlink()


def test_what_was_there_stays_where_the_new_one_cannot_be_put(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    with pytest.raises(OSError, match="env"):
        write_private(tmp_path / "env", "SECRET=1\n")
    assert [each.name for each in tmp_path.iterdir()] == ["env"]


def test_a_new_file_is_there_once_all_of_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    with new_private(path) as stream:
        stream.write(b"{")
        stream.flush()
        assert not path.exists()
        stream.write(b"}")
    assert (path.read_bytes(), mode(path)) == (b"{}", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_of_a_new_file_that_fails_half_way_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_private(tmp_path / "person.json") as stream:  # noqa: PT012 - what is tried
        stream.write(b"{")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_links", [True, False])
def test_what_is_there_already_or_comes_meanwhile_is_not_replaced(
    has_links: bool,  # noqa: FBT001 - a parameter
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not has_links:
        monkeypatch.setattr("os.link", link)
    path = tmp_path / "person.json"
    with pytest.raises(FileExistsError, match="exists"), new_private(path) as stream:  # noqa: PT012 - what is tried
        stream.write(b"ours")
        path.write_text("theirs")
    with pytest.raises(FileExistsError, match="exists"), new_private(path):
        pass
    assert path.read_text() == "theirs"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="exists"), new_private(path):
        pass
    path.unlink()
    with new_private(path) as stream:
        stream.write(b"ours")
    assert [(each.name, each.read_text(), mode(each)) for each in tmp_path.iterdir()] == [
        ("person.json", "ours", 0o600)
    ]
