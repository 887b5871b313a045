"""A file of secrets is its owner's, whatever was there."""

from pathlib import Path

import pytest

from attendance.private_files import write_private


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
