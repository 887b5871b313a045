"""The one validator of the `options` of entries in the fleet file. A subclass for each adapter says what they hold."""

from typing import TypeVar

from pydantic import ValidationError

from attendance.errors import ConfigurationError
from attendance.registry import Device
from producers.devices.contract import Options


class HttpOptions(Options):
    """The options of an adapter that asks by HTTP. With `tls` it does so by HTTPS."""

    tls: bool = False


AnyOptions = TypeVar("AnyOptions", bound=Options)


def read_options(device: Device, model: type[AnyOptions]) -> AnyOptions:
    """The options of an entry.

    Args:
        device: The entry.
        model: What its adapter says that they may hold.

    Raises:
        ConfigurationError: one is unknown, missing or wrong; the message names the device and the option.
    """
    if model.needs_host and device.host is None:
        raise ConfigurationError(f"{device.device_id}: host: is needed")
    try:
        return model.model_validate(device.options)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(("options", *map(str, first["loc"])))
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "there is no such option"
        raise ConfigurationError(f"{device.device_id}: {option}: {message}") from None
