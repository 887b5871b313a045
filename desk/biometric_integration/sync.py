"""What `punchstream directory` calls: it reads the shifts, and writes back what Punchstream knows of the devices."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import frappe
from frappe import _
from frappe.utils import get_system_timezone

from biometric_integration import __version__, shift_settings

ROLE = "Biometric Sync"
"""Reads devices, user maps and what shifts say to Punchstream; writes nothing but the live fields of devices."""
MOST = 500
"""Devices in one request."""
TIMES = ("last_sync_at", "last_heard_at")
TEXTS = ("last_cursor", "clock", "backlog")
LONGEST = 140


@frappe.whitelist()
def version() -> str:
    """The version of the app. By this Punchstream knows that the app is installed, whatever its user may read."""
    return __version__


@frappe.whitelist()
def shifts() -> list[dict[str, Any]]:
    """The shifts that name sites or devices, each as an entry of Punchstream's fleet. Other fields are not shown.

    Raises:
        frappe.PermissionError: the user does not have the role.
    """
    _check_role()
    return shift_settings.entries()


@frappe.whitelist(methods=["POST"])
def write_live(devices: list | str) -> dict[str, Any]:
    """Write live fields of devices. `modified` stays as it is, so what is written here is no change to be read.

    Args:
        devices: For each its `device_id` and any of the live fields. Times are ISO 8601 with an offset; None empties a
            field.

    Returns:
        `written`, the number of devices, and `unknown`, the ids that there is no device for.

    Raises:
        frappe.PermissionError: the user does not have the role.
        frappe.ValidationError: something cannot be read; nothing is written.
    """
    _check_role()
    given = frappe.parse_json(devices)
    if not isinstance(given, list) or len(given) > MOST:
        frappe.throw(_("devices: a list of at most {0} devices").format(MOST))
    fields = dict(map(_read, given))
    known = set(frappe.get_all("Biometric Device", filters={"name": ["in", list(fields)]}, pluck="name"))
    for device_id in known & fields.keys():
        if fields[device_id]:
            frappe.db.set_value("Biometric Device", device_id, fields[device_id], update_modified=False)
    return {"written": len(known & fields.keys()), "unknown": sorted(fields.keys() - known)}


def _check_role() -> None:
    if ROLE not in frappe.get_roles():
        frappe.throw(_("The role {0} is needed").format(ROLE), frappe.PermissionError)


def _read(device: object) -> tuple[str, dict[str, Any]]:
    """The id of a device, and its fields as the database has them."""
    if not isinstance(device, Mapping) or not isinstance(device.get("device_id"), str):
        frappe.throw(_("Each device has a device_id"))
    device_id = device["device_id"]
    fields: dict[str, Any] = {}
    for name, value in device.items():
        if name in TIMES:
            try:
                fields[name] = None if value is None else as_naive(value)
            except ValueError:
                frappe.throw(
                    _("{0}: {1}: a time with an offset, such as 2026-11-30T08:00:00+00:00").format(device_id, name)
                )
        elif name in TEXTS:
            if value is not None and (not isinstance(value, str) or len(value) > LONGEST):
                frappe.throw(_("{0}: {1}: a text of at most {2} characters").format(device_id, name, LONGEST))
            fields[name] = value
        elif name != "device_id":
            frappe.throw(_("{0}: {1} is no live field").format(device_id, name))
    return device_id, fields


def as_naive(text: object) -> datetime:
    """A time as ERPNext has it: naive, in the zone of the site, whole seconds.

    Args:
        text: ISO 8601, with an offset.

    Raises:
        ValueError: it is anything else.
    """
    if not isinstance(text, str):
        raise ValueError(text)  # noqa: TRY004 - one error for all that is no such time
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if time.tzinfo is None:
        raise ValueError(text)
    return time.astimezone(ZoneInfo(get_system_timezone())).replace(tzinfo=None, microsecond=0)
