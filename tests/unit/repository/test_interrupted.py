"""A run of the tests that somebody ends leaves no process behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
STARTS_A_PROCESS = """
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
    open("started", "w").close()
    print(flush=True)
    time.sleep(60)
"""


def test_sigterm_stops_what_a_test_has_started(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(STARTS_A_PROCESS)
    path = os.pathsep.join(map(str, (TESTS, TESTS / "support", TESTS.parent)))
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-c", os.devnull, "-s"]
    with subprocess.Popen(
        [*command, "--rootdir", tmp_path, "test_it.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        assert run.stdout is not None
        said = []
        for line in run.stdout:
            said.append(line)
            if (tmp_path / "started").exists():
                break
        assert (tmp_path / "started").exists(), "".join(said)
        run.send_signal(signal.SIGTERM)
        rest, _ = run.communicate(timeout=60)
    assert "KeyboardInterrupt" in rest
    assert (tmp_path / "stopped").exists(), rest
