"""`punchstream up` with the embedded broker beside an ERPNext, as whoever tries Punchstream out has it."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from eventually import eventually

# What a login has, and where the code under test is.
KEPT = ("PATH", "HOME", "TMPDIR", "PYTHONPATH")
STOP_SECONDS = 60


class SitePipeline:
    """A running pipeline."""

    def __init__(self, directory: Path, environment: Mapping[str, str], process: "subprocess.Popen[bytes]") -> None:
        self._directory = directory
        self._environment = dict(environment)
        self._process = process

    @property
    def output(self) -> str:
        """What `up` has said so far."""
        return (self._directory / "up.out").read_text()

    def says(self, pattern: str, within: float = 120) -> "re.Match[str]":
        """Wait until its output matches."""

        def look() -> "re.Match[str] | None":
            assert self._process.poll() is None, self.output
            return re.search(pattern, self.output, re.MULTILINE)

        return eventually(look, within=within, wanted=pattern)

    @property
    def url(self) -> str:
        """Where punches go."""
        return self.says(r"^Punches: POST (\S+)$")[1]

    @property
    def console(self) -> str:
        """Where its console is."""
        return self.says(r"^Console: (http\S+)")[1]

    def post(self, device_id: str, token: str, events: Sequence[Mapping[str, Any]]) -> int:
        """The status with which push answers punches of a device."""
        body = {"device_id": device_id, "events": list(events)}
        return httpx.post(self.url, json=body, headers={"X-Device-Token": token}, timeout=30).status_code

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another command beside it, with the settings that it has written for them."""
        added = {}
        for line in (self._directory / ".punchstream" / "env").read_text().splitlines():
            name, _, value = shlex.split(line)[0].partition("=")
            added[name] = value
        return subprocess.run(
            [sys.executable, "-m", "punchstream", *arguments],
            cwd=self._directory,
            env=self._environment | added,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def log(self, stage: str) -> str:
        """What a stage has logged."""
        return (self._directory / ".punchstream" / f"{stage}.log").read_text()


@contextmanager
def site_pipeline(directory: Path, url: str, keys: Mapping[str, str], **settings: str) -> Iterator[SitePipeline]:
    """A pipeline beside a site while the context lasts.

    Args:
        directory: An empty one of its own.
        url: Of the site.
        keys: `key` and `secret` of the API user.
        settings: Further settings.
    """
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "ERPNEXT_URL": url,
        "ERPNEXT_API_KEY": keys["key"],
        "ERPNEXT_API_SECRET": keys["secret"],
        "PUSH_PORT": "0",
        "CONSOLE_PORT": "0",
        "DIRECTORY_INTERVAL": "1",
        **settings,
    }
    with (directory / "up.out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "punchstream", "up"],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        pipeline = SitePipeline(directory, environment, process)
        pipeline.says(r"^The other commands")
        yield pipeline
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()


def minute(ago: int) -> datetime:
    """A whole minute, so many minutes ago."""
    return datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=ago)


def event(user: str, time: datetime) -> dict[str, str]:
    """A punch as a device sends it."""
    return {"user_id": user, "time": time.isoformat(), "type": "IN"}
