"""The commands that run one stage: each is given the settings of its own, and ends when it is told to."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture
from typer.testing import CliRunner

import ledger.runner
import operations.desk_fleet
import operations.desk_live
import producers.directory.sync
import producers.pull.share
import producers.push.server
import sinks.completeness.runner
import sinks.delivery.runner
import streams.app
from attendance import logs
from attendance.errors import ConfigurationError
from attendance.guards import Guards
from attendance.health import PORTS
from attendance.metrics import Metrics
from attendance.registry import Registry
from attendance.settings import KafkaSettings
from ledger.database import Database
from memory_broker import install
from punchstream.cli import app, main
from punchstream.commands import stages

SETTINGS = {
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "ERPNEXT_URL": "https://erp.example.com",
    "ERPNEXT_API_KEY": "k",
    "ERPNEXT_API_SECRET": "s",
    "METRICS_PORT": "9123",
    "SINK_TARGET": "jsonl",
}


SERVE = Metrics.serve


class Process:
    """What is the whole process's, and is not touched here."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def configure(self, *_: str, stage: str = "") -> None:
        if stage:
            self.said.append(f"logs of {stage}")

    def serve(self, host: str, port: int) -> None:
        self.said.append(f"metrics on {host}:{port}")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Process:
    process = Process()
    install(monkeypatch, partitions=12)
    fleet = tmp_path / "devices.yaml"
    fleet.write_text("[{device_id: D1, site: hq, timezone: UTC, mode: pull}]")
    settings = SETTINGS | {"PUNCHSTREAM_DEVICES": str(fleet), "JSONL_DIRECTORY": str(tmp_path)}
    settings["LEDGER_URL"] = f"sqlite:///{tmp_path}/ledger.sqlite"
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logs, "configure", process.configure)
    monkeypatch.setattr(Metrics, "serve", lambda _, host, port: process.serve(host, port))
    monkeypatch.setattr(
        stages, "gc", SimpleNamespace(set_threshold=lambda *_: None, freeze=lambda: process.said.append("frozen"))
    )
    return process


def invoke(command: str) -> Any:
    return CliRunner().invoke(app, command.split(), catch_exceptions=False)


LONG_LIVED: dict[str, Any] = {
    "pull": producers.pull.share,
    "directory": producers.directory.sync,
    "sink": sinks.delivery.runner,
    "completeness": sinks.completeness.runner,
    "ledger": ledger.runner,
}


@pytest.mark.parametrize("stage", LONG_LIVED)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_runs_until_a_signal_tells_it_to_stop(
    process: Process, monkeypatch: pytest.MonkeyPatch, stage: str, number: signal.Signals
) -> None:
    async def run(*given: Any, **_: Any) -> None:
        [stop] = [each for each in given if isinstance(each, asyncio.Event)]
        [kafka] = [each for each in given if isinstance(each, KafkaSettings)]
        assert kafka.bootstrap_servers == "kafka:9092"
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 10)
        process.said.append("stopped")

    monkeypatch.setattr(LONG_LIVED[stage], "run", run)
    assert invoke(stage).exit_code == 0
    assert process.said[-4:] == ["frozen", f"logs of {stage}", "metrics on 127.0.0.1:9123", "stopped"]


def test_the_directory_is_told_to_remove_whatever_erpnext_no_longer_has(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[bool] = []

    async def keep_desk_fleet(*_: Any, force: bool) -> None:
        forced.append(force)

    async def run(*_: Any, force: bool, beside: Sequence[Callable[..., Awaitable[None]]]) -> None:
        forced.append(force)
        for each in beside:
            await each(Guards(Metrics(), []))

    async def keep_desk_live(*_: Any) -> None:
        pass

    monkeypatch.setattr(operations.desk_fleet, "keep_desk_fleet", keep_desk_fleet)
    monkeypatch.setattr(operations.desk_live, "keep_desk_live", keep_desk_live)
    monkeypatch.setattr(producers.directory.sync, "run", run)
    assert [invoke(command).exit_code for command in ("directory", "directory --force")] == [0, 0]
    # Of the user map and of the fleet.
    assert forced == [False, False, True, True]


def recorder(into: list[Any]) -> Callable[..., Any]:
    return lambda *given, **_: into.append(given)


def test_push_serves_the_fleet_of_the_file(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr(producers.push.server, "serve", recorder(served))
    assert invoke("push").exit_code == 0
    [given] = served
    [registry] = [each for each in given if isinstance(each, Registry)]
    assert [device.device_id for device in registry] == ["D1"]


def test_the_stream_runs_its_application(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(streams.app, "create_app", lambda kafka, *_, **__: f"on {kafka.bootstrap_servers}")
    monkeypatch.setattr(streams.app, "run", recorder(ran))
    assert invoke("stream").exit_code == 0
    assert [given[0] for given in ran] == ["on kafka:9092"]


def test_a_stage_has_a_port_of_its_own_if_none_is_set(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METRICS_PORT")
    for stage, port in PORTS.items():
        stages.begin(stage)
        assert process.said[-1] == f"metrics on 127.0.0.1:{port}"


def test_a_second_one_of_a_stage_works_without_the_port_that_nobody_set(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = LogCapture()
    monkeypatch.setattr(stages, "log", structlog.wrap_logger(None, [said]))
    monkeypatch.setattr(Metrics, "serve", SERVE)
    monkeypatch.delenv("METRICS_PORT")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(stages, "PORTS", {"stream": taken.getsockname()[1]})
        stages.begin("stream")
    [entry] = said.entries
    assert "METRICS_PORT gives it a port of its own" in entry["event"]
    assert "cannot listen on 127.0.0.1" in entry["error"]


@pytest.mark.parametrize("stage", ["push", "pull", "directory", "stream", "sink", "completeness", "ledger"])
def test_a_stage_whose_metrics_port_is_taken_says_so_in_one_line(
    process: Process, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("METRICS_PORT", str(port))
        monkeypatch.setattr(Metrics, "serve", SERVE)
        monkeypatch.setattr(sys, "argv", ["punchstream", stage])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"punchstream: METRICS_HOST, METRICS_PORT: cannot listen on 127.0.0.1 port {port}: ")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [("PUSH_PAYLOAD_FIELDS", "type,name", "name is never kept"), ("SEAL_KEY", "short", "must hold keys")],
)
@pytest.mark.parametrize("stage", ["push", "pull"])
def test_what_may_never_be_kept_and_what_is_no_key_end_a_start_with_one_line(
    process: Process,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    name: str,
    value: str,
    why: str,
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["punchstream", stage])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"punchstream: {name}: ")
    assert why in line


def test_a_ledger_is_deleted_and_nothing_else_is_done(process: Process, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ledger.sqlite")
    database.prepare()
    database.close()
    assert "The ledger is deleted." in invoke("ledger --delete").output
    with pytest.raises(ConfigurationError, match="not of this release"):
        database.refuse_unprepared()
    database.close()
    assert not process.said
