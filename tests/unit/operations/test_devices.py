"""Devices: entries added to the fleet file, and whether they work."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from memory_log import MemoryLog

from attendance.errors import ConfigurationError
from attendance.registry import Device, Registry, load
from operations.devices import DeviceCheck, add_entry, check_device
from operations.log import Skipped
from sandbox.terminals import PULL_TERMINALS, simulator

ENTRY: dict[str, Any] = {
    "device_id": "GATE-2",
    "site": "hq",
    "timezone": "UTC",
    "mode": "push",
    "adapter": "zkteco_adms",
    "serial": "SN2",
}
GATE = "device_id: GATE-1\n  site: hq  # the old one\n  timezone: UTC\n  serial: SN1\n  adapter: zkteco_adms\n"


@pytest.mark.parametrize(
    "before",
    [
        "",
        f"# Our fleet\n- {GATE}",
        f"- {GATE}".rstrip(),
        "devices:\n- " + GATE,
        "devices:\n  - " + GATE.replace("\n", "\n  ").rstrip() + "\n",
        "shifts: []\ndevices:\n# all\n- " + GATE,
    ],
)
def test_an_entry_is_added_and_the_file_keeps_what_it_has(tmp_path: Path, before: str) -> None:
    file = tmp_path / "devices.yaml"
    if before:
        file.write_text(before)
    add_entry(file, ENTRY)
    assert file.read_text().startswith(before)
    assert load(file)["GATE-2"].serial == "SN2"
    assert len(Registry(file)) == (2 if before else 1)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_linked_to_stays_where_it_is(tmp_path: Path) -> None:
    file, link = tmp_path / "shared" / "fleet.yaml", tmp_path / "devices.yaml"
    file.parent.mkdir()
    file.write_text(f"# Größe\n- {GATE}", encoding="utf-8")
    link.symlink_to(file)
    add_entry(link, ENTRY)
    assert link.is_symlink()
    assert set(load(file)) == {"GATE-1", "GATE-2"}


@pytest.mark.parametrize(
    ("before", "entry"),
    [
        (f"- {GATE}", {"device_id": "GATE-1"}),
        (f"- {GATE}", {"serial": "SN1"}),
        (f"- {GATE}", {"timezone": "Mars/Olympus"}),
        ("devices:\n- " + GATE + "shifts: []\n", {}),
    ],
)
def test_a_file_that_would_be_wrong_is_left_as_it_is(tmp_path: Path, before: str, entry: dict[str, str]) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(before)
    with pytest.raises(ConfigurationError, match=r"devices\.yaml"):
        add_entry(file, ENTRY | entry)
    assert file.read_text() == before
    assert list(tmp_path.iterdir()) == [file]


def checked(device: Device) -> dict[str, DeviceCheck]:
    checks = asyncio.run(check_device(MemoryLog(), device, Skipped()))
    return {each.check: each for each in checks}


def test_wrong_options_are_named_when_a_device_is_tested() -> None:
    device = Device.model_validate(ENTRY | {"options": {"colour": "red"}})
    message = "GATE-2: options.colour: there is no such option; there are punch_events, other_events"
    assert checked(device)["entry"] == DeviceCheck("entry", False, message)


@pytest.mark.parametrize(("in_entry", "ok"), [("T1000", True), ("1000", True), ("T1001", False)])
def test_a_serial_number_as_on_the_label_is_the_terminals(
    in_entry: str,
    ok: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = simulator(PULL_TERMINALS["hikvision"])(serial="T1000", zone="UTC", password="right")

    async def test() -> list[DeviceCheck]:
        async with terminal.serving():
            for name, value in terminal.credentials().items():
                monkeypatch.setenv(name.upper(), value)
            credentials = {name: name.upper() for name in terminal.credentials()}
            common = {"device_id": "GATE-2", "site": "hq", "timezone": "UTC", "credentials": credentials}
            device = Device.model_validate(common | dict(terminal.registry_entry()) | {"serial": in_entry})
            return await check_device(MemoryLog(), device, Skipped())

    found = {each.check: each for each in asyncio.run(test())}
    assert found["serial"] == DeviceCheck("serial", ok, "T1000")
