"""The table of adapters. A vendor has a folder. An adapter's module is imported when an entry names it, not before."""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, Final, Literal, cast

from attendance.errors import ConfigurationError
from attendance.fleet import Device
from producers.devices.common.options import read_options
from producers.devices.common.settings import Configurable
from producers.devices.contract import (
    CreateFileAdapter,
    CreatePullAdapter,
    CreatePushAdapter,
    FileAdapter,
    PullAdapter,
    PushAdapter,
    Tools,
)

Way = Literal["push", "pull", "file"]
"""How punches come in: the terminal sends them, the device is asked for them, or somebody exports them."""

PUSH_ADAPTERS: Final[Mapping[str, str]] = {
    "hfsecurity": "producers.devices.hfsecurity.push:HfSecurity",
    "hikvision": "producers.devices.hikvision.push:Hikvision",
    "json": "producers.devices.generic.json_v1:JsonV1",
    "zkteco_adms": "producers.devices.zkteco.adms:ZktecoAdms",
}
PULL_ADAPTERS: Final[Mapping[str, str]] = {
    "biotime_sql": "producers.devices.zkteco.biotime_sql:BioTimeSql",
    "etimetracklite": "producers.devices.essl.etimetracklite:ETimeTrackLite",
    "hfsecurity": "producers.devices.hfsecurity.pull:HfSecurityPull",
    "hikvision": "producers.devices.hikvision.pull:HikvisionPull",
    "rest": "producers.devices.generic.rest.adapter:Rest",
    "sql": "producers.devices.generic.sql:Sql",
    "zkbiotime": "producers.devices.zkteco.biotime_api:ZkBioTime",
    "zkteco_tcp": "producers.devices.zkteco.tcp:ZktecoTcp",
}
FILE_ADAPTERS: Final[Mapping[str, str]] = {
    "attlog": "producers.devices.zkteco.attlog:Attlog",
    "csv": "producers.devices.generic.csv_file:Csv",
    "xlsx": "producers.devices.generic.xlsx_file:Xlsx",
}

ADAPTERS: Final[Mapping[Way, Mapping[str, str]]] = {
    "push": PUSH_ADAPTERS,
    "pull": PULL_ADAPTERS,
    "file": FILE_ADAPTERS,
}


def check_entry(way: Way, device: Device) -> None:
    """Accept an entry whose adapter exists and takes its options.

    Args:
        way: How the device's punches come in. A device that pushes may be asked as well, by another adapter.
        device: The entry.

    Raises:
        ConfigurationError: it cannot work; the message names the device and the option.
    """
    try:
        adapter = _load(way, device.adapter)
    except ConfigurationError as error:
        raise ConfigurationError(f"{device.device_id}: {error}") from error
    if way == "pull" and adapter.options.needs_host and device.host is None:
        raise ConfigurationError(f"{device.device_id}: host: is needed")
    read_options(device, adapter.options)


def verified_on(device: Device) -> str | None:
    """What the adapter of a device was tried on, as `Adapter.verified_on` has it; None where there is no such adapter.

    Args:
        device: Its entry.
    """
    try:
        found: str = _load(device.mode, device.adapter).verified_on
    except ConfigurationError:
        return None
    return found


def is_configurable(device: Device) -> bool:
    """Whether a device can be asked for its settings, to compare them with what they should be.

    Args:
        device: Its entry.
    """
    if device.via is not None or device.host is None:
        return False
    try:
        return issubclass(_load("pull", device.adapter), Configurable)
    except ConfigurationError:
        return False


def create_push_adapter(name: str, payload_fields: Collection[str]) -> PushAdapter:
    """The push adapter of that name. It keeps the vendor's fields that `payload_fields` names beside its own list.

    Args:
        name: Its name in `PUSH_ADAPTERS`.
        payload_fields: The vendor's fields that its events keep beside its own list.

    Raises:
        ConfigurationError: there is no such adapter, or what it needs is not installed.
    """
    return cast("CreatePushAdapter", _load("push", name))(payload_fields)


def create_pull_adapter(name: str, tools: Tools) -> PullAdapter:
    """The pull adapter of that name.

    Args:
        name: Its name in `PULL_ADAPTERS`.
        tools: What it works with.

    Raises:
        ConfigurationError: there is no such adapter, or what it needs is not installed.
    """
    return cast("CreatePullAdapter", _load("pull", name))(tools)


def create_file_adapter(name: str, payload_fields: Collection[str]) -> FileAdapter:
    """The file adapter of that name.

    Args:
        name: Its name in `FILE_ADAPTERS`.
        payload_fields: The vendor's fields that its events keep beside its own list.

    Raises:
        ConfigurationError: there is no such adapter, or what it needs is not installed.
    """
    return cast("CreateFileAdapter", _load("file", name))(payload_fields)


def _load(way: Way, name: str) -> Any:  # noqa: ANN401 - the caller knows what the table holds
    table = ADAPTERS[way]
    try:
        module, _, attribute = table[name].partition(":")
    except KeyError:
        raise ConfigurationError(
            f"adapter {name!r} is none of the {way} adapters: {', '.join(sorted(table))}"
        ) from None
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"adapter {name!r} needs {error.name}, which is not installed") from error
