"""Links: which documents lead to another, and what becomes of them when it is deleted or gets another name."""

from collections.abc import Iterator, Mapping
from typing import Final

import orjson

from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import ATTENDANCE, CHECKIN, DELETED, EMPLOYEE, SHIFT_TYPE
from sandbox.erpnext.query import Row, collate
from sandbox.erpnext.store import Store
from sandbox.erpnext.tables import Change
from sandbox.erpnext.users import User

_LINKS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    EMPLOYEE: ((CHECKIN, "employee"), (ATTENDANCE, "employee")),
    SHIFT_TYPE: ((CHECKIN, "shift"), (ATTENDANCE, "shift"), (EMPLOYEE, "default_shift")),
    ATTENDANCE: ((CHECKIN, "attendance"), (ATTENDANCE, "amended_from")),
}


def leading_to(store: Store, doctype: str, name: str) -> Iterator[tuple[str, str, Row]]:
    """The documents that link to this one: their doctype, the field, and the row."""
    for linking, field in _LINKS.get(doctype, ()):
        for row in list(store.table(linking).candidates([(field, "=", name)])):
            if row[field] and collate(row[field]) == collate(name):
                yield linking, field, row


def check_unlinked(store: Store, doctype: str, name: str) -> None:
    """Return if no other document links to this one, so that it may be deleted.

    Raises:
        FrappeError: one does, be it cancelled.
    """
    for linking, _, row in leading_to(store, doctype, name):
        if (linking, row["name"]) != (doctype, name):
            raise errors.linked(doctype, name, linking, row["name"])


def delete(store: Store, doctype: str, name: str, by: str | None = None) -> list[Change]:
    """What deleting this document changes. The last name that a series gave is given again.

    Args:
        store: Where it is.
        doctype: Of which kind it is.
        name: Its name.
        by: The user who deletes it, of which a Deleted Document is left; None leaves none, as from the database.
    """
    prefix, number = store.series(doctype)
    last = number > 0 and name == store.next_name(doctype, -1)
    reverted: list[Change] = [store.series_change(prefix, number - 1)] if last else []
    kept: list[Change] = []
    if by is not None:
        deleted = f"{len(store.table(DELETED).rows) + 1:010x}"
        row = store.table(doctype).rows[name]
        data = orjson.dumps(row | {"doctype": doctype}).decode()
        said = {"deleted_doctype": doctype, "deleted_name": name, "restored": 0, "new_name": None, "data": data}
        kept = [(DELETED, deleted, store.stamps(deleted, by) | said)]
    return [(doctype, name, None), *reverted, *kept]


def rename(store: Store, user: User, old: str, new: str, *, merge: bool) -> None:
    """Give an employee another name, or (`merge`) let another have all that leads to it and delete it.

    Raises:
        FrappeError: there is no such employee, or the other name is taken or, to merge, free.
    """
    rows = store.employees.rows
    if old not in rows:
        raise errors.thrown("DoesNotExistError", f"{EMPLOYEE} {old} not found", status=404)
    if old == new:
        raise errors.thrown("ValidationError", "No changes made because old and new name are the same.")
    other = store.employee(new)
    if merge and other is None:
        raise errors.thrown("ValidationError", f"{EMPLOYEE} {new} does not exist, select a new target to merge")
    if not merge and other is not None and other["name"] == new:
        raise errors.thrown("ValidationError", f"Another {EMPLOYEE} with name {new} exists, select another name")
    kept = rows[new] if merge else rows[old]
    row = kept | {"name": new, "employee": new, "modified": store.stamp(), "modified_by": user.name}
    # What links to it keeps its `modified`, and the name of the person as it was fetched.
    moved: list[Change] = [
        (doctype, linking["name"], linking | {field: new})
        for doctype, field, linking in leading_to(store, EMPLOYEE, old)
    ]
    gone = delete(store, EMPLOYEE, old, user.name) if merge else [(EMPLOYEE, old, None)]
    store.commit([*gone, (EMPLOYEE, new, row), *moved])
