"""Biometric User Map: whose number on a device is whose."""

import frappe
from frappe import _
from frappe.model.document import Document

from biometric_integration import rules


class BiometricUserMap(Document):
    """One number of a device user, and the employee whose it is, on one device or on those of a site.

    What a number is on every device says `Employee.attendance_device_id`, and nothing else.
    """

    def validate(self) -> None:
        """Refuse a row that another one contradicts, and say which."""
        # A space that was pasted from a sheet would match no punch.
        self.device_user_id = (self.device_user_id or "").strip()
        if not self.device_user_id:
            frappe.throw(_("Device User ID is missing"))
        if bool(self.device) == bool(self.site):
            frappe.throw(
                _("Name either the device or the site. A number of every device is an Employee's Attendance Device ID")
            )
        if self.site:
            try:
                rules.check_identifier(self.site)
            except ValueError as error:
                frappe.throw(f"{_('Site')}: {error}")
        # Frappe does not look whether a linked document is there where another field is fetched from it.
        if not frappe.db.exists("Employee", self.employee):
            frappe.throw(_("There is no Employee {0}").format(self.employee))
        self.mapping_key = rules.mapping_key(self.device or "", self.site or "", self.device_user_id)
        self._refuse_second_row()

    def _refuse_second_row(self) -> None:
        filters = {"mapping_key": self.mapping_key, "name": ["!=", self.name]}
        if other := frappe.db.get_value("Biometric User Map", filters, ["name", "employee"], as_dict=True):
            frappe.throw(
                _("{0} {1} is {2} already, by row {3}").format(
                    self.device_user_id, self._where(), other.employee, other.name
                )
            )

    def _where(self) -> str:
        return _("of device {0}").format(self.device) if self.device else _("of site {0}").format(self.site)
