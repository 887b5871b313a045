"""Fleet files that are watched: when a change of them is applied, and what takes nothing away."""

import os
from pathlib import Path

import pytest

from operations.fleet_watch import FleetWatch

HEADER = "device_id,site,timezone,adapter,serial\n"


class Watched:
    """A folder of two tables that were applied, looked at once a second by a clock of its own."""

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        self.folder = folder
        self.now = 0.0
        self.put("hq.csv", "A", "B", "C", "D")
        self.put("north.csv", "N")
        self._watch = FleetWatch([folder], force=force, clock=lambda: self.now)
        assert self._names(self._watch.begin().entries) == "A B C D N"
        self.take()

    def put(self, name: str, *devices: str, end: str = "\n") -> None:
        path = self.folder / name
        path.write_text(HEADER + "\n".join(f"{each},hq,UTC,zkteco_adms,S{each}" for each in devices) + end)
        # Whatever the granularity of the file system's clock is.
        os.utime(path, ns=(0, round(self.now * 1e9) + 1))

    def look(self, times: int = 1) -> list[str]:
        """What was due at so many looks, and what was said."""
        seen = []
        for _ in range(times):
            self.now += 1
            found, said = self._watch.look()
            seen += [] if found is None else [" ".join([*found.problems, self._names(found.entries)])]
            seen += [] if said is None else [said]
        return seen

    def take(self, *, applied: bool = True) -> None:
        self._watch.take(applied=applied)

    def _names(self, entries: object) -> str:
        return " ".join(each.name for each in entries)  # type: ignore[attr-defined]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_change_is_due_at_the_second_look_at_it_and_then_not_again(watched: Watched) -> None:
    assert watched.look(3) == []
    watched.put("hq.csv", "A", "B", "C", "D", "E")
    assert watched.look() == []
    assert watched.look() == ["A B C D E N"]
    watched.take()
    assert watched.look(3) == []
    watched.put("south.csv", "S")
    assert watched.look(2) == ["A B C D E N S"]


def test_what_is_not_taken_stays_due(watched: Watched) -> None:
    watched.put("south.csv", "S")
    assert watched.look(4) == ["A B C D N S"] * 3


def test_a_change_that_goes_on_is_waited_for(watched: Watched) -> None:
    for number in range(5):
        watched.put("south.csv", f"S{number}")
        assert watched.look() == []
    assert watched.look() == ["A B C D N S4"]


@pytest.mark.parametrize(("left", "seconds"), [("BCD", 10), ("ABC", 60), ("D", 60)])
def test_what_lacks_devices_may_be_half_written_and_has_to_stay_so(watched: Watched, left: str, seconds: int) -> None:
    watched.put("hq.csv", *left)
    said = f"The files may be half-written; they are applied once they stay so for {seconds} s"
    assert watched.look(seconds) == [said]
    assert watched.look() == [" ".join([*left, "N"])]


def test_a_device_that_went_to_another_file_is_not_missing(watched: Watched) -> None:
    watched.put("hq.csv", "B", "C", "D", "E")
    watched.put("north.csv", "N", "A")
    assert watched.look(2) == ["B C D E N A"]


def test_what_cannot_be_read_is_due_with_what_is_wrong_and_the_next_change_is_compared_with_what_was(
    watched: Watched,
) -> None:
    (watched.folder / "hq.csv").write_text("colour\nred\n")
    assert watched.look(2)[0].startswith(f"{watched.folder}/hq.csv:1: no such column: 'colour'")
    watched.take(applied=False)
    assert watched.look(3) == []
    watched.put("hq.csv", "B", "C", "D")
    assert watched.look(2) == ["The files may be half-written; they are applied once they stay so for 10 s"]


def test_a_file_that_vanishes_is_said_once_and_takes_nothing_away(watched: Watched) -> None:
    (watched.folder / "north.csv").unlink()
    gone = f"{watched.folder}/north.csv: gone. Nothing is written until it is there again; --force removes what it had"
    assert watched.look(100) == [gone]
    watched.put("hq.csv", "A", "B", "C", "D", "E")
    assert watched.look(5) == [gone], "another change does not take it away either"
    watched.put("north.csv", "N")
    assert watched.look(2) == ["A B C D E N"]


def test_a_folder_that_vanishes_takes_nothing_away(watched: Watched) -> None:
    away = watched.folder.with_name("away")
    watched.folder.rename(away)
    [said] = watched.look(100)
    assert said.endswith("; nothing is removed")
    away.rename(watched.folder)
    assert watched.look(5) == []


def test_with_force_what_a_file_had_goes_with_it(tmp_path: Path) -> None:
    watched = Watched(tmp_path, force=True)
    (tmp_path / "north.csv").unlink()
    assert watched.look(2) == ["A B C D"]
    watched.take()
    (tmp_path / "hq.csv").unlink()
    [said] = watched.look(10)
    assert said.endswith("has no .yaml, .csv or .xlsx file; nothing is removed"), "an empty folder may be no folder"
