"""The ERPNext site: make it ready for check-ins, and find out what is missing."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, SHIFT_TYPE, Document, ErpnextClient
from attendance.errors import (
    AccessDenied,
    ConfigurationError,
    Conflict,
    DocumentRejected,
    PunchstreamError,
    TargetUnavailable,
)
from attendance.settings import ErpnextSettings
from attendance.times import zone
from producers.directory.employees import EmployeeReader, holders, shared_ids

EVENT_ID: Final[Document] = {
    "doctype": "Custom Field",
    "dt": CHECKIN,
    "fieldname": EVENT_ID_FIELD,
    "label": "Event ID",
    "fieldtype": "Data",
    "unique": 1,
    "read_only": 1,
    "no_copy": 1,
    "insert_after": "device_id",
}

SETUP_SECONDS: Final = 600.0  # the field changes the table, which takes minutes with millions of rows

_MANDATORY_FIRST: Final = frozenset({"MandatoryError", "ValidationError"})

State = Literal["ok", "failed", "not checked"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `remedy` says what to do about a failure.

    `only_for` names the commands that need it, where deliveries do not.
    """

    name: str
    state: State
    detail: str
    remedy: str | None = None
    only_for: str | None = None


def ensure_event_id_field(settings: ErpnextSettings) -> bool:
    """Make sure that Employee Checkin has the unique field `event_id`. True when it was created now.

    Raises:
        AccessDenied: the credentials are wrong, or are not those of a System Manager; the message says what to do.
        ConfigurationError: there is a field `event_id`, and it is not unique.
        TargetUnavailable: the site does not answer; the field may be there or not, and another try is harmless.
    """
    patient = settings.model_copy(update={"timeout": max(settings.timeout, SETUP_SECONDS)})
    with closing(ErpnextClient(patient)) as client:
        if client.has_event_id_field():
            return False
        create_event_id_field(client)
        return True


def create_event_id_field(client: ErpnextClient) -> None:
    """Return when Employee Checkin has the unique field `event_id`. Raises what `ensure_event_id_field` raises."""
    user = client.logged_user()
    try:
        client.insert(EVENT_ID)
    except AccessDenied as error:
        raise AccessDenied(
            f"{user} may not create the Custom Field {EVENT_ID_FIELD} on {CHECKIN}: run this command once with "
            "ERPNEXT_API_KEY and ERPNEXT_API_SECRET of a System Manager, or give that role to "
            f"{user} until it is done"
        ) from error
    except DocumentRejected as error:
        if client.get_list("Custom Field", ["name"], [("dt", "=", CHECKIN), ("fieldname", "=", EVENT_ID_FIELD)]):
            raise _not_unique() from error
        raise
    if not client.has_event_id_field():
        raise _not_unique()


def _not_unique() -> ConfigurationError:
    return ConfigurationError(
        f"{CHECKIN} has a field {EVENT_ID_FIELD} that is not unique: tick Unique in Customize Form, {CHECKIN}"
    )


def checks(client: ErpnextClient) -> Iterator[Check]:
    """Look at everything that deliveries need, then at what some commands need. Nothing is written at the site."""
    try:
        user = client.logged_user()
    except TargetUnavailable as error:
        yield Check("reachable", "failed", str(error), "is ERPNEXT_URL right, and the site up?")
        return
    except PunchstreamError as error:
        yield Check("reachable", "ok", "the site answers")
        yield Check(
            "credentials", "failed", str(error), "set ERPNEXT_API_KEY and ERPNEXT_API_SECRET to those of the API user"
        )
        return
    yield Check("reachable", "ok", "the site answers")
    yield Check("credentials", "ok", user)
    yield _attempt("employees", f"let {user} read Employee, such as by the role HR User", lambda: _employees(client))
    yield _attempt(
        "check-ins", f"let {user} create Employee Checkin, such as by the role HR User", lambda: _may_create(client)
    )
    yield _attempt("event_id field", "run `punchstream erpnext setup`", lambda: _event_id_field(client))
    yield _attempt("time zone", "set System Settings, Time Zone", lambda: zone(client.time_zone()).key)
    for name, doctype, only_for in (
        ("corrections", CHECKIN, "replay --correct, audit --repair-late"),
        ("shift types", SHIFT_TYPE, "completeness, audit --repair-late"),
    ):
        remedy = f"let {user} read and write {doctype}, such as by the role HR User"
        yield _attempt(name, remedy, partial(_may_write, client, doctype), only_for)


def _attempt(name: str, remedy: str, look: Callable[[], str], only_for: str | None = None) -> Check:
    try:
        return Check(name, "ok", look(), None, only_for)
    except TargetUnavailable as error:
        return Check(name, "not checked", str(error), "try again when the site answers", only_for)
    except PunchstreamError as error:
        return Check(name, "failed", str(error), remedy, only_for)


def _employees(client: ErpnextClient) -> str:
    people = asyncio.run(EmployeeReader(client).everyone())
    if shared := sorted(shared_ids(people)):
        raise ConfigurationError(f"several employees have the attendance_device_id {', '.join(shared[:10])}")
    return f"{len(people)} employees, {len(holders(people.values()))} with attendance_device_id"


def _may_create(client: ErpnextClient) -> str:
    """Ask by a document that cannot be stored, because ERPNext looks at the permission before the content."""
    # Without its employee, and with a log type that does not exist: one of them is refused on any site.
    impossible = {"doctype": CHECKIN, "time": "2000-01-01 00:00:00", "log_type": "punchstream check"}
    try:
        name = client.insert(impossible)
    except DocumentRejected as error:
        if error.kind not in _MANDATORY_FIRST:
            raise
        return "may be created"
    raise ConfigurationError(f"the site stored {name}, which has no employee: delete it")


def _may_write(client: ErpnextClient, doctype: str) -> str:
    """Ask by a change to a version that is long gone: ERPNext looks at the permission, and then at the version."""
    rows = client.get_list(doctype, ["name"], limit=1)
    if not rows:
        return f"may be read; there is no {doctype} yet to try writing on"
    try:
        client.update(doctype, rows[0]["name"], {"modified": "2000-01-01 00:00:00"})
    except Conflict:
        return "may be read and written"
    raise ConfigurationError(f"the site took a change to an old version of {doctype} {rows[0]['name']}")


def _event_id_field(client: ErpnextClient) -> str:
    if not client.has_event_id_field():
        raise ConfigurationError("missing or not unique: a retry after a timeout may store a punch twice")
    return "there, and unique"
