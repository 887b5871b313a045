"""A file's rows into Kafka: how a file is read, and what is sent of it."""

import asyncio
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from importing import PUNCH, fleet_file, write

from attendance.errors import ConfigurationError, KafkaUnavailable, UnreadableFile
from attendance.plausibility import TimeFault
from attendance.records.dead_letter import DeadLetter
from attendance.records.other_event import OtherEvent
from attendance.records.raw_event import RawEvent
from attendance.records.unread import UnreadRequest
from attendance.registry import Registry
from producers.devices.contract import FileAdapter, Row
from producers.files import importer as files
from producers.files.importer import BATCH, TRIES, Import, Tally, prepare, read, store
from producers.publisher import Publisher

FUTURE_TOLERANCE = 300.0


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return fleet_file(tmp_path)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSE", 0)


class Kafka:
    """What was acknowledged. It is silent for the next `silent` calls."""

    def __init__(self, silent: int = 0) -> None:
        self.events: list[RawEvent] = []
        self.letters: list[DeadLetter] = []
        self.unread: list[UnreadRequest] = []
        self.silent = silent

    async def publish(
        self,
        events: Sequence[RawEvent],
        dead_letters: Sequence[DeadLetter],
        others: Sequence[OtherEvent],
        unread: Sequence[UnreadRequest] = (),
    ) -> None:
        assert not others
        if self.silent:
            self.silent -= 1
            raise KafkaUnavailable("silent")
        self.events.extend(events)
        self.letters.extend(dead_letters)
        self.unread.extend(unread)


def stored(kafka: Kafka, wanted: Import) -> Tally:
    tally = Tally(FUTURE_TOLERANCE)
    asyncio.run(store(wanted, cast("Publisher", kafka), tally))
    return tally


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
        lines = [f"{number}\t2026-03-04 08:00:00\n" for number in range(1, 2 * BATCH + 2)]
        kafka = Kafka(silent=TRIES - 1)
        tally = stored(kafka, prepare(write(tmp_path / "a.dat", *lines), "USB-1", registry, ()))
        assert [int(event.device_user_id) for event in kafka.events] == list(range(1, 2 * BATCH + 2))
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

    @pytest.mark.parametrize("look", [stored, lambda _, wanted: asyncio.run(read(wanted, Tally(FUTURE_TOLERANCE)))])
    def test_rows_that_were_read_while_the_file_changed_are_not_believed(
        self, look: Callable[[Kafka, Import], object], registry: Registry, tmp_path: Path
    ) -> None:
        path = write(tmp_path / "a.dat", *[PUNCH] * BATCH, "41")
        wanted = prepare(path, "USB-1", registry, ())
        rows = wanted.adapter.rows

        def growing(*given: Any) -> Iterator[Row]:
            for number, row in enumerate(rows(*given), start=1):
                if number > BATCH:
                    path.write_text(path.read_text() + "7\t2026-03-04 08:00:00\n")
                yield row

        kafka = Kafka()
        with pytest.raises(UnreadableFile, match="changed while it was read"):
            look(kafka, dataclasses.replace(wanted, adapter=cast("FileAdapter", SimpleNamespace(rows=growing))))
        assert not kafka.letters

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

    def test_several_punches_of_a_row_count_as_one_row(self, registry: Registry, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "user,time\n", "1,2026-03-04 08:00 17:00\n", "Total,1\n")
        kafka = Kafka()
        tally = stored(kafka, prepare(path, "PUSHES", registry, (), options={"several_times": True}))
        assert (tally.rows, tally.events, tally.ignored, tally.failed) == (2, 2, 1, 0)
        assert len({event.event_id for event in kafka.events}) == 2
