"""One module a vendor. A module is imported when a device's registry entry names its adapter, not before."""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, Final, cast

from attendance.errors import ConfigurationError
from producers.devices.contract import (
    CreateFileAdapter,
    CreatePullAdapter,
    CreatePushAdapter,
    FileAdapter,
    PullAdapter,
    PushAdapter,
    Tools,
)

PUSH_ADAPTERS: Final[Mapping[str, str]] = {
    "hfsecurity": "producers.devices.hfsecurity.push:HfSecurity",
    "hikvision": "producers.devices.hikvision.push:Hikvision",
    "json": "producers.devices.generic.json_v1:JsonV1",
    "zkteco_adms": "producers.devices.zkteco.adms:ZktecoAdms",
}
PULL_ADAPTERS: Final[Mapping[str, str]] = {
    "biotime_sql": "producers.devices.zkteco.biotime_sql:BioTimeSql",
    "etimetracklite": "producers.devices.essl.etimetracklite:ETimeTrackLite",
    "hfsecurity": "producers.devices.hfsecurity.lan_api:HfSecurityPull",
    "hikvision": "producers.devices.hikvision.pull:HikvisionPull",
    "rest": "producers.devices.generic.rest:Rest",
    "sql": "producers.devices.generic.sql:Sql",
    "zkbiotime": "producers.devices.zkteco.biotime_api:ZkBioTime",
    "zkteco_tcp": "producers.devices.zkteco.tcp:ZktecoTcp",
}
FILE_ADAPTERS: Final[Mapping[str, str]] = {
    "attlog": "producers.devices.zkteco.attlog:Attlog",
    "csv": "producers.devices.generic.csv_file:Csv",
    "xlsx": "producers.devices.generic.xlsx_file:Xlsx",
}


def create_push_adapter(name: str, payload_fields: Collection[str]) -> PushAdapter:
    """The push adapter of that name. It keeps the vendor's fields that `payload_fields` names beside its own list.

    Raises:
        ConfigurationError: there is no such adapter, or what it needs is not installed.
    """
    return cast("CreatePushAdapter", _load("push", PUSH_ADAPTERS, name))(payload_fields)


def create_pull_adapter(name: str, tools: Tools) -> PullAdapter:
    """The pull adapter of that name.

    Raises:
        ConfigurationError: there is no such adapter, or what it needs is not installed.
    """
    return cast("CreatePullAdapter", _load("pull", PULL_ADAPTERS, name))(tools)


def create_file_adapter(name: str, payload_fields: Collection[str]) -> FileAdapter:
    """The file adapter of that name.

    Raises:
        ConfigurationError: there is no such adapter, or what it needs is not installed.
    """
    return cast("CreateFileAdapter", _load("file", FILE_ADAPTERS, name))(payload_fields)


def _load(kind: str, table: Mapping[str, str], name: str) -> Any:  # noqa: ANN401 - the caller knows what the table holds
    try:
        module, _, attribute = table[name].partition(":")
    except KeyError:
        raise ConfigurationError(
            f"adapter {name!r} is none of the {kind} adapters: {', '.join(sorted(table))}"
        ) from None
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"adapter {name!r} needs {error.name}, which is not installed") from error
