"""The settings of a HeyStar terminal on which its punches depend: read back, compared, written."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from attendance.errors import UnreadableAnswer
from producers.devices.common.settings import Setting
from producers.devices.hfsecurity.heystar import HeyStarApi, Writing, found_in
from producers.devices.hfsecurity.lan_api import addresses_in
from producers.devices.hfsecurity.recognition import HfSecurityOptions

RECOGNITION: Final = 1
SERVER: Final = 5
SAVE: Final = "recRecordSave"
SAVE_DAYS: Final = "recRecordSaveDays"
FEWEST_SAVE_DAYS: Final = 14

_ADDRESSES: Final[Mapping[str, tuple[int, str]]] = {
    "sevUploadRecRecordUrl": (2, "record"),
    "sevUploadDevHeartbeatUrl": (1, "heartbeat"),
}
"""Of each address, its number among those of `device/setUploadUrl`, and what follows the entry's `callback_url`."""


@dataclass(frozen=True, slots=True)
class Found:
    """A setting with what has to be written where it differs."""

    setting: Setting
    verb: Writing
    value: str | int


@dataclass(frozen=True, slots=True)
class _Number:
    """A setting that is a number; `value` is written where what the terminal has is not `right`."""

    name: str
    kind: int
    verb: Writing
    value: int
    wanted: str
    right: Callable[[int], bool]


def _numbers(options: HfSecurityOptions) -> Iterator[_Number]:
    yield _Number("recRecordUploadMode", RECOGNITION, "device/setRecConfig", 2, "2 (again after a break)", (2).__eq__)
    yield _Number(SAVE, RECOGNITION, "device/setRecConfig", 1, "1 (records are kept)", (1).__eq__)
    yield _Number(
        SAVE_DAYS,
        RECOGNITION,
        "device/setRecConfig",
        FEWEST_SAVE_DAYS,
        f"{FEWEST_SAVE_DAYS} or more",
        lambda days: days >= FEWEST_SAVE_DAYS,
    )
    yield _Number("sevUploadRecSnapshotEnable", SERVER, "device/setSevConfig", 0, "0 (no photographs)", (0).__eq__)
    yield _Number("sevUploadRecStrangerDataEnable", SERVER, "device/setSevConfig", 0, "0 (no strangers)", (0).__eq__)
    if options.qr_codes:
        yield _Number("sevUploadRecQrcodeDataEnable", SERVER, "device/setSevConfig", 1, "1 (QR codes)", (1).__eq__)


async def compare(api: HeyStarApi, callback_url: str | None) -> Sequence[Found]:
    """Read a terminal's settings back. Raises what `HeyStarApi.read` raises.

    Args:
        api: The terminal's.
        callback_url: Where it should post to, less the last part of the path; None where the entry wants nothing.
    """
    configs = {SERVER: await api.config(SERVER), RECOGNITION: await api.config(RECOGNITION)}
    found = []
    if callback_url is not None:
        found += [
            _address(name, configs[SERVER], kind, f"{callback_url}/{path}") for name, (kind, path) in _ADDRESSES.items()
        ]
    return [*found, *(_number(each, configs[each.kind]) for each in _numbers(api.options))]


async def write(api: HeyStarApi, found: Sequence[Found], names: Collection[str]) -> None:
    """Write those of the settings that differ and that have one of these names. Raises what `HeyStarApi.read` raises.

    Args:
        api: The terminal's.
        found: What `compare` found.
        names: Their names.
    """
    differ = [each for each in found if each.setting.differs and each.setting.name in names]
    for verb in dict.fromkeys(each.verb for each in differ):
        await api.write(verb, {each.setting.name: each.value for each in differ if each.verb == verb})
    addresses = [
        {"type": _ADDRESSES[each.setting.name][0], "url": each.value}
        for each in differ
        if each.setting.name in _ADDRESSES
    ]
    # Whether a terminal needs both is not known. The middleware takes a form, in which a list has no known shape.
    if addresses and api.way == "cgi":
        with suppress(UnreadableAnswer):  # what it has is read again afterwards
            await api.write("device/setUploadUrl", addresses)


def _address(name: str, config: object, kind: int, wanted: str) -> Found:
    has = found_in(config, name) or _in_list(config, kind) or ""
    found, right = addresses_in(str(has)), addresses_in(wanted)
    # The path holds a token, so it is never shown.
    hosts = ", ".join(f"{host}:{port}" for host, port, _ in found) or "nowhere"
    place = ", ".join(f"{host}:{port}" for host, port, _ in right)
    if found and found != right and hosts == place:
        hosts += ", another path"
    return Found(Setting(name, hosts, place, found != right), "device/setSevConfig", wanted)


def _in_list(config: object, kind: int) -> object:
    """The address of that number, where they stand in a list as `device/setUploadUrl` takes them."""
    match config:
        case {"type": number, "url": url} if str(number) == str(kind):
            return url
        case Mapping():
            return next((url for each in config.values() if (url := _in_list(each, kind))), None)
        case list():
            return next((url for each in config if (url := _in_list(each, kind))), None)
    return None


def _number(wanted: _Number, config: object) -> Found:
    has = found_in(config, wanted.name)
    # In the form in which the terminal has it.
    value = type(has)(wanted.value) if isinstance(has, str | bool) else wanted.value
    try:
        differs = None if has in (None, "") else not wanted.right(int(str(int(has) if isinstance(has, bool) else has)))
    except ValueError:
        differs = True
    shown = "not said" if differs is None else str(has)[:32]
    return Found(Setting(wanted.name, shown, wanted.wanted, differs), wanted.verb, value)


def number_in(found: Sequence[Found], name: str) -> int | None:
    """What a terminal has of a setting that is a number; None where it does not say.

    Args:
        found: What `compare` found.
        name: The setting's name.
    """
    has = next((each.setting.has for each in found if each.setting.name == name), "")
    return int(has) if has.isdecimal() else None
