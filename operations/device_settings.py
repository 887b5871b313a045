"""Settings of devices: what they are, what they should be, and changing them when a person says so."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.settings import PullSettings
from producers.devices.common.http import create_client
from producers.devices.common.settings import Configurable, Setting
from producers.devices.contract import PullAdapter, Tools
from producers.pull.sources import Adapters, secret


@asynccontextmanager
async def adapters(settings: PullSettings, payload_fields: Collection[str] = ()) -> AsyncIterator[Adapters]:
    """The adapters that ask devices, as the pull stage has them.

    Args:
        settings: Those of the pull stage.
        payload_fields: The vendors' fields that are kept beside the adapters' own.
    """
    async with create_client(
        connect_seconds=settings.connect_timeout,
        answer_seconds=settings.answer_timeout,
        cafile=settings.ssl_cafile,
    ) as http:
        yield Adapters(Tools(http, secret, payload_fields))


@asynccontextmanager
async def adapter_of(device: Device, settings: PullSettings) -> AsyncIterator[PullAdapter]:
    """The adapter that asks a device, as the pull stage has it.

    Args:
        device: Its entry.
        settings: Those of the pull stage.

    Raises:
        ConfigurationError: the entry cannot work.
    """
    async with adapters(settings) as made:
        yield made.of(device)


async def read_settings(device: Device) -> Sequence[Setting]:
    """The settings of a device beside what they should be. Nothing is changed.

    Args:
        device: Its entry.

    Raises:
        ConfigurationError: its adapter compares no settings, or its entry cannot work.
        DeviceUnavailable, DeviceRefused, UnreadableAnswer: as `PullAdapter.fetch` tells them apart.
    """
    async with adapter_of(device, PullSettings.load()) as adapter:
        return await _configurable(adapter, device).settings(device)


async def configure(device: Device, names: Collection[str]) -> Sequence[Setting]:
    """Change the settings of these names that differ, and say what the device has then.

    Args:
        device: Its entry.
        names: Those of which somebody has seen the difference.

    Raises:
        ConfigurationError: its adapter compares no settings, or its entry cannot work.
        DeviceUnavailable, DeviceRefused, UnreadableAnswer: as `PullAdapter.fetch` tells them apart. Some may have been
            changed.
    """
    async with adapter_of(device, PullSettings.load()) as adapter:
        return await _configurable(adapter, device).configure(device, names)


def _configurable(adapter: PullAdapter, device: Device) -> Configurable:
    if not isinstance(adapter, Configurable):
        raise ConfigurationError(f"DEVICE: {device.device_id}: adapter {adapter.name} compares no settings")
    return adapter
