"""The one validator of the `options` of entries in the fleet file. A subclass for each adapter says what they hold."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar, cast, get_args

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from attendance.errors import ConfigurationError
from attendance.fleet import Device, no_flag
from producers.devices.contract import Options


class HttpOptions(Options):
    """The options of an adapter that asks by HTTP. With `tls` it does so by HTTPS."""

    needs_host: ClassVar[bool] = True

    tls: bool = False


EventNumbers = frozenset[Annotated[int, no_flag("Input should be a number of an event"), Field(ge=0, le=65_535)]]
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


def words(fold: Callable[[str], str]) -> BeforeValidator:
    """Validates a mapping whose keys are words of a device.

    Args:
        fold: What the adapter does to a word before it looks it up. Two keys must not become equal by it.
    """

    def folded(meanings: object) -> object:
        if not isinstance(meanings, Mapping):
            return meanings
        found: dict[str, object] = {}
        for word, meaning in meanings.items():
            if (key := fold(str(word))) in found:
                raise ValueError(f"{key!r} is given twice")
            found[key] = meaning
        return found

    return BeforeValidator(folded)


def check_time_format(text: str) -> str:
    """Accept a format of `strptime` that reads a whole time: the day with its year, hour and minute.

    Args:
        text: The format.

    Raises:
        ValueError: it is none, or leaves out a part of the time.
    """
    moment = datetime(2026, 12, 31, 23, 58, 59, tzinfo=UTC)
    try:
        again = datetime.strptime(moment.strftime(text), text)  # noqa: DTZ007 - a wall clock
    except re.error as error:
        raise ValueError("the format has a part of the time twice") from error
    if again.replace(tzinfo=None, second=0) != moment.replace(tzinfo=None, second=0):
        raise ValueError("the format leaves out a part of the time")
    return text


AnyOptions = TypeVar("AnyOptions", bound=Options)

# By what is written, so that nothing old is given for what was changed. To validate takes longer than to read a record,
# and a terminal sends its records one by one.
_VALID: Final[dict[tuple[type[Options], str], Options]] = {}
_MOST_VALID: Final = 10_000


def read_options(device: Device, model: type[AnyOptions]) -> AnyOptions:
    """The options of an entry.

    Args:
        device: The entry.
        model: What its adapter says that they may hold.

    Raises:
        ConfigurationError: one is unknown, missing or wrong; the message names the device and the option.
    """
    written = repr(device.options)
    valid = _VALID.get((model, written))
    if valid is not None:
        return cast("AnyOptions", valid)
    for place, message in _slips(model, device.options):
        raise ConfigurationError(f"{device.device_id}: {'.'.join(('options', *place))}: {message}")
    try:
        options = model.model_validate(device.options)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(("options", *map(str, first["loc"])))
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{device.device_id}: {option}: {message}") from None
    if len(_VALID) >= _MOST_VALID:
        _VALID.clear()
    _VALID[model, written] = options
    return options


def _slips(model: type[BaseModel], given: Mapping[Any, object]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What no option of any adapter may be, for each its place and what is wrong with it."""
    for name, value in given.items():
        place = (str(name),)
        if not isinstance(name, str) or name not in model.model_fields:
            yield place, _no_such_option(str(name), list(model.model_fields))
            continue
        kinds = _kinds(model, name)
        if isinstance(value, bool) and not kinds & {bool, Any}:
            yield (
                place,
                "true and false are none of its values (YAML reads yes, no, on and off so)",
            )
        elif value == "" and model.model_fields[name].default != "":
            yield place, "it is empty"
        nested = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if nested is not None and isinstance(value, Mapping):
            yield from ((place + within, message) for within, message in _slips(nested, value))
        else:
            yield from ((place + within, message) for within, message in _keys_that_slip(value))


def _no_such_option(name: str, known: list[str]) -> str:
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.75)
    if near:
        return f"there is no such option; did you mean {near[0]}?"
    return f"there is no such option; there {'are ' + ', '.join(known) if known else 'is none'}"


@lru_cache(maxsize=1024)
def _kinds(model: type[BaseModel], name: str) -> frozenset[type]:
    """The types that the annotation of a field names, however deep."""
    found: set[type] = set()
    waiting: list[object] = [model.model_fields[name].annotation]
    while waiting:
        each = waiting.pop()
        parts = get_args(each)
        waiting.extend(parts)
        if not parts and isinstance(each, type):
            found.add(each)
    return frozenset(found)


def _keys_that_slip(value: object) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys that are no text and no number, or that another one equals as a text."""
    if isinstance(value, list):
        for each in value:
            yield from _keys_that_slip(each)
    if not isinstance(value, Mapping):
        return
    seen: set[str] = set()
    for key, each in value.items():
        text = str(key)
        if isinstance(key, bool) or not isinstance(key, str | int):
            yield (text,), "YAML reads this key neither as a text nor as a whole number: put it in quotes"
        elif text in seen:
            yield (text,), "is given twice"
        seen.add(text)
        yield from (((text, *within), message) for within, message in _keys_that_slip(each))
