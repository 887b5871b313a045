"""What Frappe does not take away by itself when the app is uninstalled."""

import frappe

from biometric_integration.console import SETTINGS
from biometric_integration.sync import ROLE


def after_uninstall() -> None:
    """Take away the role, and the address and the token of the console, which stand beside their doctype.

    The field `event_id` of Employee Checkin stays. The site may have had it before the app, and without it nothing
    refuses a punch that is stored a second time.
    """
    frappe.delete_doc_if_exists("Role", ROLE, force=True)
    frappe.db.delete("Singles", {"doctype": SETTINGS})
    frappe.db.delete("__Auth", {"doctype": SETTINGS})
    frappe.db.commit()
