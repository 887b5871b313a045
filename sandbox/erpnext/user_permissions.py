"""User Permission: who may have to do only with some employees, or only with those of some companies."""

from sandbox.erpnext.doctypes import ATTENDANCE, CHECKIN, EMPLOYEE, USER_PERMISSION
from sandbox.erpnext.errors import FrappeError, Message
from sandbox.erpnext.query import Row
from sandbox.erpnext.store import Store
from sandbox.erpnext.users import User

# By doctype, the fields that lead to what may be restricted.
_FIELDS = {
    EMPLOYEE: (("Employee", "name"), ("Company", "company")),
    CHECKIN: (("Employee", "employee"),),
    ATTENDANCE: (("Employee", "employee"), ("Company", "company")),
}


def of(store: Store, user: User) -> dict[str, list[Row]]:
    """The permissions of a user, by what they allow, as `get_user_permissions` answers."""
    found: dict[str, list[Row]] = {}
    for row in store.rows(USER_PERMISSION):
        if row["user"] == user.name:
            doc = {"doc": row["for_value"], "applicable_for": None, "is_default": 0, "hide_descendants": 0}
            found.setdefault(row["allow"], []).append(doc)
    return found


def visible(store: Store, user: User, doctype: str, rows: list[Row]) -> list[Row]:
    """Those of the rows that the user may see."""
    allowed = of(store, user)
    return [row for row in rows if _hindrance(allowed, doctype, row) is None] if allowed else rows


def check_create(store: Store, user: User, doctype: str, row: Row) -> None:
    """Return if the user may create that document.

    Raises:
        FrappeError: it leads to what the user may not see.
    """
    found = _hindrance(of(store, user), doctype, row)
    if found is None:
        return
    allow, value = found
    raise FrappeError(
        403,
        "PermissionError",
        "frappe.exceptions.PermissionError",
        message=Message(
            f"You are not allowed to access this {doctype} record because it is linked to {allow} '{value}' in field "
            f"{allow}<br>User <strong>{user.name}</strong> does not have access to this document: {doctype} - None"
        ),
        about=f"You need the 'create' permission on <strong>{doctype}</strong>  to perform this action.",
    )


def _hindrance(allowed: dict[str, list[Row]], doctype: str, row: Row) -> tuple[str, object] | None:
    """What the row leads to and the user may not see. An empty field leads nowhere."""
    for allow, field in _FIELDS.get(doctype, ()):
        value = row.get(field)
        if value and allow in allowed and value not in {each["doc"] for each in allowed[allow]}:
            return allow, value
    return None
