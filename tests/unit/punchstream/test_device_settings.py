"""`punchstream devices configure` and `devices test`: what differs is shown, and written when somebody agrees."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import orjson
import pytest
import yaml
from example_records import ARRIVED, AT
from memory_log import MemoryLog
from typer.testing import CliRunner, Result

from attendance.errors import ConfigurationError
from attendance.records.device_status import DeviceStatus
from punchstream.commands.devices import app
from sandbox.terminals.heystar_asked import HeyStarDevice


@contextmanager
def serving(terminal: HeyStarDevice) -> Iterator[None]:
    """The commands have an event loop of their own, so the terminal has one in a thread."""
    loop = asyncio.new_event_loop()
    context = terminal.serving()
    thread = Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def terminal(log: MemoryLog, fleet_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeyStarDevice]:
    made = HeyStarDevice("00aa11bb", "UTC", "HFSecurity")
    common = {"device_id": "GATE-1", "site": "hq", "timezone": "UTC", "credentials": {"password": "GATE_1_PASSWORD"}}
    other = {"device_id": "OFFICE", "site": "hq", "timezone": "UTC", "mode": "pull", "adapter": "zkteco_tcp"}
    fleet_file.write_text(yaml.safe_dump([common | dict(made.registry_entry()), other | {"host": "127.0.0.1"}]))
    monkeypatch.setenv("GATE_1_PASSWORD", made.password)
    with serving(made):
        yield made


def run(*command: str, answer: str = "") -> Result:
    return CliRunner().invoke(app, command, input=answer, catch_exceptions=False)


def test_nothing_is_written_before_somebody_agrees(terminal: HeyStarDevice) -> None:
    for answer in ("n\n", ""):
        result = run("configure", "GATE-1", answer=answer)
        assert result.exit_code == 1
        assert "recRecordUploadMode" in result.stdout
    assert terminal.writes == []


@pytest.mark.parametrize(("command", "answer"), [(("--yes",), ""), ((), "y\n")])
def test_what_differs_is_shown_written_and_shown_again(
    terminal: HeyStarDevice, command: tuple[str, ...], answer: str
) -> None:
    result = run("configure", "GATE-1", *command, answer=answer)
    assert result.exit_code == 0
    assert {verb for verb, _ in terminal.writes} == {"device/setSevConfig", "device/setRecConfig"}
    assert terminal.recognition["recRecordSaveDays"] == 14
    assert result.stdout.count("recRecordSaveDays") == 2
    terminal.writes.clear()
    assert run("configure", "GATE-1").exit_code == 0
    assert terminal.writes == []


def test_an_adapter_without_settings_is_named(terminal: HeyStarDevice) -> None:
    with pytest.raises(ConfigurationError, match="zkteco_tcp"):
        run("configure", "OFFICE", "--yes")


def checks() -> dict[str, dict[str, object]]:
    return {each["check"]: each for each in orjson.loads(run("test", "GATE-1", "--json").stdout)}


def test_a_test_shows_the_settings_that_differ_and_what_was_found_of_the_zone(
    terminal: HeyStarDevice, log: MemoryLog
) -> None:
    details = {"zone": "differs: its wall clock is +60 min from that of UTC", "settings": "differs: as of yesterday"}
    status = DeviceStatus("GATE-1", ARRIVED, AT, details=details)
    log.add("device_status", status.key, status.encode())
    found = checks()
    assert (found["settings"]["ok"], found["zone"]["ok"]) == (False, False)
    assert "recRecordUploadMode is 1, wanted 2" in str(found["settings"]["detail"])
    run("configure", "GATE-1", "--yes")
    assert checks()["settings"] == {"check": "settings", "ok": True, "detail": "as wanted"}
