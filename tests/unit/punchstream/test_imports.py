"""`punchstream import`: what is shown of files before and after they are taken in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from importing import PUNCH, fleet_file, write
from typer.testing import CliRunner

from attendance.errors import ConfigurationError, KafkaUnavailable
from attendance.records.user_map import UserMapping
from attendance.registry import Registry
from attendance.user_map import UserMap
from operations import imports as operation
from producers.files.importer import prepare
from punchstream.cli import app
from punchstream.commands import imports


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return fleet_file(tmp_path)


@pytest.fixture(autouse=True)
def user_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Kafka has of users: number 7, and nobody else."""

    async def read_user_map(_: object) -> UserMap:
        users = UserMap()
        known = UserMapping("*", "7", "HR-EMP-7", "csv")
        users.apply(known.key, known.encode())
        return users

    monkeypatch.setattr(operation, "read_user_map", read_user_map)


def test_a_dry_run_names_those_whom_nobody_is_mapped_to(registry: Registry, tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "a.dat", PUNCH, PUNCH.replace("417", "7"))
    assert "1 user is not in the user map: 417" in run([path], registry, capsys)[1]


def test_a_dry_run_does_without_kafka_and_says_so(
    registry: Registry, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_user_map(_: object) -> UserMap:
        raise KafkaUnavailable("no brokers")

    monkeypatch.setattr(operation, "read_user_map", read_user_map)
    status, shown = run([write(tmp_path / "a.dat", PUNCH)], registry, capsys)
    assert status == 0
    assert "Users were not looked up" in shown


def run(paths: Sequence[Path], registry: Registry, capsys: Any, **options: Any) -> tuple[int, str]:
    prepared = [prepare(path, "USB-1", registry, ()) for path in paths]
    status = imports.run(prepared, dry_run=True, **{"as_json": False, **options})
    return status, capsys.readouterr().out


def test_a_dry_run_shows_rows_and_counts(registry: Registry, tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "a.dat", PUNCH, "garbage\n")
    status, shown = run([path], registry, capsys)
    assert status == 1
    assert "417" in shown
    assert "a.dat: 2 rows, 1 punch, 1 rejected" in shown


def test_json_has_the_same(registry: Registry, tmp_path: Path, capsys: Any) -> None:
    status, shown = run([write(tmp_path / "a.dat", PUNCH)], registry, capsys, as_json=True)
    (found,) = orjson.loads(shown)
    assert status == 0
    assert (found["rows"], found["events"], found["rejected"], found["error"]) == (1, 1, 0, None)
    assert found["first"][0]["utc"] == "2026-03-04T05:00:00Z"


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_it(
    registry: Registry, tmp_path: Path, capsys: Any
) -> None:
    paths = [write(tmp_path / "bad.dat", "bad\n"), write(tmp_path / "good.dat", PUNCH)]
    status, shown = run(paths, registry, capsys)
    assert status == 2
    assert "good.dat: 1 row, 1 punch" in shown


@pytest.mark.parametrize(
    "arguments", [[], ["a.dat", "--watch", "."], ["--watch", ".", "--dry-run"], ["--watch", ".", "--json"]]
)
def test_either_files_or_a_folder_are_imported(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["import", "--device", "USB-1", *arguments])
    assert isinstance(result.exception, ConfigurationError)
    assert "either files or --watch" in str(result.exception)
