"""A run of the tests that somebody ends leaves no process behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from eventually import eventually

TESTS = Path(__file__).parents[2]
STARTS_A_PROCESS = """
import signal
import subprocess
import time

import pytest


@pytest.fixture
def process():
    with subprocess.Popen(["sleep", "60"]) as started:
        yield started
        started.kill()
        open("stopped", "w").close()


def test_that_takes_long(process):
    interrupt = signal.getsignal(signal.SIGTERM)

    def note(*given):
        open("asked", "w").close()
        interrupt(*given)

    signal.signal(signal.SIGTERM, note)
    open("started", "w").close()
    time.sleep(60)
"""


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["one process", "a process of its own for tests"])
def test_sigterm_stops_what_a_test_has_started(options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(STARTS_A_PROCESS)
    path = os.pathsep.join(map(str, (TESTS, TESTS / "support", TESTS.parent)))
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-c", os.devnull, *options]
    with subprocess.Popen(
        [*command, "--rootdir", tmp_path, "test_it.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        eventually((tmp_path / "started").exists, within=60, wanted="the test has begun")
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    # Without it the process that has the test would be killed a few seconds later, whatever it has to stop yet.
    assert (tmp_path / "asked").exists(), said
    assert (tmp_path / "stopped").exists(), said
