"""The units of `deploy/systemd/`: they run every stage, and systemd finds nothing wrong with them."""

import os
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
import typer

from attendance.health import PORTS
from attendance.metric_table import TABLE
from punchstream.cli import app
from punchstream.stages import CONSOLE

UNITS = Path(__file__).parents[3] / "deploy" / "systemd"
COMMON = UNITS / "punchstream-.service.d" / "common.conf"
SERVICES = sorted(UNITS.glob("*.service"))
TIMERS = sorted(UNITS.glob("*.timer"))
STAGES = {stage for metric in TABLE.values() for stage in metric.stages} | {CONSOLE}
COMMAND = "/opt/punchstream/bin/punchstream"
MOST_EXPOSED = 15
"""Tenths: 100 is a service without any protection."""


class Unit(ConfigParser):
    """A file of systemd, in which a name may stand more than once: the last one counts here."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, interpolation=None)
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read_string(path.read_text())


def stages() -> dict[str, Unit]:
    """The units that stay up, by the stage that they run."""
    units = {path: Unit(path) for path in SERVICES}
    return {
        path.stem.removeprefix("punchstream-"): unit
        for path, unit in units.items()
        if unit["Service"]["Type"] == "exec"
    }


def test_each_stage_has_a_unit_that_runs_it_for_ever() -> None:
    assert set(stages()) == STAGES
    for stage, unit in stages().items():
        assert unit["Service"]["ExecStart"] == f"{COMMAND} {stage}"
        # After five ends within ten seconds systemd would give it up.
        assert unit["Unit"]["StartLimitIntervalSec"] == "0"
        assert unit["Service"]["Restart"] == "always"
        assert unit["Install"]["WantedBy"] == unit["Unit"]["PartOf"] == "punchstream.target"


def test_each_stage_has_the_port_for_metrics_that_it_has_by_itself() -> None:
    ports = {stage: unit["Service"]["Environment"] for stage, unit in stages().items()}
    assert ports == {stage: f"METRICS_PORT={port}" for stage, port in PORTS.items()}
    assert len(set(PORTS.values())) == len(PORTS)


def test_every_timer_has_its_command_and_runs_what_was_missed() -> None:
    timed = {path.stem for path in SERVICES} - {f"punchstream-{stage}" for stage in stages()}
    assert {path.stem for path in TIMERS} == timed
    for path in TIMERS:
        assert Unit(path)["Timer"]["Persistent"] == "yes"


def test_every_command_that_a_unit_runs_is_there_with_its_options() -> None:
    root = typer.main.get_command(app)
    for path in SERVICES:
        line = Unit(path)["Service"]["ExecStart"]
        found = re.search(rf"{COMMAND} ([\w-]+)(.*)", line)
        assert found is not None, path
        command = root.get_command(typer.Context(root), found[1])  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r" (--[\w-]+)(?= |$)", found[2].partition('"')[0])) <= known, path


def test_what_protects_the_machine_stands_in_one_file() -> None:
    common = set(Unit(COMMON)["Service"])
    assert not [path for path in SERVICES if common & set(Unit(path)["Service"])]


@pytest.fixture
def installed(systemd: None, tmp_path: Path) -> Path:
    """The units as systemd looks at them, with a command that this machine has."""
    shutil.copytree(UNITS, tmp_path / "units")
    for path in (tmp_path / "units").glob("*.service"):
        path.write_text(path.read_text().replace(COMMAND, "/bin/true"))
    return tmp_path / "units"


def analyze(installed: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        # The colon has systemd look where its own units are, too.
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{installed}:"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_systemd_finds_nothing_wrong(installed: Path) -> None:
    names = [str(path) for path in installed.iterdir() if path.suffix in {".service", ".timer", ".target"}]
    answer = analyze(installed, "verify", "--man=no", *names)
    assert (answer.returncode, answer.stderr, len(names)) == (0, "", len(SERVICES) + len(TIMERS) + 1)


def test_systemd_would_find_something_wrong(installed: Path) -> None:
    path = installed / "punchstream-push.service"
    path.write_text(path.read_text().replace("TimeoutStopSec", "TimeoutStoppSec"))
    assert "TimeoutStoppSec" in analyze(installed, "verify", "--man=no", str(path)).stderr


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_no_unit_may_do_more_than_it_has_to(installed: Path, path: Path) -> None:
    asked = ("security", "--offline=true", f"--threshold={MOST_EXPOSED}", path.name)
    answer = analyze(installed, *asked)
    assert answer.returncode == 0, answer.stdout
    shutil.rmtree(installed / COMMON.parent.name)
    assert analyze(installed, *asked).returncode == 1
