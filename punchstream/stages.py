"""The stages of one machine: each its own process, started again when it ends."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

import requests
import structlog
from prometheus_client.parser import text_string_to_metric_families

from attendance.settings import PushSettings
from console.settings import ConsoleSettings
from sandbox.ports import free_port, free_port_like, free_ports
from sandbox.process import ChildProcess

log = structlog.get_logger(__name__)

# In this order a fresh start has least to wait for; they are stopped from the way in to the way out.
STAGES: Final[tuple[str, ...]] = ("directory", "stream", "sink", "push")
COMPLETENESS: Final = "completeness"  # only where the fleet lists shifts
PULL: Final = "pull"  # only where the fleet has devices to ask
LEDGER: Final = "ledger"
CONSOLE: Final = "console"  # shows a ledger

READY_SECONDS: Final = 60
RESTART_SECONDS: Final = 2.0
STOP_SECONDS: Final = 30


class Stages:
    """Runs every stage. `check`, called now and then, starts again what has ended."""

    def __init__(
        self, directory: Path, stages: Sequence[str] = STAGES, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Nothing is started yet. Each stage has this process's settings, and its log in the directory.

        Args:
            directory: For the logs.
            stages: Which are run.
            settings: Of the stages alone, beside those of this process.
        """
        self.names = tuple(stages)
        push = PushSettings.load()
        port = push.port or free_port()
        ports = dict(zip(stages, free_ports(len(stages)), strict=True))
        self._metrics = {stage: f"http://127.0.0.1:{metrics_port}/metrics" for stage, metrics_port in ports.items()}
        self.url = f"http://{push.host}:{port}"
        console = ConsoleSettings.load()
        console_port = free_port_like(console.port)
        self.console_url = f"http://{console.host}:{console_port}"
        self._processes = {
            stage: ChildProcess(
                [sys.executable, "-m", "punchstream", stage],
                log_file=directory / f"{stage}.log",
                env={
                    **os.environ,
                    **settings,
                    "PUSH_PORT": str(port),
                    "CONSOLE_PORT": str(console_port),
                    "METRICS_HOST": "127.0.0.1",
                    "METRICS_PORT": str(metrics_port),
                },
                stop_seconds=STOP_SECONDS,
            )
            for stage, metrics_port in ports.items()
        }
        self._ended_at: dict[str, float] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every stage and return when punches can be posted.

        Raises:
            ProcessFailed: push ended, or was not ready within a minute.
        """
        for process in self._processes.values():
            process.start()
        self._processes["push"].wait_until_ready(self._push_is_ready, timeout=READY_SECONDS)

    def stop(self) -> None:
        """Stop every stage, the way in first. Each finishes what it has in hand."""
        order = list(reversed(self._processes.values()))
        for process in order:
            process.terminate()
        for process in order:
            process.stop()

    def check(self) -> None:
        """Start again the stages that ended, each at least two seconds after its end."""
        for stage, process in self._processes.items():
            if process.running:
                self._ended_at.pop(stage, None)
                continue
            ended = self._ended_at.setdefault(stage, time.monotonic())
            if time.monotonic() - ended >= RESTART_SECONDS:
                log.warning("A stage ended and is started again.", stage=stage, log_file=str(process.log_file))
                process.start()

    def counts(self, stage: str) -> dict[str, float]:
        """The stage's counters and gauges: `name{labels' values}` to value. Empty where it does not answer."""
        try:
            text = requests.get(self._metrics[stage], timeout=2).text
        except requests.RequestException:
            return {}
        return {
            sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def _push_is_ready(self) -> bool:
        with suppress(requests.RequestException):
            return bool(requests.get(f"{self.url}/readyz", timeout=1).ok)
        return False
