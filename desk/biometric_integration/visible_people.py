"""Which employees somebody may see: those whose Employee they may read, by roles and User Permissions."""

from collections.abc import Collection

import frappe
from frappe.permissions import get_user_permissions


def readable(employees: Collection[str]) -> set[str]:
    """Those of some employees that the user may read.

    Args:
        employees: Their names.
    """
    if not employees or not frappe.has_permission("Employee", "read"):
        return set()
    return set(frappe.get_list("Employee", filters={"name": ["in", list(employees)]}, pluck="name", limit=0))


def sees_everybody() -> bool:
    """Whether there is nobody whom the user may not see. Only then are punches theirs that are of nobody yet."""
    if frappe.session.user == "Administrator":
        return True
    if not frappe.has_permission("Employee", "read") or get_user_permissions(frappe.session.user):
        return False
    # Version 16 takes a function among the fields in another form than 15: names are counted here, which both have.
    return len(frappe.get_list("Employee", pluck="name", limit=0)) == frappe.db.count("Employee")
