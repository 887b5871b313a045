"""The settings of the site and of its users."""

from zoneinfo import available_timezones

from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import SYSTEM_SETTINGS, USER
from sandbox.erpnext.query import Row
from sandbox.erpnext.store import Store
from sandbox.erpnext.tables import Change
from sandbox.erpnext.users import ADMINISTRATOR


def check(doctype: str, row: Row) -> None:
    """Return if settings may be as the row has them.

    Raises:
        FrappeError: they may not.
    """
    if doctype in {SYSTEM_SETTINGS, USER} and row["time_zone"] not in available_timezones():
        raise errors.thrown("ValidationError", f"Time Zone cannot be {row['time_zone']}")


def set_time_zone(store: Store, time_zone: str, user: str | None) -> None:
    """Change the zone of the site, or of that user alone.

    Raises:
        FrappeError: there is no such zone, or no such user.
    """
    doctype, name = (USER, user) if user else (SYSTEM_SETTINGS, SYSTEM_SETTINGS)
    old = store.table(doctype).rows.get(name)
    if old is None:
        raise errors.not_found(doctype, name)
    row = old | {"time_zone": time_zone, "modified": store.stamp(), "modified_by": ADMINISTRATOR}
    check(doctype, row)
    changes: list[Change] = [(doctype, name, row)]
    store.commit(changes)
