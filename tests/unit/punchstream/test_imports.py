"""`punchstream import`: what is shown of files before and after they are taken in."""

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from importing import PUNCH, fleet_file, write
from typer.testing import CliRunner

from attendance.errors import ConfigurationError, KafkaUnavailable, StandingStill
from attendance.records.user_map import UserMapping
from attendance.registry import Registry
from attendance.times import now, to_wall_clock
from attendance.user_map import UserMap
from memory_broker import install
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


def test_a_dry_run_says_which_column_is_taken_for_what(registry: Registry, tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "AGL_001.TXT", "No\tTMNo\tEnNo\tDateTime\n", "1001\t1\t13\t2026-03-14 08:00:00\n")
    prepared = [prepare(path, "PUSHES", registry, ())]
    assert imports.run(prepared, dry_run=True, as_json=False) == 0
    shown = capsys.readouterr().out
    assert "AGL_001.TXT, read as agl: user from EnNo (column 3), time from DateTime (column 4)" in shown
    imports.run(prepared, dry_run=True, as_json=True)
    (found,) = orjson.loads(capsys.readouterr().out)
    assert found["readings"][0]["columns"] == {"user": "EnNo (column 3)", "time": "DateTime (column 4)"}


def test_an_attlog_has_its_columns_by_place(registry: Registry, tmp_path: Path, capsys: Any) -> None:
    assert "user from column 1, time from column 2" in run([write(tmp_path / "a.dat", PUNCH)], registry, capsys)[1]


@pytest.mark.parametrize("time", ["2026-03-99 08:00:00", "2999-01-01 08:00:00", "2015-06-01 08:00:00"])
def test_a_time_that_the_stream_will_not_believe_is_no_success(
    time: str, registry: Registry, tmp_path: Path, capsys: Any
) -> None:
    path = write(tmp_path / "a.dat", PUNCH, PUNCH.replace("2026-03-04 08:00:00", time))
    status, shown = run([path], registry, capsys)
    assert status == 1
    assert "1 whose time is" in shown


def test_two_minutes_ahead_are_what_the_stream_accepts(registry: Registry, tmp_path: Path, capsys: Any) -> None:
    ahead = (to_wall_clock(now(), "Asia/Riyadh") + timedelta(minutes=2)).strftime("%Y-%m-%d %H:%M:%S")
    path = write(tmp_path / "a.dat", PUNCH.replace("2026-03-04 08:00:00", ahead))
    assert run([path], registry, capsys)[0] == 0


def test_a_sum_is_said_and_is_no_failure(registry: Registry, tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "a.csv", "user,time\n", "1,2026-03-04 08:00\n", "Total,1\n")
    assert imports.run([prepare(path, "PUSHES", registry, ())], dry_run=True, as_json=False) == 0
    assert "a.csv: 2 rows, 1 punch, 1 that are no punches" in capsys.readouterr().out


def test_options_of_the_command_count_before_those_of_the_entry() -> None:
    given = imports._options(["several_times=true", "columns={user: A, time: B}", "date_format=%d=%m"])
    assert given == {"several_times": True, "columns": {"user": "A", "time": "B"}, "date_format": "%d=%m"}


@pytest.mark.parametrize("option", ["several_times", "=1"])
def test_an_option_of_the_command_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match="--option"):
        imports._options([option])


def test_a_machine_whose_clock_is_wrong_imports_nothing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, kafka = install(monkeypatch)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    monkeypatch.setenv("KAFKA_PARTITIONS", "2")
    prepared = [prepare(write(tmp_path / "a.dat", PUNCH), "USB-1", registry, ())]
    broker.clock = lambda: time.time() + 3600
    with pytest.raises(StandingStill, match="that of the broker is 1 h ahead"):
        imports.run(prepared, dry_run=False, as_json=True)
    assert broker.records(kafka.topics["raw"]) == []
    broker.clock = time.time
    assert imports.run(prepared, dry_run=False, as_json=True) == 0
    assert len(broker.records(kafka.topics["raw"])) == 1
