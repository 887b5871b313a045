"""The fleet file: the fleet, read by every stage that applies a device's own policy."""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import structlog
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from yaml.constructor import ConstructorError

from attendance.durations import Seconds
from attendance.errors import ConfigurationError
from attendance.records.checkin import CheckinTime
from attendance.settling import Settling, wait_for
from attendance.times import zone

log = structlog.get_logger(__name__)

REFRESH_SECONDS: Final = 1.0  # between two looks for a changed file
EXAMPLES: Final = 5  # devices that a log line names

Direction = Literal["from_device", "in", "out", "none"]


def _known_zone(name: str) -> str:
    try:
        zone(name)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return name


def _known_host(text: str) -> str:
    try:
        ip_address(text)
    except ValueError:
        if not _HOST.fullmatch(text) or text.replace(".", "").isdecimal():
            raise ValueError("a name or an address such as 10.0.0.7, without http://, port or path") from None
    return text


def _known_network(text: object) -> str:
    try:
        return str(ip_network(str(text), strict=False))
    except ValueError:
        raise ValueError("an address such as 10.0.0.7, or a network such as 10.2.0.0/16") from None


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def no_flag(message: str) -> BeforeValidator:
    """Validates a number, which pydantic would otherwise make of true and false.

    Args:
        message: What is said of true and false.
    """

    def checked(value: object) -> object:
        if isinstance(value, bool):
            raise ValueError(message)  # noqa: TRY004 - pydantic takes no other error
        return value

    return BeforeValidator(checked)


_NO_FLAG: Final = no_flag("true and false are no number")
_HOST: Final = re.compile(r"\w(?:[\w.-]{0,250}\w)?\.?")
Network = Annotated[str, BeforeValidator(_known_network)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]
ZoneName = Annotated[str, AfterValidator(_known_zone)]
# Strict: YAML has words for true and false that look like a compass direction, such as `n`.
Latitude = Annotated[float, Field(strict=True, ge=-90, le=90)]
Longitude = Annotated[float, Field(strict=True, ge=-180, le=180)]


class Device(BaseModel):
    """One terminal.

    `direction` is the policy for `log_type`: what the device says, always in, always out, or left to the shift's rule.
    `checkin_time` says in whose wall clock ERPNext gets this device's punches. `latitude` and `longitude`, in degrees,
    say where it hangs; some sites of ERPNext take no check-in without them. `numbered` says that its `sequence` counts
    its punches without a gap. `credentials` names environment variables, never their values.

    `serial` is the vendor's own serial number, by which a device is known where its protocol has no token. `addresses`
    are the addresses and networks from which it may push; from anywhere where there are none. `via` names
    the entry of a server that holds this device's records. `interval` is the time between two pulls, in seconds or with
    a unit (`5 min`); a device that pushes and has one is asked as well, for what its pushes lost. `options` are the
    adapter's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device_id: Identifier
    name: str = ""
    site: Identifier
    timezone: ZoneName
    mode: Literal["push", "pull", "file"] = "push"
    adapter: str = "json"
    serial: str | None = Field(None, pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    via: Identifier | None = None
    host: Annotated[str, AfterValidator(_known_host)] | None = None
    port: Annotated[int | None, _NO_FLAG] = Field(None, ge=1, le=65535)
    addresses: Annotated[tuple[Network, ...], BeforeValidator(_as_list)] = ()
    token_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    credentials: dict[str, str] = Field(default_factory=dict)
    interval: Annotated[Seconds | None, _NO_FLAG] = Field(None, ge=1, le=86400)
    options: dict[str, Any] = Field(default_factory=dict)
    direction: Direction = "from_device"
    checkin_time: CheckinTime = "erpnext_zone"
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    numbered: bool = False
    installed_on: date | None = None
    disabled: bool = False

    @model_validator(mode="after")
    def _has_both_coordinates(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude: one of them is missing")
        if self.latitude == 0 and self.longitude == 0:
            # ERPNext takes these for missing ones, and nobody works there.
            raise ValueError("latitude and longitude: 0, 0 is a place in the sea")
        return self


class Shift(BaseModel):
    """A Shift Type of ERPNext, and the devices on which its people punch: each by its id, or all of a site.

    `attendance` says who makes the Attendance of its days: ERPNext's auto attendance, or Punchstream (`direct`). The
    other fields are for `direct`. A day with less than `half_day_below` between its first and its last punch is a Half
    Day. `one_punch` says what a day with a single punch is; `none` leaves it to a person. `attendance_from` is the
    first day that becomes an Attendance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shift_type: str = Field(min_length=1, max_length=140)
    devices: tuple[Identifier, ...] = ()
    sites: tuple[Identifier, ...] = ()
    attendance: Literal["erpnext", "direct"] = "erpnext"
    # Less is a slip: YAML reads 4:00 as 240, and a plain number is in seconds.
    half_day_below: Seconds | None = Field(None, ge=900, le=86400)
    one_punch: Literal["none", "half_day", "present"] = "none"
    attendance_from: date | None = None

    @model_validator(mode="after")
    def _has_only_what_counts(self) -> Self:
        set_in_vain = self.model_fields_set & {"half_day_below", "one_punch", "attendance_from"}
        if set_in_vain and self.attendance != "direct":
            raise ValueError(f"{', '.join(sorted(set_in_vain))}: only for a shift with attendance: direct")
        return self


def hash_token(token: str) -> str:
    """What the registry holds instead of a token."""
    return sha256(token.encode()).hexdigest()


def network_of(address: str) -> str | None:
    """An address as the fleet file has it; None where it is none. An IPv4 one may be written as IPv6."""
    with suppress(ValueError):
        given = ip_address(address)
        return str(ip_network(getattr(given, "ipv4_mapped", None) or given))
    return None


def is_among(address: str | None, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of these networks.

    Args:
        address: The address; None where none is known.
        networks: As the fleet file has them.
    """
    known = network_of(address or "")
    if known is None:
        return False
    given = ip_network(known)
    return any(given.version == each.version and given.subnet_of(each) for each in map(ip_network, networks))  # type: ignore[arg-type]


class Registry:
    """The fleet as the file has it.

    A change of the file is taken up by `refresh` once it is whole: it was the same at two looks, and for longer where
    devices are missing in it (`attendance.settling`). While the file is wrong or gone, the last good fleet stays.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Args:
            path: The file.
            clock: Seconds, from any beginning.

        Raises:
            ConfigurationError: it cannot be read or an entry is wrong; the message names the file and the entry.
        """
        self._path = path
        self._settling = Settling(path, clock)
        self._read = self._found = _read(path)
        self._waits = False

    def __iter__(self) -> Iterator[Device]:
        return iter(self._read.devices.values())

    def __len__(self) -> int:
        return len(self._read.devices)

    def get(self, device_id: str) -> Device | None:
        """The device of that id, disabled or not."""
        return self._read.devices.get(device_id)

    @property
    def shifts(self) -> Mapping[str, Sequence[Device]]:
        """The devices of each Shift Type that the file lists, at least one, without the disabled ones."""
        return self._read.shifts

    @property
    def direct_shifts(self) -> Mapping[str, Shift]:
        """Those of the shifts whose days Punchstream turns into Attendance, by Shift Type."""
        return self._read.direct

    async def refreshed(self) -> bool:
        """Take up a changed file, in a thread: thousands of entries take seconds to read. True when the fleet changed.

        Whatever goes wrong is logged and changes nothing.
        """
        try:
            return await asyncio.to_thread(self.refresh)
        except Exception:
            log.exception("The fleet file cannot be read; the last good fleet stays.")
            return False

    async def caught_up(self) -> None:
        """Take up a file that has just been changed, for whoever does not look every second."""
        await self.refreshed()
        if self._settling.is_new:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.refreshed()

    def refresh(self) -> bool:
        """Take up a changed file. True when the fleet changed; a bad file is logged and changes nothing."""
        if not self._settling.look():
            return False
        if self._settling.is_first_whole_look:
            self._waits = False
            try:
                self._found = _read(self._path)
            except ConfigurationError as error:
                self._settling.take()
                log.error("The fleet file is wrong; the last good fleet stays.", error=str(error))
                return False
        before, found = self._read, self._found
        lost = before.devices.keys() - found.devices.keys()
        if not self._settling.has_lasted(wait_for(len(before.devices), len(lost), before.content, found.content)):
            if not self._waits:
                log.warning(
                    "The fleet file may be half-written: devices or its end are missing. It is taken up once it has"
                    " stayed as it is for a while.",
                    devices=len(found.devices),
                    missing=len(lost),
                    examples=sorted(lost)[:EXAMPLES],
                )
            self._waits = True
            return False
        self._settling.take()
        self._read, self._waits = found, False
        log.info("The fleet file was read again.", devices=len(found.devices))
        return True


@dataclass(frozen=True, slots=True)
class _Read:
    """What a fleet file has: its bytes, the devices by id, those of each shift, and the shifts that are `direct`."""

    content: bytes
    devices: Mapping[str, Device]
    shifts: Mapping[str, tuple[Device, ...]]
    direct: Mapping[str, Shift]


class _Loader(yaml.SafeLoader):
    """Reads YAML, in which a key that is given twice is wrong: whichever value was meant, the other one would go."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 - the library's
        """Refuse a key that another one equals."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                raise ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node


def load(path: Path, content: bytes | None = None) -> dict[str, Device]:
    """The devices of a fleet file, by id.

    Args:
        path: The file.
        content: What it is to hold; None for what it does.

    Raises:
        ConfigurationError: see `Registry`.
    """
    return dict(_read(path, content).devices)


def _read(path: Path, content: bytes | None = None) -> _Read:
    try:
        content = path.read_bytes() if content is None else content
        entries = yaml.load(content, _Loader)  # noqa: S506 - it is a safe loader
    except OSError as error:
        raise ConfigurationError(f"PUNCHSTREAM_DEVICES: {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2026-02-30 is a plain ValueError
        raise ConfigurationError(f"{path}: not YAML: {error}".replace("\n", " ")) from error
    shifts: object = []
    if isinstance(entries, dict) and "devices" in entries and set(entries) <= {"devices", "shifts"}:
        entries, shifts = entries["devices"], entries.get("shifts", [])
    if not isinstance(entries, list) or not isinstance(shifts, list):
        raise ConfigurationError(f"{path}: must be a list of devices, or hold the lists devices and shifts")
    devices = _read_devices(path, entries)
    return _Read(content, devices, *_read_shifts(path, shifts, devices))


def _read_devices(path: Path, entries: Sequence[object]) -> dict[str, Device]:
    devices: dict[str, Device] = {}
    for number, entry in enumerate(entries, start=1):
        try:
            device = Device.model_validate(entry)
        except ValidationError as error:
            raise _wrong_entry(path, f"device {number}", error) from error
        if device.device_id in devices:
            raise ConfigurationError(f"{path}: device {number}: {device.device_id} is there twice")
        if device.mode == "push" and device.via is None and device.token_sha256 is None and device.serial is None:
            raise ConfigurationError(
                f"{path}: device {number}: {device.device_id} pushes, so it needs token_sha256 "
                "(`punchstream devices token` makes one), or its serial where the protocol has no token"
            )
        devices[device.device_id] = device
    _check_serials(path, devices)
    return devices


def _check_serials(path: Path, devices: Mapping[str, Device]) -> None:
    holders: dict[tuple[str, str], str] = {}
    for device in devices.values():
        if device.via is not None and device.via not in devices:
            raise ConfigurationError(f"{path}: {device.device_id}: via: no such device: {device.via}")
        if device.serial is None:
            continue
        # A server's own numbers may repeat those of terminals that speak for themselves.
        holder = holders.setdefault((device.via or device.adapter, device.serial), device.device_id)
        if holder != device.device_id:
            raise ConfigurationError(f"{path}: {device.device_id}: serial {device.serial} is {holder}'s already")


def _read_shifts(
    path: Path, entries: Sequence[object], devices: Mapping[str, Device]
) -> tuple[dict[str, tuple[Device, ...]], dict[str, Shift]]:
    """The devices of each shift, and the entries of those whose days become Attendance directly."""
    sites = {device.site for device in devices.values()}
    shifts: dict[str, tuple[Device, ...]] = {}
    direct: dict[str, Shift] = {}
    for number, entry in enumerate(entries, start=1):
        try:
            shift = Shift.model_validate(entry)
        except ValidationError as error:
            name = entry.get("shift_type") if isinstance(entry, dict) else None
            raise _wrong_entry(path, f"shift {number}: {name}" if name else f"shift {number}", error) from error
        if shift.shift_type in shifts:
            raise ConfigurationError(f"{path}: shift {number}: {shift.shift_type} is there twice")
        # A name that is wrong would be a device that nobody waits for.
        unknown = [*(set(shift.devices) - devices.keys()), *(set(shift.sites) - sites)]
        if unknown:
            raise ConfigurationError(f"{path}: shift {number}: no such device or site: {', '.join(sorted(unknown))}")
        members = tuple(
            device
            for device in devices.values()
            if not device.disabled and (device.device_id in shift.devices or device.site in shift.sites)
        )
        if not members:
            raise ConfigurationError(f"{path}: shift {number}: {shift.shift_type} has no device that is not disabled")
        shifts[shift.shift_type] = members
        if shift.attendance == "direct":
            direct[shift.shift_type] = shift
    return shifts, direct


def _wrong_entry(path: Path, entry: str, error: ValidationError) -> ConfigurationError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])  # none where fields do not go together
    return ConfigurationError(": ".join(filter(None, (str(path), entry, field, first["msg"]))))
