"""Make the site ready: the unique field `event_id` on Employee Checkin."""

from contextlib import closing
from typing import Final

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import AccessDenied, ConfigurationError, DocumentRejected
from attendance.settings import ErpnextSettings

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
