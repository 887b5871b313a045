"""`punchstream fleet apply --watch`: a change is written, and what is wrong or gone changes nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from memory_log import MemoryLog

from attendance.errors import ConfigurationError, KafkaUnavailable
from punchstream.commands import fleet as module


class Ended(Exception):
    """Nobody looks any more."""


class Watching:
    """The command, and what happens before each of its looks."""

    def __init__(self, log: MemoryLog, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.log = log
        self.path = path
        self._capsys = capsys
        self._steps: Iterator[Callable[[], object] | None] = iter(())

    def put(self, *devices: str, timezone: str = "UTC") -> None:
        entry = {"site": "hq", "timezone": timezone, "adapter": "zkteco_adms"}
        entries = [entry | {"device_id": each, "serial": f"S{each}"} for each in devices]
        new = self.path.with_suffix(".new")
        new.write_text(yaml.safe_dump(entries))
        new.rename(self.path)

    def sleep(self, _: float) -> None:
        step = next(self._steps, Ended)
        if step is Ended:
            raise Ended
        if step is not None:
            step()

    def run(self, *steps: Callable[[], object] | None, force: bool = False) -> tuple[list[str], list[str]]:
        """What is said on standard output and on standard error after the first writing."""
        self._steps = iter(steps)
        with pytest.raises(Ended):
            module.apply([self.path], watch=True, force=force)
        said = self._capsys.readouterr()
        return said.out.splitlines()[4:], said.err.splitlines()

    def devices(self) -> str:
        seen = {(each.key or b""): each.value for each in self.log.records("fleet")}
        return "".join(sorted(key.split(b'"')[3].decode() for key, value in seen.items() if value is not None))


@pytest.fixture
def watching(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Watching:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    watching = Watching(log, tmp_path / "fleet.yaml", capsys)
    monkeypatch.setattr(module.time, "sleep", watching.sleep)
    watching.put("A", "B", "C")
    return watching


def test_a_changed_file_is_written_and_an_unchanged_one_is_not(watching: Watching) -> None:
    out, err = watching.run(lambda: watching.put("A", "B", "C", "D"), None, None, None)
    assert (out, err) == (["+ device D", "1 change written, of the source file."], [])
    assert (watching.devices(), len(watching.log.records("fleet"))) == ("ABCD", 4)


def test_a_wrong_file_is_said_once_and_changes_nothing_and_a_right_one_counts_again(watching: Watching) -> None:
    out, err = watching.run(
        lambda: watching.put("A", "B", "C", "D", timezone="Mars"),
        None,
        None,
        lambda: watching.put("A", "B", "C", "E"),
        None,
    )
    assert out == ["+ device E", "1 change written, of the source file."]
    assert [line.split(": ")[1:3] for line in err] == [[name, "timezone"] for name in "ABCD"]
    assert watching.devices() == "ABCE"


def test_a_file_that_vanishes_is_said_and_removes_nothing(watching: Watching) -> None:
    out, err = watching.run(watching.path.unlink, *[None] * 100)
    assert (out, watching.devices()) == ([], "ABC")
    assert err == [f"PATH: {watching.path}: there is no such file, or a link to none; nothing is removed"]


def test_what_kafka_does_not_take_is_tried_again_and_said_once(watching: Watching) -> None:
    def away() -> None:
        watching.log.refuses = KafkaUnavailable("127.0.0.1:1 does not answer")
        watching.put("A", "B", "C", "D")

    def back() -> None:
        watching.log.refuses = None

    out, err = watching.run(away, None, None, None, back, None)
    assert (out, err) == (["+ device D", "1 change written, of the source file."], ["127.0.0.1:1 does not answer"])
    assert watching.devices() == "ABCD"


def test_what_is_wrong_at_the_start_ends_the_command(watching: Watching) -> None:
    watching.put("A", timezone="Mars")
    with pytest.raises(ConfigurationError, match="Mars"):
        module.apply([watching.path], watch=True)
    with pytest.raises(ConfigurationError, match="--watch"):
        module.apply([watching.path], watch=True, as_csv=True)
