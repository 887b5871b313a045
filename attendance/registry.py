"""The fleet file: the fleet, read by every stage that applies a device's own policy."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import structlog
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from yaml.constructor import ConstructorError

from attendance.durations import Seconds
from attendance.errors import ConfigurationError
from attendance.records.checkin import CheckinTime
from attendance.times import zone

log = structlog.get_logger(__name__)

REFRESH_SECONDS: Final = 1.0  # between two looks for a changed file

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

    `serial` is the vendor's own serial number, by which a device is known where its protocol has no token. `via` names
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


class Registry:
    """The fleet as the file has it.

    A change of the file is taken up by `refresh`; while the file is wrong or gone, the last good fleet stays.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigurationError: it cannot be read or an entry is wrong; the message names the file and the entry.
        """
        self._path = path
        self._stamp = _stamp(path)
        self._devices, self._shifts, self._direct = _read(path)

    def __iter__(self) -> Iterator[Device]:
        return iter(self._devices.values())

    def __len__(self) -> int:
        return len(self._devices)

    def get(self, device_id: str) -> Device | None:
        """The device of that id, disabled or not."""
        return self._devices.get(device_id)

    @property
    def shifts(self) -> Mapping[str, Sequence[Device]]:
        """The devices of each Shift Type that the file lists, at least one, without the disabled ones."""
        return self._shifts

    @property
    def direct_shifts(self) -> Mapping[str, Shift]:
        """Those of the shifts whose days Punchstream turns into Attendance, by Shift Type."""
        return self._direct

    async def refreshed(self) -> bool:
        """Take up a changed file, in a thread: thousands of entries take seconds to read. True when the fleet changed.

        Whatever goes wrong is logged and changes nothing.
        """
        try:
            return await asyncio.to_thread(self.refresh)
        except Exception:
            log.exception("The fleet file cannot be read; the last good fleet stays.")
            return False

    def refresh(self) -> bool:
        """Take up a changed file. True when the fleet changed; a bad file is logged and changes nothing."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._devices, self._shifts, self._direct = _read(self._path)
        except ConfigurationError as error:
            log.error("The fleet file is wrong; the last good fleet stays.", error=str(error))
            return False
        log.info("The fleet file was read again.", devices=len(self._devices))
        return True


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


def load(path: Path) -> dict[str, Device]:
    """The devices of a fleet file, by id.

    Raises:
        ConfigurationError: see `Registry`.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Device], dict[str, tuple[Device, ...]], dict[str, Shift]]:
    try:
        entries = yaml.load(path.read_bytes(), _Loader)  # noqa: S506 - it is a safe loader
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
    return devices, *_read_shifts(path, shifts, devices)


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


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
