"""Custom fields whose values may not repeat."""

from typing import Any

from sandbox.erpnext import errors
from sandbox.erpnext.errors import FrappeError
from sandbox.erpnext.query import Row, collate
from sandbox.erpnext.store import Store


def values(store: Store, doctype: str, row: Row) -> list[tuple[str, Any]]:
    """The unique fields in which a row has something, and what the database compares."""
    return [(field, collate(row[field])) for field in store.unique_fields(doctype) if row.get(field) is not None]


def check(store: Store, doctype: str, row: Row, name: str) -> None:
    """Return if no other document has one of the row's unique values.

    Raises:
        FrappeError: one has, be it cancelled.
    """
    for field, key in values(store, doctype, row):
        if any(other != name for other in store.table(doctype).find(field, key)):
            raise refusal(store, doctype, name, field, row)


def refusal(store: Store, doctype: str, name: str, field: str, row: Row) -> FrappeError:
    """What says that the value of that field is there already."""
    return errors.not_unique(doctype, name, field, store.custom_fields(doctype)[field]["label"], row[field])
