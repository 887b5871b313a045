"""Child processes that never outlive the process that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from attendance.errors import PunchstreamError

log = structlog.get_logger(__name__)

# A launcher rather than `preexec_fn`, which is unsafe and deprecated in a process that has threads. The parent may
# die before prctl() takes effect, hence the look at getppid() after it.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, command = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("The parent process is gone.")
os.execvp(command[0], command)
"""
_POLL_SECONDS = 0.02


class ProcessFailed(PunchstreamError):
    """A child process ended, or did not become ready in time; the message carries the tail of its log."""


class ChildProcess:
    """One child process in its own process group, with its output in a log file.

    May be started again after it ended. As a context manager it runs from entry to exit. Not safe for use by
    several threads at once, but it may be started in one thread and stopped in another.

    On Linux the kernel kills the process when this interpreter ends, however it ends; elsewhere `stop` has to be
    called.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log_file: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_seconds: float = 10.0,
    ) -> None:
        """Nothing is started yet.

        Args:
            command: The program and its arguments.
            log_file: Gets standard output and standard error; appended to, so that it covers restarts.
            env: The environment of the process, instead of that of this one.
            cwd: Its current folder, instead of that of this process.
            stop_seconds: How long `stop` waits after SIGTERM before it kills.
        """
        self.log_file = log_file
        self._command = [str(part) for part in command]
        self._env = env
        self._cwd = cwd
        self._stop_seconds = stop_seconds
        self._popen: subprocess.Popen[bytes] | None = None
        # Linux ties the death signal to the thread that forked, not to its process. This one lives as long as the
        # object does, whichever short-lived thread calls `start`.
        self._forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="child-process")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def name(self) -> str:
        """The program's file name."""
        return Path(self._command[0]).name

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group.

        Raises:
            ProcessFailed: It was not started, or was stopped.
        """
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether the process exists; a paused one does."""
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start the process; returns before it is ready for anything.

        Raises:
            ProcessFailed: It is running already.
        """
        if self.running:
            raise ProcessFailed(f"{self.name} is running already")
        launcher = [sys.executable, "-ISc", _LAUNCHER, str(os.getpid()), *self._command]
        with self.log_file.open("ab") as output:
            self._popen = self._forker.submit(
                subprocess.Popen[bytes],
                launcher,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                # Ctrl-C in a terminal goes to a whole group; who started the process decides when it ends.
                process_group=0,
            ).result()
        log.debug("Process started.", name=self.name, pid=self._popen.pid, log_file=str(self.log_file))

    def wait_until_ready(self, ready: Callable[[], bool], *, timeout: float) -> None:
        """Return once `ready` does so with True.

        Args:
            ready: Called again and again; must return within about a second.
            timeout: In seconds.

        Raises:
            ProcessFailed: The process ended, or was not ready in time.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            status = self._started().poll()
            if status is not None:
                raise ProcessFailed(self._with_log(f"{self.name} ended with status {status}"))
            if time.monotonic() > deadline:
                raise ProcessFailed(self._with_log(f"{self.name} was not ready after {timeout:g} s"))
            time.sleep(_POLL_SECONDS)

    def terminate(self) -> None:
        """Ask the process to end and return at once. One that is paused is resumed, or it would never hear of it."""
        if self.running:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process and all it started: SIGTERM, then SIGKILL. Does nothing if it is not running."""
        self.terminate()
        if self._popen is not None:
            try:
                self._popen.wait(self._stop_seconds)
            except subprocess.TimeoutExpired:
                log.warning("Process did not end in time and is killed.", name=self.name, pid=self.pid)
        self.kill()

    def kill(self) -> None:
        """End the process and all it started with SIGKILL. Does nothing if it is not running."""
        if self._popen is not None:
            self._signal(signal.SIGKILL)
            self._popen.wait()
            self._popen = None

    def pause(self) -> None:
        """Stop the process in its tracks (SIGSTOP): its sockets stay open and answer nothing. Needs Linux.

        Raises:
            ProcessFailed: It was not started, or was stopped.
        """
        self._signal(signal.SIGSTOP)
        # The signal is only sent by now; a process of many threads may answer a little longer. The parent is told when
        # the last of them has stopped. WNOWAIT leaves an end for Popen to find.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT).

        Raises:
            ProcessFailed: It was not started, or was stopped.
        """
        self._signal(signal.SIGCONT)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the log, an empty string when there is none."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as file:
            file.seek(max(0, self.log_file.stat().st_size - 200 * lines))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise ProcessFailed(f"{self.name} is not running")
        return self._popen

    def _signal(self, number: signal.Signals) -> None:
        # The group may be empty already; what the process started may also have outlived it.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _with_log(self, what: str) -> str:
        return f"{what}; the end of {self.log_file}:\n{self.log_tail()}"
