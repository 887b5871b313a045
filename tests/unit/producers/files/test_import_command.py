"""`punchstream import`: files into Kafka, once or from a watched folder."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from attendance.errors import ConfigurationError, KafkaUnavailable, UnreadableFile
from attendance.plausibility import TimeFault
from attendance.records.dead_letter import DeadLetter
from attendance.records.other_event import OtherEvent
from attendance.records.raw_event import RawEvent
from attendance.records.user_map import UserMapping
from attendance.registry import Registry
from attendance.user_map import UserMap
from operations import imports as operation
from producers.files import folder
from producers.files import importer as files
from producers.files.folder import SETTLED_SECONDS, Folder, watch
from producers.files.importer import BATCH, TRIES, Import, Tally, prepare, read, store
from producers.publisher import Publisher
from punchstream.cli import app
from punchstream.commands import imports

FUTURE_TOLERANCE = 300.0
PUNCH = "417\t2026-03-04 08:00:00\t1\t0\t1\t0\n"
DEVICES: list[dict[str, Any]] = [
    {"device_id": "USB-1", "mode": "file", "adapter": "attlog", "installed_on": "2026-01-01"},
    {"device_id": "SERVER", "mode": "file", "adapter": "csv", "options": {"user_width": 4}},
    {"device_id": "DOOR-1", "via": "SERVER", "serial": "S1", "installed_on": "2026-03-01"},
    {"device_id": "DOOR-2", "via": "SERVER", "serial": "S2", "disabled": True},
    {"device_id": "PUSHES", "serial": "Z1", "adapter": "hfsecurity", "options": {"of": "another adapter"}},
]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    path = tmp_path / "devices.yaml"
    path.write_text(yaml.safe_dump([{"site": "HQ", "timezone": "Asia/Riyadh", **device} for device in DEVICES]))
    return Registry(path)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSE", 0)
    monkeypatch.setattr(folder, "LOOK_SECONDS", 0.001)


class Kafka:
    """What was acknowledged. It is silent for the next `silent` calls."""

    def __init__(self, silent: int = 0) -> None:
        self.events: list[RawEvent] = []
        self.letters: list[DeadLetter] = []
        self.silent = silent

    async def publish(
        self, events: Sequence[RawEvent], dead_letters: Sequence[DeadLetter], others: Sequence[OtherEvent]
    ) -> None:
        assert not others
        if self.silent:
            self.silent -= 1
            raise KafkaUnavailable("silent")
        self.events.extend(events)
        self.letters.extend(dead_letters)


def stored(kafka: Kafka, wanted: Import) -> Tally:
    tally = Tally(FUTURE_TOLERANCE)
    asyncio.run(store(wanted, cast("Publisher", kafka), tally))
    return tally


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines))
    return path


class TestHowAFileIsRead:
    @pytest.mark.parametrize(
        ("name", "device", "profile", "adapter"),
        [
            ("a.csv", "USB-1", None, "attlog"),
            ("a.csv", "USB-1", "csv", "csv"),
            ("a.CSV", "PUSHES", None, "csv"),
            ("1_attlog.dat", "PUSHES", None, "attlog"),
            ("a.xls", "PUSHES", None, "xlsx"),
            ("a.xlsx", "PUSHES", "ivms", "xlsx"),
            ("a", "PUSHES", "biotime", "csv"),
        ],
    )
    def test_the_profile_says_it_then_the_entry_then_the_suffix(
        self, name: str, device: str, profile: str | None, adapter: str, registry: Registry
    ) -> None:
        assert prepare(Path(name), device, registry, (), profile=profile).adapter.name == adapter

    @pytest.mark.parametrize(
        ("name", "device", "profile"),
        [("a", "PUSHES", None), ("a.csv", "NOBODY", None), ("a.csv", "DOOR-2", None), ("a.csv", "PUSHES", "tarot")],
    )
    def test_what_nothing_says_is_an_error(
        self, name: str, device: str, profile: str | None, registry: Registry
    ) -> None:
        with pytest.raises(ConfigurationError):
            prepare(Path(name), device, registry, (), profile=profile)

    def test_options_are_of_an_entry_whose_files_are_read_and_what_is_given_counts_first(
        self, registry: Registry
    ) -> None:
        wanted = prepare(Path("a.csv"), "SERVER", registry, (), profile="biotime", date_format="dmy")
        assert wanted.device.options == {"user_width": 4, "profile": "biotime", "date_format": "dmy"}
        assert prepare(Path("a.csv"), "PUSHES", registry, ()).device.options == {}

    def test_serial_numbers_are_of_the_device_and_of_those_behind_it(self, registry: Registry) -> None:
        assert set(prepare(Path("a.csv"), "SERVER", registry, ()).terminals) == {"S1", "S2"}
        assert set(prepare(Path("a.csv"), "PUSHES", registry, ()).terminals) == {"Z1"}


class TestImport:
    def test_every_row_is_an_event_or_a_dead_letter_that_names_its_line(
        self, registry: Registry, tmp_path: Path
    ) -> None:
        path = write(tmp_path / "1_attlog.dat", PUNCH, "garbage\n", PUNCH)
        kafka = Kafka()
        tally = stored(kafka, prepare(path, "USB-1", registry, ()))
        assert (tally.rows, tally.events, tally.rejected) == (3, 2, 1)
        assert [event.device_id for event in kafka.events] == ["USB-1", "USB-1"]
        (letter,) = kafka.letters
        assert (letter.stage, letter.where, letter.key) == ("import", "file:1_attlog.dat:2", b"USB-1")

    def test_a_name_that_is_no_text_stops_nothing(self, registry: Registry, tmp_path: Path) -> None:
        path = write(tmp_path / os.fsdecode(b"caf\xe9.dat"), PUNCH, "garbage\n")
        kafka = Kafka()
        stored(kafka, prepare(path, "USB-1", registry, ()))
        assert ("x-dead-letter-where", "file:caf\ufffd.dat:2".encode()) in kafka.letters[0].encode_headers()

    def test_a_file_again_has_the_same_ids(self, registry: Registry, tmp_path: Path) -> None:
        wanted = prepare(write(tmp_path / "a.dat", PUNCH), "USB-1", registry, ())
        kafka = Kafka()
        stored(kafka, wanted)
        stored(kafka, wanted)
        assert len({event.event_id for event in kafka.events}) == 1

    def test_a_punch_has_one_id_in_whatever_file_it_stands(self, registry: Registry, tmp_path: Path) -> None:
        kafka = Kafka()
        table = write(tmp_path / "a.csv", "No.,Date/Time,Status\n417,2026-03-04 08:00:00,C/In\n")
        for path in (write(tmp_path / "a.dat", PUNCH), table):
            stored(kafka, prepare(path, "PUSHES", registry, ()))
        assert len({event.event_id for event in kafka.events}) == 1

    def test_kafka_is_tried_again_and_nothing_is_left_out(self, registry: Registry, tmp_path: Path) -> None:
        lines = [f"{number}\t2026-03-04 08:00:00\n" for number in range(2 * BATCH + 1)]
        kafka = Kafka(silent=TRIES - 1)
        tally = stored(kafka, prepare(write(tmp_path / "a.dat", *lines), "USB-1", registry, ()))
        assert [int(event.device_user_id) for event in kafka.events] == list(range(2 * BATCH + 1))
        assert tally.events == len(lines)

    def test_a_kafka_that_stays_silent_is_an_error_and_nothing_counts_as_stored(
        self, registry: Registry, tmp_path: Path
    ) -> None:
        wanted = prepare(write(tmp_path / "a.dat", PUNCH), "USB-1", registry, ())
        tally = Tally(FUTURE_TOLERANCE)
        with pytest.raises(KafkaUnavailable):
            asyncio.run(store(wanted, cast("Publisher", Kafka(silent=TRIES)), tally))
        assert tally.rows == 0

    def test_what_stood_before_a_break_is_stored(self, registry: Registry, tmp_path: Path) -> None:
        path = write(tmp_path / "a.dat", PUNCH, "9" * 100_000)
        kafka = Kafka()
        with pytest.raises(UnreadableFile, match="line 2"):
            stored(kafka, prepare(path, "USB-1", registry, ()))
        assert len(kafka.events) == 1

    def test_times_that_cannot_be_true_are_counted(self, registry: Registry, tmp_path: Path) -> None:
        times = ["2026-03-04 08:00:00", "2026-03-99 08:00:00", "2000-01-01 00:00:00", "2999-01-01 00:00:00"]
        path = write(tmp_path / "a.dat", *(f"1\t{time}\n" for time in times))
        tally = Tally(FUTURE_TOLERANCE)
        asyncio.run(read(prepare(path, "USB-1", registry, ()), tally))
        assert tally.events == 4
        assert tally.implausible == dict.fromkeys(TimeFault, 1)

    def test_a_row_of_a_terminal_is_held_to_when_that_terminal_was_installed(
        self, registry: Registry, tmp_path: Path
    ) -> None:
        row = "user,time,serial\n417,2026-02-01 08:00:00,S1\n417,2026-02-01 08:00:00,\n"
        wanted = prepare(write(tmp_path / "a.csv", row), "SERVER", registry, ())
        tally = Tally(FUTURE_TOLERANCE)
        asyncio.run(read(wanted, tally))
        assert (tally.events, tally.implausible) == (2, {TimeFault.BEFORE_INSTALLED: 1})


class TestCommand:
    @pytest.fixture(autouse=True)
    def user_map(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What Kafka has of users: number 7, and nobody else."""

        async def read_user_map(_: object) -> UserMap:
            users = UserMap()
            known = UserMapping("*", "7", "HR-EMP-7", "csv")
            users.apply(known.key, known.encode())
            return users

        monkeypatch.setattr(operation, "read_user_map", read_user_map)

    def test_a_dry_run_names_those_whom_nobody_is_mapped_to(
        self, registry: Registry, tmp_path: Path, capsys: Any
    ) -> None:
        path = write(tmp_path / "a.dat", PUNCH, PUNCH.replace("417", "7"))
        assert "1 users are not in the user map: 417" in self.run([path], registry, capsys)[1]

    def test_a_dry_run_does_without_kafka_and_says_so(
        self, registry: Registry, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def read_user_map(_: object) -> UserMap:
            raise KafkaUnavailable("no brokers")

        monkeypatch.setattr(operation, "read_user_map", read_user_map)
        status, shown = self.run([write(tmp_path / "a.dat", PUNCH)], registry, capsys)
        assert status == 0
        assert "Users were not looked up" in shown

    def run(self, paths: Sequence[Path], registry: Registry, capsys: Any, **options: Any) -> tuple[int, str]:
        prepared = [prepare(path, "USB-1", registry, ()) for path in paths]
        status = imports.run(prepared, dry_run=True, **{"as_json": False, **options})
        return status, capsys.readouterr().out

    def test_a_dry_run_shows_rows_and_counts(self, registry: Registry, tmp_path: Path, capsys: Any) -> None:
        path = write(tmp_path / "a.dat", PUNCH, "garbage\n")
        status, shown = self.run([path], registry, capsys)
        assert status == 1
        assert "417" in shown
        assert "a.dat: 2 rows, 1 punches, 1 rejected" in shown

    def test_json_has_the_same(self, registry: Registry, tmp_path: Path, capsys: Any) -> None:
        status, shown = self.run([write(tmp_path / "a.dat", PUNCH)], registry, capsys, as_json=True)
        (found,) = orjson.loads(shown)
        assert status == 0
        assert (found["rows"], found["events"], found["rejected"], found["error"]) == (1, 1, 0, None)
        assert found["first"][0]["utc"] == "2026-03-04T05:00:00Z"

    def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_it(
        self, registry: Registry, tmp_path: Path, capsys: Any
    ) -> None:
        paths = [write(tmp_path / "bad.dat", "bad\n"), write(tmp_path / "good.dat", PUNCH)]
        status, shown = self.run(paths, registry, capsys)
        assert status == 2
        assert "good.dat: 1 rows, 1 punches" in shown

    @pytest.mark.parametrize(
        "arguments", [[], ["a.dat", "--watch", "."], ["--watch", ".", "--dry-run"], ["--watch", ".", "--json"]]
    )
    def test_either_files_or_a_folder_are_imported(self, arguments: list[str]) -> None:
        result = CliRunner().invoke(app, ["import", "--device", "USB-1", *arguments])
        assert isinstance(result.exception, ConfigurationError)
        assert "either files or --watch" in str(result.exception)


class TestFolder:
    @pytest.fixture
    def clock(self) -> list[float]:
        return [0.0]

    @pytest.fixture
    def watched(self, tmp_path: Path, clock: list[float]) -> Folder:
        return Folder(tmp_path, lambda: clock[0])

    def test_a_file_is_handed_out_when_it_has_not_changed_for_a_while(
        self, watched: Folder, clock: list[float], tmp_path: Path
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

    def test_a_marker_says_at_once_that_a_file_is_complete(self, watched: Folder, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv")
        marker = write(tmp_path / "a.csv.done")
        assert watched.ready() == [path]
        watched.done(path)
        assert not marker.exists()

    def test_no_marker_is_left_behind_for_the_next_file_of_that_name(
        self, watched: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    def test_what_is_still_written_is_left_alone(
        self, name: str, watched: Folder, clock: list[float], tmp_path: Path
    ) -> None:
        write(tmp_path / name)
        watched.ready()
        clock[0] += 2 * SETTLED_SECONDS
        assert watched.ready() == []

    def test_links_and_directories_are_left_alone(self, watched: Folder, clock: list[float], tmp_path: Path) -> None:
        (tmp_path / "a.csv").symlink_to(write(tmp_path / ".elsewhere"))
        (tmp_path / "b.csv").mkdir()
        watched.ready()
        clock[0] += 2 * SETTLED_SECONDS
        assert watched.ready() == []

    def test_nothing_is_ever_overwritten(self, watched: Folder, tmp_path: Path) -> None:
        places = [watched.done(write(tmp_path / "a.csv", text)) for text in ("one", "two", "three")]
        assert [place.name for place in places] == ["a.csv", "a-1.csv", "a-2.csv"]
        assert [place.read_text() for place in places] == ["one", "two", "three"]
        places = [watched.failed(write(tmp_path / "a.csv", text), f"not {text}") for text in ("one", "two")]
        assert [place.read_text() for place in places] == ["one", "two"]
        texts = [place.with_name(f"{place.name}.error.txt").read_text() for place in places]
        assert texts == ["not one\n", "not two\n"]

    def test_an_error_text_that_was_left_behind_is_not_overwritten(self, watched: Folder, tmp_path: Path) -> None:
        left = write(tmp_path / "failed" / "a.csv.error.txt", "before")
        assert watched.failed(write(tmp_path / "a.csv"), "now").name == "a-1.csv"
        assert left.read_text() == "before"

    def test_a_directory_that_is_none_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="No such file"):
            Folder(tmp_path / "missing")

    def _watch(self, watched: Folder, take_in: Callable[[Path], None], until: Callable[[], bool]) -> None:
        async def taking(path: Path) -> None:
            take_in(path)

        async def scenario() -> None:
            task = asyncio.create_task(watch(watched, taking))
            async with asyncio.timeout(5):
                while not until():  # noqa: ASYNC110 - it waits for a file
                    await asyncio.sleep(0.001)
            task.cancel()

        asyncio.run(scenario())

    def test_a_file_is_taken_in_once_and_then_moved(self, watched: Folder, tmp_path: Path) -> None:
        write(tmp_path / "a.csv.done")
        write(tmp_path / "a.csv", "punches")
        taken: list[str] = []

        def take_in(path: Path) -> None:
            taken.append(path.read_text())

        self._watch(watched, take_in, (tmp_path / "done" / "a.csv").exists)
        assert taken == ["punches"]

    def test_a_file_that_cannot_be_read_is_set_aside_and_the_next_is_read(
        self, watched: Folder, tmp_path: Path
    ) -> None:
        for name in ("a.csv", "b.csv", "c.csv"):
            write(tmp_path / f"{name}.done")
            write(tmp_path / name)

        def take_in(path: Path) -> None:
            if path.name == "a.csv":
                raise UnreadableFile("a.csv: broken")
            if path.name == "b.csv":
                raise ZeroDivisionError

        self._watch(watched, take_in, (tmp_path / "done" / "c.csv").exists)
        assert (tmp_path / "failed" / "a.csv.error.txt").read_text() == "a.csv: broken\n"
        assert "ZeroDivisionError" in (tmp_path / "failed" / "b.csv.error.txt").read_text()

    def test_a_file_that_kafka_does_not_take_stays_and_is_tried_again(self, watched: Folder, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv")
        write(tmp_path / "a.csv.done")
        tries: list[bool] = []

        def take_in(path: Path) -> None:
            tries.append(path.exists())
            if len(tries) < 3:
                raise KafkaUnavailable("silent")

        self._watch(watched, take_in, (tmp_path / "done" / "a.csv").exists)
        assert tries == [True] * 3
        assert not path.exists()

    def test_a_file_that_cannot_be_moved_is_not_read_again(
        self, watched: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        self._watch(watched, taken.append, lambda: not (tmp_path / "a.csv").exists())
        assert taken == [tmp_path / "a.csv"]
        assert not refusals
        assert [place.name for place in (tmp_path / "done").iterdir()] == ["a.csv"]

    def test_a_file_that_grew_while_it_was_read_is_read_again(self, watched: Folder, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "one")
        write(tmp_path / "a.csv.done")
        taken: list[str] = []

        def take_in(path: Path) -> None:
            taken.append(path.read_text())
            if len(taken) == 1:
                path.write_text("one, two")
                os.utime(path, ns=(1, 1))

        self._watch(watched, take_in, (tmp_path / "done" / "a.csv").exists)
        assert taken == ["one", "one, two"]
        assert not path.exists()
