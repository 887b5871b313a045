"""Custom Field: what a site adds to a doctype."""

from collections.abc import Mapping
from typing import Any

from sandbox.erpnext import errors
from sandbox.erpnext.doctypes import CUSTOM_FIELD, FIELDS, STAMPS
from sandbox.erpnext.query import Row
from sandbox.erpnext.store import Store

_FLAGS = ("unique", "read_only", "no_copy")


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
    return store.stamps(name, owner) | values | flags | {"label": document.get("label") or field}
