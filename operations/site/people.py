"""Are the employees as deliveries need them: seen by the API user, told apart, and with their dates?"""

import asyncio
from collections.abc import Iterator
from typing import Final

from attendance.erpnext import ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected
from operations.site.results import Check, attempt, failed, some, unseen, warning
from producers.directory.employees import EMPLOYEE, EmployeeReader, holders, shared_ids

HIDDEN: Final = "hidden employees"
_USER_PERMISSIONS: Final = "/api/method/frappe.core.doctype.user_permission.user_permission.get_user_permissions"
_COUNT: Final = f"/api/method/frappe.client.get_count?doctype={EMPLOYEE}"


def look_at_people(client: ErpnextClient, user: str) -> Iterator[Check]:
    """Look at the employees.

    Args:
        client: Their site.
        user: The API user, for the remedies.

    Yields:
        What was found of each thing.
    """
    read = f"let {user} read Employee, such as by the role HR User"
    yield attempt("employees", read, lambda: _employees(client))
    yield attempt(HIDDEN, read, lambda: _hidden(client, user))
    yield attempt("joining dates", read, lambda: _without(client, "Active", "date_of_joining"))
    yield attempt("relieving dates", read, lambda: _without(client, "Left", "relieving_date"))


def _employees(client: ErpnextClient) -> str | Check:
    people = asyncio.run(EmployeeReader(client).everything())
    if shared := shared_ids(people):
        who = (f"{number} ({some(names)})" for number, names in sorted(shared.items()))
        detail = f"several employees have one attendance_device_id: {some(who)}"
        return failed("employees", detail, "in ERPNext, give each of them their own")
    return f"{len(people)} employees, {len(holders(people.values()))} with attendance_device_id"


def _hidden(client: ErpnextClient, user: str) -> str | Check:
    """Whether User Permissions hide employees from the API user. The user may ask for their own."""
    remedy = (
        f"in ERPNext, User Permission List, remove those of {user}, or add the ones that are missing; a System Manager "
        "sees them"
    )
    try:
        narrowed = client.call("GET", _USER_PERMISSIONS).get("message")
    except (AccessDenied, DocumentRejected) as error:
        return unseen(HIDDEN, f"{user} may not ask for their own User Permissions: {error}", remedy)
    if not isinstance(narrowed, dict):
        return unseen(HIDDEN, f"the site says nothing of the User Permissions of {user}", remedy)
    if not narrowed:
        return f"no User Permission narrows what {user} sees"
    by = f"User Permissions on {some(sorted(map(str, narrowed)))} narrow what {user} sees"
    try:
        # It counts all of them, whoever asks; newer releases count those that the user sees.
        hidden = int(client.call("GET", _COUNT)["message"]) - len(client.get_list(EMPLOYEE, ["name"]))
    except (AccessDenied, DocumentRejected, KeyError, TypeError, ValueError):
        hidden = 0
    if hidden > 0:
        return failed(HIDDEN, f"{by}: {hidden} are hidden, and their punches wait as unmapped", remedy)
    return warning(HIDDEN, f"{by}; it is not known whether they hide an employee", remedy)


def _without(client: ErpnextClient, status: str, field: str) -> str | Check:
    """Employees of a status who punch and lack the date that says which punches are theirs."""
    filters = [("status", "=", status), (field, "is", "not set"), ("attendance_device_id", "is", "set")]
    names = [row["name"] for row in client.get_list(EMPLOYEE, ["name"], filters, order_by="name asc")]
    label = "Date of Joining" if field == "date_of_joining" else "Relieving Date"
    if not names:
        return f"every employee who is {status} and has an attendance_device_id has a {label}"
    what = (
        "old punches of whoever had their number before become theirs"
        if field == "date_of_joining"
        else "their last punches wait for ever"
    )
    name = "joining dates" if field == "date_of_joining" else "relieving dates"
    detail = f"{status} and without a {label}: {some(names)}; {what}"
    return warning(name, detail, f"in ERPNext, set the {label} of these employees")
