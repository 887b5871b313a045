"""`punchstream up`: what is missing comes from the sandbox, what is set is left alone, and it says which."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from passwords import hash_quickly
from rich.console import Console
from typer.testing import CliRunner

from attendance.errors import ConfigurationError
from attendance.fleet import hash_token
from attendance.kafka.admin import create_topics
from attendance.registry import Registry
from attendance.settings import KafkaSettings
from memory_broker import MemoryBroker, install
from operations.fleet import read_fleet, write
from operations.fleet_plan import About, Fields, Wanted
from operations.log import KafkaLog
from punchstream import up as module
from punchstream.cli import app

ERPNEXT = {"ERPNEXT_URL": "https://erp.example.com", "ERPNEXT_API_KEY": "k", "ERPNEXT_API_SECRET": "s"}


class Machine:
    """The parts that `up` starts, and how long it runs: as long as `looks` says."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.stages: tuple[str, ...] = ()
        self.settings: dict[str, str] = {}
        self.stand_in_has: list[dict[str, Any]] = []
        self.looks = 2
        self.env_file = ""

    @contextmanager
    def broker(self, kind: str, _: Path) -> Iterator[Any]:
        self.started.append(f"broker {kind}")
        yield SimpleNamespace(client_settings=lambda: {"KAFKA_BOOTSTRAP_SERVERS": "memory:9092"})
        self.started.append("broker stopped")

    @contextmanager
    def stand_in(self, **_: Any) -> Iterator[Any]:
        self.started.append("stand-in")
        yield SimpleNamespace(url="http://127.0.0.1:1", api_key="k", api_secret="s", employees=self.stand_in_has.extend)

    @contextmanager
    def run_stages(self, directory: Path, names: tuple[str, ...], settings: dict[str, str]) -> Iterator[Any]:
        self.stages, self.settings = names, settings
        yield SimpleNamespace(
            url="http://127.0.0.1:8080", console_url="http://127.0.0.1:8180", check=lambda: self._look(directory)
        )

    def _look(self, directory: Path) -> None:
        if (directory / "env").exists():
            self.env_file = (directory / "env").read_text()
        self.looks -= 1
        if not self.looks:
            raise KeyboardInterrupt


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    machine = Machine()
    hash_quickly(monkeypatch)
    monkeypatch.chdir(tmp_path)
    environment = dict(os.environ)
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "PUNCHSTREAM_DEVICES", "LEDGER_URL", *ERPNEXT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "create_broker", machine.broker)
    monkeypatch.setattr(module, "ErpnextStandIn", machine.stand_in)
    monkeypatch.setattr(module, "ensure_event_id_field", lambda _: machine.started.append("event_id"))
    monkeypatch.setattr(module, "Stages", machine.run_stages)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield machine
    for number, handler in handlers.items():
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    return install(monkeypatch, make_topics=False)[0]


def test_with_nothing_set_everything_comes_from_the_sandbox(machine: Machine, broker: MemoryBroker) -> None:
    result = CliRunner().invoke(app, ["up"], catch_exceptions=False)
    assert result.exit_code == 0
    assert machine.started == ["broker embedded", "stand-in", "event_id", "broker stopped"]
    assert machine.stages == ("ledger", "console", "directory", "stream", "sink", "push")
    assert [row["name"] for row in machine.stand_in_has] == ["HR-EMP-00001"]
    assert "attendance.raw.v1" in broker.topics
    for said in ("in memory: what it holds is gone", "a stand-in at http://127.0.0.1:1", "one sample device"):
        assert said in result.stdout
    assert "POST http://127.0.0.1:8080/v1/events" in result.stdout
    assert result.stdout.endswith("Stopping.\n")


def test_the_sample_device_has_the_token_that_is_shown(machine: Machine, broker: MemoryBroker, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["up"], catch_exceptions=False)
    token = result.stdout.partition("X-Device-Token: ")[2].partition("'")[0]
    [device] = Registry(tmp_path / ".punchstream" / "devices.yaml")
    assert device.token_sha256 == hash_token(token)


def test_the_other_commands_find_what_was_started_by_a_file_that_goes_with_it(
    machine: Machine, broker: MemoryBroker, tmp_path: Path
) -> None:
    CliRunner().invoke(app, ["up"], catch_exceptions=False)
    assert "KAFKA_BOOTSTRAP_SERVERS=memory:9092\n" in machine.env_file
    assert "ERPNEXT_API_SECRET=s\n" in machine.env_file
    assert not (tmp_path / ".punchstream" / "env").exists()


def test_what_is_set_is_used_and_the_stages_are_those_that_the_fleet_needs(
    machine: Machine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fleet = tmp_path / "fleet.yaml"
    devices = [{"device_id": "D1", "site": "hq", "timezone": "UTC", "mode": "pull", "adapter": "biotime_api"}]
    devices[0] |= {"host": "10.0.0.1", "credentials": {"username": "U", "password": "P"}}
    fleet.write_text(yaml.safe_dump({"devices": devices, "shifts": [{"shift_type": "Day", "sites": ["hq"]}]}))
    for name, value in {"KAFKA_BOOTSTRAP_SERVERS": "memory:9092", "PUNCHSTREAM_DEVICES": str(fleet), **ERPNEXT}.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["up"], catch_exceptions=False)
    assert machine.started == []
    assert machine.stages == ("ledger", "console", "completeness", "directory", "stream", "sink", "push", "pull")
    assert machine.env_file == "", "there is nothing that the other commands do not know"
    assert "sample" not in result.stdout


PULLED = {"site": "hq", "timezone": "UTC", "mode": "pull", "adapter": "zkteco_tcp", "host": "10.0.0.1"}
PUSHED = {"site": "hq", "timezone": "UTC", "serial": "S1", "adapter": "zkteco_adms"}


@pytest.mark.parametrize(
    ("file", "topic", "more"),
    [
        pytest.param(None, {("device", "D1"): PUSHED}, set(), id="a device that pushes"),
        pytest.param(None, {("device", "D1"): PULLED}, {"pull"}, id="a device that is asked"),
        pytest.param(None, {("device", "D1"): PULLED | {"disabled": True}}, set(), id="a device that is disabled"),
        pytest.param(
            None,
            {("device", "D1"): PUSHED, ("shift", "Day"): {"sites": ["hq"]}},
            {"completeness"},
            id="a shift",
        ),
        pytest.param("D2", {("device", "D1"): PULLED}, {"pull"}, id="a device that is asked beside the file"),
        pytest.param("D1", {("device", "D1"): PULLED}, {"pull"}, id="a device of the file that is another source's"),
        pytest.param("D1", {}, set(), id="the file alone"),
    ],
)
def test_the_stages_are_those_that_the_fleet_on_the_topic_and_in_the_file_needs(
    machine: Machine,
    broker: MemoryBroker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    file: str | None,
    topic: dict[About, Fields],
    more: set[str],
) -> None:
    for name, value in {"KAFKA_BOOTSTRAP_SERVERS": "memory:9092", **ERPNEXT}.items():
        monkeypatch.setenv(name, value)
    if file:
        (tmp_path / "devices.yaml").write_text(yaml.safe_dump([PUSHED | {"device_id": file, "serial": "S2"}]))

    async def put() -> None:
        kafka = KafkaSettings.load()
        await create_topics(kafka)
        log = KafkaLog(kafka, "test")
        await write(log, Wanted("north", "zoe", topic), await read_fleet(log))

    asyncio.run(put())
    result = CliRunner().invoke(app, ["up"], catch_exceptions=False)
    assert set(machine.stages) == {"ledger", "console", "directory", "stream", "sink", "push", *more}
    assert "sample" not in result.stdout


def test_a_fleet_file_that_somebody_named_has_to_be_there(
    machine: Machine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PUNCHSTREAM_DEVICES", str(tmp_path / "gone.yaml"))
    with pytest.raises(ConfigurationError, match=r"PUNCHSTREAM_DEVICES.*gone\.yaml"):
        module.run(tmp_path, Console(quiet=True))
    assert machine.stages == ()


def test_a_wrong_setting_stops_the_start_before_any_stage(
    machine: Machine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SINK_BATCH", "0")
    with pytest.raises(Exception, match="SINK_BATCH"):
        module.run(tmp_path, Console(quiet=True))
    assert machine.stages == ()


def test_sigterm_ends_it_as_an_interrupt_does(machine: Machine) -> None:
    module.sigterm_interrupts()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_ledger_is_kept_where_one_is_set_and_a_wrong_one_stops_the_start(
    machine: Machine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/ledger.sqlite")
    CliRunner().invoke(app, ["up"], catch_exceptions=False)
    assert machine.stages == ("ledger", "console", "directory", "stream", "sink", "push")
    assert machine.settings == {}
    machine.stages = ()
    monkeypatch.setenv("LEDGER_URL", "mysql://host/db")
    with pytest.raises(ConfigurationError, match="LEDGER_URL"):
        module.run(tmp_path, Console(quiet=True))
    assert machine.stages == ()
