"""Where a check-in was made, on a site that wants to know it (`allow_geolocation_tracking` of HR Settings)."""

import json
from datetime import datetime
from math import asin, cos, pi, sqrt
from typing import Final

from sandbox.erpnext import assignments, errors
from sandbox.erpnext.doctypes import HR_SETTINGS, SHIFT_LOCATION
from sandbox.erpnext.query import Row
from sandbox.erpnext.store import Store

_EARTH_METRES: Final = 6371_000
_HRMS: Final = "hrms (app)"


def check(store: Store, row: Row, time: datetime) -> None:
    """Return if the check-in was made where it may be, with its `geolocation` filled in. Not wanted, all may.

    Raises:
        FrappeError: it has no coordinates, or lies too far from the Shift Location of the assigned shift.
    """
    if not store.table(HR_SETTINGS).rows[HR_SETTINGS]["allow_geolocation_tracking"]:
        return
    here = (row["latitude"], row["longitude"])
    if not any(here):
        text = "Latitude and longitude values are required for checking in."
        raise errors.thrown("ValidationError", text, source=_HRMS)
    if all(here):
        point = {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}
        feature = {"type": "Feature", "properties": {}, "geometry": point}
        row["geolocation"] = json.dumps({"type": "FeatureCollection", "features": [feature]})
    place = _place(store, row, time)
    if place is None or (place["checkin_radius"] or 0) <= 0:
        return
    if _metres(here, (place["latitude"], place["longitude"])) > place["checkin_radius"]:
        raise errors.thrown(
            "CheckinRadiusExceededError",
            f"You must be within {place['checkin_radius']} meters of your shift location to check in.",
            module="hrms.hr.doctype.employee_checkin.employee_checkin",
            source=_HRMS,
        )


def _place(store: Store, row: Row, time: datetime) -> Row | None:
    held = assignments.of(store, row["employee"], time.date()) if row["employee"] else []
    names = [each["shift_location"] for each in held if each["shift_type"] == row["shift"] and each["shift_location"]]
    return store.table(SHIFT_LOCATION).rows.get(names[0]) if names else None


def _metres(here: tuple[float, float], there: tuple[float, float]) -> float:
    """The distance of two points, each in degrees of latitude and longitude."""
    (lat1, long1), (lat2, long2) = (tuple(degrees * pi / 180 for degrees in point) for point in (here, there))
    chord = 0.5 - cos(lat2 - lat1) / 2 + cos(lat1) * cos(lat2) * (1 - cos(long2 - long1)) / 2
    return 2 * _EARTH_METRES * asin(sqrt(chord))
