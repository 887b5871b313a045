"""Does the site want coordinates, and does every device have them?"""

from collections.abc import Iterator, Sequence
from math import asin, cos, radians, sin, sqrt
from typing import Final

from attendance.erpnext import ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected
from attendance.fleet import Device
from operations.site.results import Check, attempt, failed, ok, some, unseen, warning

GEOLOCATION: Final = "geolocation"
SHIFT_LOCATION: Final = "Shift Location"
SETTING: Final = "HR Settings, Allow Geolocation Tracking"
_REMEDY: Final = f"give them latitude and longitude in the fleet, or switch off {SETTING}"
_EARTH: Final = 6_371_000  # metres


def look_at_geolocation(
    client: ErpnextClient, devices: Sequence[Device] | None, user: str, *, wanted: bool
) -> Iterator[Check]:
    """Look at what the site wants, and at what the devices have.

    Args:
        client: The site.
        devices: Those that are not disabled; None where there is no fleet.
        user: The API user, for the remedies.
        wanted: Whether the site refuses check-ins without coordinates.

    Yields:
        What was found of each thing.
    """
    yield _coordinates(devices, wanted=wanted)
    if devices and wanted:
        yield attempt("shift locations", f"let {user} read {SHIFT_LOCATION}", lambda: _locations(client, devices))


def _coordinates(devices: Sequence[Device] | None, *, wanted: bool) -> Check:
    if not wanted:
        return ok(GEOLOCATION, f"no coordinates are asked for: {SETTING} is off")
    if devices is None:
        return unseen(
            GEOLOCATION, f"coordinates are asked for by {SETTING}; there is no fleet here to compare with", _REMEDY
        )
    without = [device.device_id for device in devices if device.latitude is None]
    if without:
        detail = (
            f"coordinates are asked for by {SETTING}, and ERPNext refuses every check-in of the {len(without)} of "
            f"{len(devices)} devices that have none: {some(without)}"
        )
        return failed(GEOLOCATION, detail, _REMEDY)
    return ok(GEOLOCATION, f"coordinates are asked for by {SETTING}, and all {len(devices)} devices have them")


def _locations(client: ErpnextClient, devices: Sequence[Device]) -> str | Check:
    """Whether each device is within the radius of a Shift Location; ERPNext goes by that of the employee's shift."""
    name = "shift locations"
    try:
        rows = client.get_list(SHIFT_LOCATION, ["name", "checkin_radius", "latitude", "longitude"])
    except (AccessDenied, DocumentRejected) as error:
        return unseen(name, f"the API user may not read them: {error}", "a HR Manager sees them in Shift Location List")
    bounded = [row for row in rows if (row["checkin_radius"] or 0) > 0]
    if not bounded:
        return "none has a radius, so any coordinates do"
    far = []
    for device in devices:
        if device.latitude is None or device.longitude is None:
            continue
        place = device.latitude, device.longitude
        if not any(_metres(place, (row["latitude"], row["longitude"])) <= row["checkin_radius"] for row in bounded):
            far.append(device.device_id)
    if not far:
        return "every device with coordinates is within the radius of one"
    detail = f"farther from every Shift Location than its radius: {some(far)}; for people of such a shift it is refused"
    return warning(name, detail, "correct the coordinates of the device or of the Shift Location, or its radius")


def _metres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The distance of two places in degrees, as ERPNext measures it."""
    (latitude, longitude), (latitude_2, longitude_2) = (tuple(map(radians, each)) for each in (one, other))
    half = sin((latitude_2 - latitude) / 2) ** 2
    half += cos(latitude) * cos(latitude_2) * sin((longitude_2 - longitude) / 2) ** 2
    return 2 * _EARTH * asin(sqrt(half))
