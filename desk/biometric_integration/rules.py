"""What may stand in a field, as the fleet of Punchstream has it. Knows nothing of Frappe.

A `ValueError` has the sentence for the person who typed it.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from hashlib import sha256
from typing import Any, Final
from zoneinfo import ZoneInfo

IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
SERIAL: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
HASH: Final = re.compile(r"[0-9a-f]{64}")
HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,250}[A-Za-z0-9])?\.?")
ZONE: Final = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
ADAPTER: Final = re.compile(r"[a-z0-9_]{1,100}")
# A password that was pasted hardly ever looks like this.
VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
HIGHEST_PORT: Final = 65535
SHORTEST_HALF_DAY: Final = 0.25
LONGEST_HALF_DAY: Final = 24
FARTHEST: Final = timedelta(days=366)
"""Between today and a first day of Attendance."""
MOST_NAMED: Final = 10
"""Sites in one sentence."""

MORE_SETTINGS: Final = (
    "addresses",
    "checkin_time",
    "credentials",
    "installed_on",
    "interval",
    "numbered",
    "options",
    "via",
)
"""The fields of a fleet entry that have no field of their own here."""


def check_identifier(text: str) -> None:
    """Refuse what is no name of a device or a site."""
    if not IDENTIFIER.fullmatch(text):
        raise ValueError(f"{text!r} may have letters, digits and _ . : - only, at most 100 of them")


def check_zone(name: str) -> None:
    """Refuse what is no IANA time zone."""
    try:
        if not ZONE.fullmatch(name):
            raise ValueError(name)
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        # An unknown zone is a KeyError, and a folder of zones an OSError.
        raise ValueError(f"{name!r} is no IANA time zone such as Asia/Riyadh") from None


def check_host(text: str) -> None:
    """Refuse what is no name and no address of a machine."""
    if not HOST.fullmatch(text):
        raise ValueError(f"{text!r} is no name or address such as 10.0.0.7, without http://, port or path")


def check_place(latitude: float, longitude: float) -> None:
    """Refuse a place that is none. 0 and 0 say that it is not known.

    Args:
        latitude: In degrees.
        longitude: In degrees.
    """
    if not -90 <= latitude <= 90 or not -180 <= longitude <= 180:
        raise ValueError("Latitude is from -90 to 90, Longitude from -180 to 180")
    if (latitude == 0) != (longitude == 0):
        raise ValueError("Latitude and Longitude: one of them is missing")


def read_more_settings(text: str) -> dict[str, Any]:
    """The further fields of the fleet entry.

    Args:
        text: A JSON object, or nothing.
    """
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError('a JSON object such as {"interval": "5 min"}')  # noqa: TRY004 - the one error of this module
    if unknown := [name for name in found if name not in MORE_SETTINGS]:
        raise ValueError(f"{', '.join(unknown)}: only {', '.join(MORE_SETTINGS)} may stand here")
    credentials = found.get("credentials", {})
    if not isinstance(credentials, dict) or not all(
        isinstance(name, str) and VARIABLE.fullmatch(name) for name in credentials.values()
    ):
        raise ValueError('credentials: names of environment variables, such as {"password": "RIYADH_PASSWORD"}')
    return found


def new_token() -> str:
    """A token that nobody can guess. It begins with a letter or a digit, so that no table program alters it."""
    while not (token := secrets.token_urlsafe(24))[0].isalnum():
        pass
    return token


def hash_token(token: str) -> str:
    """What stands in a fleet entry instead of a token."""
    return sha256(token.encode()).hexdigest()


def mapping_key(device: str, site: str, device_user_id: str) -> str:
    """What only one row of the user map may have: a digest, because the database takes `a` and `A` for one text.

    Args:
        device: The device on which the number holds; empty where it is a site.
        site: The site on whose devices it holds; empty where it is a device.
        device_user_id: The number.
    """
    return sha256(json.dumps([device, site, device_user_id]).encode()).hexdigest()


def check_places(places: Sequence[tuple[str, str]], devices: Mapping[str, tuple[str, bool]]) -> None:
    """Refuse places at which nobody of a shift could punch.

    Args:
        places: The site and the device of each row; one of them is empty.
        devices: Of each device of the desk its site, and whether it is disabled.
    """
    sites = {site for site, _ in devices.values()}
    seen: set[tuple[str, str]] = set()
    for number, (site, device) in enumerate(places, 1):
        if bool(site) == bool(device):
            raise ValueError(f"row {number}: name either a site or a device")
        if (site, device) in seen:
            raise ValueError(f"row {number}: {site or device} is there twice")
        seen.add((site, device))
        if device and device not in devices:
            raise ValueError(f"row {number}: there is no Biometric Device {device}")
        if site and site not in sites:
            known = ", ".join(sorted(sites)[:MOST_NAMED]) or "none yet"
            raise ValueError(f"row {number}: no Biometric Device is of the site {site}. Their sites: {known}")
    # A device may have the name of a site that it is not of.
    of_the_shift = [disabled for name, (site, disabled) in devices.items() if (site, "") in seen or ("", name) in seen]
    if places and all(of_the_shift):
        raise ValueError("each Biometric Device there is disabled")


def check_half_day(hours: float) -> None:
    """Refuse a half day that the fleet would refuse. 0 says that there is none.

    Args:
        hours: Below which a day is a half one.
    """
    if hours and not SHORTEST_HALF_DAY <= hours <= LONGEST_HALF_DAY:
        raise ValueError(f"from {SHORTEST_HALF_DAY} to {LONGEST_HALF_DAY} hours, or empty")


def check_first_day(day: date, today: date) -> None:
    """Refuse a first day that is a slip of the year.

    Args:
        day: The first day that becomes an Attendance.
        today: By the clock of the site.
    """
    if abs(day - today) > FARTHEST:
        raise ValueError(f"{day} is more than a year away")
