"""Which devices are asked, with which adapter and which credentials."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from attendance.errors import ConfigurationError, DeviceRefused
from attendance.fleet import Device
from producers.devices import PULL_ADAPTERS, check_entry, create_pull_adapter
from producers.devices.contract import PullAdapter, Tools


@dataclass(frozen=True, slots=True)
class PullSource:
    """A device that is asked, with the terminals whose records it holds, by serial number."""

    device: Device
    terminals: Mapping[str, Device]


def sources(fleet: Iterable[Device]) -> dict[str, PullSource]:
    """The devices that are to be asked, by id: those of mode `pull`, and those that push and have an interval.

    Not those that are disabled or paused, whose records another holds, or that push by a protocol that cannot be asked.
    """
    terminals: dict[str, dict[str, Device]] = {}
    asked = []
    for device in fleet:
        if device.serial is not None:
            terminals.setdefault(device.via or device.device_id, {})[device.serial] = device
        if _is_asked(device):
            asked.append(device)
    return {device.device_id: PullSource(device, terminals.get(device.device_id, {})) for device in asked}


def _is_asked(device: Device) -> bool:
    if device.disabled or device.paused or device.via is not None:
        return False
    reconciled = device.mode == "push" and device.interval is not None and device.adapter in PULL_ADAPTERS
    return device.mode == "pull" or reconciled


def secret(device: Device, name: str) -> str:
    """The value of a credential, as `Tools.secret` has it.

    Args:
        device: The entry, which names an environment variable for each of its credentials.
        name: The credential.

    Raises:
        DeviceRefused: the entry names none, or the variable is not set.
    """
    variable = device.credentials.get(name)
    if variable is None:
        raise DeviceRefused(f"{device.device_id}: credentials: its entry names no {name}")
    value = os.environ.get(variable)
    if value is None:
        raise DeviceRefused(f"{device.device_id}: credentials: {name}: {variable} is not set")
    return value


class Adapters:
    """The pull adapters, each made when a device first needs it."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._made: dict[str, PullAdapter] = {}

    def of(self, device: Device) -> PullAdapter:
        """The device's adapter.

        Raises:
            ConfigurationError: there is none, or the entry cannot work; the message names the device.
        """
        check_entry("pull", device)
        name = device.adapter
        if name not in self._made:
            try:
                self._made[name] = create_pull_adapter(name, self._tools)
            except ConfigurationError as error:
                raise ConfigurationError(f"{device.device_id}: {error}") from error
        return self._made[name]
