"""Custom Field: what a site adds to a doctype."""

from collections.abc import Mapping
from typing import Any

from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import CUSTOM_FIELD, FIELDS, STAMPS
from sandbox.erpnext.query import Row, collate
from sandbox.erpnext.store import Store

_FLAGS = ("unique", "read_only", "no_copy", "reqd")


def new(store: Store, document: Mapping[str, Any], owner: str) -> Row:
    """The row of a new custom field.

    Raises:
        FrappeError: refused.
    """
    doctype, field = document.get("dt"), document.get("fieldname")
    if not doctype or not field:
        raise errors.mandatory(CUSTOM_FIELD, "new", "fieldname" if doctype else "dt")
    name = f"{doctype}-{field}"
    if name in store.table(CUSTOM_FIELD).rows:
        text = f"A field with the name <strong>{field}</strong> already exists in {doctype}"
        raise errors.thrown("ValidationError", text)
    values = {each: document.get(each) for each in FIELDS[CUSTOM_FIELD] if each not in STAMPS}
    flags = {each: int(bool(document.get(each))) for each in _FLAGS}
    row = store.stamps(name, owner) | values | flags | {"label": document.get("label") or field}
    check(store, row)
    return row


def check(store: Store, row: Row) -> None:
    """Return if a custom field may be as the row has it.

    Raises:
        FrappeError: it is to be unique, and values repeat.
    """
    field = row["fieldname"]
    values = [collate(each.get(field)) for each in store.rows(row["dt"]) if each.get(field) is not None]
    if row["unique"] and len(set(values)) < len(values):
        text = f"{field} field cannot be set as unique in tab{row['dt']}, as there are non-unique existing values"
        raise errors.thrown("ValidationError", text)
