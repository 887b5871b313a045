import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from eventually import eventually
from span_collector import SpanCollector

from sandbox.ports import free_port

Run = Callable[..., "subprocess.CompletedProcess[str]"]

Beside = Callable[[str], "subprocess.CompletedProcess[str]"]
ERPNEXT_KEYS = "ERPNEXT_API_KEY=admin-key\nERPNEXT_API_SECRET=admin-secret\n"
STAGES = ("push", "stream", "sink", "directory")
KAFKA = """
import json, sys
from pathlib import Path
from attendance import logs
from sandbox.broker import create_broker
logs.configure("WARNING")
with create_broker("kafka", Path(sys.argv[1])) as broker:
    print(json.dumps(broker.client_settings()), flush=True)
    sys.stdin.read()
"""


class Up:
    """`punchstream up` in a session of its own, which is how whatever it would leave behind is found."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._output = directory / "up.out"
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                ["punchstream", "up"],
                cwd=directory,
                env=environment | {"PUSH_PORT": "0", "CONSOLE_PORT": "0"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def says(self, pattern: str) -> "re.Match[str]":
        """Wait until its output matches."""

        def look() -> "re.Match[str] | None":
            assert self._process.poll() is None, self.output
            return re.search(pattern, self.output, re.MULTILINE)

        return eventually(look, within=60, wanted=pattern)

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def url(self) -> str:
        return self.says(r"^Punches: POST (\S+)$")[1]

    @property
    def console(self) -> str:
        return self.says(r"^Console: (http\S+)")[1]

    def stage(self, name: str) -> psutil.Process | None:
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.cmdline()[-2:] == ["punchstream", name]:
                    return process
        return None

    def survivors(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(ProcessLookupError):
                if os.getsid(process.pid) == self._process.pid:
                    found.append(process)
        return found

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class StandIn:
    """The ERPNext stand-in: 300 active employees, HR-EMP-00001 with user 1001 and so on, in UTC."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        module = [sys.executable, "-m", "sandbox.erpnext"]
        self._command = [
            *(*module, "--port", str(port)),
            *("--time-zone", "UTC", "--journal", str(directory / "site.journal")),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command)
        eventually(lambda: httpx.get(f"{self.url}/sandbox/stats").is_success, within=20, wanted="the stand-in answers")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def checkins(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in httpx.get(f"{self.url}/sandbox/checkins").text.splitlines()]

    def punches(self) -> list[tuple[str, str, str]]:
        """What it holds, as `Terminal.punches` has it."""
        return sorted((row["employee"], row["time"], row["log_type"]) for row in self.checkins())


class Terminal:
    """A terminal that sends each of its requests again until it is acknowledged."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"X-Device-Token": token}
        self._last = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=12)
        self.punches: list[tuple[str, str, str]] = []

    def send(self, count: int) -> None:
        """One request with so many punches, each of another user and a second after the last."""
        events = []
        for _ in range(count):
            self._last += timedelta(seconds=1)
            number = len(self.punches) % 300 + 1
            events.append({"user_id": str(1000 + number), "time": f"{self._last:%Y-%m-%dT%H:%M:%SZ}", "type": "IN"})
            self.punches.append((f"HR-EMP-{number:05}", f"{self._last:%Y-%m-%d %H:%M:%S}", "IN"))
        body = {"device_id": "gate", "events": events}

        def acknowledged() -> bool:
            answer = httpx.post(self._url, json=body, headers=self._headers, timeout=15)
            assert answer.is_success or answer.status_code == 503, answer.text
            return answer.is_success

        eventually(acknowledged, within=60, wanted="the punches are acknowledged")

    def keep_sending(self, stop: threading.Event) -> None:
        while not stop.wait(0.1):
            self.send(5)


@pytest.fixture
def stand_in(tmp_path: Path, punchstream: Run) -> Iterator[StandIn]:
    """A stand-in that runs, is set up, and is what the `.env` of the test's directory leads to."""
    server = StandIn(tmp_path)
    with (tmp_path / ".env").open("a") as file:
        file.write(f"ERPNEXT_URL={server.url}\n{ERPNEXT_KEYS}")
    try:
        server.start()
        assert punchstream("erpnext", "setup").returncode == 0
        yield server
    finally:
        server.kill()


@pytest.fixture
def collector() -> Iterator[SpanCollector]:
    with SpanCollector() as running:
        yield running


@pytest.fixture
def up(tmp_path: Path, login: dict[str, str]) -> Iterator[Callable[..., Up]]:
    """Starts `punchstream up` with these settings in the test's directory."""
    with ExitStack() as stack:

        def start(**settings: str) -> Up:
            started = Up(tmp_path, login | settings)
            stack.callback(started.kill)
            return started

        yield start


@pytest.fixture
def beside(tmp_path: Path, login: dict[str, str]) -> Beside:
    """Runs a command line in another terminal, led to what `up` runs in the way that it says itself."""

    def run(command: str) -> "subprocess.CompletedProcess[str]":
        line = f"set -a; if [ -e .punchstream/env ]; then . .punchstream/env; fi; {command}"
        return subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=login, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def gate_token(tmp_path: Path, punchstream: Run) -> str:
    """The token of the device `gate`, whose fleet file is the one that a command finds by default."""
    made = dict(line.split() for line in punchstream("devices", "token").stdout.splitlines())
    entry = f"device_id: gate, site: works, timezone: UTC, token_sha256: {made['token_sha256']}"
    (tmp_path / "devices.yaml").write_text(f"- {{{entry}}}\n")
    return made["token"]


@pytest.fixture(params=["embedded", "kafka"])
def each_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Apache Kafka by the `.env` of the test's directory, and the embedded broker, which `up` brings by itself."""
    if request.param == "embedded":
        yield
        return
    request.getfixturevalue("kafka_jars")
    command = [sys.executable, "-c", KAFKA, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout is not None
        settings = json.loads(broker.stdout.readline())
        with (tmp_path / ".env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())
        yield
        broker.communicate()


def report(beside: Beside) -> dict[str, Any]:
    answer = beside("punchstream audit --against-erpnext --json")
    assert answer.stdout, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    assert answer.returncode == (0 if found["balanced"] else 1)
    return found


def test_up_with_nothing_configured_takes_the_punch_it_proposes_once_and_leaves_nothing_behind(
    up: Callable[..., Up], beside: Beside, tmp_path: Path
) -> None:
    running = up()
    proposed = running.says(r"^curl .*$")[0]
    assert "set -a; . .punchstream/env; punchstream audit" in running.says(r"^The other commands.*$")[0]
    stand_in = running.says(r"^ERPNext: a stand-in at (http://[\d.:]+)")[1]
    # curl itself is not installed everywhere.
    _, url, _, header, _, body = shlex.split(proposed)
    name, token = header.split(": ")

    def post() -> httpx.Response:
        return httpx.post(url, headers={name: token}, content=body)

    def checkins() -> list[dict[str, Any]]:
        return [json.loads(line) for line in httpx.get(f"{stand_in}/sandbox/checkins").text.splitlines()]

    for _ in range(2):
        answer = post()
        assert (answer.status_code, answer.json()) == (200, {"ok": True, "inserted": 1, "rejected": []})
    stored = eventually(checkins, within=30, wanted="the punch is in ERPNext")
    event = json.loads(body)["events"][0]
    wanted = ("HR-EMP-00001", "IN", event["time"].replace("T", " ").removesuffix("Z"))
    assert [(row["employee"], row["log_type"], row["time"]) for row in stored] == [wanted]

    def accounted() -> str:
        answer = beside("punchstream audit")
        return answer.stdout if answer.returncode == 0 else ""

    account = eventually(accounted, within=20, wanted="both punches have their outcome")
    assert account == "2 raw = 1 delivered + 1 dropped + 0 waiting + 0 dead-lettered\nBalanced.\n"
    assert len(checkins()) == 1
    for command in ("topics describe", "users list", "users unmapped", "devices list", "erpnext check"):
        assert beside(f"punchstream {command}").returncode == 0, command

    password = running.says(r"^Console: \S+ Sign in as admin with (\S+),")[1]
    ours = {"sec-fetch-site": "same-origin"}
    with httpx.Client(base_url=running.console, headers=ours, timeout=30, follow_redirects=True) as browser:
        entered = {"name": "admin", "password": password}
        eventually(lambda: browser.post("/sign-in", data=entered).is_success, within=30, wanted="the console is there")
        both = "<strong>2</strong> <span>Punches today</span>"
        eventually(lambda: both in browser.get("/").text, within=30, wanted="both records on the console")
    assert len(running.survivors()) >= 9  # up, the broker, the stand-in, four stages, the ledger and the console
    assert running.stop() == 0
    assert running.survivors() == []
    assert not (tmp_path / ".punchstream" / "env").exists()
    assert token not in "".join(file.read_text() for file in tmp_path.glob(".punchstream/*.log"))


def test_punches_wait_without_a_dead_letter_while_erpnext_is_down_and_all_arrive_when_it_is_back(
    up: Callable[..., Up], stand_in: StandIn, gate_token: str, beside: Beside, collector: SpanCollector
) -> None:
    running = up(
        DIRECTORY_INTERVAL="1s",
        SINK_RETRY_MAX="1s",
        SINK_ERROR_ATTEMPTS="2",
        TRACING_URL=collector.url,
        TRACING_RATIO="1",
    )
    terminal = Terminal(running.url, gate_token)

    def everybody_is_known() -> bool:
        return len(json.loads(beside("punchstream users list --json").stdout)) == 300

    def account() -> tuple[int, int, int]:
        found = json.loads(beside("punchstream audit --json").stdout)
        return found["delivered"], found["undelivered"], found["raw"] - found["delivered"] - found["undelivered"]

    eventually(everybody_is_known, within=30, wanted="the directory has loaded the employees")
    stand_in.kill()
    for _ in range(20):
        terminal.send(10)
    eventually(lambda: account() == (0, 200, 0), within=30, wanted="every punch is on its way to ERPNext")
    time.sleep(5)  # several times as long as the sink waits before it tries again
    assert account() == (0, 200, 0)

    stand_in.start()
    eventually(lambda: len(stand_in.punches()) >= 200, within=30, wanted="every punch is in ERPNext")
    eventually(lambda: report(beside)["balanced"], within=20, wanted="the audit balances")
    assert stand_in.punches() == sorted(terminal.punches)
    assert account() == (200, 0, 0)
    assert "A stage ended" not in running.output
    assert running.stop() == 0
    assert running.survivors() == []
    # Each stage sends what it still has when it ends.
    requests = {span.trace for span in collector.spans if span.name == "push"}
    assert len(requests) == 20
    counted = Counter((span.service, span.name) for span in collector.spans if span.trace in requests)
    assert counted["punchstream-stream", "decide"] == counted["punchstream-sink", "deliver"] == 200
    assert counted["punchstream-sink", "erpnext"] > 200, "it was asked in vain while ERPNext was down"


def test_every_punch_arrives_once_although_each_stage_is_killed_while_punches_come_in(
    up: Callable[..., Up], stand_in: StandIn, gate_token: str, beside: Beside, each_broker: None
) -> None:
    running = up()
    terminal = Terminal(running.url, gate_token)
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(terminal.keep_sending, stop)
        try:
            eventually(stand_in.punches, within=30, wanted="punches arrive")
            for stage in STAGES:
                killed = running.stage(stage)
                assert killed is not None
                killed.kill()
                eventually(lambda: running.stage(stage) not in (None, killed), within=20, wanted=f"{stage} runs again")  # noqa: B023
                arrived = len(stand_in.punches())
                eventually(lambda: len(stand_in.punches()) > arrived, within=30, wanted=f"more after {stage} came back")  # noqa: B023
        finally:
            stop.set()
        sending.result()
    eventually(lambda: len(stand_in.punches()) >= len(terminal.punches), within=30, wanted="every punch is in ERPNext")
    eventually(lambda: report(beside)["balanced"], within=20, wanted="the audit balances")
    assert stand_in.punches() == sorted(terminal.punches)
    assert running.stop() == 0
    assert running.survivors() == []
