"""Make the site ready: the unique fields `event_id` of Employee Checkin and `punchstream_day` of Attendance."""

from contextlib import closing, suppress
from typing import Final, Literal

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import AccessDenied, ConfigurationError, DocumentRejected
from attendance.settings import ErpnextSettings
from sinks.attendance.policy import MARKER
from sinks.attendance.site import ATTENDANCE
from sinks.targets.erpnext.uniqueness import Field, Uniqueness, try_uniqueness

UNIQUE: Final[Document] = {"doctype": "Custom Field", "fieldtype": "Data", "unique": 1, "read_only": 1, "no_copy": 1}
EVENT_ID: Final[Document] = UNIQUE | {
    "dt": CHECKIN,
    "fieldname": EVENT_ID_FIELD,
    "label": "Event ID",
    "insert_after": "device_id",
}
DAY: Final[Document] = UNIQUE | {
    "dt": ATTENDANCE,
    "fieldname": MARKER,
    "label": "Punchstream Day",
    "insert_after": "shift",
}

SETUP_SECONDS: Final = 600.0  # a field changes the table, which takes minutes with millions of rows

FieldState = Literal["created", "already there", "not made"]


def _patient(settings: ErpnextSettings) -> ErpnextClient:
    return ErpnextClient(settings.model_copy(update={"timeout": max(settings.timeout, SETUP_SECONDS)}))


def ensure_event_id_field(settings: ErpnextSettings) -> bool:
    """Make sure that Employee Checkin has the unique field `event_id`. True when it was created now.

    Raises:
        AccessDenied: the credentials are wrong, or are not those of a System Manager; the message says what to do.
        ConfigurationError: there is a field `event_id`, and it is not unique.
        TargetUnavailable: the site does not answer; the field may be there or not, and another try is harmless.
    """
    with closing(_patient(settings)) as client:
        if _is_unique(client):
            return False
        create_event_id_field(client)
        return True


def ensure_day_field(settings: ErpnextSettings) -> tuple[FieldState, str]:
    """Make sure that Attendance has the unique field `punchstream_day`.

    Returns:
        What was done, and why it was not.

    Raises:
        TargetUnavailable: the site does not answer; the field may be there or not, and another try is harmless.
    """
    with closing(_patient(settings)) as client:
        with suppress(AccessDenied):
            if client.has_field(ATTENDANCE, MARKER):
                return "already there", ""
        try:
            client.insert(DAY)
        except (DocumentRejected, AccessDenied) as error:
            return "not made", str(error)
        return "created", ""


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
    if not _is_unique(client):
        raise _not_unique()


def _is_unique(client: ErpnextClient) -> bool:
    """Whether the field is there and unique; False if there is none.

    Raises:
        ConfigurationError: it is there, and is not unique.
    """
    try:
        found = try_uniqueness(client)
    except AccessDenied:
        # A System Manager need not be one who may store check-ins, but may read how the field was made.
        found = Uniqueness(Field.UNKNOWN)
    if found.field is Field.UNKNOWN:
        rows = client.get_list("Custom Field", ["unique"], [("dt", "=", CHECKIN), ("fieldname", "=", EVENT_ID_FIELD)])
        found = Uniqueness((Field.UNIQUE if rows[0]["unique"] else Field.NOT_UNIQUE) if rows else Field.MISSING)
    if found.field is Field.NOT_UNIQUE:
        raise _not_unique()
    return found.field is Field.UNIQUE


def _not_unique() -> ConfigurationError:
    return ConfigurationError(
        f"{CHECKIN} has a field {EVENT_ID_FIELD} that is not unique: tick Unique in Customize Form, {CHECKIN}"
    )
