"""One module a vendor. A module is imported when a device's registry entry names its adapter, not before."""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Final, cast

from attendance.errors import ConfigurationError
from producers.devices.base import CreatePushAdapter, PushAdapter

PUSH_ADAPTERS: Final[Mapping[str, str]] = {
    "json": "producers.devices.json_v1:JsonV1",
}


def create_push_adapter(name: str, payload_fields: Collection[str]) -> PushAdapter:
    """The adapter that a device's registry entry names.

    Args:
        name: The entry's `adapter`.
        payload_fields: Names of the vendor's own fields that may be kept.

    Raises:
        ConfigurationError: there is no such push adapter.
    """
    try:
        module, _, attribute = PUSH_ADAPTERS[name].partition(":")
    except KeyError:
        known = ", ".join(sorted(PUSH_ADAPTERS))
        raise ConfigurationError(f"adapter {name!r} is none of the push adapters: {known}") from None
    create = cast("CreatePushAdapter", getattr(import_module(module), attribute))
    return create(payload_fields)
