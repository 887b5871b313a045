"""Devices: entries added to the fleet file, and whether they work."""

import asyncio
from typing import Any

import pytest
from memory_log import MemoryLog

from attendance.fleet import Device
from operations.devices import DeviceCheck, check_device
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
