"""The fleet: devices, the sites that give them defaults, and the shifts whose people use them."""

import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Final, Literal, Self

from msgspec import to_builtins
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
    model_validator,
)

from attendance.durations import Seconds
from attendance.errors import ConfigurationError
from attendance.records.checkin import CheckinTime
from attendance.records.fleet import DevicePause
from attendance.times import zone
from attendance.working_hours import EXAMPLE, parse_spans

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


def _known_hours(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text such as {EXAMPLE}")  # noqa: TRY004 - pydantic takes no other error
    parse_spans(value)
    return " ".join(value.split())


def _not_given(value: object) -> object:
    if value is not None:
        raise ValueError("no entry says that; `punchstream fleet pause` does")
    return value


def _as_fields(pause: DevicePause | None) -> object:
    return None if pause is None else to_builtins(pause)


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
Hours = Annotated[str, BeforeValidator(_known_hours)]
"""What `attendance.working_hours` reads."""
# Strict: YAML has words for true and false that look like a compass direction, such as `n`.
Latitude = Annotated[float, Field(strict=True, ge=-90, le=90)]
Longitude = Annotated[float, Field(strict=True, ge=-180, le=180)]


PLACE: Final = frozenset(("latitude", "longitude"))
"""The fields that say where a device hangs."""


def check_coordinates(latitude: float | None, longitude: float | None) -> None:
    """Refuse a place that is none.

    Args:
        latitude: In degrees; None where it is not known.
        longitude: In degrees; None where it is not known.

    Raises:
        ValueError: one of them is missing, or ERPNext would take both for missing ones.
    """
    if (latitude is None) != (longitude is None):
        raise ValueError("latitude and longitude: one of them is missing")
    if latitude == 0 and longitude == 0:
        # ERPNext takes these for missing ones, and nobody works there.
        raise ValueError("latitude and longitude: 0, 0 is a place in the sea")


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

    `paused` is no field of an entry: whoever pauses a device writes that beside it. Nothing is taken from a device as
    long as it is paused.
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
    paused: Annotated[
        InstanceOf[DevicePause] | None, BeforeValidator(_not_given), PlainSerializer(_as_fields, when_used="json")
    ] = None

    @model_validator(mode="after")
    def _has_both_coordinates(self) -> Self:
        check_coordinates(self.latitude, self.longitude)
        return self


class Site(BaseModel):
    """A place, and what its devices have that do not say it themselves.

    `working_hours` are when people punch there, by the clock of its `timezone`, or of each device where it has none.
    `latitude` and `longitude` are defaults together: a device that has one of them has both of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: Identifier
    timezone: ZoneName | None = None
    direction: Direction | None = None
    checkin_time: CheckinTime | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    working_hours: Hours | None = None

    @model_validator(mode="after")
    def _has_both_coordinates(self) -> Self:
        check_coordinates(self.latitude, self.longitude)
        return self

    def defaults(self, fields: Iterable[str]) -> dict[str, object]:
        """What a device of this site has of it.

        Args:
            fields: The fields that its entry has itself.
        """
        own = set(fields)
        own |= PLACE if own & PLACE else set()
        found = self.model_dump(exclude_none=True, exclude={"site", "working_hours"})
        return {name: value for name, value in found.items() if name not in own}


class Shift(BaseModel):
    """A Shift Type of ERPNext, and the devices on which its people punch: each by its id, or all of a site.

    `working_hours` are when its people punch, by the clock of a device's site. They count for the devices of sites that
    have none themselves.

    `attendance` says who makes the Attendance of its days: ERPNext's auto attendance, or Punchstream (`direct`). The
    other fields are for `direct`. A day with less than `half_day_below` between its first and its last punch is a Half
    Day. `one_punch` says what a day with a single punch is; `none` leaves it to a person. `attendance_from` is the
    first day that becomes an Attendance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shift_type: str = Field(min_length=1, max_length=140)
    devices: tuple[Identifier, ...] = ()
    sites: tuple[Identifier, ...] = ()
    working_hours: Hours | None = None
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


def new_token() -> str:
    """A token that nobody can guess. It begins with a letter or a digit, so that no table program alters it."""
    while not (token := secrets.token_urlsafe(24))[0].isalnum():
        pass
    return token


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
