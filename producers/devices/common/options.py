"""The one validator of the `options` of entries in the fleet file. A subclass for each adapter says what they hold."""

from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from attendance.errors import ConfigurationError
from attendance.registry import Device
from producers.devices.contract import Options


class HttpOptions(Options):
    """The options of an adapter that asks by HTTP. With `tls` it does so by HTTPS."""

    needs_host: ClassVar[bool] = True

    tls: bool = False


def _no_flag(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("Input should be a number of an event")  # noqa: TRY004 - pydantic takes no other error
    return value


EventNumbers = frozenset[Annotated[int, BeforeValidator(_no_flag), Field(ge=0, le=65_535)]]
"""Numbers that a vendor gave to kinds of events."""


class EventOptions(Options):
    """The options of an adapter whose terminals number their events, where a number means something else than usual.

    `punch_events` are further numbers of events that are punches, `other_events` of those that are none.
    """

    punch_events: EventNumbers = frozenset()
    other_events: EventNumbers = frozenset()

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if both := self.punch_events & self.other_events:
            raise ValueError(f"{min(both)} is in punch_events and in other_events")
        return self


AnyOptions = TypeVar("AnyOptions", bound=Options)


def read_options(device: Device, model: type[AnyOptions]) -> AnyOptions:
    """The options of an entry.

    Args:
        device: The entry.
        model: What its adapter says that they may hold.

    Raises:
        ConfigurationError: one is unknown, missing or wrong; the message names the device and the option.
    """
    try:
        return model.model_validate(device.options)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(("options", *map(str, first["loc"])))
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "there is no such option"
        raise ConfigurationError(f"{device.device_id}: {option}: {message}") from None
