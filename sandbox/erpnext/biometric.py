"""The app `biometric_integration`, which a site has or has not."""

from typing import Final

from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import BIOMETRIC_DEVICE, LIVE_FIELDS, OF_THE_DESK
from sandbox.erpnext.errors import FrappeError, Message
from sandbox.erpnext.query import Row, Value
from sandbox.erpnext.store import Store
from sandbox.erpnext.tables import Change
from sandbox.erpnext.users import SYNC, User

APP: Final = "biometric_integration"
VERSION: Final = "0.1.0"


def check_method(method: str, *, installed: bool) -> None:
    """Return if a method is not of the app, or the app is there.

    Raises:
        FrappeError: the app is not installed.
    """
    if method.partition(".")[0] == APP and not installed:
        why = f"App {APP} is not installed"
        raise FrappeError(
            417,
            "ValidationError",
            "frappe.exceptions.ValidationError: {message}",
            first=Message(why, thrown=True),
            message=Message(f"Failed to get method for command {method} with {why}", thrown=True),
        )


def write_live(site: Store, user: User, devices: Value) -> Row:
    """Write live fields of devices, and answer how many there were and which are unknown.

    Raises:
        FrappeError: the user does not have the role, or a field is not live.
    """
    if SYNC not in user.roles:
        raise errors.thrown("PermissionError", f"The role {SYNC} is needed", status=403)
    known = site.table(BIOMETRIC_DEVICE).rows
    unknown = sorted(each["device_id"] for each in devices if each["device_id"] not in known)
    for each in devices:
        if other := [name for name in each if name not in {"device_id", *LIVE_FIELDS}]:
            raise errors.thrown("ValidationError", f"{each['device_id']}: {other[0]} is no live field")
    changes: list[Change] = [
        (BIOMETRIC_DEVICE, row["name"], row | each) for each in devices if (row := known.get(each["device_id"]))
    ]
    site.commit(changes)
    return {"written": len(changes), "unknown": unknown}


def check_list(user: User, doctype: str, *, installed: bool) -> None:
    """Return if a doctype is not of the app, or the app is there.

    Raises:
        FrappeError: the app is not installed. Frappe says then that the user may not read doctypes.
    """
    if doctype in OF_THE_DESK and not installed:
        raise errors.not_permitted(user.name, "DocType")
