"""Stages as processes that know no fleet file, and what each has taken up of the fleet topic."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
from process_log import DEADLINE, until

from attendance.settings import KafkaSettings
from sandbox.process import ChildProcess


class FleetStages:
    """Running stages, and their logs."""

    def __init__(self, directory: Path, token: str) -> None:
        self._directory = directory
        self._token = token

    def log(self, stage: str) -> Path:
        return self._directory / f"{stage}.log"

    def lines(self, stage: str, event: str) -> list[dict[str, Any]]:
        """The whole lines of a stage's log that say something."""
        lines = self.log(stage).read_bytes().splitlines(keepends=True)
        decoded = [orjson.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"\n")]
        return [line for line in decoded if line["event"] == event]

    def taken_up(self, stage: str) -> dict[str, int]:
        """How many devices, sites and shifts a stage said last that it has."""
        found = self.lines(stage, "The fleet topic was taken up.")
        return {name: found[-1][name] for name in ("devices", "sites", "shifts")} if found else {}

    def until_taken_up(self, stages: Sequence[str], **expected: int) -> None:
        for stage in stages:
            until(lambda stage=stage: self.taken_up(stage).items() >= expected.items(), self.log(stage))

    def post(self, device_id: str, time: str = "2026-01-01T08:00:00Z") -> int:
        """The status with which push answers a punch of a device."""
        port = until(lambda: self.lines("push", "Listening."), self.log("push"))[0]["port"]
        body = {"device_id": device_id, "events": [{"user_id": "1", "time": time, "type": "IN"}]}
        url, headers = f"http://127.0.0.1:{port}/v1/events", {"X-Device-Token": self._token}
        return httpx.post(url, json=body, headers=headers, timeout=DEADLINE).status_code


@contextmanager
def fleet_stages(
    kafka: KafkaSettings, directory: Path, *stages: str, token: str, settings: Mapping[str, str]
) -> Iterator[FleetStages]:
    """Run stages without a fleet file.

    Args:
        kafka: Their topics.
        directory: For their logs. It holds no fleet file.
        stages: Their names.
        token: Of every device that pushes.
        settings: Further settings.
    """
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_PARTITIONS": str(kafka.partitions),
        "KAFKA_SESSION_TIMEOUT": str(kafka.session_timeout),
        "PUSH_HOST": "127.0.0.1",
        "PUSH_PORT": "0",
        "METRICS_PORT": "0",
        **settings,
    }
    environment.pop("PUNCHSTREAM_DEVICES", None)
    running = FleetStages(directory, token)
    with ExitStack() as stack:
        for stage in stages:
            command = [sys.executable, "-m", "punchstream", stage]
            # In a folder without a fleet file: one that nobody names is looked for there.
            process = ChildProcess(
                command, log_file=running.log(stage), env=environment, cwd=directory, stop_seconds=20
            )
            stack.enter_context(process)
        yield running
