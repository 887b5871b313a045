"""Attendance directly: the field that it needs at the site."""

from contextlib import closing
from typing import Final, Literal

from attendance.erpnext import ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected
from attendance.settings import ErpnextSettings
from sinks.attendance.policy import MARKER
from sinks.attendance.site import ATTENDANCE

FIELD: Final = {
    "doctype": "Custom Field",
    "dt": ATTENDANCE,
    "fieldname": MARKER,
    "label": "Punchstream Day",
    "fieldtype": "Data",
    "unique": 1,
    "read_only": 1,
    "no_copy": 1,
    "insert_after": "shift",
}
SETUP_SECONDS: Final = 600.0  # the field changes the table

FieldState = Literal["created", "already there", "not made"]


def ensure_day_field(settings: ErpnextSettings) -> tuple[FieldState, str]:
    """Make sure that Attendance has the unique field `punchstream_day`.

    Returns:
        What was done, and why it was not.

    Raises:
        TargetUnavailable: the site does not answer; the field may be there or not, and another try is harmless.
    """
    patient = settings.model_copy(update={"timeout": max(settings.timeout, SETUP_SECONDS)})
    with closing(ErpnextClient(patient)) as client:
        try:
            client.get_list(ATTENDANCE, [MARKER], limit=1)
        except (DocumentRejected, AccessDenied):
            pass
        else:
            return "already there", ""
        try:
            client.insert(FIELD)
        except (DocumentRejected, AccessDenied) as error:
            return "not made", str(error)
        return "created", ""
