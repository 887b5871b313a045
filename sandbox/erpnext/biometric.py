"""The app `biometric_integration`, which a site has or has not."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import (
    BIOMETRIC_DEVICE,
    CHECKIN,
    LIVE_FIELDS,
    OF_THE_DESK,
    SHIFT_SETTINGS,
    STAMPS,
    check_permission,
)
from sandbox.erpnext.errors import FrappeError, Message
from sandbox.erpnext.query import Row, Value
from sandbox.erpnext.store import Store
from sandbox.erpnext.tables import Change
from sandbox.erpnext.users import SYNC, User

APP: Final = "biometric_integration"
VERSION: Final = "0.1.0"
MOST: Final = 1000
"""Check-ins in one request of fast ingest."""
_REFUSED: Final = 417
_DOUBTFUL: Final = "insert may refuse it"
_FIRST: Final = "the first, with which the others are compared"

Create = Callable[[Mapping[str, Any]], Awaitable[Row]]


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


def shifts(site: Store, user: User) -> list[Row]:
    """The shifts that name sites or devices, by name, as the app says them.

    Raises:
        FrappeError: the user does not have the role.
    """
    _check_role(user)
    rows = sorted(site.rows(SHIFT_SETTINGS), key=lambda row: row["name"])
    return [
        {"shift_type": row["name"]}
        | {field: value for field, value in row.items() if field not in STAMPS and value is not None}
        for row in rows
    ]


def write_live(site: Store, user: User, devices: Value) -> Row:
    """Write live fields of devices, and answer how many there were and which are unknown.

    Raises:
        FrappeError: the user does not have the role, or a field is not live.
    """
    _check_role(user)
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


def _check_role(user: User) -> None:
    if SYNC not in user.roles:
        raise errors.thrown("PermissionError", f"The role {SYNC} is needed", status=403)


def check_list(user: User, doctype: str, *, installed: bool) -> None:
    """Return if a doctype is not of the app, or the app is there.

    Raises:
        FrappeError: the app is not installed. Frappe says then that the user may not read doctypes.
    """
    if doctype in OF_THE_DESK and not installed:
        raise errors.not_permitted(user.name, "DocType")


def describe_ingest(site: Store, user: User) -> Row:
    """What fast ingest says of itself.

    Raises:
        FrappeError: the user may not create check-ins.
    """
    check_permission(user, CHECKIN, "write")
    why = [] if "event_id" in site.custom_fields(CHECKIN) else ["fields that are not there: event_id"]
    return {"most": MOST, "bulk": not why, "why": why}


def read_check_ins(given: Value) -> list[dict[str, Any]]:
    """The documents of one request of fast ingest.

    Raises:
        FrappeError: they cannot be read.
    """
    if not isinstance(given, list) or len(given) > MOST:
        raise errors.thrown("ValidationError", f"checkins: a list of at most {MOST} check-ins")
    for each in given:
        if not isinstance(each, dict) or not each.get("event_id"):
            raise errors.thrown("ValidationError", "Each check-in has an event_id")
    return [{**each, "doctype": CHECKIN} for each in given]


async def ingest(site: Store, check_ins: list[dict[str, Any]], create: Create) -> Row:
    """Store the check-ins of one request, each for itself, and answer what became of each.

    Args:
        site: The documents.
        check_ins: As `read_check_ins` returns them.
        create: Stores one, or raises FrappeError.
    """
    failed: set[Any] = set()
    outcomes: list[Row] = []
    first = True
    for each in check_ins:
        outcome: Row = {"event_id": each["event_id"]}
        outcomes.append(outcome)
        there = site.checkins.candidates([("event_id", "=", each["event_id"])])
        names = [row["name"] for row in there if row.get("event_id") == each["event_id"]]
        if names:
            outcome |= {"outcome": "exists", "name": names[0]}
        elif each.get("employee") in failed:
            outcome |= {"outcome": "skipped"}
        else:
            by_insert = {"way": "insert", "why": _FIRST if first else _DOUBTFUL}
            try:
                outcome |= {"outcome": "inserted", "name": (await create(each))["name"]}
                outcome |= by_insert if first else {"way": "bulk"}
            except FrappeError as error:
                outcome |= {"outcome": "refused", "status": error.status, **by_insert}
                outcome |= {"exc_type": error.exc_type, "message": error.words}
                if error.status != _REFUSED:
                    failed.add(each.get("employee"))
            first = False
    return {"why": [], "outcomes": outcomes}
