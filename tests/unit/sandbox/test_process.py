import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sandbox.process import ChildProcess, ProcessFailed

FOREVER = ["sleep", "600"]
STUBBORN = ["sh", "-c", "trap '' TERM; echo deaf; while true; do sleep 600; done"]


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "child.log"


@pytest.fixture
def child(log_file: Path) -> Iterator[ChildProcess]:
    with ChildProcess(FOREVER, log_file=log_file) as process:
        yield process


def ended(process: psutil.Process) -> bool:
    """An orphan stays a zombie where nobody collects it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_until_ended(process: psutil.Process) -> None:
    deadline = time.monotonic() + 10
    while not ended(process):
        assert time.monotonic() < deadline, f"{process} is still there"
        time.sleep(0.01)


def test_what_the_process_writes_is_in_its_log(log_file: Path) -> None:
    with ChildProcess(["sh", "-c", "echo out; echo err >&2; exec sleep 600"], log_file=log_file) as process:
        process.wait_until_ready(lambda: process.log_tail() == "out\nerr", timeout=10)
        assert process.log_tail(1) == "err"


def test_a_process_that_ends_early_is_reported_with_its_log(log_file: Path) -> None:
    process = ChildProcess(["sh", "-c", "echo no such thing; exit 3"], log_file=log_file)
    with process, pytest.raises(ProcessFailed, match=r"sh ended with status 3; .*\nno such thing"):
        process.wait_until_ready(lambda: False, timeout=10)


def test_a_program_that_does_not_exist_is_reported(log_file: Path) -> None:
    with (
        ChildProcess(["no-such-program"], log_file=log_file) as process,
        pytest.raises(ProcessFailed, match="No such file"),
    ):
        process.wait_until_ready(lambda: False, timeout=10)


def test_a_process_that_is_never_ready_is_reported(child: ChildProcess) -> None:
    with pytest.raises(ProcessFailed, match=r"sleep was not ready after 0\.1 s"):
        child.wait_until_ready(lambda: False, timeout=0.1)
    assert child.running


def test_a_process_gets_the_environment_it_is_given_and_not_ours(
    log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "1")
    process = ChildProcess(["/usr/bin/env"], log_file=log_file, env={"ITS": "2"})
    with process:
        process.wait_until_ready(lambda: not process.running, timeout=10)
    assert "ITS=2" in process.log_tail()
    assert "OURS" not in process.log_tail()


def test_a_process_runs_in_a_group_of_its_own(child: ChildProcess) -> None:
    assert os.getpgid(child.pid) == child.pid != os.getpgrp()


def test_a_process_cannot_be_started_twice(child: ChildProcess) -> None:
    with pytest.raises(ProcessFailed, match="running already"):
        child.start()


def test_a_stopped_process_can_be_started_again_and_its_log_goes_on(log_file: Path) -> None:
    process = ChildProcess(["sh", "-c", "echo hello; exec sleep 600"], log_file=log_file)
    with process:
        process.wait_until_ready(lambda: process.log_tail() == "hello", timeout=10)
    assert not process.running
    with process:
        process.wait_until_ready(lambda: process.log_tail() == "hello\nhello", timeout=10)


def test_stopping_what_does_not_run_does_nothing(log_file: Path) -> None:
    process = ChildProcess(FOREVER, log_file=log_file)
    process.stop()
    process.kill()
    with pytest.raises(ProcessFailed, match="not running"):
        _ = process.pid


def test_when_pause_returns_the_process_has_stopped_each_time(child: ChildProcess) -> None:
    started = psutil.Process(child.pid)
    for _ in range(20):
        child.pause()
        assert started.status() == psutil.STATUS_STOPPED
        child.resume()


def test_a_process_that_has_ended_can_be_paused_without_waiting_for_ever(child: ChildProcess) -> None:
    os.kill(child.pid, signal.SIGKILL)

    child.pause()

    assert not child.running


def test_a_paused_process_stops_at_once(child: ChildProcess) -> None:
    started = psutil.Process(child.pid)
    child.pause()
    child.stop()
    assert ended(started)


def test_a_process_that_ignores_the_request_to_end_is_killed_with_all_it_started(log_file: Path) -> None:
    process = ChildProcess(STUBBORN, log_file=log_file, stop_seconds=0.1)
    with process:
        process.wait_until_ready(lambda: process.log_tail() == "deaf", timeout=10)
        leader = psutil.Process(process.pid)
        process.wait_until_ready(lambda: len(leader.children()) == 1, timeout=10)
        [grandchild] = leader.children()
    wait_until_ended(leader)
    wait_until_ended(grandchild)


def test_a_process_outlives_the_thread_that_started_it(log_file: Path) -> None:
    process = ChildProcess(["sh", "-c", "echo up; exec sleep 600"], log_file=log_file)
    starter = threading.Thread(target=process.start)
    starter.start()
    starter.join()
    with pytest.raises(ProcessFailed, match="was not ready"):
        process.wait_until_ready(lambda: False, timeout=0.2)
    process.stop()


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux ends a process with its parent")
def test_a_process_ends_with_a_parent_that_is_killed(log_file: Path) -> None:
    code = f"""
from pathlib import Path
from sandbox.process import ChildProcess
child = ChildProcess({FOREVER}, log_file=Path({str(log_file)!r}))
child.start()
child.wait_until_ready(lambda: Path(f"/proc/{{child.pid}}/comm").read_text() == "sleep\\n", timeout=10)
print(child.pid, flush=True)
child.wait_until_ready(lambda: False, timeout=600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        lines = iter(parent.stdout.readline, "")
        child = psutil.Process(int(next(line for line in lines if line.strip().isdigit())))
        parent.send_signal(signal.SIGKILL)
    wait_until_ended(child)
