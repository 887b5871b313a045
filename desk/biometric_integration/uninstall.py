"""What Frappe does not take away by itself when the app is uninstalled."""

import frappe

from biometric_integration.console import SETTINGS
from biometric_integration.shift_settings import FIELDS, SHIFT_TYPE
from biometric_integration.sync import ROLE


def after_uninstall() -> None:
    """Take away the role, what stands beside its doctype, and the columns of the fields that Shift Type had.

    The fields `event_id` of Employee Checkin and `punchstream_day` of Attendance stay. The site may have had them
    before the app, and without them nothing refuses a punch, or a day, that is stored a second time.
    """
    frappe.delete_doc_if_exists("Role", ROLE, force=True)
    frappe.db.delete("Singles", {"doctype": SETTINGS})
    frappe.db.delete("__Auth", {"doctype": SETTINGS})
    frappe.db.commit()
    # Frappe has deleted the fields with the module, and leaves their values in the table.
    for field in FIELDS:
        frappe.db.sql_ddl(f"ALTER TABLE `tab{SHIFT_TYPE}` DROP COLUMN IF EXISTS `{field}`")
    frappe.clear_cache(doctype=SHIFT_TYPE)
