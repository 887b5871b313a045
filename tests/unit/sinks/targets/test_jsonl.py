import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attendance.errors import ConfigurationError, TargetUnavailable
from attendance.records.checkin import Checkin
from sinks.targets.base import Result
from sinks.targets.jsonl import JsonlTarget


def checkin(number: int) -> Checkin:
    return Checkin(
        event_id=f"{number:032x}",
        employee="HR-EMP-00001",
        event_time=datetime(2026, 1, 1, 5, tzinfo=UTC),
        log_type="IN",
        device_id="D1",
        device_user_id="7",
        site="HQ",
        device_timezone="Asia/Riyadh",
    )


def deliver(path: Path, *checkins: Checkin) -> Sequence[Result]:
    """What a process that begins now and ends afterwards answers."""

    async def run() -> Sequence[Result]:
        target = JsonlTarget(path)
        await target.open()
        results = await target.deliver(checkins)
        await target.close()
        return results

    return asyncio.run(run())


def stored(path: Path) -> list[Checkin]:
    content = path.read_bytes()
    assert content.endswith(b"\n") or not content
    return [Checkin.decode(line) for line in content.splitlines()]


def test_a_line_is_the_check_in_as_it_stands_on_its_topic(tmp_path: Path) -> None:
    path = tmp_path / "checkins.jsonl"
    deliver(path, checkin(1), checkin(2))
    assert path.read_bytes() == checkin(1).encode() + b"\n" + checkin(2).encode() + b"\n"


def test_what_an_earlier_process_wrote_is_known_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "checkins.jsonl"
    deliver(path, checkin(1), checkin(2))
    [result] = deliver(path, checkin(2))
    assert (result.document, result.status) == ("line 2", "already_there")
    assert stored(path) == [checkin(1), checkin(2)]


@pytest.mark.parametrize("missing", range(1, len(checkin(2).encode()) + 1))
def test_a_last_line_that_a_crash_cut_off_anywhere_is_neither_lost_nor_double(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "checkins.jsonl"
    deliver(path, checkin(1), checkin(2))
    os.truncate(path, path.stat().st_size - missing)
    deliver(path, checkin(2), checkin(3))
    assert stored(path) == [checkin(1), checkin(2), checkin(3)]


def test_a_failed_write_is_taken_back_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkins.jsonl"

    def all_but_the_end(file: int, content: bytes, offset: int) -> int:
        write(file, content[:-1], offset)
        raise OSError(28, "No space left on device")

    write = os.pwrite

    async def run() -> None:
        target = JsonlTarget(path)
        await target.open()
        monkeypatch.setattr(os, "pwrite", all_but_the_end)
        with pytest.raises(TargetUnavailable, match="No space left"):
            await target.deliver([checkin(1), checkin(2)])
        monkeypatch.setattr(os, "pwrite", write)
        await target.deliver([checkin(3)])
        await target.close()

    asyncio.run(run())
    assert stored(path) == [checkin(3)]


def test_a_second_process_waits_until_the_first_has_left(tmp_path: Path) -> None:
    path = tmp_path / "checkins.jsonl"

    async def run() -> None:
        first, second = JsonlTarget(path), JsonlTarget(path)
        await first.open()
        with pytest.raises(TargetUnavailable, match="in use"):
            await second.open()
        await first.deliver([checkin(1)])
        await first.close()
        await second.open()
        await second.deliver([checkin(1)])
        await second.close()

    asyncio.run(run())
    assert stored(path) == [checkin(1)]


def test_a_file_of_something_else_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"remember the milk\n")
    with pytest.raises(ConfigurationError, match=r"SINK_JSONL_PATH.*line 1"):
        deliver(path, checkin(1))
    assert path.read_bytes() == b"remember the milk\n"


def test_a_path_that_cannot_be_written_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"SINK_JSONL_PATH.*No such file"):
        deliver(tmp_path / "nowhere" / "checkins.jsonl")


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "checkins.jsonl"

    async def run() -> None:
        target = JsonlTarget(path)
        for _ in range(2):
            await target.open()
            await target.deliver([checkin(1)])
        await target.close()
        await target.close()

    asyncio.run(run())
    assert stored(path) == [checkin(1)]
